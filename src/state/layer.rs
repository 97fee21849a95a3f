//! What was written, in the order of the keys.

use crate::state::{Change, ChangeSet, KeyMap, Slot, Writer};
use crate::types::Bytes;

/// Written keys, strictly ascending.
#[derive(Debug, Default)]
pub(crate) struct Layer(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    head: u128,
    key: Bytes,
    slot: Slot,
}

impl Entry {
    fn place(&self) -> (u128, &[u8]) {
        (self.head, &self.key)
    }
}

impl Layer {
    /// Puts written keys in order.
    pub(crate) fn of(slots: KeyMap<Slot>) -> Self {
        let entry = |(key, slot): (Bytes, Slot)| Entry { head: head(&key), key, slot };
        let mut entries: Vec<_> = slots.into_iter().map(entry).collect();
        entries.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
        Self(entries)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what was written to a key, where it was.
    pub(crate) fn find(&self, key: &[u8]) -> Option<&Slot> {
        if self.0.is_empty() {
            return None;
        }
        let place = (head(key), key);
        let at = self.0.binary_search_by(|entry| entry.place().cmp(&place)).ok()?;
        self.0.get(at).map(|entry| &entry.slot)
    }

    /// Returns the keys with what was written to them, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Bytes, &Slot)> {
        self.0.iter().map(|entry| (&entry.key, &entry.slot))
    }

    /// The same, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&Bytes, &mut Slot)> {
        self.0.iter_mut().map(|entry| (&entry.key, &mut entry.slot))
    }

    /// Joins two layers; of a key that is in both, what `upper` says counts. Says how many such keys there are.
    pub(crate) fn join(self, upper: Self) -> (Self, usize) {
        let (Self(mut lower), Self(mut upper)) = (self, upper);
        if upper.is_empty() || lower.is_empty() {
            lower.append(&mut upper);
            return (Self(lower), 0);
        }
        let whole = lower.len().saturating_add(upper.len());
        let mut joined: Vec<Entry> = Vec::with_capacity(whole);
        let mut lower = lower.into_iter().peekable();
        for entry in upper {
            while let Some(before) = lower.next_if(|below| below.place() < entry.place()) {
                joined.push(before);
            }
            // What is below it does not count.
            let _ = lower.next_if(|below| below.place() == entry.place());
            joined.push(entry);
        }
        joined.extend(lower);
        let twice = whole.saturating_sub(joined.len());
        (Self(joined), twice)
    }

    /// Returns what changed, and the last writer of each change.
    pub(crate) fn finish(self) -> (ChangeSet, Vec<Writer>) {
        let mut writers = Vec::with_capacity(self.0.len());
        let mut changes = Vec::with_capacity(self.0.len());
        for Entry { key, slot: Slot { before, after, writer }, .. } in self.0 {
            if before != after {
                writers.push(writer);
                changes.push(Change { key, before, after });
            }
        }
        (ChangeSet::of_ascending(changes), writers)
    }
}

/// Returns the first sixteen bytes of a key as a number that sorts as they do: most comparisons end there, without a
/// look at the key itself. Shorter keys are filled up, so that equal heads tell nothing.
fn head(key: &[u8]) -> u128 {
    let mut head = [0; 16];
    for (to, from) in head.iter_mut().zip(key) {
        *to = *from;
    }
    u128::from_be_bytes(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(keys: &[(&str, u32)]) -> Layer {
        let slot =
            |writer| Slot { before: None, after: Some([].into()), writer: Writer::Tx(writer) };
        let slots = keys.iter().map(|(key, writer)| (Bytes::from(key.as_bytes()), slot(*writer)));
        Layer::of(slots.collect())
    }

    fn text(layer: &Layer) -> String {
        let entries = layer.iter().map(|(key, slot)| match slot.writer {
            Writer::Tx(index) => format!("{}={index}", String::from_utf8_lossy(key)),
            other => other.to_string(),
        });
        entries.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn keys_sort_as_their_bytes_do() {
        let long = "a key of more than sixteen bytes";
        let sorted =
            layer(&[("b", 1), (long, 2), ("a", 3), ("a\0", 4), ("", 5), ("a key of more", 6)]);
        let keys: Vec<_> = sorted.iter().map(|(key, _)| key.to_vec()).collect();
        assert!(keys.is_sorted() && keys.len() == 6, "{keys:?}");
        for (key, slot) in sorted.iter() {
            assert_eq!(sorted.find(key).map(|found| found.writer), Some(slot.writer));
        }
        assert!(sorted.find(b"c").is_none() && Layer::default().find(b"c").is_none());
    }

    #[test]
    fn the_upper_one_of_two_layers_counts() {
        let check = |lower: &[(&str, u32)], upper: &[(&str, u32)], expected: &str, twice| {
            let (joined, found) = layer(lower).join(layer(upper));
            assert_eq!((text(&joined).as_str(), found), (expected, twice));
        };
        check(&[], &[], "", 0);
        check(&[("a", 1)], &[], "a=1", 0);
        check(&[], &[("a", 1)], "a=1", 0);
        check(&[("a", 1), ("d", 1)], &[("b", 2), ("c", 2)], "a=1 b=2 c=2 d=1", 0);
        check(&[("a", 1), ("b", 1)], &[("b", 2), ("c", 2)], "a=1 b=2 c=2", 1);
    }
}
