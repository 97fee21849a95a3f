//! Hand-made blocks for the tests of the checks.

use crate::load::wire::{Block, BlockTransaction, TxStatus};
use crate::machine::ledger::{Account, Transfer};
use crate::types::{Digest, Seq};

/// Returns the digest of the hand-made block of this height.
pub(super) fn digest(height: u64) -> Digest {
    Digest::of(&height.to_le_bytes())
}

/// Makes a transaction of account 1: position, nonce, and what became of it.
pub(super) fn tx(seq: u64, nonce: u64, status: TxStatus) -> BlockTransaction {
    let transfer = Transfer { from: Account(1), to: Account(2), amount: 1, nonce };
    let seq = Seq::new(seq).expect("not zero");
    BlockTransaction { id: transfer.id(), seq, status, transaction: Some(transfer) }
}

/// Makes a sound block, above genesis.
pub(super) fn block(height: u64, transactions: Vec<BlockTransaction>) -> Block {
    let of = |status| transactions.iter().filter(|tx| tx.status == status).count() as u64;
    Block {
        height,
        digest: digest(height),
        parent: digest(height - 1),
        txs: transactions.len() as u64,
        applied: of(TxStatus::Applied),
        rejected: of(TxStatus::Rejected),
        quarantined: of(TxStatus::Quarantined),
        patches: Vec::new(),
        transactions,
    }
}
