//! The state as the virtual machine reads it: accounts, codes, slots and block hashes through a [`Context`].

use alloy_primitives::map::Entry;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use revm::Database;
use revm::database_interface::DBErrorMarker;
use revm::state::{AccountInfo, Bytecode};

use super::code_cache::CodeCache;
use super::layout::{
    AccountRecord, CONFIG_KEY, Config, FEES_KEY, account_key, block_hash_key, code_key,
    decode_word, storage_key,
};
use super::parts::Records;
use crate::machine::{Context, ExecError};

/// An error of the context on its way through the virtual machine.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct DbError(#[from] pub(super) ExecError);

impl DBErrorMarker for DbError {}

/// The database of one transaction or system call.
pub(super) struct StateDb<'a, 'c> {
    pub(super) context: &'a mut Context<'c>,
    codes: &'a CodeCache,
    beneficiary: Address,
    /// The records that were read, without the fees that are due to the beneficiary.
    pub(super) records: Records,
    /// The account that is shown with a nonce (EIP-7610).
    shown: Option<Address>,
}

impl<'a, 'c> StateDb<'a, 'c> {
    pub(super) fn new(
        context: &'a mut Context<'c>,
        codes: &'a CodeCache,
        beneficiary: Address,
        records: Records,
    ) -> Self {
        Self { context, codes, beneficiary, records, shown: None }
    }

    /// Shows an account with a nonce while it is read, or none.
    pub(super) const fn show_nonce_of(&mut self, account: Option<Address>) {
        self.shown = account;
    }

    /// Returns the record of an account as it was before the step.
    pub(super) fn record(&mut self, address: Address) -> Result<Option<&AccountRecord>, ExecError> {
        let record = match self.records.entry(address) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(place) => place.insert(read_account(self.context, &address)?),
        };
        Ok(record.as_ref())
    }
}

/// Reads the record of an account.
pub(super) fn read_account(
    context: &mut Context<'_>,
    address: &Address,
) -> Result<Option<AccountRecord>, ExecError> {
    let Some(bytes) = context.get(&account_key(address))? else { return Ok(None) };
    let record = AccountRecord::decode(&bytes);
    let foreign = |error| ExecError::Poison(format!("the record of account {address}: {error}"));
    record.map(Some).map_err(foreign)
}

/// Reads what the state says about itself.
pub(super) fn read_config(context: &mut Context<'_>) -> Result<Config, ExecError> {
    let bytes = context.get(&CONFIG_KEY)?;
    let config = bytes.map_or(Ok(Config::default()), |bytes| Config::decode(&bytes));
    config.map_err(|error| ExecError::Poison(format!("the config of the state: {error}")))
}

/// Reads the fees that are due to the beneficiary.
pub(super) fn read_fees(context: &mut Context<'_>) -> Result<u128, ExecError> {
    match context.get(&FEES_KEY)? {
        None => Ok(0),
        Some(bytes) => {
            let bytes = bytes.as_ref().try_into();
            let foreign = |_| ExecError::Poison("the fees of the block are no counter".to_owned());
            bytes.map(u128::from_le_bytes).map_err(foreign)
        }
    }
}

impl Database for StateDb<'_, '_> {
    type Error = DbError;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, DbError> {
        let shown = self.shown == Some(address);
        let record = self.record(address)?;
        let mut info = record.filter(|record| record.exists).map(|record| AccountInfo {
            balance: record.balance,
            nonce: if shown { record.nonce.max(1) } else { record.nonce },
            code_hash: record.code_hash,
            code: (record.code_hash == KECCAK256_EMPTY).then(Bytecode::default),
            ..AccountInfo::default()
        });
        if address == self.beneficiary {
            let fees = read_fees(self.context)?;
            if fees > 0 {
                let info = info.get_or_insert_default();
                info.balance = info.balance.saturating_add(U256::from(fees));
            }
        }
        Ok(info)
    }

    fn code_by_hash(&mut self, code_hash: B256) -> Result<Bytecode, DbError> {
        if code_hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        // NOTE: a kept code is not read from the context. The account that names it is, and a code is never changed,
        // so that a scheduler misses no dependency.
        let context = &mut *self.context;
        self.codes.get_or(code_hash, || {
            let code = context.get(&code_key(&code_hash))?.ok_or_else(|| {
                ExecError::Poison(format!("code {code_hash} is not in the state"))
            })?;
            let code = alloy_primitives::Bytes::copy_from_slice(&code);
            // Codes from before EIP-3541 may begin like a designator without being one.
            let read = Bytecode::new_raw_checked(code.clone());
            Ok(read.unwrap_or_else(|_| Bytecode::new_legacy(code)))
        })
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, DbError> {
        let incarnation = self.record(address)?.map_or(0, |record| record.incarnation);
        let Some(bytes) = self.context.get(&storage_key(&address, incarnation, &slot))? else {
            return Ok(U256::ZERO);
        };
        let foreign = || ExecError::Poison(format!("slot {slot} of account {address} is no word"));
        Ok(decode_word(&bytes).ok_or_else(foreign)?)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, DbError> {
        let missing =
            || ExecError::Poison(format!("the hash of block {number} is not in the state"));
        let bytes = self.context.get(&block_hash_key(number))?.ok_or_else(missing)?;
        Ok(B256::try_from(&*bytes).map_err(|_| missing())?)
    }
}
