//! Roots of tries.

use alloy_primitives::map::AddressMap;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::root::{ordered_trie_root_encoded, state_root_unsorted, storage_root_unsorted};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use rayon::prelude::*;

use super::layout::{ACCOUNTS, AccountRecord, STORAGE, decode_word, parse_storage_key};
use crate::state::{StateError, StateRead};

/// Computes the transactions root of a block.
pub(super) fn transactions_root<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> B256 {
    let payloads: Vec<&[u8]> = payloads.collect();
    ordered_trie_root_encoded(&payloads)
}

/// Computes the state root of a whole state. Costs as much as there are accounts and slots.
///
/// # Errors
/// [`StateError`] where the state cannot be read or holds what this machine never writes.
pub fn state_root(state: &dyn StateRead) -> Result<B256, StateError> {
    let mut foreign: Option<String> = None;
    let mut accounts: AddressMap<AccountRecord> = AddressMap::default();
    state.scan(&[ACCOUNTS], &mut |key, value| {
        let address = key.get(1..).and_then(|address| Address::try_from(address).ok());
        match (address, AccountRecord::decode(value)) {
            (Some(address), Ok(record)) if record.exists => {
                accounts.insert(address, record);
            }
            (Some(_), Ok(_)) => {}
            _ => foreign = Some(format!("key {} holds no account", key.escape_ascii())),
        }
    })?;
    let mut slots: AddressMap<Vec<(B256, U256)>> = AddressMap::default();
    state.scan(&[STORAGE], &mut |key, value| {
        let (Some((address, incarnation, slot)), Some(word)) =
            (parse_storage_key(key), decode_word(value))
        else {
            foreign = Some(format!("key {} holds no storage slot", key.escape_ascii()));
            return;
        };
        if accounts.get(&address).is_some_and(|record| record.incarnation == incarnation) {
            slots.entry(address).or_default().push((slot, word));
        }
    })?;
    if let Some(foreign) = foreign {
        return Err(StateError(std::sync::Arc::from(
            Box::<dyn std::error::Error + Send + Sync>::from(foreign),
        )));
    }
    let accounts: Vec<_> = accounts.into_iter().collect();
    let leaves: Vec<_> = accounts
        .into_par_iter()
        .map(|(address, record)| (keccak256(address), leaf(&record, slots.get(&address))))
        .collect();
    Ok(state_root_unsorted(leaves))
}

fn leaf(record: &AccountRecord, slots: Option<&Vec<(B256, U256)>>) -> TrieAccount {
    let hashed = slots.map(|slots| slots.iter().map(|(slot, word)| (keccak256(slot), *word)));
    TrieAccount {
        nonce: record.nonce,
        balance: record.balance,
        storage_root: hashed.map_or(EMPTY_ROOT_HASH, storage_root_unsorted),
        code_hash: record.code_hash,
    }
}
