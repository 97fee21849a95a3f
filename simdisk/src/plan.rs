//! Which of the pending operations survive a loss of power.

use crate::crash::Pending;
use crate::image::{Op, Torn};

/// How a plan chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing pending survives.
    None,
    /// All of it does, as after the death of the process alone.
    All,
    /// What came first does.
    Prefix,
    /// All but one operation.
    DropOne,
    /// One operation.
    KeepOne,
    /// One of all the subsets.
    Subset,
    /// A subset that was drawn.
    Drawn,
    /// All that came before a write does, and the write is torn.
    TornLast,
    /// A subset that was drawn does, and one write is torn.
    TornDrawn,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::All,
        Self::Prefix,
        Self::DropOne,
        Self::KeepOne,
        Self::Subset,
        Self::Drawn,
        Self::TornLast,
        Self::TornDrawn,
    ];
}

/// A choice among pending operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How it was chosen.
    pub kind: Kind,
    /// For each pending operation whether it survives.
    pub kept: Vec<bool>,
    /// The write that is torn, by its place among the pending operations.
    pub torn: Option<(usize, Torn)>,
}

impl Plan {
    /// Nothing survives.
    #[must_use]
    pub fn none(pending: usize) -> Self {
        Self { kind: Kind::None, kept: vec![false; pending], torn: None }
    }

    /// All of it survives.
    #[must_use]
    pub fn all(pending: usize) -> Self {
        Self { kind: Kind::All, kept: vec![true; pending], torn: None }
    }
}

/// How many plans are tried at one place.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Plans besides none and all; `usize::MAX` for each of them.
    pub plans_max: usize,
    /// Subsets that are drawn where there are too many for each of them.
    pub drawn: usize,
    /// Bytes of a sector.
    pub sector_bytes: usize,
}

/// Up to so many pending operations every subset is a plan.
const SUBSETS_OF_MAX: usize = 8;

/// Numbers from a seed (`SplitMix64`), the same on every platform.
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// Returns a number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mixed = (mixed ^ (mixed >> 31)) >> 1;
        usize::try_from(mixed).expect("64 bits") % bound
    }
}

/// Returns the plans for what is pending: none and all, and so many of the others as the share allows.
#[must_use]
pub fn plans(pending: &[Pending], share: Share, numbers: &mut Numbers) -> Vec<Plan> {
    let count = pending.len();
    if count == 0 {
        return vec![Plan::none(0)];
    }
    let mut others = Vec::new();
    let mut add = |kind, kept: Vec<bool>| others.push(Plan { kind, kept, torn: None });
    for place in 0..count {
        add(Kind::Prefix, (0..count).map(|at| at < place).collect());
        add(Kind::DropOne, (0..count).map(|at| at != place).collect());
        add(Kind::KeepOne, (0..count).map(|at| at == place).collect());
    }
    if count <= SUBSETS_OF_MAX {
        for bits in 0..1_usize << count {
            add(Kind::Subset, (0..count).map(|at| bits >> at & 1 == 1).collect());
        }
    } else {
        for _ in 0..share.drawn {
            add(Kind::Drawn, (0..count).map(|_| numbers.below(2) == 1).collect());
        }
    }
    others.extend(torn(pending, share, numbers));
    let mut plans = vec![Plan::none(count), Plan::all(count)];
    if others.len() <= share.plans_max {
        plans.append(&mut others);
    } else {
        for _ in 0..share.plans_max {
            plans.push(others.swap_remove(numbers.below(others.len())));
        }
    }
    plans
}

fn torn(pending: &[Pending], share: Share, numbers: &mut Numbers) -> Vec<Plan> {
    let mut plans = Vec::new();
    for (place, write) in pending.iter().enumerate() {
        let Op::Write { at, bytes, .. } = &write.op else { continue };
        let sector_bytes = share.sector_bytes;
        let sectors = (at + bytes.len()).div_ceil(sector_bytes) - at / sector_bytes;
        for sectors in 0..sectors {
            let torn = Some((place, Torn { sectors, sector_bytes }));
            let kept = (0..pending.len()).map(|at| at < place).collect();
            plans.push(Plan { kind: Kind::TornLast, kept, torn });
            let kept = (0..pending.len()).map(|_| numbers.below(2) == 1).collect();
            plans.push(Plan { kind: Kind::TornDrawn, kept, torn });
        }
    }
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_planned_and_the_share_is_kept() {
        let write = |number| Pending {
            number,
            op: Op::Write { node: 1, at: 512 * number, bytes: vec![0; 700].into() },
        };
        let pending = |count| (0..count).map(write).collect::<Vec<_>>();
        let share = Share { plans_max: usize::MAX, drawn: 9, sector_bytes: 512 };
        let few = plans(&pending(3), share, &mut Numbers(1));
        assert_eq!(few.len(), 2 + 3 * 3 + 8 + 3 * 2 * 2);
        let many = plans(&pending(12), share, &mut Numbers(1));
        for kind in Kind::ALL {
            let found = few.iter().chain(&many).any(|plan| plan.kind == kind);
            assert!(found, "{kind:?} is never planned");
        }
        let share = Share { plans_max: 5, ..share };
        assert_eq!(plans(&pending(12), share, &mut Numbers(1)).len(), 7);
    }
}
