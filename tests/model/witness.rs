//! The witness file: two slots, of which a power cut may leave the old bytes, the new ones or neither.

/// What a slot says: the turn in which it was written, and the event that was acknowledged (position, identity).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    turn: u8,
    pub seq: u8,
    pub id: u8,
}

/// Bytes in the page cache and on the disk; `None` where they are not whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Slot {
    cached: Option<Mark>,
    on_disk: Option<Mark>,
}

impl Slot {
    fn whole(mark: Option<Mark>) -> Self {
        Self { cached: mark, on_disk: mark }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Witness {
    slots: [Slot; 2],
}

impl Default for Witness {
    /// As a node is made: both slots written and synced.
    fn default() -> Self {
        let of = |turn| Slot::whole(Some(Mark { turn, seq: 0, id: 0 }));
        Self { slots: [of(2), of(1)] }
    }
}

impl Witness {
    /// Returns the newer of the whole slots, as the next opening believes it.
    pub fn mark(&self) -> Option<Mark> {
        self.slots.iter().filter_map(|slot| slot.cached).max()
    }

    /// Returns which slot holds that mark.
    pub fn newest(&self) -> u8 {
        u8::from(self.slots[1].cached > self.slots[0].cached)
    }

    /// Writes a mark into a slot, unsynced.
    pub fn write(&mut self, slot: u8, seq: u8, id: u8) {
        let turn = self.mark().map_or(1, |mark| mark.turn + 1);
        self.slots[usize::from(slot)].cached = Some(Mark { turn, seq, id });
    }

    /// Tears a slot: the process died while it was written.
    pub fn tear(&mut self, slot: u8) {
        self.slots[usize::from(slot)].cached = None;
    }

    pub fn sync(&mut self) {
        for slot in &mut self.slots {
            slot.on_disk = slot.cached;
        }
    }

    /// Says whether one slot is not whole.
    pub fn has_torn_slot(&self) -> bool {
        self.slots.iter().any(|slot| slot.cached.is_none())
    }

    /// Returns what may be found after a power cut that tears at most so many writes.
    pub fn after_power_loss(&self, torn_max: usize) -> Vec<Self> {
        let outcomes = |slot: Slot| -> Vec<Option<Mark>> {
            if slot.cached == slot.on_disk {
                return vec![slot.cached];
            }
            let mut outcomes = vec![slot.cached, slot.on_disk, None];
            outcomes.sort_unstable();
            outcomes.dedup();
            outcomes
        };
        let [first, second] = self.slots;
        let torn = |slot: Slot, found: Option<Mark>| {
            usize::from(found.is_none() && (slot.cached.is_some() && slot.on_disk.is_some()))
        };
        let mut found = Vec::new();
        for one in outcomes(first) {
            for other in outcomes(second) {
                if torn(first, one) + torn(second, other) <= torn_max {
                    found.push(Self { slots: [Slot::whole(one), Slot::whole(other)] });
                }
            }
        }
        found
    }
}
