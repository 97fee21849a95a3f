//! Analysed code by its hash: a pure function of the hash, kept so that no code is analysed for every transaction.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use alloy_primitives::B256;
use revm::state::Bytecode;

const SHARDS: usize = 16;
/// Codes kept in a shard before it is emptied; with the largest codes of mainnet about 200 MB in all.
const SHARD_CODES_MAX: usize = 512;

/// A bounded cache that threads share.
#[derive(Debug, Default)]
pub(super) struct CodeCache {
    shards: [RwLock<HashMap<B256, Bytecode>>; SHARDS],
}

impl CodeCache {
    /// Returns a code, made by `make` where it is not kept.
    pub(super) fn get_or<E>(
        &self,
        hash: B256,
        make: impl FnOnce() -> Result<Bytecode, E>,
    ) -> Result<Bytecode, E> {
        let byte = hash.first().copied().unwrap_or_default();
        let Some(shard) = self.shards.get(usize::from(byte) % SHARDS) else { return make() };
        // A panic elsewhere cannot leave a half-written entry.
        let kept = shard.read().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
        if let Some(code) = kept {
            return Ok(code);
        }
        let code = make()?;
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= SHARD_CODES_MAX {
            shard.clear();
        }
        shard.insert(hash, code.clone());
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_made_once_until_its_shard_is_full() {
        let cache = CodeCache::default();
        let made = std::cell::Cell::new(0usize);
        let get = |number: usize| {
            let hash = B256::from(alloy_primitives::U256::from(number));
            let code = cache.get_or(hash, || {
                made.set(made.get() + 1);
                Ok::<_, ()>(Bytecode::default())
            });
            assert!(code.is_ok());
        };
        get(1);
        get(1);
        assert_eq!(made.get(), 1);
        (0..=SHARD_CODES_MAX).for_each(get);
        get(1);
        assert_eq!(made.get(), SHARD_CODES_MAX + 2);
        assert_eq!(cache.get_or(B256::repeat_byte(9), || Err("unread")), Err("unread"));
    }
}
