//! The mempool: transactions that were received and are in no block, as ranges of positions.

use std::collections::BTreeMap;

use crate::types::Seq;

/// A set of positions; its size in memory grows with the number of gaps, not of positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mempool {
    /// First position of each range → its last one. Ranges neither overlap nor touch.
    ranges: BTreeMap<u64, u64>,
    len: u64,
}

impl Mempool {
    /// Returns the number of transactions.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Says whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Says whether a transaction is waiting.
    #[must_use]
    pub fn contains(&self, seq: Seq) -> bool {
        self.range_of(seq.get()).is_some()
    }

    /// Adds a transaction; says whether it was not there before.
    pub fn insert(&mut self, seq: Seq) -> bool {
        let seq = seq.get();
        // Most arrive in the order of their positions.
        if let Some(mut last) = self.ranges.last_entry()
            && last.get().checked_add(1) == Some(seq)
        {
            *last.get_mut() = seq;
            self.len = self.len.saturating_add(1);
            return true;
        }
        if self.range_of(seq).is_some() {
            return false;
        }
        let above = self.ranges.remove(&seq.saturating_add(1));
        let end = above.unwrap_or(seq);
        match self.ranges.range_mut(..seq).next_back() {
            Some((_, last)) if last.saturating_add(1) == seq => *last = end,
            _ => drop(self.ranges.insert(seq, end)),
        }
        self.len = self.len.saturating_add(1);
        true
    }

    /// Takes a transaction out; says whether it was there.
    pub fn remove(&mut self, seq: Seq) -> bool {
        let seq = seq.get();
        let Some((first, last)) = self.range_of(seq) else { return false };
        self.ranges.remove(&first);
        if first < seq {
            self.ranges.insert(first, seq.saturating_sub(1));
        }
        if seq < last {
            self.ranges.insert(seq.saturating_add(1), last);
        }
        self.len = self.len.saturating_sub(1);
        true
    }

    /// Returns the positions in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Seq> {
        self.ranges.iter().flat_map(|(first, last)| (*first..=*last).filter_map(Seq::new))
    }

    /// Returns the positions after one, in order of arrival.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = Seq> {
        let within = self.range_of(seq).map(|(_, last)| (seq, last));
        let ranges = within
            .into_iter()
            .chain(self.ranges.range(seq.saturating_add(1)..).map(|(a, b)| (*a, *b)));
        ranges
            .flat_map(|(first, last)| first..=last)
            .filter(move |next| *next > seq)
            .filter_map(Seq::new)
    }

    fn range_of(&self, seq: u64) -> Option<(u64, u64)> {
        let (first, last) = self.ranges.range(..=seq).next_back()?;
        (seq <= *last).then_some((*first, *last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_positions(steps in prop::collection::vec((1u64..40, any::<bool>()), 0..200)) {
            let mut mempool = Mempool::default();
            let mut model = BTreeSet::new();
            for (number, adds) in steps {
                let seq = Seq::new(number).expect("positions start at 1");
                if adds {
                    prop_assert_eq!(mempool.insert(seq), model.insert(seq));
                } else {
                    prop_assert_eq!(mempool.remove(seq), model.remove(&seq));
                }
                prop_assert_eq!(mempool.contains(seq), model.contains(&seq));
            }
            prop_assert_eq!(mempool.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(mempool.len(), model.len() as u64);
            for from in 0..41 {
                let expected = model.iter().copied().filter(|seq| seq.get() > from).collect::<Vec<_>>();
                prop_assert_eq!(mempool.after(from).collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn dense_positions_cost_one_range() {
        let mut mempool = Mempool::default();
        for number in (1..=1000).rev() {
            mempool.insert(Seq::new(number).expect("positions start at 1"));
        }
        assert_eq!(mempool.ranges.len(), 1);
    }
}
