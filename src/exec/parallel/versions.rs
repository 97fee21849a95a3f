//! What transactions of a block wrote, each version of a key by itself, for those that are executed ahead of them.

use std::sync::{PoisonError, RwLock};

use crate::state::{CounterError, Effect, KeyMap, Touched, add_to};
use crate::types::Bytes;

const SHARDS: usize = 64;

/// The versions of one key, ascending by the index of their transaction.
type KeyVersions = Vec<(u32, Effect)>;

/// A multi-version memory (Block-STM, `PPoPP` 2023), locked shard by shard.
#[derive(Default)]
pub(in crate::exec) struct Versions {
    shards: Box<[RwLock<KeyMap<KeyVersions>>]>,
}

/// What the transactions before one made of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Untouched,
    /// The last of them that wrote it left this value, additions after it included.
    Written(Option<Bytes>),
    /// They only added this to what was there.
    Added(u128),
}

impl Versions {
    pub(super) fn new() -> Self {
        Self { shards: std::iter::repeat_with(RwLock::default).take(SHARDS).collect() }
    }

    /// Adds the effects of a transaction.
    pub(in crate::exec) fn publish(&self, index: u32, touched: &Touched) {
        for key in touched.keys().iter().filter(|key| key.effect != Effect::None) {
            let Some(shard) = self.shard(&key.key) else { continue };
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            let versions = shard.entry(Bytes::clone(&key.key)).or_default();
            match versions.binary_search_by_key(&index, |(index, _)| *index) {
                Ok(at) => {
                    if let Some(version) = versions.get_mut(at) {
                        version.1 = key.effect.clone();
                    }
                }
                Err(at) => versions.insert(at, (index, key.effect.clone())),
            }
        }
    }

    /// Takes the effects of a transaction back.
    pub(super) fn retract(&self, index: u32, touched: &Touched) {
        for key in touched.keys().iter().filter(|key| key.effect != Effect::None) {
            let Some(shard) = self.shard(&key.key) else { continue };
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(versions) = shard.get_mut(&key.key) {
                versions.retain(|(writer, _)| *writer != index);
            }
        }
    }

    /// Returns what the transactions before `index` made of a key.
    pub(super) fn before(&self, index: u32, key: &[u8]) -> Result<Found, CounterError> {
        let Some(shard) = self.shard(key) else { return Ok(Found::Untouched) };
        let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
        let versions = shard.get(key).map_or(&[][..], Vec::as_slice);
        let mut added = None;
        for (_, effect) in versions.iter().rev().skip_while(|(writer, _)| *writer >= index) {
            match (effect, added) {
                (Effect::None, _) => {}
                (Effect::Write(value), None) => return Ok(Found::Written(value.clone())),
                (Effect::Write(value), Some(added)) => {
                    return add_to(value.as_ref(), added).map(|sum| Found::Written(Some(sum)));
                }
                (Effect::Add(delta), sum) => {
                    let sum = sum.unwrap_or(0u128).checked_add(*delta);
                    added = Some(sum.ok_or(CounterError::Overflow)?);
                }
            }
        }
        Ok(added.map_or(Found::Untouched, Found::Added))
    }

    fn shard(&self, key: &[u8]) -> Option<&RwLock<KeyMap<KeyVersions>>> {
        let mix = |sum: usize, byte: &u8| sum.wrapping_mul(31).wrapping_add(usize::from(*byte));
        self.shards.get(key.iter().rev().take(16).fold(0, mix) % SHARDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::TouchedKey;

    fn touched(effects: &[(&[u8], Effect)]) -> Touched {
        let mut touched = Touched::default();
        for (key, effect) in effects {
            let (read, is_addition) = (None, matches!(effect, Effect::Add(_)));
            let (key, effect) = (Bytes::from(*key), effect.clone());
            touched.push(TouchedKey { key, read, effect, is_addition });
        }
        touched
    }

    fn value(number: u128) -> Bytes {
        number.to_le_bytes().into()
    }

    #[test]
    fn each_transaction_sees_what_those_before_it_did() {
        let versions = Versions::new();
        let write = |number| Effect::Write(Some(value(number)));
        versions.publish(
            7,
            &touched(&[(b"a", write(7)), (b"n", Effect::Add(7)), (b"r", Effect::None)]),
        );
        versions.publish(3, &touched(&[(b"a", write(3)), (b"n", write(100))]));
        versions.publish(5, &touched(&[(b"a", Effect::Write(None)), (b"n", Effect::Add(5))]));
        versions.publish(4, &touched(&[(b"m", Effect::Add(1))]));
        let before = |index, key: &[u8]| versions.before(index, key).expect("it fits");
        assert_eq!(before(3, b"a"), Found::Untouched);
        assert_eq!(before(5, b"a"), Found::Written(Some(value(3))));
        assert_eq!(before(7, b"a"), Found::Written(None));
        assert_eq!(before(8, b"a"), Found::Written(Some(value(7))));
        assert_eq!(before(9, b"n"), Found::Written(Some(value(112))));
        assert_eq!((before(4, b"m"), before(9, b"m")), (Found::Untouched, Found::Added(1)));
        assert_eq!(before(9, b"r"), Found::Untouched);
    }

    #[test]
    fn what_was_taken_back_or_replaced_is_gone() {
        let versions = Versions::new();
        let first =
            touched(&[(b"a", Effect::Write(Some(value(1)))), (b"n", Effect::Add(u128::MAX))]);
        versions.publish(1, &first);
        versions.publish(2, &touched(&[(b"n", Effect::Add(1))]));
        assert_eq!(versions.before(3, b"n"), Err(CounterError::Overflow));
        versions.publish(1, &touched(&[(b"n", Effect::Add(1))]));
        assert_eq!(versions.before(3, b"n"), Ok(Found::Added(2)));
        versions.retract(1, &first);
        assert_eq!(versions.before(3, b"n"), Ok(Found::Added(1)));
        assert_eq!(versions.before(3, b"a"), Ok(Found::Untouched));
    }
}
