//! A finding: one place where a node is not what it acknowledged, or not what the ledger's rules make of it.

use serde::Serialize;

use crate::load::wire::TxStatus;
use crate::machine::ledger::{Account, AccountState};
use crate::types::{Digest, Seq, TxId};

/// Where a node has a transaction: its position, and its block unless it waits in the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its position in the log.
    pub seq: Seq,
    /// Its block; none for the mempool.
    pub height: Option<u64>,
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Every answer is about what was submitted, and says again what was said before.
    Answers,
    /// Every acknowledged transaction is in a block or in the mempool, under the acknowledged position.
    Kept,
    /// No transaction and no position is there twice.
    Unique,
    /// A transaction is what its identity says.
    Contents,
    /// Heights are dense, each block names the one before, and counts its transactions.
    Chain,
    /// Each transaction was applied or refused as the model does it.
    Receipts,
    /// The accounts hold together what genesis gave them, and the ledger's own supply and counter say the same.
    Supply,
    /// Each account holds and has sent what the model says.
    Accounts,
}

impl Check {
    /// Every check, in the order of the report.
    pub const ALL: [Self; 8] = [
        Self::Answers,
        Self::Kept,
        Self::Unique,
        Self::Contents,
        Self::Chain,
        Self::Receipts,
        Self::Supply,
        Self::Accounts,
    ];

    /// Returns what is checked, for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Answers => "answers agree",
            Self::Kept => "acknowledged and kept",
            Self::Unique => "in one place only",
            Self::Contents => "contents",
            Self::Chain => "chain of blocks",
            Self::Receipts => "receipts",
            Self::Supply => "supply",
            Self::Accounts => "accounts",
        }
    }
}

/// One place where a node is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "finding")]
pub enum Finding {
    /// An answer names another transaction than the one that was submitted.
    #[error("the answer to transaction {submitted} names transaction {answered}")]
    AnswerNames {
        /// What was submitted.
        submitted: TxId,
        /// What the answer names.
        answered: TxId,
    },
    /// A transaction that was submitted again has another position.
    #[error("transaction {id} was acknowledged as event {acknowledged}, then as event {again}", acknowledged = acknowledged.get(), again = again.get())]
    AnswerDiffers {
        /// The transaction.
        id: TxId,
        /// Its position in the first answer.
        acknowledged: Seq,
        /// Its position in a later one.
        again: Seq,
    },
    /// A transaction that was acknowledged counts as new.
    #[error("transaction {id}, acknowledged as event {acknowledged}, is new to the node", acknowledged = acknowledged.get())]
    AnswerForgotten {
        /// The transaction.
        id: TxId,
        /// Its position.
        acknowledged: Seq,
    },
    /// An acknowledged transaction is nowhere.
    #[error("transaction {id}, acknowledged as event {acknowledged}, is lost", acknowledged = acknowledged.get())]
    Lost {
        /// The transaction.
        id: TxId,
        /// Its position.
        acknowledged: Seq,
    },
    /// An acknowledged transaction is there under another position.
    #[error("transaction {id} was acknowledged as event {acknowledged} and is event {found}", acknowledged = acknowledged.get(), found = found.seq.get())]
    Moved {
        /// The transaction.
        id: TxId,
        /// The position that was acknowledged.
        acknowledged: Seq,
        /// Where it is.
        found: Place,
    },
    /// A transaction is there twice.
    #[error("transaction {id} is in {} and in {}", named(first), named(again))]
    Twice {
        /// The transaction.
        id: TxId,
        /// Where it is.
        first: Place,
        /// Where it is as well.
        again: Place,
    },
    /// Two transactions have one position.
    #[error("event {seq} is transaction {first} and transaction {again}", seq = seq.get())]
    SeqShared {
        /// The position.
        seq: Seq,
        /// One transaction.
        first: TxId,
        /// The other.
        again: TxId,
    },
    /// A block has another transfer under an identity than the one that was acknowledged.
    #[error("transaction {id} of block {height} is not the transfer that was submitted")]
    Altered {
        /// The identity.
        id: TxId,
        /// The block.
        height: u64,
    },
    /// There is no block at a height below the head.
    #[error("block {height} is missing, the head is block {head}")]
    BlockMissing {
        /// The height.
        height: u64,
        /// The head.
        head: u64,
    },
    /// A block names another height than its own.
    #[error("block {height} names height {found}")]
    HeightDiffers {
        /// The height that was asked for.
        height: u64,
        /// What the block says.
        found: u64,
    },
    /// A block does not name the one before as its parent.
    #[error("block {height} names parent {found}, the block before is {expected}")]
    ParentDiffers {
        /// The block.
        height: u64,
        /// Digest of the block before.
        expected: Digest,
        /// What the block names.
        found: Digest,
    },
    /// A block counts other transactions than it has.
    #[error("block {height} counts {counted} transactions that are {what}, it has {found}")]
    CountDiffers {
        /// The block.
        height: u64,
        /// Which are counted.
        what: &'static str,
        /// How many the block says.
        counted: u64,
        /// How many there are.
        found: u64,
    },
    /// The model applies what the node refused, or refuses what the node applied.
    #[error("transaction {id} of block {height} is {found:?}, the model says {expected:?}")]
    StatusDiffers {
        /// The transaction.
        id: TxId,
        /// The block.
        height: u64,
        /// What the model says.
        expected: TxStatus,
        /// What the block says.
        found: TxStatus,
    },
    /// The node did not execute a transfer, which the ledger always applies or refuses.
    #[error("transaction {id} of block {height} is quarantined, no transfer of the ledger ever is")]
    Quarantined {
        /// The transaction.
        id: TxId,
        /// The block.
        height: u64,
    },
    /// The accounts hold together more or less than genesis gave them.
    #[error("the accounts hold {found} together, genesis gave them {expected}")]
    SupplyDiffers {
        /// What genesis gave.
        expected: u128,
        /// What the accounts hold.
        found: u128,
    },
    /// The ledger states another supply than genesis gave.
    #[error("the ledger states a supply of {found}, genesis gave {expected}")]
    StatedSupplyDiffers {
        /// What genesis gave.
        expected: u128,
        /// What the ledger states.
        found: u128,
    },
    /// The ledger counts another number of applied transfers than the model.
    #[error("the ledger counts {found} applied transfers, the model {expected}")]
    AppliedDiffers {
        /// What the model counts.
        expected: u128,
        /// What the ledger counts.
        found: u128,
    },
    /// An account is not what the model says.
    #[error("account {account} is {found:?}, the model says {expected:?}")]
    AccountDiffers {
        /// The account.
        account: Account,
        /// What the model says.
        expected: AccountState,
        /// What the node says; none where it does not know the account.
        found: Option<AccountState>,
    },
}

impl Finding {
    /// Returns the check that found it.
    #[must_use]
    pub const fn check(&self) -> Check {
        match self {
            Self::AnswerNames { .. }
            | Self::AnswerDiffers { .. }
            | Self::AnswerForgotten { .. } => Check::Answers,
            Self::Lost { .. } | Self::Moved { .. } => Check::Kept,
            Self::Twice { .. } | Self::SeqShared { .. } => Check::Unique,
            Self::Altered { .. } => Check::Contents,
            Self::BlockMissing { .. }
            | Self::HeightDiffers { .. }
            | Self::ParentDiffers { .. }
            | Self::CountDiffers { .. } => Check::Chain,
            Self::StatusDiffers { .. } | Self::Quarantined { .. } => Check::Receipts,
            Self::SupplyDiffers { .. }
            | Self::StatedSupplyDiffers { .. }
            | Self::AppliedDiffers { .. } => Check::Supply,
            Self::AccountDiffers { .. } => Check::Accounts,
        }
    }
}

fn named(place: &Place) -> String {
    match place.height {
        Some(height) => format!("block {height} as event {}", place.seq.get()),
        None => format!("the mempool as event {}", place.seq.get()),
    }
}
