//! The commit: rehearsed blocks become rows, in batches, each one transaction and one checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::block::{BlockRow, Counts};
use crate::exec::above::{AboveCheckpoint, Spill};
use crate::exec::brake::Brake;
use crate::exec::bus::{Bus, Committed};
use crate::exec::reexecute::{Difference, Reexecution};
use crate::exec::sandbox::Rehearsal;
use crate::exec::{BlockFailure, BlockReader, Clock, Executor, RehearsedBlock, Watch};
use crate::plan::{BatchLimits, BatchSize};
use crate::state::{Change, ChangeSet, KeyMap, StateDigest};
use crate::store::{Batch, BlockBody, BlockWrite, SandboxBase, Store, StoreError};
use crate::types::{Bytes, Digest, Height, Seq};

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
    pub(crate) brake: Arc<Brake>,
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

/// Changes of a batch from which on its state digest is computed on a thread of its own: below, that costs more.
const THREAD_CHANGES_MIN: usize = 256;

/// Commits rehearsals one after the other.
pub(crate) struct Committer {
    store: Arc<Store>,
    limits: BatchLimits,
    clock: Arc<dyn Clock>,
    bus: Bus<Committed>,
    brake: Arc<Brake>,
    machine_version: u32,
    checkpoint: Option<BlockRow>,
    lanes: StateDigest,
    reexecution: Option<Reexecution>,
    totals: CommitTotals,
}

impl Committer {
    /// Starts at the checkpoint. `reader` gives the blocks after it, where they are to be executed again.
    pub(crate) fn new(
        parts: CommitParts,
        checkpoint: Option<BlockRow>,
        reader: impl FnOnce() -> BlockReader,
    ) -> Result<Self, StoreError> {
        let CommitParts { store, executor, mode, limits, clock, bus, brake, memory_bytes } = parts;
        let parent = checkpoint.as_ref().map_or(Digest::ZERO, BlockRow::digest);
        let lanes = store.main().lanes()?;
        let machine = executor.machine().version();
        let machine_version = machine.version;
        let reexecution = (mode == CommitMode::Reexecute).then(|| {
            let spill = Spill::new(Arc::clone(&store), SandboxBase { machine, parent }, None);
            let state = AboveCheckpoint::new(Arc::clone(&store), Arc::new(spill), memory_bytes);
            Reexecution::new(executor, reader(), state.without_spilling())
        });
        let totals = CommitTotals::default();
        Ok(Self {
            store,
            limits,
            clock,
            bus,
            brake,
            machine_version,
            checkpoint,
            lanes,
            reexecution,
            totals,
        })
    }

    /// Returns what was committed so far.
    pub(crate) const fn totals(&self) -> &CommitTotals {
        &self.totals
    }

    /// Returns the last block that is committed.
    pub(crate) const fn checkpoint(&self) -> Option<&BlockRow> {
        self.checkpoint.as_ref()
    }

    /// Returns the digest of the state after it.
    pub(crate) fn state_digest(&self) -> Digest {
        self.lanes.digest()
    }

    /// Returns the watch over the blocks that are executed again, where they are.
    pub(crate) fn watch(&self) -> Option<Arc<Watch>> {
        self.reexecution.as_ref().map(|again| Arc::clone(again.watch()))
    }

    /// Commits a rehearsal, batch by batch. Where the recovery has to end, what is left stays in the rehearsal.
    pub(crate) fn commit(&mut self, rehearsal: &mut Rehearsal) -> Result<(), CommitError> {
        let mut batch = Vec::new();
        let mut size = BatchSize::default();
        while !self.brake.is_pulled() {
            let Some(block) = rehearsal.next_block()? else { break };
            match self.reexecution.as_mut().map_or(Ok(()), |again| again.repeat(&block)) {
                Ok(()) => {}
                Err(CommitError::Block(BlockFailure::Poison { .. })) if self.brake.is_pulled() => {
                    // A step that had to end with the recovery says nothing about its block.
                    rehearsal.put_back(block);
                    break;
                }
                Err(error) => {
                    // What was verified until here is committed all the same.
                    self.write(&batch)?;
                    return Err(error);
                }
            }
            size.add(crate::codec::count(block.txs.len()), crate::codec::count(block.memory()));
            batch.push(block);
            if self.limits.is_full(size) {
                if planted!("batch_loses_its_last_block") {
                    batch.pop();
                }
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
        let lanes = self.write_with(&batch, &net)?;
        let last = batch.blocks.last().map(|block| block.row.clone());
        self.checkpoint = last.map(|row| BlockRow { state_digest: Some(lanes.digest()), ..row });
        self.lanes = lanes;
        self.brake.progress();
        if let Some(reexecution) = &mut self.reexecution {
            reexecution.committed()?;
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

    /// Writes a batch while the state digest after it is computed beside, where that is worth a thread.
    fn write_with(&self, batch: &Batch, net: &ChangeSet) -> Result<StateDigest, StoreError> {
        let mut lanes = self.lanes.clone();
        if net.changes().len() < THREAD_CHANGES_MIN {
            lanes.apply(net);
            if planted!("changes_digested_twice") {
                lanes.apply(net);
            }
            // CRASH: as below.
            self.store.main().commit(batch, || lanes.clone())?;
            return Ok(lanes);
        }
        std::thread::scope(|scope| {
            let digesting = scope.spawn(|| {
                lanes.apply(net);
                lanes
            });
            let mut digested = None;
            // CRASH: before this commit the checkpoint is the last block of the batch before; after it, of this one.
            self.store.main().commit(batch, || {
                let lanes =
                    digesting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                digested.insert(lanes).clone()
            })?;
            Ok(digested.unwrap_or_default())
        })
    }

    fn assemble(&self, blocks: &[RehearsedBlock], net: &ChangeSet) -> Batch {
        let committed = self.clock.now();
        let bodies: Vec<_> = match blocks {
            // Waking the other cores costs more than they could save.
            [only] => vec![Digested::of(only)],
            several => several.par_iter().map(Digested::of).collect(),
        };
        let mut parent = self.checkpoint.as_ref().map_or(Digest::ZERO, BlockRow::digest);
        let rows = blocks.iter().zip(bodies).map(|(block, digested)| {
            let row = BlockRow {
                order: block.order.clone(),
                parent,
                header: block.header.clone(),
                counts: block.receipts.counts(),
                receipts_digest: digested.receipts,
                changes_digest: digested.changes,
                committed,
                state_digest: None,
            };
            parent = row.digest();
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
            if !planted!("net_keeps_the_first_value") {
                after.clone_from(&change.after);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{OrderRef, Receipt, Receipts};

    fn seqs(numbers: &[u64]) -> Vec<Seq> {
        numbers.iter().map(|number| Seq::new(*number).expect("not zero")).collect()
    }

    /// A block of transactions that received some and changed one key.
    fn block(
        received: &[u64],
        txs: &[u64],
        before: Option<&[u8]>,
        after: Option<&[u8]>,
    ) -> RehearsedBlock {
        let change = |key: &[u8]| Change {
            key: key.into(),
            before: before.map(Into::into),
            after: after.map(Into::into),
        };
        RehearsedBlock {
            order: OrderRef { height: Height(1), seq: Seq::FIRST, chain: Digest::ZERO },
            header: Bytes::default(),
            txs: seqs(txs),
            receipts: Receipts(vec![Receipt::applied(*b"ok")]),
            changes: ChangeSet::new(vec![change(b"k")]),
            writers: Vec::new(),
            received: seqs(received),
            settled: Vec::new(),
            quarantined: Vec::new(),
            dependencies: None,
        }
    }

    #[test]
    fn blocks_that_follow_each_other_have_the_first_value_before_and_the_last_after() {
        let blocks = [
            block(&[], &[], Some(b"0"), Some(b"1")),
            block(&[], &[], Some(b"1"), None),
            block(&[], &[], None, Some(b"2")),
        ];
        let net = |blocks: &[RehearsedBlock]| {
            let net = net_changes(blocks);
            let changes = net.changes().iter();
            changes.map(|change| (change.before.clone(), change.after.clone())).collect::<Vec<_>>()
        };
        let value = |byte: &[u8; 1]| Some(Bytes::from(*byte));
        assert_eq!(net(&blocks[..1]), [(value(b"0"), value(b"1"))]);
        assert_eq!(net(&blocks[..2]), [(value(b"0"), None)]);
        assert_eq!(net(&blocks), [(value(b"0"), value(b"2"))]);
        let back = block(&[], &[], Some(b"2"), Some(b"0"));
        let [one, two, three] = blocks;
        assert_eq!(net(&[one, two, three, back]), []);
    }

    #[test]
    fn a_transaction_joins_or_leaves_the_confirmed_mempool_once_at_most() {
        let plain = |received: &[u64], txs: &[u64]| block(received, txs, None, Some(b"1"));
        let check = |name: &str, blocks: &[RehearsedBlock], joins: &[u64], leaves: &[u64]| {
            assert_eq!(mempool_moves(blocks), (seqs(joins), seqs(leaves)), "{name}");
        };
        check("received and left", &[plain(&[5, 6], &[])], &[5, 6], &[]);
        check("ordered from before", &[plain(&[], &[3])], &[], &[3]);
        check("received and ordered", &[plain(&[5], &[]), plain(&[], &[5])], &[], &[]);
        check("ordered, released", &[plain(&[], &[3]), plain(&[3], &[])], &[], &[]);
        let again = [plain(&[5], &[3]), plain(&[3], &[5]), plain(&[5], &[3])];
        check("ordered, released, ordered", &again, &[5], &[3]);
    }

    #[test]
    fn the_digests_of_a_block_are_those_of_its_canonical_parts() {
        let block = block(&[], &[7, 8], None, Some(b"1"));
        let digested = Digested::of(&block);
        assert_eq!(digested.receipts, Digest::of(&block.receipts.encode()));
        assert_eq!(digested.changes, Digest::of(&block.changes.encode()));
        assert_eq!(digested.body.tx_seqs().as_ref(), Ok(&block.txs));
    }
}
