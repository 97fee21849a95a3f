//! The state digest: a homomorphic multiset hash, so that a change costs its own size and not that of the state.
//!
//! LtHash16 over the extended output of BLAKE3 (Bellare and Micciancio 1997; Lewi, Kim, Maykov and Weis 2019): each
//! entry is expanded to 1,024 sixteen-bit lanes, and lanes are added modulo 2^16. Adding and removing commute.

use rayon::prelude::*;

use crate::codec::{Writer, count};
use crate::state::ChangeSet;
use crate::types::{Bytes, Digest};

const LANES: usize = 1024;

/// The accumulated digest of a set of entries; 2,048 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct StateDigest {
    lanes: Box<[u16; LANES]>,
}

impl Default for StateDigest {
    fn default() -> Self {
        Self { lanes: Box::new([0; LANES]) }
    }
}

impl std::fmt::Debug for StateDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateDigest({})", self.digest())
    }
}

impl StateDigest {
    /// Adds an entry of the state.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.combine(key, value, u16::wrapping_add);
    }

    /// Takes an entry out that was added before.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.combine(key, value, u16::wrapping_sub);
    }

    /// Brings the digest from before a change set to after it.
    pub fn apply(&mut self, changes: &ChangeSet) {
        self.merge_all(changes.changes(), |delta, change| {
            if let Some(before) = &change.before {
                delta.remove(&change.key, before);
            }
            if let Some(after) = &change.after {
                delta.add(&change.key, after);
            }
        });
    }

    /// Adds many entries of the state.
    pub fn add_all(&mut self, entries: &[(Bytes, Bytes)]) {
        self.merge_all(entries, |delta, (key, value)| delta.add(key, value));
    }

    /// Takes in many things on every core.
    fn merge_all<T: Sync>(&mut self, items: &[T], take: impl Fn(&mut Self, &T) + Sync) {
        // A few hundred expansions are what one hand-over to another core costs.
        let parts = items.par_chunks(512).map(|part| {
            let mut delta = Self::default();
            for item in part {
                take(&mut delta, item);
            }
            delta
        });
        self.merge(&parts.reduce(Self::default, |mut sum, part| {
            sum.merge(&part);
            sum
        }));
    }

    /// Adds every entry of another digest.
    pub fn merge(&mut self, other: &Self) {
        for (lane, added) in self.lanes.iter_mut().zip(other.lanes.iter()) {
            *lane = lane.wrapping_add(*added);
        }
    }

    /// Returns the 32-byte digest of the accumulated lanes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// Returns the lanes, little-endian; 2,048 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect()
    }

    /// Reads lanes that [`StateDigest::to_bytes`] wrote; `None` unless there are 2,048 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (pairs, []) = bytes.as_chunks::<2>() else { return None };
        let lanes: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        Some(Self { lanes: lanes.into_boxed_slice().try_into().ok()? })
    }

    fn combine(&mut self, key: &[u8], value: &[u8], operation: impl Fn(u16, u16) -> u16) {
        let mut head = Writer::with_capacity(key.len().saturating_add(16));
        head.raw(b"rewake state 1").varint(count(key.len())).raw(key);
        let mut expanded = [0u8; LANES * 2];
        blake3::Hasher::new()
            .update(&head.finish())
            .update(value)
            .finalize_xof()
            .fill(&mut expanded);
        let (pairs, _) = expanded.as_chunks::<2>();
        for (lane, pair) in self.lanes.iter_mut().zip(pairs) {
            *lane = operation(*lane, u16::from_le_bytes(*pair));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_commute_and_cancel() {
        let mut one = StateDigest::default();
        one.add(b"a", b"1");
        one.add(b"b", b"2");
        let mut two = StateDigest::default();
        two.add(b"b", b"2");
        two.add(b"c", b"3");
        two.add(b"a", b"1");
        assert_ne!(one, two);
        two.remove(b"c", b"3");
        assert_eq!(one.digest(), two.digest());
        assert_eq!(StateDigest::from_bytes(&one.to_bytes()), Some(one));
        assert_eq!(StateDigest::from_bytes(b"short"), None);
    }

    #[test]
    fn the_boundary_between_key_and_value_counts() {
        let mut one = StateDigest::default();
        one.add(b"ab", b"c");
        let mut two = StateDigest::default();
        two.add(b"a", b"bc");
        assert_ne!(one.digest(), two.digest());
    }

    #[test]
    fn changes_are_applied_as_their_entries_are() {
        use crate::state::Change;
        // More than one part of what is computed in parallel.
        let change = |number: u32| {
            let value =
                |there: bool, text: u32| there.then(|| text.to_le_bytes().as_slice().into());
            let (before, after) =
                (value(!number.is_multiple_of(3), number), value(number % 3 != 1, number + 1));
            Change { key: number.to_be_bytes().as_slice().into(), before, after }
        };
        let changes = ChangeSet::new((0..1_300).map(change).collect());
        let mut start = StateDigest::default();
        let mut expected = StateDigest::default();
        start.add(b"other", b"1");
        expected.add(b"other", b"1");
        for change in changes.changes() {
            if let Some(before) = &change.before {
                start.add(&change.key, before);
            }
            if let Some(after) = &change.after {
                expected.add(&change.key, after);
            }
        }
        start.apply(&changes);
        assert_eq!(start, expected);
        assert_eq!(format!("{start:?}"), format!("StateDigest({})", start.digest()));
        assert_eq!(StateDigest::from_bytes(&[0; 2_047]), None);
        assert_eq!(StateDigest::from_bytes(&[0; 2_050]), None);
    }
}
