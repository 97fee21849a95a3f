//! The ledger: accounts that send each other amounts; the embedded machine, which needs nothing but itself.
//!
//! A transfer is applied where its sender is known, its nonce is the sender's next and its amount is covered.
//! Anything else is a refusal: a receipt with a fixed [`Refusal::reason`]. A refused transfer leaves no trace in the
//! state and does *not* consume its nonce, so that a sender may try again under the same nonce.
//!
//! Every block is checked in the time that its changes take: balances move exactly as much as the supply does, and
//! the counter of applied transfers by the number of applied receipts.

mod account;
mod check;
mod header;
mod refusal;
mod transfer;

pub use account::{
    Account, AccountState, Balance, LedgerKey, account_key, applied_key, supply_key,
};
pub use header::Header;
pub use refusal::Refusal;
pub use transfer::{PAYLOAD_BYTES, Transfer};

use std::collections::BTreeMap;

use crate::block::Receipt;
use crate::codec::CodecError;
use crate::event::Patch;
use crate::machine::{
    BlockInput, BlockOutcome, CheckFailure, Context, ExecError, MachineVersion, OpenBlock,
    PoisonPolicy, StateMachine, TxInput,
};
use crate::types::Bytes;

/// The ledger machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ledger;

impl Ledger {
    /// Returns the patch that opens accounts and sets the supply to the sum of their balances.
    ///
    /// Of an account that comes twice the last balance counts. The patch adds to the state rather than replacing it,
    /// so that the block's check covers it.
    #[must_use]
    pub fn genesis_patch(accounts: impl IntoIterator<Item = (Account, Balance)>) -> Patch {
        let accounts: BTreeMap<Account, Balance> = accounts.into_iter().collect();
        // Fewer than 2^64 accounts of less than 2^64 each stay below 2^128.
        let supply: u128 = accounts.values().copied().map(u128::from).sum();
        let opened = accounts.into_iter().map(|(account, balance)| {
            let state = AccountState { balance, nonce: 0 };
            (Bytes::from(account_key(account)), Some(Bytes::from(state.encode())))
        });
        let supply = (Bytes::from(supply_key()), Some(Bytes::from(supply.to_le_bytes())));
        Patch::new("genesis", false, opened.chain([supply]))
    }
}

impl StateMachine for Ledger {
    fn version(&self) -> MachineVersion {
        MachineVersion { id: "ledger".to_owned(), version: 1 }
    }

    fn poison_policy(&self) -> PoisonPolicy {
        PoisonPolicy::Quarantine
    }

    fn open_block<'a>(
        &'a self,
        block: &'a BlockInput,
    ) -> Result<Box<dyn OpenBlock + 'a>, ExecError> {
        let unreadable =
            |error: CodecError| ExecError::Poison(format!("ledger block header: {error}"));
        Header::decode(&block.header).map_err(unreadable)?;
        let transfers = block.txs.iter().map(|tx| read_transfer(&tx.payload)).collect();
        Ok(Box::new(OpenLedger { block, transfers }))
    }

    fn expected_reads(&self, tx: &TxInput, read: &mut dyn FnMut(&[u8])) {
        if let Ok(transfer) = read_transfer(&tx.payload) {
            name_accounts(&transfer, read);
        }
    }
}

/// A block whose payloads were read; a transfer that its bytes alone condemn is a refusal already.
struct OpenLedger<'a> {
    block: &'a BlockInput,
    transfers: Vec<Result<Transfer, Refusal>>,
}

impl OpenBlock for OpenLedger<'_> {
    fn execute(&self, index: usize, context: &mut Context<'_>) -> Result<Receipt, ExecError> {
        let transfer = self.transfers.get(index).ok_or_else(|| {
            ExecError::Poison(format!("the block has no transaction at index {index}"))
        })?;
        let transfer = match transfer {
            Ok(transfer) => transfer,
            Err(refusal) => return Ok(refusal.receipt()),
        };
        let sender = read_account(context, transfer.from)?;
        let receiver = read_account(context, transfer.to)?.unwrap_or_default();
        match settle(transfer, sender, receiver) {
            Err(refusal) => Ok(refusal.receipt()),
            Ok((sender, receiver)) => {
                context.put(&account_key(transfer.from), sender.encode())?;
                context.put(&account_key(transfer.to), receiver.encode())?;
                context.add(&applied_key(), 1)?;
                // Bytes of its own: the default ones are counted in one place, over which threads would fight.
                Ok(Receipt::applied([]))
            }
        }
    }

    fn check(&self, outcome: &BlockOutcome<'_>) -> Result<(), CheckFailure> {
        check::check(self.block, outcome)
    }

    /// Names both accounts. The counter is left out: additions commute and order nothing.
    fn declared_access(&self, index: usize, touch: &mut dyn FnMut(&[u8])) -> bool {
        let Some(transfer) = self.transfers.get(index) else { return false };
        if let Ok(transfer) = transfer {
            name_accounts(transfer, touch);
        }
        true
    }
}

fn name_accounts(transfer: &Transfer, touch: &mut dyn FnMut(&[u8])) {
    touch(&account_key(transfer.from));
    touch(&account_key(transfer.to));
}

/// Applies the rules that need no state.
fn read_transfer(payload: &[u8]) -> Result<Transfer, Refusal> {
    let transfer = Transfer::decode(payload).map_err(|_| Refusal::Malformed)?;
    match transfer {
        Transfer { amount: 0, .. } => Err(Refusal::ZeroAmount),
        Transfer { from, to, .. } if from == to => Err(Refusal::ToSelf),
        transfer => Ok(transfer),
    }
}

/// Applies the rules that need the accounts; returns the sender's and the receiver's state after the transfer.
fn settle(
    transfer: &Transfer,
    sender: Option<AccountState>,
    receiver: AccountState,
) -> Result<(AccountState, AccountState), Refusal> {
    let sender = sender.ok_or(Refusal::UnknownSender)?;
    match transfer.nonce.cmp(&sender.nonce) {
        std::cmp::Ordering::Less => return Err(Refusal::NonceUsed),
        std::cmp::Ordering::Greater => return Err(Refusal::NonceAhead),
        std::cmp::Ordering::Equal => {}
    }
    let nonce = sender.nonce.checked_add(1).ok_or(Refusal::NonceExhausted)?;
    let left = sender.balance.checked_sub(transfer.amount).ok_or(Refusal::Overdraft)?;
    let held = receiver.balance.checked_add(transfer.amount).ok_or(Refusal::ReceiverFull)?;
    Ok((AccountState { balance: left, nonce }, AccountState { balance: held, ..receiver }))
}

fn read_account(
    context: &mut Context<'_>,
    account: Account,
) -> Result<Option<AccountState>, ExecError> {
    let Some(bytes) = context.get(&account_key(account))? else { return Ok(None) };
    // Only a patch can have written such bytes; the block's check refuses it, this stops before it spreads.
    let unreadable = |error| ExecError::Poison(format!("state of account {account}: {error}"));
    AccountState::decode(&bytes).map(Some).map_err(unreadable)
}
