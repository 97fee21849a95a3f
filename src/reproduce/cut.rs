//! Cuts a bundle out of a node: confirmed blocks, and the entries of the state before them that they touch.

use std::collections::HashMap;
use std::sync::Arc;

use crate::audit::{Base, Undone};
use crate::block::BlockRow;
use crate::codec::CodecError;
use crate::diff::Verdicts;
use crate::event::EventBody;
use crate::exec::{
    BlockReader, Dependencies, Executor, ExecutorSettings, PendingBlock, STEP_TIME_MAX, watched,
};
use crate::machine::StateMachine;
use crate::reproduce::{Bundle, BundleBlock, Expected};
use crate::state::{ChangeSet, RecordingState, StateError, StateRead, scan_layered};
use crate::store::{Store, StoreError};
use crate::types::{Bytes, Height};

/// Why no bundle can be cut.
#[derive(Debug, thiserror::Error)]
pub enum CutError {
    /// No confirmed block is in the range.
    #[error("no confirmed block is among blocks {} to {}", from.get(), to.get())]
    NothingThere {
        /// The first block asked for.
        from: Height,
        /// The last block asked for.
        to: Height,
    },
    /// A change set above the range cannot be read, so that the state before the range is out of reach.
    #[error("the state before block {} is out of reach: a change set at or above it is damaged", from.get())]
    StateLost {
        /// The first block asked for.
        from: Height,
    },
    /// The log has another block where the block table has this one.
    #[error("block {} is not the next one in the log", height.get())]
    NotInLog {
        /// The block.
        height: Height,
    },
    /// Files of the node cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Cuts the confirmed blocks from `from` to `to` out of a node, both included. Writes nothing into it.
///
/// Memory: the keys that were changed since `from`, and the bundle.
///
/// # Errors
/// [`CutError`].
pub fn cut(
    store: &Arc<Store>,
    machine: &Arc<dyn StateMachine>,
    (from, to): (Height, Height),
) -> Result<Bundle, CutError> {
    let first = store.main().block_from(from)?.filter(|row| row.order.height <= to);
    let first = first.ok_or(CutError::NothingThere { from, to })?;
    let undone = Undone::to(store, first.order.height, &mut |_| {});
    if undone.first > first.order.height {
        return Err(CutError::StateLost { from });
    }
    let base = Base::Undone(undone.state);
    let recording = RecordingState::new(&base);
    // What is read is what goes into the bundle: nothing is read ahead.
    let settings = ExecutorSettings { workers: 1, ..ExecutorSettings::default() };
    let executor = Executor::new(Arc::clone(machine), settings);
    let watch = Arc::clone(executor.watch());
    let blocks = watched(&watch, STEP_TIME_MAX, || {
        let above = Above { below: &recording, written: HashMap::new() };
        cut_blocks(store, &executor, (first, to), above)
    })?;
    Ok(Bundle { machine: machine.version(), state: recording.touched(), blocks })
}

fn cut_blocks(
    store: &Arc<Store>,
    executor: &Executor,
    (first, to): (BlockRow, Height),
    mut above: Above<'_>,
) -> Result<Vec<BundleBlock>, CutError> {
    let mut reader = reader(store, &first, to)?;
    let mut next = Some(first);
    let mut blocks = Vec::new();
    while let Some(row) = next.filter(|row| row.order.height <= to) {
        let height = row.order.height;
        let pending = reader.next_block()?.filter(|pending| pending.order == row.order);
        let pending = pending.ok_or(CutError::NotInLog { height })?;
        let (block, changes) = cut_block(store, pending, &row)?;
        // Whatever this gives: it is done for what it reads, and the bundle says what it had given.
        let _executed = executor.execute(&block.input, &block.rulings, &above);
        above.apply(&changes)?;
        blocks.push(block);
        next = match height.get().checked_add(1) {
            Some(above) => store.main().block_from(Height(above))?,
            None => None,
        };
    }
    Ok(blocks)
}

/// Reads the log from the first block's events on, with the verdicts that the block table has for the range.
fn reader(store: &Arc<Store>, first: &BlockRow, to: Height) -> Result<BlockReader, CutError> {
    let below = match first.order.height.get().checked_sub(1) {
        Some(below) => store.main().block_to(Height(below))?,
        None => None,
    };
    let mut verdicts = Verdicts::default();
    let mut next = Some(first.clone());
    while let Some(row) = next.filter(|row| row.order.height <= to) {
        for held in store.main().quarantine(&row)? {
            let body = store.log().body(held.entry.verdict)?;
            if let EventBody::Verdict(verdict) = body {
                verdicts.add(held.entry.verdict, verdict.tx, verdict.ruling);
            }
        }
        next = store.main().block_from(Height(row.order.height.get().saturating_add(1)))?;
    }
    let after = below.map(|row| row.order.seq);
    Ok(BlockReader::new(Arc::clone(store), after, Arc::new(verdicts)))
}

fn cut_block(
    store: &Store,
    pending: PendingBlock,
    row: &BlockRow,
) -> Result<(BundleBlock, ChangeSet), CutError> {
    let height = row.order.height;
    let body = store.main().body(height)?;
    let codec = |error: CodecError| CutError::Store(store.main().codec(height, error));
    let (receipts, changes) = (body.receipts().map_err(codec)?, body.changes().map_err(codec)?);
    let expected = Expected::Effects {
        receipts,
        changes: changes.clone(),
        receipts_digest: row.receipts_digest,
        changes_digest: row.changes_digest,
    };
    let dependencies = body.dependencies.as_deref().map(Dependencies::decode);
    let dependencies = dependencies.transpose().map_err(codec)?;
    let PendingBlock { order, input, rulings, .. } = pending;
    let dependencies = dependencies.filter(|known| known.txs() == input.txs.len());
    Ok((BundleBlock { order, input, rulings, dependencies, expected }, changes))
}

/// Writes of earlier blocks of the range, above what is recorded.
struct Above<'a> {
    below: &'a RecordingState<'a>,
    written: HashMap<Bytes, Option<Bytes>>,
}

impl Above<'_> {
    /// Takes over the values after a block; each key is read before, so that its value before is in the bundle even
    /// where execution did not come to it.
    fn apply(&mut self, changes: &ChangeSet) -> Result<(), StateError> {
        for change in changes.changes() {
            let _before = self.get(&change.key)?;
            self.written.insert(Bytes::clone(&change.key), change.after.clone());
        }
        Ok(())
    }
}

impl StateRead for Above<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        match self.written.get(key) {
            Some(written) => Ok(written.clone()),
            None => self.below.get(key),
        }
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        let above = self.written.iter().filter(|(key, _)| key.starts_with(prefix));
        let above = above.map(|(key, value)| (Bytes::clone(key), value.clone())).collect();
        scan_layered(self.below, above, prefix, visit)
    }
}
