//! The events of a workload: genesis, then its transfers with an order after each block's worth of them.

use crate::exec::NewEvent;
use crate::generate::{Transfers, Workload};
use crate::machine::ledger::Header;
use crate::types::{Bytes, Height, TxId};

/// Time between two generated blocks, in milliseconds.
const BLOCK_MS: u64 = 1_000;

/// The events of a workload in log order; memory is that of one block's identities beside the generator's own.
pub struct Events {
    transfers: Transfers,
    /// Transfers that blocks order and that have not been generated yet.
    to_order: u64,
    block_txs: usize,
    height: u64,
    ids: Vec<TxId>,
    genesis: Option<NewEvent>,
    order_due: bool,
}

impl Workload {
    /// Returns the events of the workload in log order, from the genesis patch to the last transfer of the mempool.
    #[must_use]
    pub fn events(&self) -> Events {
        Events {
            transfers: self.transfers(),
            to_order: self.ordered(),
            block_txs: usize::try_from(self.block_txs.max(1)).unwrap_or(usize::MAX),
            height: 0,
            ids: Vec::new(),
            genesis: Some(NewEvent::Patch(self.genesis())),
            order_due: false,
        }
    }
}

impl Iterator for Events {
    type Item = NewEvent;

    fn next(&mut self) -> Option<NewEvent> {
        if let Some(genesis) = self.genesis.take() {
            self.order_due = true;
            return Some(genesis);
        }
        if std::mem::take(&mut self.order_due) {
            return Some(self.order());
        }
        let transfer = self.transfers.next()?;
        let (id, payload) = (transfer.id(), Bytes::from(transfer.encode().as_slice()));
        if self.to_order > 0 {
            self.to_order -= 1;
            self.ids.push(id);
            self.order_due = self.ids.len() >= self.block_txs || self.to_order == 0;
        }
        Some(NewEvent::Tx { id, payload })
    }
}

impl Events {
    fn order(&mut self) -> NewEvent {
        let height = self.height;
        self.height = height.saturating_add(1);
        let header = match height {
            0 => Vec::new(),
            _ => Header { time_ms: height.saturating_mul(BLOCK_MS) }.encode(),
        };
        let txs = std::mem::take(&mut self.ids);
        NewEvent::Order { height: Height(height), header: header.into(), txs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ordered_transfer_is_in_one_block_and_the_rest_in_none() {
        let workload = Workload {
            accounts: 10,
            transfers: 95,
            block_txs: 20,
            mempool: 7,
            unconfirmed_blocks: 0,
            ..Workload::default()
        };
        let mut sizes = Vec::new();
        let (mut received, mut ordered) = (Vec::new(), Vec::new());
        for event in workload.events() {
            match event {
                NewEvent::Tx { id, .. } => received.push(id),
                NewEvent::Order { height, txs, .. } => {
                    assert_eq!(height.get(), sizes.len() as u64);
                    sizes.push(txs.len());
                    ordered.extend(txs);
                }
                NewEvent::Patch(_) | NewEvent::Next { .. } | NewEvent::Settle { .. } => {}
            }
        }
        assert_eq!(sizes, [0, 20, 20, 20, 20, 8]);
        assert_eq!(received[..88], ordered);
        assert_eq!(received.len(), 95);
    }
}
