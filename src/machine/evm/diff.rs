//! What a step of the virtual machine changed, written into the [`Context`]: only keys that differ from before.

use alloy_primitives::{Address, KECCAK256_EMPTY};
use revm::state::{Account, EvmState};

use super::database::StateDb;
use super::layout::{AccountRecord, FEES_KEY, account_key, code_key, storage_key, trimmed};
use crate::machine::{Context, ExecError};

/// Writes every account that was touched.
///
/// The order of the writes does not matter: each key is written at most once.
pub(super) fn write_state(
    db: &mut StateDb<'_, '_>,
    state: &EvmState,
    beneficiary: Address,
) -> Result<(), ExecError> {
    for (address, account) in state {
        if !account.is_touched() {
            continue;
        }
        let address = *address;
        let before = db.record(address)?.cloned();
        let after = after(account, before.as_ref());
        if address == beneficiary && db.context.get(&FEES_KEY)?.is_some() {
            // The account's balance now holds them.
            db.context.delete(&FEES_KEY)?;
        }
        if let Some(record) = after.as_ref().filter(|record| record.exists) {
            write_slots(db.context, address, account, record.incarnation)?;
            write_code(db.context, account, before.as_ref())?;
        }
        write_account(db.context, &address, before.as_ref(), after.as_ref())?;
    }
    Ok(())
}

/// Writes or deletes the record of an account where it changed.
pub(super) fn write_account(
    context: &mut Context<'_>,
    address: &Address,
    before: Option<&AccountRecord>,
    after: Option<&AccountRecord>,
) -> Result<(), ExecError> {
    if before == after {
        return Ok(());
    }
    match after {
        Some(record) => context.put(&account_key(address), record.encode()),
        None => context.delete(&account_key(address)),
    }
}

/// Returns what an account is after the step.
fn after(account: &Account, before: Option<&AccountRecord>) -> Option<AccountRecord> {
    let gone = || match before {
        Some(record) if record.exists => record.destroyed(),
        other => other.cloned(),
    };
    if account.is_selfdestructed() {
        return gone();
    }
    let mut incarnation = before.map_or(0, |record| record.incarnation);
    let mut has_storage = before.is_some_and(|record| record.has_storage);
    if account.is_created() {
        // A contract starts with no storage, even where one that was never destroyed left some.
        incarnation = incarnation.saturating_add(u64::from(has_storage));
        has_storage = false;
    } else if account.is_empty() {
        // EIP-161; before it, the virtual machine reports no touched account that is empty and was not made now.
        return gone();
    }
    let written = account.changed_storage_slots().any(|(_, slot)| !slot.present_value().is_zero());
    Some(AccountRecord {
        exists: true,
        incarnation,
        nonce: account.info.nonce,
        balance: account.info.balance,
        code_hash: account.info.code_hash,
        has_storage: has_storage || written,
    })
}

fn write_slots(
    context: &mut Context<'_>,
    address: Address,
    account: &Account,
    incarnation: u64,
) -> Result<(), ExecError> {
    for (slot, value) in account.changed_storage_slots() {
        let key = storage_key(&address, incarnation, slot);
        match value.present_value() {
            value if value.is_zero() => context.delete(&key)?,
            value => context.put(&key, trimmed(&value.to_be_bytes()))?,
        }
    }
    Ok(())
}

fn write_code(
    context: &mut Context<'_>,
    account: &Account,
    before: Option<&AccountRecord>,
) -> Result<(), ExecError> {
    let hash = account.info.code_hash;
    if hash == KECCAK256_EMPTY || before.is_some_and(|record| record.code_hash == hash) {
        return Ok(());
    }
    match &account.info.code {
        Some(code) => context.put(&code_key(&hash), code.original_byte_slice()),
        None => Ok(()),
    }
}
