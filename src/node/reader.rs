//! The reading actor: answers questions about blocks, transactions and the state, between the writes of the others.

use std::sync::Arc;

use crate::block::{BlockRow, Receipts, Status};
use crate::diff::{Verdicts, first_difference};
use crate::event::EventBody;
use crate::exec::BlockReader;
use crate::node::mailbox::Mailbox;
use crate::node::{BlockTx, BlockView, Place, TxView};
use crate::state::StateRead as _;
use crate::store::{Problem, Store, StoreError};
use crate::types::{Bytes, Height, Seq, TxId};

/// Bytes of events that are read at once for one block: an append waits for each such read.
const READ_BYTES: usize = 64 << 10;

/// A question, with its way back inside.
pub(super) type Question = Box<dyn FnOnce(&Reader) + Send>;

/// What the actor reads.
pub(super) struct Reader {
    pub(super) store: Arc<Store>,
}

impl Reader {
    /// Answers until the mailbox is closed and empty.
    pub(super) fn run(self, mailbox: &Mailbox<Question>) {
        while let Some(questions) = mailbox.receive(|_| false) {
            for letter in questions {
                (letter.content)(&self);
            }
        }
    }

    /// Returns the value of a key after the last confirmed block.
    pub(super) fn state(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.store.main().get(key);
        found.map_err(|error| {
            error.0.downcast_ref::<StoreError>().cloned().unwrap_or_else(|| StoreError {
                file: crate::store::MAIN.into(),
                problem: Problem::Sql(error.to_string()),
            })
        })
    }

    /// Returns a transaction. Where no confirmed block holds it, its place is [`Place::Ordered`], since only the
    /// appender knows what waits.
    pub(super) fn transaction(&self, id: &TxId) -> Result<Option<TxView>, StoreError> {
        let Some(seq) = self.store.log().find_tx(id)? else { return Ok(None) };
        let event = self.store.log().event(seq)?;
        let created = event.created;
        let body = event.decode().map_err(|error| self.store.log().codec(seq, error))?;
        let EventBody::Tx(tx) = body else { return Ok(None) };
        let place = self.confirmed(seq)?.unwrap_or(Place::Ordered);
        Ok(Some(TxView { id: tx.id, seq, created, payload: tx.payload, place }))
    }

    /// Returns the identities of transactions.
    pub(super) fn ids(&self, seqs: &[Seq]) -> Result<Vec<(Seq, TxId)>, StoreError> {
        let id = |seq: &Seq| match self.store.log().body(*seq)? {
            EventBody::Tx(tx) => Ok(Some((*seq, tx.id))),
            _ => Ok(None),
        };
        seqs.iter().map(id).filter_map(Result::transpose).collect()
    }

    /// Returns the confirmed block of a number, or the last one.
    pub(super) fn block(&self, height: Option<Height>) -> Result<Option<BlockView>, StoreError> {
        let main = self.store.main();
        let row = match height {
            None => main.head()?,
            Some(height) => main.block_to(height)?.filter(|row| row.order.height == height),
        };
        drop(main);
        row.map(|row| self.view(row)).transpose()
    }

    /// Returns the first confirmed block at or above a number.
    pub(super) fn block_from(&self, height: Height) -> Result<Option<BlockView>, StoreError> {
        let row = self.store.main().block_from(height)?;
        row.map(|row| self.view(row)).transpose()
    }

    fn view(&self, row: BlockRow) -> Result<BlockView, StoreError> {
        let before = match row.order.height.get().checked_sub(1) {
            Some(height) => self.store.main().block_to(Height(height))?,
            None => None,
        };
        let after = before.map(|before| before.order.seq);
        let verdicts = Arc::new(Verdicts::default());
        let reader = BlockReader::new(Arc::clone(&self.store), after, verdicts);
        let mut reader = reader.until(row.order.seq.get()).in_reads_of(READ_BYTES);
        let pending = reader.next_block()?;
        let Some(pending) = pending.filter(|pending| pending.order == row.order) else {
            let log = self.store.log();
            return Err(log.damaged(row.order.seq, "is not the order of its confirmed block"));
        };
        let receipts = self.receipts(row.order.height)?;
        let txs = pending.input.txs.into_iter().zip(receipts.0);
        let txs = txs.map(|(tx, receipt)| BlockTx {
            id: tx.id,
            seq: tx.seq,
            payload: tx.payload,
            receipt,
        });
        Ok(BlockView { row, patches: pending.input.patches, txs: txs.collect() })
    }

    fn receipts(&self, height: Height) -> Result<Receipts, StoreError> {
        let main = self.store.main();
        Receipts::decode(&main.body(height)?.receipts).map_err(|error| main.codec(height, error))
    }

    /// Finds the confirmed block that holds a transaction: the first that was ordered after it is found by bisection,
    /// and from there on each is looked at, so it costs the blocks for which the transaction waited.
    fn confirmed(&self, seq: Seq) -> Result<Option<Place>, StoreError> {
        let mut next = self.first_ordered_after(seq)?;
        let mut found = None;
        while let Some(height) = next {
            let main = self.store.main();
            let Some(row) = main.block_from(height)? else { break };
            let height = row.order.height;
            let txs = main.body(height)?.tx_seqs();
            let txs = txs.map_err(|error| main.codec(height, error))?;
            let settled = main.quarantine(Some(height))?;
            drop(main);
            next = height.get().checked_add(1).map(Height);
            let Some(index) = txs.iter().position(|tx| *tx == seq) else { continue };
            let receipt = self.receipts(height)?.0.into_iter().nth(index);
            let Some(receipt) = receipt else { continue };
            let is_last = !matches!(receipt.status, Status::Quarantined(_))
                || settled.iter().any(|row| row.entry.tx == seq && row.settled.is_none());
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            found = Some(Place::Confirmed { height, index, receipt });
            // What was released from quarantine may have been ordered once more.
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    /// Returns the number of the first confirmed block whose order stands after a position.
    fn first_ordered_after(&self, seq: Seq) -> Result<Option<Height>, StoreError> {
        let Some(head) = self.store.main().head()? else { return Ok(None) };
        if head.order.seq < seq {
            return Ok(None);
        }
        let heights = head.order.height.get().saturating_add(1);
        let found = first_difference(heights, |height| {
            let row = self.store.main().block_to(Height(height))?;
            Ok::<_, StoreError>(row.is_none_or(|row| row.order.seq < seq))
        })?;
        Ok(found.map(Height))
    }
}
