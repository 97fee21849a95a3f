//! Which transactions of a block read what earlier ones of it wrote: what one execution teaches the next.
//!
//! Canonical bytes, all varints: `count · (count of its dependencies · distances)…`. The first distance leads from the
//! transaction back to the nearest one that it depends on, each further one from there to the next; as none is zero,
//! one less is written.

use crate::codec::{CodecError, Reader, Writer as Encoder, count};
use crate::state::{Effect, KeyMap, Touched, Writer};
use crate::types::Bytes;

/// For each transaction of a block, the earlier ones that wrote what it read. Additions depend on nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies(Vec<Vec<u32>>);

impl Dependencies {
    /// Makes a record of lists, one for each transaction; what does not come before a transaction is left out.
    #[must_use]
    pub fn new(lists: Vec<Vec<u32>>) -> Self {
        let lists = (0u32..).zip(lists).map(|(index, mut list)| {
            list.retain(|earlier| *earlier < index);
            list.sort_unstable_by(|a, b| b.cmp(a));
            list.dedup();
            list
        });
        Self(lists.collect())
    }

    /// Returns how many transactions it speaks of.
    #[must_use]
    pub fn txs(&self) -> usize {
        self.0.len()
    }

    /// Returns what a transaction depends on, the nearest first.
    #[must_use]
    pub fn of(&self, index: usize) -> &[u32] {
        self.0.get(index).map_or(&[], Vec::as_slice)
    }

    /// Returns the number of transactions in the longest chain of them: no number of threads needs fewer turns.
    #[must_use]
    pub fn longest_chain(&self) -> usize {
        let txs = self.chain_of_most(self.0.iter().map(|_| 1));
        usize::try_from(txs).unwrap_or(usize::MAX)
    }

    /// Returns the work of the chain that has most of it, given that of each transaction, in any unit.
    #[must_use]
    pub fn chain_of_most(&self, work: impl IntoIterator<Item = u64>) -> u64 {
        let mut ends: Vec<u64> = Vec::with_capacity(self.txs());
        for (list, work) in self.0.iter().zip(work) {
            let before = list.iter().filter_map(|earlier| {
                ends.get(usize::try_from(*earlier).unwrap_or(usize::MAX)).copied()
            });
            let most = before.max().unwrap_or(0);
            ends.push(most.saturating_add(work));
        }
        ends.into_iter().max().unwrap_or(0)
    }

    /// Returns about how many bytes of memory it takes.
    pub(crate) fn memory(&self) -> usize {
        let lists = self.0.iter().map(|list| list.len().saturating_mul(4).saturating_add(24));
        lists.fold(24, usize::saturating_add)
    }

    /// Returns the canonical bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::with_capacity(self.0.len().saturating_mul(2));
        encoder.varint(count(self.0.len()));
        for (index, list) in (0u32..).zip(&self.0) {
            encoder.varint(count(list.len()));
            let mut from = index;
            for earlier in list {
                encoder.varint(from.saturating_sub(*earlier).saturating_sub(1).into());
                from = *earlier;
            }
        }
        encoder.finish()
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that [`Dependencies::encode`] never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let length = reader.count("transaction count")?;
        let mut lists = Vec::with_capacity(length.min(1 << 16));
        for index in 0..length {
            let mut from = count(index);
            let mut list = Vec::new();
            for _ in 0..reader.count("dependency count")? {
                let distance = reader.varint("distance")?;
                let earlier = from.checked_sub(1).and_then(|from| from.checked_sub(distance));
                let earlier = earlier.ok_or_else(|| reader.invalid("distance", distance))?;
                from = earlier;
                list.push(
                    u32::try_from(earlier).map_err(|_| reader.invalid("distance", distance))?,
                );
            }
            lists.push(list);
        }
        reader.finish()?;
        Ok(Self(lists))
    }
}

/// Dependencies of the transactions that were executed so far.
#[derive(Clone, Default)]
pub(super) struct Learned {
    lists: Vec<Vec<u32>>,
    /// Transactions that added to a key since it was last written: who reads it depends on all of them.
    adders: KeyMap<Vec<u32>>,
}

impl Learned {
    /// Takes note of a transaction whose effects are not taken over yet; `writer_of` says who wrote a key last.
    pub(super) fn note<'a>(
        &mut self,
        index: u32,
        touched: &Touched,
        writer_of: impl Fn(&[u8]) -> Option<&'a Writer>,
    ) {
        let mut list = Vec::new();
        let read = touched.keys().iter().filter(|key| key.read.is_some() && !key.is_addition);
        for key in read {
            if let Some(Writer::Tx(earlier)) = writer_of(&key.key) {
                list.push(*earlier);
                list.extend(self.adders.get(&key.key).into_iter().flatten());
            }
        }
        for key in touched.keys().iter().filter(|key| key.effect != Effect::None) {
            if key.is_addition {
                self.adders.entry(Bytes::clone(&key.key)).or_default().push(index);
            } else {
                self.adders.remove(&key.key);
            }
        }
        self.put(index, list);
    }

    /// Returns the record of a block of so many transactions.
    pub(super) fn finish(mut self, txs: usize) -> Dependencies {
        self.lists.resize_with(txs, Vec::new);
        Dependencies::new(self.lists)
    }

    fn put(&mut self, index: u32, list: Vec<u32>) {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        // Transactions that verdicts keep out depend on nothing.
        self.lists.resize_with(at, Vec::new);
        self.lists.push(list);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::state::TouchedKey;

    proptest! {
        #[test]
        fn a_record_has_one_form(lists in prop::collection::vec(prop::collection::vec(0u32..40, 0..6), 0..40)) {
            let record = Dependencies::new(lists);
            let bytes = record.encode();
            prop_assert_eq!(Dependencies::decode(&bytes), Ok(record));
            for length in 0..bytes.len() {
                prop_assert!(Dependencies::decode(&bytes[..length]).is_err());
            }
        }

        #[test]
        fn bytes_of_another_form_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(record) = Dependencies::decode(&bytes) {
                prop_assert_eq!(record.encode(), bytes);
            }
        }
    }

    #[test]
    fn what_does_not_come_before_a_transaction_is_refused() {
        let invalid = |at, found| Err(CodecError::Invalid { field: "distance", at, found });
        assert_eq!(Dependencies::decode(&[1, 1, 0]), invalid(3, 0));
        assert_eq!(Dependencies::decode(&[2, 0, 1, 1]), invalid(4, 1));
        assert_eq!(
            Dependencies::decode(&[2, 0, 1, 0]).map(|record| record.0),
            Ok(vec![vec![], vec![0]])
        );
        let trailing = Dependencies::decode(&[0, 0]);
        assert_eq!(trailing, Err(CodecError::Trailing { at: 1, count: 1 }));
    }

    #[test]
    fn readers_depend_on_writers_and_on_all_who_added_since() {
        let key = |name: &[u8], read: bool, effect: Effect, is_addition| TouchedKey {
            key: name.into(),
            read: read.then_some(None),
            effect,
            is_addition,
        };
        let adds = || key(b"n", true, Effect::Write(None), true);
        let steps = [
            vec![key(b"a", false, Effect::Write(None), false), adds()],
            vec![adds()],
            vec![key(b"a", true, Effect::None, false), adds()],
            vec![key(b"n", true, Effect::Write(None), false)],
            vec![key(b"n", true, Effect::None, false), key(b"x", true, Effect::None, false)],
        ];
        let (mut learned, mut writers) = (Learned::default(), KeyMap::default());
        for (index, keys) in (0u32..).zip(steps) {
            let mut touched = Touched::default();
            for key in keys {
                touched.push(key);
            }
            learned.note(index, &touched, |key| writers.get(key));
            for key in touched.keys().iter().filter(|key| key.effect != Effect::None) {
                writers.insert(Bytes::clone(&key.key), Writer::Tx(index));
            }
        }
        let expected: [&[u32]; 6] = [&[], &[], &[0], &[2, 1, 0], &[3], &[]];
        let record = learned.finish(6);
        let found: Vec<_> = (0..6).map(|index| record.of(index)).collect();
        assert_eq!(found, expected);
    }
}
