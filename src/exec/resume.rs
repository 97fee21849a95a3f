//! What an earlier process left in the sandbox database, and whether it still fits.

use std::collections::BTreeMap;

use crate::block::BlockRow;
use crate::diff::Verdicts;
use crate::exec::RehearsedBlock;
use crate::exec::sealed::SealedBlock;
use crate::store::{SandboxBase, SandboxDb, Store, StoreError};
use crate::types::Height;

/// The rehearsed blocks of an earlier process that still fit.
pub(crate) struct Resume {
    pub(crate) first: Height,
    pub(crate) last: Height,
}

impl Resume {
    /// Compares what an earlier process rehearsed with the checkpoint and the log as they are now.
    pub(crate) fn find(
        store: &Store,
        database: &SandboxDb,
        base: &SandboxBase,
        checkpoint: Option<&BlockRow>,
        verdicts: &Verdicts,
    ) -> Result<Option<Self>, StoreError> {
        let Some(found) = database.base()?.filter(|found| found.machine == base.machine) else {
            return Ok(None);
        };
        let start = checkpoint.map_or(0, |row| row.order.height.get().saturating_add(1));
        let fits = found.parent == base.parent
            || planted!("sandbox_of_another_base_accepted")
            || committed_from(database, checkpoint)?;
        if !fits {
            return Ok(None);
        }
        let mut range: Option<Self> = None;
        let mut next = Height(start);
        let mut after = checkpoint.map_or(0, |row| row.order.seq.get());
        while let Some(block) = rehearsed_from(database, next)? {
            let log = store.log();
            // A block between the two may have been committed from memory, by a process whose commit was lost since.
            let holds = log.head().seq >= block.order.seq.get()
                && log.event(block.order.seq)?.chain == block.order.chain
                && !log.has_order_between(after, block.order.seq)?
                && (obeys(&block, verdicts) || planted!("sandbox_of_older_verdicts_accepted"));
            if !holds {
                return Ok(None);
            }
            after = block.order.seq.get();
            let height = block.order.height;
            range = Some(Self { first: range.map_or(height, |range| range.first), last: height });
            next = Height(height.get().saturating_add(1));
        }
        Ok(range)
    }
}

/// Reads the first rehearsed block at or above a height.
pub(crate) fn sealed_from(
    database: &SandboxDb,
    height: Height,
) -> Result<Option<SealedBlock>, StoreError> {
    let Some((height, body)) = database.block_from(height)? else { return Ok(None) };
    SealedBlock::decode(&body).map(Some).map_err(|error| database.codec(height, error))
}

/// Reads and opens the first rehearsed block at or above a height.
pub(crate) fn rehearsed_from(
    database: &SandboxDb,
    height: Height,
) -> Result<Option<RehearsedBlock>, StoreError> {
    let Some(sealed) = sealed_from(database, height)? else { return Ok(None) };
    sealed.open().map(Some).map_err(|error| database.codec(sealed.order.height, error))
}

/// Says whether a block keeps out exactly the transactions that the log's verdicts keep out.
fn obeys(block: &RehearsedBlock, verdicts: &Verdicts) -> bool {
    let kept_out: BTreeMap<_, _> =
        block.quarantined.iter().map(|entry| (entry.tx, entry.verdict)).collect();
    block.txs.iter().all(|tx| {
        let ruled = verdicts.quarantine(block.order.seq, *tx).map(|(verdict, _)| verdict);
        ruled == kept_out.get(tx).copied()
    })
}

/// Says whether the checkpoint is a block of this very rehearsal, committed before the crash.
fn committed_from(database: &SandboxDb, checkpoint: Option<&BlockRow>) -> Result<bool, StoreError> {
    let Some(row) = checkpoint else { return Ok(false) };
    let found = sealed_from(database, row.order.height)?;
    Ok(found.is_some_and(|block| {
        block.order == row.order
            && block.effects.receipts == row.receipts_digest
            && block.effects.changes == row.changes_digest
    }))
}
