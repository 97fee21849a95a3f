//! Analysed code by its hash: a pure function of the hash, kept so that no code is analysed for every transaction.

use alloy_primitives::B256;
use revm::state::Bytecode;

use super::cache::Cache;

/// Codes kept in a shard before it is emptied; with the largest codes of mainnet about 200 MB in all.
const SHARD_CODES_MAX: usize = 512;

/// A bounded cache that threads share.
#[derive(Debug, Default)]
pub(super) struct CodeCache(Cache<B256, Bytecode, SHARD_CODES_MAX>);

impl CodeCache {
    /// Returns a code, made by `make` where it is not kept.
    pub(super) fn get_or<E>(
        &self,
        hash: B256,
        make: impl FnOnce() -> Result<Bytecode, E>,
    ) -> Result<Bytecode, E> {
        self.0.get_or(hash.first().copied().unwrap_or_default(), hash, make)
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
