//! Change sets: the values of every written key before and after a block.

use crate::codec::{CodecError, Reader, Writer, count};
use crate::types::Bytes;

/// The value of one key before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// Its value before; `None` where there was none.
    pub before: Option<Bytes>,
    /// Its value after; `None` where it was deleted.
    pub after: Option<Bytes>,
}

/// Returns about how many bytes of memory a value takes beside itself.
pub(crate) fn value_memory(value: Option<&Bytes>) -> usize {
    value.map_or(0, Bytes::memory)
}

/// The net changes of a block: strictly ascending by key, and every entry changes something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet(Vec<Change>);

impl ChangeSet {
    /// Makes a change set of changes in any order, dropping those that change nothing.
    ///
    /// # Panics
    /// Where a key comes twice: that is a defect of the caller.
    #[must_use]
    pub fn new(mut changes: Vec<Change>) -> Self {
        changes.retain(|change| change.before != change.after);
        if !planted!("change_sets_in_the_order_of_a_hash_map") {
            changes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        }
        let unique = changes.windows(2).all(|pair| match pair {
            [a, b] => a.key != b.key,
            _ => true,
        });
        assert!(unique, "a change set holds each key once");
        Self(changes)
    }

    /// Takes over changes that are strictly ascending by key already, each of which changes something.
    pub(crate) fn of_ascending(changes: Vec<Change>) -> Self {
        assert!(
            changes.is_sorted_by(|a, b| a.key < b.key),
            "changes come in the order of their keys"
        );
        Self(changes)
    }

    /// Joins these with the changes of what came later: the first value before, the last value after.
    #[must_use]
    pub(crate) fn then(self, later: Self) -> Self {
        let mut joined = Vec::with_capacity(self.0.len().max(later.0.len()));
        let mut later = later.0.into_iter().peekable();
        for change in self.0 {
            while let Some(other) = later.next_if(|other| other.key < change.key) {
                joined.push(other);
            }
            match later.next_if(|other| other.key == change.key) {
                None => joined.push(change),
                Some(Change { after, .. }) if after == change.before => {}
                Some(Change { after, .. }) => joined.push(Change { after, ..change }),
            }
        }
        joined.extend(later);
        Self(joined)
    }

    /// Returns about how many bytes of memory they take.
    #[must_use]
    pub fn memory(&self) -> usize {
        let change = |change: &Change| {
            let values = [&change.before, &change.after].map(|value| value_memory(value.as_ref()));
            change.key.memory() + values.iter().sum::<usize>()
        };
        let places = self.0.capacity().saturating_mul(size_of::<Change>());
        places.saturating_add(self.0.iter().map(change).sum())
    }

    /// Returns the changes, ascending by key.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.0
    }

    /// Returns the changes themselves.
    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.0
    }

    /// Returns the change of a key, where there is one.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<&Change> {
        self.0.get(self.position(key)?)
    }

    /// Returns the index of the change of a key, where there is one.
    #[must_use]
    pub fn position(&self, key: &[u8]) -> Option<usize> {
        self.0.binary_search_by(|change| (*change.key).cmp(key)).ok()
    }

    /// Returns the canonical bytes: the count, then `key · before · after` of each.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(self.0.len().saturating_mul(64).saturating_add(8));
        writer.varint(count(self.0.len()));
        for change in &self.0 {
            writer.bytes(&change.key);
            writer.optional(change.before.as_deref()).optional(change.after.as_deref());
        }
        writer.finish()
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that [`ChangeSet::encode`] never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let length = reader.count("change count")?;
        let mut changes: Vec<Change> = Vec::with_capacity(length.min(1 << 16));
        for _ in 0..length {
            let key = Bytes::from(reader.bytes("key")?);
            let before = reader.optional("value before")?;
            let after = reader.optional("value after")?;
            if before == after || changes.last().is_some_and(|last| last.key >= key) {
                return Err(reader.invalid("change", count(changes.len())));
            }
            changes.push(Change { key, before, after });
        }
        reader.finish()?;
        Ok(Self(changes))
    }

    /// Returns the keys with their values after.
    pub fn writes(&self) -> impl Iterator<Item = (Bytes, Option<Bytes>)> {
        self.0.iter().map(|change| (change.key.clone(), change.after.clone()))
    }

    /// Returns the first key on which two change sets differ.
    #[must_use]
    pub fn first_difference<'a>(&'a self, other: &'a Self) -> Option<&'a Bytes> {
        let differs = |change: &&Change, in_set: &Self| in_set.find(&change.key) != Some(*change);
        let ours = self.0.iter().find(|change| differs(change, other));
        let theirs = other.0.iter().find(|change| differs(change, self));
        match (ours, theirs) {
            (Some(a), Some(b)) => Some((&a.key).min(&b.key)),
            (one, other) => one.or(other).map(|change| &change.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) -> Change {
        Change { key: key.into(), before: before.map(Into::into), after: after.map(Into::into) }
    }

    #[test]
    fn a_change_set_is_sorted_and_holds_only_changes() {
        let set = ChangeSet::new(vec![
            change(b"b", None, Some(b"1")),
            change(b"c", Some(b"1"), Some(b"1")),
            change(b"a", Some(b"1"), None),
        ]);
        let keys: Vec<_> = set.changes().iter().map(|change| change.key.to_vec()).collect();
        assert_eq!(keys, [b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(ChangeSet::decode(&set.encode()), Ok(set));
    }

    #[test]
    fn bytes_out_of_order_are_refused() {
        let a = ChangeSet::new(vec![change(b"a", None, Some(b"1"))]).encode();
        let mut twice = vec![2];
        twice.extend_from_slice(&a[1..]);
        twice.extend_from_slice(&a[1..]);
        let refused = ChangeSet::decode(&twice);
        assert!(matches!(refused, Err(CodecError::Invalid { field: "change", .. })), "{refused:?}");
    }

    #[test]
    fn the_first_differing_key_is_named_from_either_side() {
        let one =
            ChangeSet::new(vec![change(b"a", None, Some(b"1")), change(b"c", None, Some(b"1"))]);
        let two =
            ChangeSet::new(vec![change(b"a", None, Some(b"1")), change(b"b", None, Some(b"1"))]);
        assert_eq!(one.first_difference(&two).map(|key| key.to_vec()), Some(b"b".to_vec()));
        assert_eq!(two.first_difference(&one).map(|key| key.to_vec()), Some(b"b".to_vec()));
        assert_eq!(one.first_difference(&one), None);
    }

    #[test]
    fn a_change_is_found_by_its_key() {
        let set =
            ChangeSet::new(vec![change(b"a", None, Some(b"1")), change(b"c", Some(b"1"), None)]);
        assert_eq!(
            [set.position(b"a"), set.position(b"b"), set.position(b"c")],
            [Some(0), None, Some(1)]
        );
        assert_eq!(set.find(b"c"), set.changes().last());
        assert_eq!(set.find(b"b"), None);
        let writes: Vec<_> = set.writes().collect();
        assert_eq!(
            writes,
            [(Bytes::from(*b"a"), Some(Bytes::from(*b"1"))), (Bytes::from(*b"c"), None)]
        );
    }

    #[test]
    fn bytes_that_change_nothing_are_refused() {
        let mut writer = Writer::default();
        writer.varint(1).bytes(b"a").optional(Some(b"1")).optional(Some(b"1"));
        let refused = ChangeSet::decode(&writer.finish());
        assert!(matches!(refused, Err(CodecError::Invalid { field: "change", .. })), "{refused:?}");
    }

    #[test]
    #[should_panic(expected = "a change set holds each key once")]
    fn a_key_that_comes_twice_is_a_defect_of_the_caller() {
        let _ =
            ChangeSet::new(vec![change(b"a", None, Some(b"1")), change(b"a", None, Some(b"2"))]);
    }
}
