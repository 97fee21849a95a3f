//! A bounded cache of what pure functions give, shared by threads: analysed codes, senders of transactions.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

use foldhash::fast::RandomState;

const SHARDS: usize = 16;

/// Values by their keys, of which a shard is emptied once it holds `SHARD_MAX`.
#[derive(Debug)]
pub(super) struct Cache<K, V, const SHARD_MAX: usize> {
    shards: [RwLock<HashMap<K, V, RandomState>>; SHARDS],
}

impl<K, V, const SHARD_MAX: usize> Default for Cache<K, V, SHARD_MAX> {
    fn default() -> Self {
        Self { shards: Default::default() }
    }
}

impl<K: Eq + Hash, V: Clone, const SHARD_MAX: usize> Cache<K, V, SHARD_MAX> {
    /// Returns the value of a key, made by `make` where it is not kept. `byte` chooses the shard: any byte of the key that
    /// differs from key to key.
    pub(super) fn get_or<E>(
        &self,
        byte: u8,
        key: K,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        let Some(shard) = self.shards.get(usize::from(byte) % SHARDS) else { return make() };
        // A panic elsewhere cannot leave a half-written entry.
        let kept = shard.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(value) = kept {
            return Ok(value);
        }
        let value = make()?;
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= SHARD_MAX {
            shard.clear();
        }
        shard.insert(key, value.clone());
        Ok(value)
    }
}
