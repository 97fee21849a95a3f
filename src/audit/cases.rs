//! Puts together what the log and the block table say about each block, before anything is executed.

use crate::audit::block::{self, height_of};
use crate::audit::finding::{Finding, Findings, What};
use crate::audit::log::{LogWalk, LoggedBlock};
use crate::audit::rows::Rows;
use crate::audit::stored::Stored;
use crate::audit::structure;
use crate::audit::verdicts::SeenRows;
use crate::exec::Rulings;
use crate::machine::{BlockInput, TxInput};
use crate::mempool::Mempool;
use crate::store::Store;
use crate::types::{Height, Seq};

/// A block that the log orders, as far as it can be read.
pub(super) struct Case {
    pub(super) height: Height,
    /// What the machine was handed.
    pub(super) input: Option<BlockInput>,
    /// What the block table has of it.
    pub(super) stored: Option<Stored>,
    /// Transactions that were kept out of it.
    pub(super) rulings: Rulings,
    /// What was found since the case before it.
    pub(super) findings: Findings,
}

/// Walks the log and the block table side by side.
pub(super) struct Cases<'a> {
    store: &'a Store,
    rows: Rows<'a>,
    pub(super) walk: LogWalk<'a>,
    /// Whether the log behind the last row is left alone.
    ends_with_rows: bool,
    pub(super) quarantine: SeenRows,
    /// The mempool as of the last confirmed block.
    pub(super) mempool: Mempool,
    /// Position of that block's order.
    pub(super) confirmed: Option<Seq>,
    pub(super) blocks_unconfirmed: u64,
    /// What was found since the last case.
    pub(super) findings: Findings,
}

/// What was found about the log as a whole, which was read to its end.
pub(super) struct LogEnd {
    pub(super) index: Findings,
    pub(super) structure: Findings,
}

impl<'a> Cases<'a> {
    pub(super) fn new(
        store: &'a Store,
        rows: Rows<'a>,
        walk: LogWalk<'a>,
        ends_with_rows: bool,
    ) -> Self {
        let (quarantine, mempool) = (SeenRows::default(), Mempool::default());
        let (confirmed, blocks_unconfirmed, findings) = (None, 0, Findings::default());
        Self {
            store,
            rows,
            walk,
            ends_with_rows,
            quarantine,
            mempool,
            confirmed,
            blocks_unconfirmed,
            findings,
        }
    }

    /// Returns the next block that is to be audited.
    pub(super) fn next_case(&mut self) -> Option<Case> {
        loop {
            let row = self.rows.peek(&mut self.findings).map(|row| row.order.clone());
            if row.is_none() && self.ends_with_rows {
                return None;
            }
            let expected = row.as_ref().map(|order| order.seq);
            let Some(logged) = self.walk.next_block(expected, &mut self.findings) else { break };
            if let Some(order) = &logged.order {
                self.pass_rows_below(order.height, logged.seq);
            }
            let ordered = logged.order.as_ref().map(|order| order.height);
            let next = self.rows.peek(&mut self.findings).map(|row| row.order.clone());
            let matches = next
                .as_ref()
                .is_some_and(|next| next.seq == logged.seq || Some(next.height) == ordered);
            let case = match ordered {
                _ if matches => self.confirmed_block(logged),
                Some(height) => self.block_without_row(logged, height, next.is_some()),
                None => None,
            };
            if case.is_some() {
                return case;
            }
        }
        while let Some(row) = self.rows.peek(&mut self.findings).map(|row| row.order.clone()) {
            self.rows.take();
            let expected = format!("event {} in the log", row.seq.get());
            let finding = Finding::new(What::OrderMissing, expected, "no order of this block");
            self.findings.add(finding.at_block(row.height).at_event(row.seq));
        }
        None
    }

    /// Looks at the log as a whole, once it was read to its end.
    pub(super) fn end_log(&self) -> LogEnd {
        let (mut index, mut structure) = (Findings::default(), Findings::default());
        self.walk.compare_index(&mut index);
        structure::check_log(self.store, &mut structure);
        LogEnd { index, structure }
    }

    /// Passes rows that the log has no order for.
    fn pass_rows_below(&mut self, height: Height, seq: Seq) {
        while let Some(row) = self.rows.peek(&mut self.findings).map(|row| row.order.clone()) {
            if row.height >= height || row.seq == seq {
                return;
            }
            self.rows.take();
            let finding = Finding::new(What::OrderMissing, "an order in the log", "none");
            self.findings.add(finding.at_block(row.height).at_event(row.seq));
        }
    }

    fn confirmed_block(&mut self, logged: LoggedBlock) -> Option<Case> {
        let row = self.rows.take()?;
        let height = row.order.height;
        let stored = Stored::read(self.store, row, &mut self.findings);
        let order = logged.order.as_ref();
        stored.hold_against_order(logged.seq, logged.chain, order, &mut self.findings);
        if !logged.linked {
            let ordered = order.map(|order| order.txs.as_slice());
            let txs = stored.txs.as_deref().or(ordered).unwrap_or_default();
            self.walk.believe(height, txs);
        }
        self.confirmed = Some(logged.seq);
        if self.rows.peek(&mut self.findings).is_none() {
            self.mempool = self.walk.backlog().mempool.clone();
        }
        Some(self.case(logged, Some(stored)))
    }

    /// Deals with an order that the block table has no row for: not confirmed yet, or lost.
    fn block_without_row(
        &mut self,
        logged: LoggedBlock,
        height: Height,
        has_later_rows: bool,
    ) -> Option<Case> {
        let lost = self.rows.is_lost(height);
        if !has_later_rows && !lost {
            self.blocks_unconfirmed = self.blocks_unconfirmed.saturating_add(1);
            return None;
        }
        if !lost {
            let finding = Finding::new(What::BlockMissing, "a row", "none");
            self.findings.add(finding.at_block(height).at_event(logged.seq));
        }
        Some(self.case(logged, None))
    }

    fn case(&mut self, logged: LoggedBlock, stored: Option<Stored>) -> Case {
        let height = height_of(&logged, stored.as_ref());
        let input = block::input(&self.walk, logged, stored.as_ref(), &mut self.findings);
        let rulings = match (&input, &stored) {
            (Some(input), Some(stored)) => {
                self.quarantine.rulings(self.store, stored, &input.txs, &mut self.findings)
            }
            _ => Rulings::new(),
        };
        let findings = std::mem::take(&mut self.findings);
        Case { height, input, stored, rulings, findings }
    }
}

impl Case {
    /// Returns about how many bytes of memory it takes.
    pub(super) fn memory(&self) -> usize {
        let txs = self.input.iter().flat_map(|input| &input.txs);
        let txs = txs.map(|tx| size_of::<TxInput>().saturating_add(tx.payload.len()));
        let stored = self.stored.as_ref().map_or(0, Stored::memory);
        txs.fold(size_of::<Self>().saturating_add(stored), usize::saturating_add)
    }
}
