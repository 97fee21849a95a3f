//! Senders of transactions by their identity: a pure function of the signed bytes, which costs more than most executions.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use alloy_primitives::Address;

use crate::types::TxId;

const SHARDS: usize = 16;
/// Senders kept in a shard before it is emptied; about 6 MB in all.
const SHARD_SENDERS_MAX: usize = 4_096;

/// The identity of a transaction, and whether its signature may be of either form (EIP-2 knows one).
type Signed = (TxId, bool);

/// A bounded cache that threads share.
#[derive(Debug, Default)]
pub(super) struct SenderCache {
    shards: [RwLock<HashMap<Signed, Address>>; SHARDS],
}

impl SenderCache {
    /// Returns the sender of a transaction whose identity is the hash of its bytes, recovered where it is not kept.
    pub(super) fn get_or<E>(
        &self,
        signed: Signed,
        recover: impl FnOnce() -> Result<Address, E>,
    ) -> Result<Address, E> {
        let (TxId([.., byte]), _) = signed;
        let Some(shard) = self.shards.get(usize::from(byte) % SHARDS) else { return recover() };
        // A panic elsewhere cannot leave a half-written entry.
        let kept = shard.read().unwrap_or_else(PoisonError::into_inner).get(&signed).copied();
        if let Some(sender) = kept {
            return Ok(sender);
        }
        let sender = recover()?;
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= SHARD_SENDERS_MAX {
            shard.clear();
        }
        shard.insert(signed, sender);
        Ok(sender)
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
