//! The accounts of a state, put together from its keys for comparison with what a case expects.

use std::collections::BTreeMap;

use alloy_primitives::{Address, KECCAK256_EMPTY, U64};

use super::cases::CaseAccount;
use crate::machine::evm::layout::{
    ACCOUNTS, AccountRecord, STORAGE, code_key, decode_word, parse_storage_key,
};
use crate::state::{StateError, StateRead};

/// Returns every account that exists. Costs as much as the whole state.
pub(super) fn accounts(state: &dyn StateRead) -> Result<BTreeMap<Address, CaseAccount>, String> {
    let say = |error: StateError| error.to_string();
    let mut records = BTreeMap::new();
    state
        .scan(&[ACCOUNTS], &mut |key, value| {
            let address = key.get(1..).and_then(|address| Address::try_from(address).ok());
            if let (Some(address), Ok(record)) = (address, AccountRecord::decode(value)) {
                records.insert(address, record);
            }
        })
        .map_err(say)?;
    records.retain(|_, record| record.exists);
    let mut accounts = BTreeMap::new();
    for (address, record) in &records {
        let code = match record.code_hash {
            KECCAK256_EMPTY => None,
            hash => state.get(&code_key(&hash)).map_err(say)?,
        };
        let code = code.map(|code| code.to_vec().into()).unwrap_or_default();
        let (balance, nonce) = (record.balance, U64::from(record.nonce));
        accounts.insert(*address, CaseAccount { balance, nonce, code, ..CaseAccount::default() });
    }
    state
        .scan(&[STORAGE], &mut |key, value| {
            let Some((address, incarnation, slot)) = parse_storage_key(key) else { return };
            let live =
                records.get(&address).is_some_and(|record| record.incarnation == incarnation);
            if let (true, Some(account), Some(word)) =
                (live, accounts.get_mut(&address), decode_word(value))
            {
                account.storage.insert(slot.into(), word);
            }
        })
        .map_err(say)?;
    Ok(accounts)
}
