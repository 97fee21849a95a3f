//! Witnesses: the state that a block touches, as it was before the block, and the patches made of them.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{B256, KECCAK256_EMPTY, keccak256};

use super::file::EthBlock;
use super::json::AccountJson;
use crate::event::Patch;
use crate::machine::evm::layout::{
    AccountRecord, CONFIG_KEY, Config, account_key, block_hash_key, code_key, encode_word,
    storage_key,
};
use crate::types::Bytes;

/// Keys with their values before a block; `None` is known to be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    entries: BTreeMap<Bytes, Option<Bytes>>,
}

impl Witness {
    /// Returns the entries, ascending by key.
    #[must_use]
    pub const fn entries(&self) -> &BTreeMap<Bytes, Option<Bytes>> {
        &self.entries
    }

    pub(super) fn put(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        self.entries.insert(key.into(), value.map(Into::into));
    }

    /// Notes the hash of a block for the BLOCKHASH instruction.
    pub(super) fn put_block_hash(&mut self, number: u64, hash: B256) {
        self.put(&block_hash_key(number), Some(hash.to_vec()));
    }

    /// Notes an account with its code and its slots.
    pub(super) fn put_account(
        &mut self,
        address: alloy_primitives::Address,
        account: &AccountJson,
    ) {
        let code_hash =
            if account.code.is_empty() { KECCAK256_EMPTY } else { keccak256(&account.code) };
        let record = AccountRecord {
            nonce: account.nonce.to(),
            balance: account.balance,
            code_hash,
            // A witness names only the slots that were touched; a contract may have more.
            has_storage: code_hash != KECCAK256_EMPTY || !account.storage.is_empty(),
            ..AccountRecord::default()
        };
        let exists = !record.is_empty() || !account.storage.is_empty();
        self.put(&account_key(&address), exists.then(|| record.encode()));
        if code_hash != KECCAK256_EMPTY {
            self.put(&code_key(&code_hash), Some(account.code.to_vec()));
        }
        for (slot, value) in &account.storage {
            let (slot, value) = ((*slot).into(), (*value).into());
            let word = Some(encode_word(&value)).filter(|word| !word.is_empty());
            self.put(&storage_key(&address, 0, &slot), word);
        }
    }
}

/// The blocks imported so far, as far as the next patch depends on them.
///
/// A block that directly follows the one before keeps the state: its patch only adds the keys that no witness of the
/// run named, the others come from execution. Any other block is isolated: its patch replaces the state.
#[derive(Clone, Debug, Default)]
pub struct WitnessChain {
    last: Option<(u64, B256)>,
    known: BTreeSet<Bytes>,
}

impl WitnessChain {
    /// Returns the patch that goes before a block's order.
    pub fn patch(&mut self, block: &EthBlock) -> Patch {
        let number = block.height.get();
        let follows = self.last.is_some_and(|(last, hash)| {
            last.checked_add(1) == Some(number) && hash == block.parent_hash
        });
        self.last = Some((number, block.hash));
        if !follows {
            self.known.clear();
        }
        let new = block.witness.entries.iter().filter(|(key, _)| !self.known.contains(*key));
        let mut entries: Vec<_> = new.map(|(key, value)| (key.clone(), value.clone())).collect();
        self.known.extend(entries.iter().map(|(key, _)| key.clone()));
        // Absent is what a key that no witness named is already.
        entries.retain(|(_, value)| value.is_some());
        let label = if follows {
            format!("witness of block {number}, which follows block {}", number.saturating_sub(1))
        } else {
            let config = Config { complete: false }.encode();
            entries.push((CONFIG_KEY.into(), Some(config.into())));
            format!("witness of block {number}, isolated")
        };
        Patch::new(label, !follows, entries)
    }
}
