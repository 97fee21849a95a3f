//! The reading actor: answers questions about blocks, transactions and the state, between the writes of the others.

use std::sync::Arc;

use crate::block::{BlockRow, Status};
use crate::diff::{Verdicts, first_difference};
use crate::event::{EventBody, Ruling};
use crate::exec::BlockReader;
use crate::node::mailbox::{ClosesOnDrop, Mailbox};
use crate::node::{BlockTx, BlockView, Place, TxView};
use crate::state::StateRead as _;
use crate::store::{Store, StoreError};
use crate::types::{Bytes, Digest, Height, Seq, TxId};

/// Bytes of events that are read at once for one block: an append waits for each such read.
const READ_BYTES: usize = 64 << 10;

/// A question, with its way back inside.
pub(super) type Question = Box<dyn FnOnce(&Reader) + Send>;

/// Blocks that are looked at for one question.
const SEARCH_BLOCKS_MAX: usize = 256;

/// Where to look for a transaction's block.
#[derive(Clone, Copy)]
pub(super) struct Search {
    seq: Seq,
    /// The first block that was not looked at; `None` before the first look.
    next: Option<Height>,
}

/// What the actor reads.
pub(super) struct Reader {
    pub(super) store: Arc<Store>,
}

impl Reader {
    /// Answers until the mailbox is closed and empty.
    pub(super) fn run(self, mailbox: &Arc<Mailbox<Question>>) {
        // Whatever ends this actor: nobody waits for an answer that never comes.
        let _ends = ClosesOnDrop(Arc::clone(mailbox));
        while let Some(questions) = mailbox.receive(|_| false) {
            for letter in questions {
                (letter.content)(&self);
            }
        }
    }

    /// Returns the value of a key after the last confirmed block.
    pub(super) fn state(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.main().get(key).map_err(|error| StoreError::of_state(&error))
    }

    /// Returns a transaction with its place still to be found, and where to search for it.
    pub(super) fn transaction(&self, id: &TxId) -> Result<Option<(TxView, Search)>, StoreError> {
        let Some(event) = self.store.log().find_event(id)? else { return Ok(None) };
        let (seq, created) = (event.seq, event.created);
        let body = event.decode().map_err(|error| self.store.log().codec(seq, error))?;
        let EventBody::Tx(tx) = body else { return Ok(None) };
        let view = TxView { id: tx.id, seq, created, payload: tx.payload, place: Place::Ordered };
        Ok(Some((view, Search { seq, next: None })))
    }

    /// Says whether the log knows every one of these transactions.
    pub(super) fn knows(&self, ids: &[TxId]) -> Result<bool, StoreError> {
        for id in ids {
            if self.store.log().find_tx(id)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
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
        let (after, chain) = before
            .map_or((None, Digest::ZERO), |before| (Some(before.order.seq), before.order.chain));
        let verdicts = Arc::new(Verdicts::default());
        let reader = BlockReader::new(Arc::clone(&self.store), after, verdicts);
        let reader = reader.until(row.order.seq.get()).in_reads_of(READ_BYTES);
        let mut reader = reader.following(chain);
        let pending = reader.next_block()?;
        let Some(pending) = pending.filter(|pending| pending.order == row.order) else {
            return Err(self.no_order(&row));
        };
        let receipts = self.store.main().receipts(&row)?;
        let txs = pending.input.txs.into_iter().zip(receipts.0);
        let txs = txs.map(|(tx, receipt)| BlockTx {
            id: tx.id,
            seq: tx.seq,
            // Whoever asked may keep it, and is not to keep the buffer of many.
            payload: Bytes::from(&*tx.payload),
            receipt,
        });
        Ok(BlockView { row, patches: pending.input.patches, txs: txs.collect() })
    }

    fn no_order(&self, row: &BlockRow) -> StoreError {
        self.store.log().damaged(row.order.seq, "is not the order of its confirmed block")
    }

    /// Looks for the confirmed block that holds a transaction, and says where to go on looking: the first that was
    /// ordered after it is found by bisection, and from there on each is looked at, some at a time.
    pub(super) fn confirmed(
        &self,
        search: Search,
    ) -> Result<(Option<Place>, Option<Search>), StoreError> {
        let Search { seq, next } = search;
        let mut next = match next {
            Some(next) => Some(next),
            None => self.first_ordered_after(seq)?,
        };
        let mut found = None;
        for _ in 0..SEARCH_BLOCKS_MAX {
            let Some(height) = next else { return Ok((found, None)) };
            let Some(row) = self.store.main().block_from(height)? else { return Ok((found, None)) };
            let height = row.order.height;
            next = height.get().checked_add(1).map(Height);
            let Some(index) = self.index_in(&row, seq)? else { continue };
            let receipts = self.store.main().receipts(&row)?;
            let Some(receipt) = receipts.0.into_iter().nth(index) else { continue };
            let may_follow =
                matches!(receipt.status, Status::Quarantined(_)) && self.is_released(&row, seq)?;
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            found = Some(Place::Confirmed { height, index, receipt });
            if !may_follow {
                return Ok((found, None));
            }
        }
        Ok((found, next.map(|next| Search { seq, next: Some(next) })))
    }

    /// Looks for a transaction in the order of a block, which its row vouches for; nothing does for the list beside it.
    fn index_in(&self, row: &BlockRow, seq: Seq) -> Result<Option<usize>, StoreError> {
        let log = self.store.log();
        let event = log.linked(row.order.seq)?;
        let body = event.decode().map_err(|error| log.codec(event.seq, error))?;
        drop(log);
        match body {
            EventBody::Order(order) if event.chain == row.order.chain => {
                Ok(order.txs.iter().position(|tx| *tx == seq))
            }
            _ => Err(self.no_order(row)),
        }
    }

    /// Says whether a transaction that a block kept out was released, and may be in a later block.
    fn is_released(&self, block: &BlockRow, tx: Seq) -> Result<bool, StoreError> {
        let rows = self.store.main().quarantine(block)?;
        let settled = rows.iter().find(|row| row.entry.tx == tx).and_then(|row| row.settled);
        let Some(settled) = settled else { return Ok(false) };
        let verdict = self.store.log().body(settled)?;
        Ok(matches!(verdict, EventBody::Verdict(verdict) if verdict.ruling == Ruling::Release))
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
