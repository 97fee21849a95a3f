//! The critical path of a block: the chain of transactions, each of which reads what one before it wrote, that no number of workers shortens.

use super::contest::Contested;

/// What a block has to do, and how much of it one after the other.
#[derive(Clone, Copy, Default)]
pub(crate) struct CriticalPath {
    pub(crate) txs: u64,
    /// Transactions of the chain that has most of them.
    pub(crate) chain_txs: u64,
    pub(crate) gas: u64,
    /// Gas of the chain that uses most of it.
    pub(crate) chain_gas: u64,
}

impl CriticalPath {
    /// Finds the chains of a block.
    pub(crate) fn of(block: &Contested) -> Self {
        Self {
            txs: block.receipts.len() as u64,
            chain_txs: block.dependencies.longest_chain() as u64,
            gas: block.gas().sum(),
            chain_gas: block.dependencies.chain_of_most(block.gas()),
        }
    }

    /// Adds up blocks that come one after the other.
    pub(crate) const fn then(self, next: Self) -> Self {
        Self {
            txs: self.txs + next.txs,
            chain_txs: self.chain_txs + next.chain_txs,
            gas: self.gas + next.gas,
            chain_gas: self.chain_gas + next.chain_gas,
        }
    }
}
