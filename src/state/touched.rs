//! What one step touched: few entries in a list, many behind an index.

use crate::state::KeyMap;
use crate::types::Bytes;

/// Entries up to which looking through them is faster than an index.
const LIST_MAX: usize = 12;

/// What a step does to the value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: it was read.
    None,
    /// Writes it, or deletes it.
    Write(Option<Bytes>),
    /// Adds to a counter that the step has not read.
    Add(u128),
}

/// One key that a step touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchedKey {
    /// The key.
    pub key: Bytes,
    /// Its value before the step, where it was read; `Some(None)` where there was none.
    pub read: Option<Option<Bytes>>,
    /// What the step does to it.
    pub effect: Effect,
    /// Whether the step does nothing but add to it: then it does not matter to the step what was there.
    pub is_addition: bool,
}

/// The keys that one step touched, each once, in the order in which it came to them.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    keys: Vec<TouchedKey>,
    index: Option<KeyMap<usize>>,
}

impl Touched {
    /// Returns the keys.
    #[must_use]
    pub fn keys(&self) -> &[TouchedKey] {
        &self.keys
    }

    /// Returns the keys themselves.
    #[must_use]
    pub fn into_keys(self) -> Vec<TouchedKey> {
        self.keys
    }

    /// Takes the keys out to which the step only adds. Nothing is to be looked for afterwards.
    pub(crate) fn take_additions(&mut self) -> Vec<TouchedKey> {
        self.keys.extract_if(.., |key| matches!(key.effect, Effect::Add(_))).collect()
    }

    pub(crate) fn keys_mut(&mut self) -> &mut [TouchedKey] {
        &mut self.keys
    }

    pub(crate) fn find(&mut self, key: &[u8]) -> Option<&mut TouchedKey> {
        match &self.index {
            None => self.keys.iter_mut().find(|held| *held.key == *key),
            Some(index) => self.keys.get_mut(*index.get(key)?),
        }
    }

    /// Takes up a key that is not there yet.
    pub(crate) fn push(&mut self, key: TouchedKey) {
        if self.index.is_none() && self.keys.len() == LIST_MAX {
            let keys = self.keys.iter().enumerate();
            self.index = Some(keys.map(|(at, held)| (held.key.clone(), at)).collect());
        }
        if let Some(index) = &mut self.index {
            index.insert(key.key.clone(), self.keys.len());
        }
        if self.keys.capacity() == 0 {
            self.keys.reserve(4);
        }
        self.keys.push(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_in_the_list_and_behind_the_index() {
        let mut touched = Touched::default();
        let key = |number: usize| Bytes::from(number.to_le_bytes());
        for number in 0..3 * LIST_MAX {
            assert_eq!(touched.find(&key(number)), None);
            let (key_, effect) = (key(number), Effect::Add(7));
            touched.push(TouchedKey { key: key_, read: None, effect, is_addition: true });
            for earlier in 0..=number {
                let found = touched.find(&key(earlier)).map(|found| found.key.clone());
                assert_eq!(found, Some(key(earlier)));
            }
        }
        assert_eq!(touched.keys().len(), 3 * LIST_MAX);
        assert_eq!(touched.into_keys().first().map(|first| first.key.clone()), Some(key(0)));
    }
}
