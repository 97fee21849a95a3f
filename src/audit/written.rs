//! Keys with their values of the past, and with those that they had when the state was digested last.

use std::sync::OnceLock;

use crate::codec::count;
use crate::state::{Change, ChangeSet, KeyMap};
use crate::types::Bytes;

/// Values by key, where something is known of a key.
#[derive(Default)]
pub(crate) struct Written {
    entries: KeyMap<Entry>,
    /// Keys that were written since the state was digested, each once.
    undigested: Vec<Bytes>,
    /// All keys in their order, since they were last asked for in it.
    sorted: OnceLock<Vec<Bytes>>,
}

struct Entry {
    value: Option<Bytes>,
    digested: Digested,
}

/// What was digested of a key.
enum Digested {
    /// The value that it has.
    Present,
    /// The value that it had before it was written since.
    Earlier(Option<Bytes>),
}

impl Written {
    /// Makes one of values that were digested already.
    pub(super) fn of_digested(values: impl Iterator<Item = (Bytes, Option<Bytes>)>) -> Self {
        let entries =
            values.map(|(key, value)| (key, Entry { value, digested: Digested::Present }));
        Self { entries: entries.collect(), ..Self::default() }
    }

    /// Returns the value of a key, where it is known whether there is one.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// Takes over the value after a change; the one before it is looked at where nothing is known of the key.
    pub(super) fn put(&mut self, change: &Change) {
        let Change { key, before, after } = change;
        if let Some(entry) = self.entries.get_mut(key) {
            let held = std::mem::replace(&mut entry.value, after.clone());
            if matches!(entry.digested, Digested::Earlier(_)) {
                return;
            }
            entry.digested = Digested::Earlier(held);
        } else {
            let digested = Digested::Earlier(before.clone());
            let entry = Entry { value: after.clone(), digested };
            self.entries.insert(key.clone(), entry);
            self.sorted.take();
        }
        self.undigested.push(key.clone());
    }

    /// Returns what has changed since the state was digested, which it is now.
    pub(super) fn digest(&mut self) -> ChangeSet {
        let mut changes = Vec::with_capacity(self.undigested.len());
        for key in self.undigested.drain(..) {
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if let Digested::Earlier(before) =
                std::mem::replace(&mut entry.digested, Digested::Present)
            {
                changes.push(Change { key, before, after: entry.value.clone() });
            }
        }
        ChangeSet::new(changes)
    }

    /// Returns how many keys have a value.
    pub(super) fn values(&self) -> u64 {
        count(self.entries.values().filter(|entry| entry.value.is_some()).count())
    }

    /// Returns the keys that start with `prefix` with their values, in the order of the keys.
    pub(super) fn scan<'a>(
        &'a self,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)> {
        let keys = self.sorted.get_or_init(|| {
            let mut keys: Vec<_> = self.entries.keys().cloned().collect();
            keys.sort_unstable();
            keys
        });
        let first = keys.partition_point(|key| **key < *prefix);
        let keys = keys.get(first..).unwrap_or_default().iter();
        keys.take_while(move |key| key.starts_with(prefix))
            .filter_map(|key| Some((key, self.get(key)?.as_ref())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Bytes {
        text.as_bytes().into()
    }

    fn put(written: &mut Written, key: &str, before: Option<&str>, after: Option<&str>) {
        let (before, after) = (before.map(bytes), after.map(bytes));
        written.put(&Change { key: bytes(key), before, after });
    }

    fn text(written: &Written, prefix: &str) -> String {
        let all = written.scan(prefix.as_bytes()).flat_map(|(key, value)| {
            [key.to_vec(), value.map_or_else(|| b"-".to_vec(), |value| value.to_vec())]
        });
        String::from_utf8(all.flatten().collect()).expect("letters and digits")
    }

    #[test]
    fn keys_come_in_their_order_also_when_others_have_joined_them() {
        let mut written = Written::default();
        assert_eq!(text(&written, ""), "");
        put(&mut written, "b", None, Some("1"));
        put(&mut written, "d", None, Some("2"));
        assert_eq!(text(&written, ""), "b1d2");
        put(&mut written, "bb", None, Some("3"));
        put(&mut written, "d", Some("2"), None);
        assert_eq!((text(&written, ""), text(&written, "b")), ("b1bb3d-".into(), "b1bb3".into()));
        assert_eq!(written.values(), 2);
        assert_eq!((written.get(b"d"), written.get(b"c")), (Some(&None), None));
    }

    #[test]
    fn what_is_digested_are_the_first_value_before_and_the_last_after() {
        let mut written = Written::of_digested([(bytes("a"), Some(bytes("0")))].into_iter());
        assert_eq!(written.digest(), ChangeSet::default());
        put(&mut written, "a", Some("0"), Some("1"));
        put(&mut written, "b", Some("5"), Some("6"));
        put(&mut written, "c", None, Some("7"));
        put(&mut written, "a", Some("1"), Some("2"));
        put(&mut written, "c", Some("7"), None);
        let change = |key, before, after| Change { key: bytes(key), before, after };
        let expected = [
            change("a", Some(bytes("0")), Some(bytes("2"))),
            change("b", Some(bytes("5")), Some(bytes("6"))),
        ];
        assert_eq!(written.digest().changes(), expected);
        put(&mut written, "a", Some("2"), Some("3"));
        let expected = [change("a", Some(bytes("2")), Some(bytes("3")))];
        assert_eq!(written.digest().changes(), expected);
    }
}
