//! Overlays: writes that are held above a state which stays as it is.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;

use crate::event::Patch;
use crate::state::{ChangeSet, Effect, KeyMap, Layer, StateError, StateRead, Touched, add_to};
use crate::types::Bytes;

/// The step of a block that wrote a key last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    /// A patch before the block.
    Patch,
    /// The machine's hook before the transactions.
    Begin,
    /// The transaction at this index of the block.
    Tx(u32),
    /// The machine's hook after the transactions.
    End,
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Patch => f.write_str("a patch"),
            Self::Begin => f.write_str("the block's opening"),
            Self::Tx(index) => write!(f, "transaction {index}"),
            Self::End => f.write_str("the block's closing"),
        }
    }
}

/// A key that was written, with its value before the first write and after the last.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) before: Option<Bytes>,
    pub(crate) after: Option<Bytes>,
    pub(crate) writer: Writer,
}

/// The writes of one block above the state before it.
pub struct BlockOverlay<'a> {
    below: &'a (dyn StateRead + Sync),
    /// What was written first, where that was much at once; `slots` are above it.
    layer: Layer,
    slots: KeyMap<Slot>,
}

impl std::fmt::Debug for BlockOverlay<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlockOverlay({} keys)", self.layer.iter().count() + self.slots.len())
    }
}

impl<'a> BlockOverlay<'a> {
    /// Makes an overlay without writes.
    #[must_use]
    pub fn new(below: &'a (dyn StateRead + Sync)) -> Self {
        Self { below, layer: Layer::default(), slots: KeyMap::default() }
    }

    /// Makes room for so many keys.
    pub(crate) fn reserve(&mut self, keys: usize) {
        self.slots.reserve(keys);
    }

    /// Takes over the writes of one step.
    ///
    /// # Errors
    /// [`StateError`] where the value before a first write cannot be read.
    pub fn absorb(
        &mut self,
        writer: Writer,
        writes: impl IntoIterator<Item = (Bytes, Option<Bytes>)>,
    ) -> Result<(), StateError> {
        for (key, after) in writes {
            if let Some(slot) = self.slots.get_mut(&key) {
                (slot.after, slot.writer) = (after, writer);
            } else {
                let before = match self.layer.find(&key) {
                    Some(slot) => slot.before.clone(),
                    None => self.below.get(&key)?,
                };
                self.slots.insert(key, Slot { before, after, writer });
            }
        }
        Ok(())
    }

    /// Turns the additions of a step that was executed above this overlay into writes; says whether every sum fits.
    pub(crate) fn settle_additions(&self, touched: &mut Touched) -> Result<bool, StateError> {
        for key in touched.keys_mut() {
            let Effect::Add(delta) = key.effect else { continue };
            let before = self.get(&key.key)?;
            let Ok(sum) = add_to(before.as_ref(), delta) else { return Ok(false) };
            (key.read, key.effect) = (Some(before), Effect::Write(Some(sum)));
        }
        Ok(true)
    }

    /// Takes over the effects of one step that was executed above this overlay, its additions settled.
    pub(crate) fn take_over(&mut self, writer: Writer, touched: Touched) -> Result<(), StateError> {
        for key in touched.into_keys() {
            assert!(!matches!(key.effect, Effect::Add(_)), "additions are settled before");
            let Effect::Write(after) = key.effect else { continue };
            match self.slots.entry(key.key) {
                Entry::Occupied(mut slot) => {
                    let slot = slot.get_mut();
                    (slot.after, slot.writer) = (after, writer);
                }
                Entry::Vacant(slot) => {
                    let before = match (self.layer.find(slot.key()), key.read) {
                        (Some(held), _) => held.before.clone(),
                        // What the step read came from below, where nothing is written here.
                        (None, Some(read)) => read,
                        (None, None) => self.below.get(slot.key())?,
                    };
                    slot.insert(Slot { before, after, writer });
                }
            }
        }
        Ok(())
    }

    /// Returns what was written to a key, where it was.
    pub(crate) fn slot(&self, key: &[u8]) -> Option<&Slot> {
        self.slots.get(key).or_else(|| self.layer.find(key))
    }

    /// Takes over what an overlay above this one has written, in the order of the keys.
    pub(crate) fn put_layer(&mut self, mut above: Layer) {
        if !self.slots.is_empty() {
            for (key, slot) in above.iter_mut() {
                if let Some(held) = self.slots.remove(key) {
                    slot.before = held.before;
                }
            }
        }
        if !self.layer.is_empty() {
            for (key, slot) in above.iter_mut() {
                if let Some(held) = self.layer.find(key) {
                    slot.before.clone_from(&held.before);
                }
            }
        }
        (self.layer, _) = std::mem::take(&mut self.layer).join(above);
    }

    /// Takes over what an overlay above this one has written.
    pub(crate) fn put_slots(&mut self, above: KeyMap<Slot>) {
        let below = std::mem::replace(&mut self.slots, above);
        if below.len() <= self.slots.len() {
            for (key, held) in below {
                match self.slots.entry(key) {
                    Entry::Occupied(mut slot) => slot.get_mut().before = held.before,
                    Entry::Vacant(place) => drop(place.insert(held)),
                }
            }
            return;
        }
        for (key, slot) in std::mem::replace(&mut self.slots, below) {
            match self.slots.entry(key) {
                Entry::Occupied(mut held) => {
                    let held = held.get_mut();
                    (held.after, held.writer) = (slot.after, slot.writer);
                }
                Entry::Vacant(place) => drop(place.insert(slot)),
            }
        }
    }

    /// Ends the overlay: its keys, in no order.
    pub(crate) fn into_slots(self) -> KeyMap<Slot> {
        self.slots
    }

    /// Applies a patch.
    ///
    /// # Errors
    /// As [`BlockOverlay::absorb`].
    pub fn patch(&mut self, patch: &Patch) -> Result<(), StateError> {
        if patch.replaces_state {
            self.delete_all()?;
        }
        self.absorb(Writer::Patch, patch.entries.iter().cloned())
    }

    /// Deletes every key. From then on nothing is below: it has no key that is not written here.
    fn delete_all(&mut self) -> Result<(), StateError> {
        let mut all = Vec::new();
        self.scan(&[], &mut |key, value| all.push((key.clone(), value.clone())))?;
        self.slots.reserve(all.len());
        for (key, value) in all {
            let before = match self.layer.find(&key) {
                Some(held) => held.before.clone(),
                None => Some(value),
            };
            let slot = Slot { before, after: None, writer: Writer::Patch };
            match self.slots.entry(key) {
                Entry::Vacant(place) => drop(place.insert(slot)),
                Entry::Occupied(mut held) => {
                    let held = held.get_mut();
                    (held.after, held.writer) = (None, Writer::Patch);
                }
            }
        }
        self.below = &Nothing;
        Ok(())
    }

    /// Ends the block: its net changes, and the last writer of each, in the order of the keys.
    #[must_use]
    pub fn finish(self) -> (ChangeSet, Vec<Writer>) {
        let (layer, _) = self.layer.join(Layer::of(self.slots));
        layer.finish()
    }
}

impl StateRead for BlockOverlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        match self.slot(key) {
            Some(slot) => Ok(slot.after.clone()),
            None => self.below.get(key),
        }
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        let above = self.layer.iter().chain(&self.slots);
        let above = above.filter(|(key, _)| key.starts_with(prefix));
        let above = above.map(|(key, slot)| (key.clone(), slot.after.clone())).collect();
        scan_layered(self.below, above, prefix, visit)
    }
}

/// A state without keys.
struct Nothing;

impl StateRead for Nothing {
    fn get(&self, _: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(None)
    }

    fn scan(&self, _: &[u8], _: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        Ok(())
    }
}

/// Visits the keys of two layers in ascending order, the upper layer's values first.
pub(crate) fn scan_layered(
    below: &dyn StateRead,
    above: BTreeMap<Bytes, Option<Bytes>>,
    prefix: &[u8],
    visit: &mut dyn FnMut(&Bytes, &Bytes),
) -> Result<(), StateError> {
    let mut above = above.into_iter().peekable();
    below.scan(prefix, &mut |key, value| {
        while let Some((upper, written)) = above.next_if(|(upper, _)| upper <= key) {
            if let Some(written) = &written {
                visit(&upper, written);
            }
            if upper == *key {
                return;
            }
        }
        visit(key, value);
    })?;
    for (key, value) in above {
        if let Some(value) = &value {
            visit(&key, value);
        }
    }
    Ok(())
}

/// A whole state in memory: the base of a replay that has no store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryState {
    entries: BTreeMap<Bytes, Bytes>,
}

impl MemoryState {
    /// Writes or deletes one key.
    pub fn set(&mut self, key: Bytes, value: Option<Bytes>) {
        match value {
            Some(value) => self.entries.insert(key, value),
            None => self.entries.remove(&key),
        };
    }

    /// Returns the entries, ascending by key.
    pub fn entries(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.entries.iter()
    }

    /// Applies the values after a change set.
    pub fn apply(&mut self, changes: &ChangeSet) {
        for change in changes.changes() {
            self.set(change.key.clone(), change.after.clone());
        }
    }
}

impl StateRead for MemoryState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.entries.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        let from = self.entries.range(Bytes::from(prefix)..);
        for (key, value) in from.take_while(|(key, _)| key.starts_with(prefix)) {
            visit(key, value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &[u8], value: Option<&[u8]>) -> (Bytes, Option<Bytes>) {
        (key.into(), value.map(Into::into))
    }

    fn base() -> MemoryState {
        let mut state = MemoryState::default();
        for key in [b"a", b"b", b"c"] {
            state.set(Bytes::from(*key), Some(Bytes::from(*b"0")));
        }
        state
    }

    fn keys(state: &dyn StateRead, prefix: &[u8]) -> String {
        let mut found = String::new();
        state
            .scan(prefix, &mut |key, value| {
                found.push_str(&String::from_utf8_lossy(key));
                found.push_str(&String::from_utf8_lossy(value));
            })
            .expect("memory can be read");
        found
    }

    #[test]
    fn an_overlay_covers_what_lies_below() {
        let base = base();
        let mut overlay = BlockOverlay::new(&base);
        let writes = [entry(b"b", None), entry(b"bb", Some(b"1")), entry(b"d", Some(b"1"))];
        overlay.absorb(Writer::Tx(0), writes).expect("memory can be read");
        assert_eq!(keys(&overlay, b""), "a0bb1c0d1");
        assert_eq!(keys(&overlay, b"b"), "bb1");
        overlay.absorb(Writer::Tx(1), [entry(b"d", None)]).expect("memory can be read");
        let (changes, writers) = overlay.finish();
        // A key that was made and deleted within the block is no change.
        assert_eq!(changes.changes().len(), 2);
        assert_eq!(writers, [Writer::Tx(0), Writer::Tx(0)]);
    }

    #[test]
    fn a_patch_that_replaces_the_state_deletes_the_rest() {
        let base = base();
        let mut overlay = BlockOverlay::new(&base);
        let patch = Patch::new("witness", true, [entry(b"c", Some(b"1"))]);
        overlay.patch(&patch).expect("memory can be read");
        assert_eq!(keys(&overlay, b""), "c1");
        assert_eq!(overlay.finish().0.changes().len(), 3);
    }

    #[test]
    fn patches_that_replace_the_state_leave_the_first_values_before_them() {
        let base = base();
        let mut overlay = BlockOverlay::new(&base);
        let entries = [entry(b"a", Some(b"1")), entry(b"d", Some(b"1"))];
        overlay.patch(&Patch::new("change", false, entries)).expect("memory can be read");
        let entries = [entry(b"a", Some(b"2")), entry(b"b", Some(b"0"))];
        overlay.patch(&Patch::new("first", true, entries)).expect("memory can be read");
        assert_eq!(keys(&overlay, b""), "a2b0");
        overlay.patch(&Patch::new("last", true, [entry(b"c", Some(b"0"))])).expect("the same");
        overlay.absorb(Writer::Tx(0), [entry(b"e", Some(b"3"))]).expect("the same");
        assert_eq!(keys(&overlay, b""), "c0e3");
        let (changes, writers) = overlay.finish();
        let text =
            |value: &Option<Bytes>| value.as_deref().map(String::from_utf8_lossy).map(Into::into);
        let changes = changes.changes().iter();
        let changes: Vec<(Option<String>, Option<String>)> =
            changes.map(|change| (text(&change.before), text(&change.after))).collect();
        let value = |value: &str| Some(value.to_owned());
        assert_eq!(changes, [(value("0"), None), (value("0"), None), (None, value("3"))]);
        assert_eq!(writers, [Writer::Patch, Writer::Patch, Writer::Tx(0)]);
    }

    #[test]
    fn the_value_before_a_block_is_read_once_and_its_last_writer_is_told() {
        let base = base();
        let mut overlay = BlockOverlay::new(&base);
        overlay.absorb(Writer::Begin, [entry(b"a", Some(b"1"))]).expect("memory can be read");
        overlay.absorb(Writer::End, [entry(b"a", Some(b"2"))]).expect("memory can be read");
        overlay.absorb(Writer::Patch, [entry(b"c", Some(b"0"))]).expect("memory can be read");
        assert_eq!(overlay.get(b"a").expect("memory can be read").as_deref(), Some(&b"2"[..]));
        assert_eq!(overlay.get(b"b").expect("memory can be read").as_deref(), Some(&b"0"[..]));
        assert_eq!(overlay.get(b"x").expect("memory can be read"), None);
        assert_eq!(format!("{overlay:?}"), "BlockOverlay(2 keys)");
        let (changes, writers) = overlay.finish();
        let [change] = changes.changes() else { panic!("what stays as it was is no change") };
        let values = (change.before.as_deref(), change.after.as_deref());
        assert_eq!(values, (Some(&b"0"[..]), Some(&b"2"[..])));
        assert_eq!(writers, [Writer::End]);
        let mut after = base.clone();
        after.apply(&changes);
        let entries: Vec<_> = after.entries().map(|(key, _)| key.to_vec()).collect();
        assert_eq!(entries, [b"a", b"b", b"c"]);
        assert_eq!(keys(&after, b""), "a2b0c0");
    }

    #[test]
    fn a_writer_is_told_in_words() {
        let all = [Writer::Patch, Writer::Begin, Writer::Tx(7), Writer::End];
        let words = all.map(|writer| writer.to_string());
        assert_eq!(
            words,
            ["a patch", "the block's opening", "transaction 7", "the block's closing"]
        );
    }
}
