//! The commit: rehearsed blocks become rows, in batches, each one transaction and one checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::block::{BlockRow, Counts, OrderRef};
use crate::exec::above::{AboveCheckpoint, Spill};
use crate::exec::bus::{Bus, Committed};
use crate::exec::sandbox::Rehearsal;
use crate::exec::{BlockFailure, BlockReader, Clock, Executor, RehearsedBlock, Watch};
use crate::plan::{BatchLimits, BatchSize};
use crate::state::{Change, ChangeSet, KeyMap, StateDigest};
use crate::store::{Batch, BlockBody, BlockWrite, SandboxBase, Store, StoreError};
use crate::types::{Bytes, Digest, Height, Seq, TxId, encode_hex};

/// How phase 2 gets the effects that it commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitMode {
    /// From the rehearsal.
    #[default]
    Restore,
    /// By executing again; every result must be that of the rehearsal.
    Reexecute,
}

/// Two executions of one block gave different results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("block {}: {what} differs between two executions{}{}: {expected} against {found}", height.get(), tx_text(*.tx), key_text(.key.as_ref()))]
pub struct Difference {
    /// The block.
    pub height: Height,
    /// What differs.
    pub what: String,
    /// Index and identity of the transaction, where one is known.
    pub tx: Option<(u32, TxId)>,
    /// The key, in hexadecimal, where a change differs.
    pub key: Option<String>,
    /// What the first execution gave.
    pub expected: String,
    /// What the second gave.
    pub found: String,
}

fn tx_text(tx: Option<(u32, TxId)>) -> String {
    tx.map_or(String::new(), |(index, id)| format!(" in transaction {index} ({id})"))
}

fn key_text(key: Option<&String>) -> String {
    key.map_or(String::new(), |key| format!(" at key {key}"))
}

/// Why a commit stopped; batches before it are committed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Block(#[from] BlockFailure),
    #[error(transparent)]
    Differs(#[from] Box<Difference>),
}

/// What a committer is made of.
pub(crate) struct CommitParts {
    pub(crate) store: Arc<Store>,
    pub(crate) executor: Executor,
    pub(crate) mode: CommitMode,
    pub(crate) limits: BatchLimits,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bus: Bus<Committed>,
    pub(crate) memory_bytes: usize,
}

/// What was committed so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommitTotals {
    pub(crate) first: Option<Height>,
    pub(crate) last: Option<Height>,
    pub(crate) blocks: u64,
    pub(crate) batches: u64,
    pub(crate) counts: Counts,
}

/// Commits rehearsals one after the other.
pub(crate) struct Committer {
    store: Arc<Store>,
    limits: BatchLimits,
    clock: Arc<dyn Clock>,
    bus: Bus<Committed>,
    machine_version: u32,
    parent: Digest,
    lanes: StateDigest,
    reexecution: Option<Reexecution>,
    totals: CommitTotals,
}

impl Committer {
    /// Starts at the checkpoint. `reader` gives the blocks after it, where they are to be executed again.
    pub(crate) fn new(
        parts: CommitParts,
        checkpoint: Option<&BlockRow>,
        reader: impl FnOnce() -> BlockReader,
    ) -> Result<Self, StoreError> {
        let CommitParts { store, executor, mode, limits, clock, bus, memory_bytes } = parts;
        let parent = checkpoint.map_or(Digest::ZERO, BlockRow::digest);
        let lanes = store.main().lanes()?;
        let machine = executor.machine().version();
        let machine_version = machine.version;
        let reexecution = (mode == CommitMode::Reexecute).then(|| {
            let spill = Spill::new(Arc::clone(&store), SandboxBase { machine, parent }, None);
            let state = AboveCheckpoint::new(Arc::clone(&store), Arc::new(spill), memory_bytes);
            Reexecution { executor, reader: reader(), state: state.without_spilling() }
        });
        let totals = CommitTotals::default();
        Ok(Self { store, limits, clock, bus, machine_version, parent, lanes, reexecution, totals })
    }

    /// Returns what was committed so far.
    pub(crate) const fn totals(&self) -> &CommitTotals {
        &self.totals
    }

    /// Returns the watch over the blocks that are executed again, where they are.
    pub(crate) fn watch(&self) -> Option<Arc<Watch>> {
        self.reexecution.as_ref().map(|again| Arc::clone(again.executor.watch()))
    }

    /// Commits a rehearsal, batch by batch.
    pub(crate) fn commit(&mut self, mut rehearsal: Rehearsal) -> Result<(), CommitError> {
        let mut batch = Vec::new();
        let mut size = BatchSize::default();
        while let Some(block) = rehearsal.next_block()? {
            let repeated = self.reexecution.as_mut().map(|again| again.repeat(&block));
            if let Some(Err(error)) = repeated {
                // What was verified until here is committed all the same.
                self.write(&batch)?;
                return Err(error);
            }
            size.add(crate::codec::count(block.txs.len()), crate::codec::count(block.memory()));
            batch.push(block);
            if self.limits.is_full(size) {
                self.write(&batch)?;
                batch.clear();
                size = BatchSize::default();
            }
        }
        self.write(&batch)
    }

    fn write(&mut self, blocks: &[RehearsedBlock]) -> Result<(), CommitError> {
        if blocks.is_empty() {
            return Ok(());
        }
        let net = net_changes(blocks);
        let batch = self.assemble(blocks, &net);
        let mut lanes = self.lanes.clone();
        let lanes = std::thread::scope(|scope| {
            let digesting = scope.spawn(|| {
                lanes.apply(&net);
                lanes
            });
            let mut digested = None;
            // CRASH: before this commit the checkpoint is the last block of the batch before; after it, of this one.
            self.store.main().commit(&batch, || {
                let lanes =
                    digesting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                digested.insert(lanes).clone()
            })?;
            Ok::<_, StoreError>(digested)
        })?;
        self.lanes = lanes.unwrap_or_default();
        if let Some(reexecution) = &mut self.reexecution {
            reexecution.state.committed()?;
        }
        self.totals.batches += 1;
        for block in &batch.blocks {
            let (height, counts) = (block.row.order.height, block.row.counts);
            self.totals.first = self.totals.first.or(Some(height));
            self.totals.last = Some(height);
            self.totals.blocks += 1;
            self.totals.counts.add(counts);
            self.bus.publish(&Committed { height, counts });
        }
        Ok(())
    }

    fn assemble(&mut self, blocks: &[RehearsedBlock], net: &ChangeSet) -> Batch {
        let committed = self.clock.now();
        let bodies: Vec<_> = blocks.par_iter().map(Digested::of).collect();
        let rows = blocks.iter().zip(bodies).map(|(block, digested)| {
            let row = BlockRow {
                order: block.order.clone(),
                parent: self.parent,
                header: block.header.clone(),
                counts: block.receipts.counts(),
                receipts_digest: digested.receipts,
                changes_digest: digested.changes,
                committed,
                state_digest: None,
            };
            self.parent = row.digest();
            BlockWrite { row, body: digested.body }
        });
        let blocks_written = rows.collect();
        let (received, ordered) = mempool_moves(blocks);
        Batch {
            blocks: blocks_written,
            state: net.writes().collect(),
            received,
            ordered,
            quarantined: blocks.iter().flat_map(|block| block.quarantined.clone()).collect(),
            settled: blocks.iter().flat_map(|block| block.settled.clone()).collect(),
            machine_version: self.machine_version,
        }
    }
}

/// The canonical bytes of a block's large parts, and their digests.
struct Digested {
    body: BlockBody,
    receipts: Digest,
    changes: Digest,
}

impl Digested {
    fn of(block: &RehearsedBlock) -> Self {
        let body = BlockBody {
            txs: BlockBody::encode_txs(&block.txs),
            receipts: block.receipts.encode(),
            changes: block.changes.encode(),
        };
        let (receipts, changes) = (Digest::of(&body.receipts), Digest::of(&body.changes));
        Self { body, receipts, changes }
    }
}

/// Joins the changes of blocks that follow each other: the first value before, the last value after.
fn net_changes(blocks: &[RehearsedBlock]) -> ChangeSet {
    if let [only] = blocks {
        return only.changes.clone();
    }
    let mut net: KeyMap<(Option<Bytes>, Option<Bytes>)> = KeyMap::default();
    for change in blocks.iter().flat_map(|block| block.changes.changes()) {
        if let Some((_, after)) = net.get_mut(&change.key) {
            after.clone_from(&change.after);
        } else {
            let values = (change.before.clone(), change.after.clone());
            net.insert(change.key.clone(), values);
        }
    }
    let net = net.into_iter().map(|(key, (before, after))| Change { key, before, after });
    ChangeSet::new(net.collect())
}

/// Returns which transactions join the confirmed mempool with these blocks, and which leave it.
///
/// In order, since one transaction may be ordered, released and ordered again within one batch.
fn mempool_moves(blocks: &[RehearsedBlock]) -> (Vec<Seq>, Vec<Seq>) {
    /// Whether a transaction was waiting before the first block, and whether it is after the last.
    #[derive(Clone, Copy)]
    struct Waits {
        before: bool,
        after: bool,
    }
    let mut moves: BTreeMap<Seq, Waits> = BTreeMap::new();
    for block in blocks {
        for seq in &block.received {
            moves.entry(*seq).or_insert(Waits { before: false, after: true }).after = true;
        }
        for seq in &block.txs {
            moves.entry(*seq).or_insert(Waits { before: true, after: false }).after = false;
        }
    }
    let select = |wanted: fn(Waits) -> bool| {
        let selected = moves.iter().filter(|(_, waits)| wanted(**waits));
        selected.map(|(seq, _)| *seq).collect()
    };
    (select(|waits| waits.after && !waits.before), select(|waits| waits.before && !waits.after))
}

/// Executes the blocks of a rehearsal once more on the state of the checkpoint.
struct Reexecution {
    executor: Executor,
    reader: BlockReader,
    state: AboveCheckpoint,
}

impl Reexecution {
    fn repeat(&mut self, rehearsed: &RehearsedBlock) -> Result<(), CommitError> {
        let OrderRef { height, seq, .. } = rehearsed.order;
        let pending = self.reader.next_block()?.filter(|pending| pending.order.seq == seq);
        let Some(mut pending) = pending else {
            return Err(Box::new(Difference {
                height,
                what: "the order".to_owned(),
                tx: None,
                key: None,
                expected: format!("event {}", seq.get()),
                found: "another event of the log".to_owned(),
            })
            .into());
        };
        // Verdicts that the rehearsal itself had logged came after this reader was made.
        for entry in &rehearsed.quarantined {
            let at = rehearsed.txs.iter().position(|tx| *tx == entry.tx);
            let receipt = at.and_then(|at| rehearsed.receipts.0.get(at));
            if let Some(crate::block::Status::Quarantined(reason)) = receipt.map(|r| &r.status) {
                pending.rulings.insert(entry.tx, reason.clone());
            }
        }
        let executed = self.executor.execute(&pending.input, &pending.rulings, &self.state)?;
        self.state.apply(&executed.changes)?;
        let ids: Vec<_> = pending.input.txs.iter().map(|tx| tx.id).collect();
        let again = RehearsedBlock::new(pending, executed);
        match difference(rehearsed, &again, &ids) {
            Some(difference) => Err(Box::new(difference).into()),
            None => Ok(()),
        }
    }
}

/// Finds the first receipt, or else the first change, in which two executions of a block differ.
pub(crate) fn difference(
    first: &RehearsedBlock,
    second: &RehearsedBlock,
    ids: &[TxId],
) -> Option<Difference> {
    let height = first.order.height;
    let tx = |index: usize| u32::try_from(index).ok().zip(ids.get(index).copied());
    let receipts = first.receipts.0.iter().zip(&second.receipts.0).enumerate();
    if let Some((index, (expected, found))) = receipts.into_iter().find(|(_, (a, b))| a != b) {
        return Some(Difference {
            height,
            what: "the receipt".to_owned(),
            tx: tx(index),
            key: None,
            expected: format!("{:?} {}", expected.status, encode_hex(&expected.output)),
            found: format!("{:?} {}", found.status, encode_hex(&found.output)),
        });
    }
    let key = first.changes.first_difference(&second.changes)?;
    let writer = second.writer_of(key).or_else(|| first.writer_of(key));
    let value = |set: &ChangeSet| match set.find(key) {
        None => "no change".to_owned(),
        Some(change) => {
            change.after.as_ref().map_or_else(|| "deleted".to_owned(), |value| encode_hex(value))
        }
    };
    Some(Difference {
        height,
        what: "a change".to_owned(),
        tx: match writer {
            Some(crate::state::Writer::Tx(index)) => {
                tx(usize::try_from(index).unwrap_or(usize::MAX))
            }
            _ => None,
        },
        key: Some(encode_hex(key)),
        expected: value(&first.changes),
        found: value(&second.changes),
    })
}
