//! The places: where each transaction is, and that all that was acknowledged is in exactly one of them.

use std::collections::HashMap;

use crate::load::check::{Finding, Place};
use crate::types::{Seq, TxId};

/// Every transaction that was seen, by identity and by position; about 100 bytes each.
#[derive(Clone, Debug, Default)]
pub(in crate::load) struct Places {
    by_id: HashMap<TxId, Place>,
    by_seq: HashMap<Seq, TxId>,
}

impl Places {
    /// Adds a place; one that contradicts what was added before is a finding.
    pub(in crate::load) fn add(&mut self, id: TxId, place: Place) -> Option<Finding> {
        let first = *self.by_id.entry(id).or_insert(place);
        if first != place {
            return Some(Finding::Twice { id, first, again: place });
        }
        let first = self.by_seq.insert(place.seq, id)?;
        if first == id {
            // The same transaction in the same block again.
            return Some(Finding::Twice { id, first: place, again: place });
        }
        Some(Finding::SeqShared { seq: place.seq, first, again: id })
    }

    /// Holds one acknowledgement against the places.
    pub(in crate::load) fn keeps(&self, id: TxId, acknowledged: Seq) -> Option<Finding> {
        match self.by_id.get(&id).copied() {
            None => Some(Finding::Lost { id, acknowledged }),
            Some(found) if found.seq != acknowledged => {
                Some(Finding::Moved { id, acknowledged, found })
            }
            Some(_) => None,
        }
    }

    pub(in crate::load) fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: TxId = TxId([1; 32]);
    const TWO: TxId = TxId([2; 32]);

    fn place(seq: u64, height: Option<u64>) -> Place {
        Place { seq: Seq::new(seq).expect("not zero"), height }
    }

    #[test]
    fn a_second_place_is_a_finding() {
        let first = place(5, Some(1));
        for (id, again, expected) in [
            (TWO, place(6, Some(1)), None),
            (ONE, place(5, Some(1)), Some(Finding::Twice { id: ONE, first, again: first })),
            (ONE, place(5, Some(2)), {
                Some(Finding::Twice { id: ONE, first, again: place(5, Some(2)) })
            }),
            (ONE, place(9, None), Some(Finding::Twice { id: ONE, first, again: place(9, None) })),
            (TWO, place(5, None), {
                Some(Finding::SeqShared { seq: first.seq, first: ONE, again: TWO })
            }),
        ] {
            let mut places = Places::default();
            assert_eq!(places.add(ONE, first), None);
            assert_eq!(places.add(id, again), expected);
        }
    }

    #[test]
    fn what_was_acknowledged_is_there_under_its_position() {
        let mut places = Places::default();
        places.add(ONE, place(5, None));
        let (five, six) = (place(5, None).seq, place(6, None).seq);
        assert_eq!(places.keeps(ONE, five), None);
        assert_eq!(places.keeps(TWO, six), Some(Finding::Lost { id: TWO, acknowledged: six }));
        let moved = Finding::Moved { id: ONE, acknowledged: six, found: place(5, None) };
        assert_eq!(places.keeps(ONE, six), Some(moved));
        assert_eq!(places.len(), 1);
    }
}
