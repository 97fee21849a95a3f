//! Senders of transactions by their identity: a pure function of the signed bytes, which costs more than most executions.

use alloy_primitives::Address;

use super::cache::Cache;
use crate::types::TxId;

/// Senders kept in a shard before it is emptied; about 6 MB in all.
const SHARD_SENDERS_MAX: usize = 4_096;

/// The identity of a transaction, and whether its signature may be of either form (EIP-2 knows one).
type Signed = (TxId, bool);

/// A bounded cache that threads share.
#[derive(Debug, Default)]
pub(super) struct SenderCache(Cache<Signed, Address, SHARD_SENDERS_MAX>);

impl SenderCache {
    /// Returns the sender of a transaction whose identity is the hash of its bytes, recovered where it is not kept.
    pub(super) fn get_or<E>(
        &self,
        signed: Signed,
        recover: impl FnOnce() -> Result<Address, E>,
    ) -> Result<Address, E> {
        let (TxId([.., byte]), _) = signed;
        self.0.get_or(byte, signed, recover)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_recovered_once_until_its_shard_is_full() {
        let cache = SenderCache::default();
        let recovered = std::cell::Cell::new(0usize);
        let get = |number: usize, either_form: bool| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_le_bytes());
            let sender = cache.get_or((TxId(id), either_form), || {
                recovered.set(recovered.get() + 1);
                Ok::<_, ()>(Address::repeat_byte(7))
            });
            assert_eq!(sender, Ok(Address::repeat_byte(7)));
        };
        get(1, false);
        get(1, false);
        assert_eq!(recovered.get(), 1);
        get(1, true);
        assert_eq!(recovered.get(), 2, "another signature may be allowed");
        (2..=SHARD_SENDERS_MAX).for_each(|number| get(number, false));
        get(1, false);
        assert_eq!(recovered.get(), SHARD_SENDERS_MAX + 2, "the shard was emptied");
        let failed = cache.get_or((TxId([9; 32]), false), || Err("no signature"));
        assert_eq!(failed, Err("no signature"));
    }
}
