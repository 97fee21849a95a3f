//! The other side of a recovery: blocks are read, executed and committed at once, with no rehearsal before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use rewake::block::BlockRow;
use rewake::exec::{BlockReader, Examined, Executor, ExecutorSettings, RehearsedBlock};
use rewake::plan::{BatchLimits, BatchSize};
use rewake::state::{Change, ChangeSet, KeyMap, StateError, StateRead};
use rewake::store::{Batch, BlockBody, BlockWrite, Packed, Store};
use rewake::types::{Bytes, Digest, UnixMillis};

/// The state of the checkpoint under what was executed since.
struct Above {
    store: Arc<Store>,
    entries: Mutex<KeyMap<Option<Bytes>>>,
}

impl StateRead for Above {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = entries.get(key) {
            return Ok(held.clone());
        }
        let value = self.store.main().get(key)?;
        entries.insert(key.into(), value.clone());
        Ok(value)
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        self.store.main().scan(prefix, visit)
    }
}

/// Executes and commits all that is pending; returns how long that took and the digest of the state.
pub(crate) fn commit(node: &Examined, limits: BatchLimits) -> Result<(Duration, Digest)> {
    let started = Instant::now();
    let executor = Executor::new(Arc::clone(&node.machine), ExecutorSettings::default());
    let verdicts = Arc::new(node.backlog.verdicts.clone());
    let after = node.checkpoint.as_ref().map(|row| row.order.seq);
    let mut reader = BlockReader::new(Arc::clone(&node.store), after, verdicts);
    let above = Above { store: Arc::clone(&node.store), entries: Mutex::default() };
    let mut writer = Writer { node, parent: node.checkpoint.clone() };
    let (mut blocks, mut size) = (Vec::new(), BatchSize::default());
    while let Some(pending) = reader.next_block()? {
        let executed = executor.execute(&pending.input, &pending.rulings, &above)?;
        above
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(executed.changes.writes());
        size.add(pending.input.txs.len() as u64, executed.changes.changes().len() as u64 * 200);
        blocks.push(RehearsedBlock::new(pending, executed));
        if limits.is_full(size) {
            writer.write(&std::mem::take(&mut blocks))?;
            size = BatchSize::default();
        }
    }
    if !blocks.is_empty() {
        writer.write(&blocks)?;
    }
    node.store.settle()?;
    let digest = node.store.main().lanes()?.digest();
    Ok((started.elapsed(), digest))
}

struct Writer<'a> {
    node: &'a Examined,
    parent: Option<BlockRow>,
}

impl Writer<'_> {
    fn write(&mut self, blocks: &[RehearsedBlock]) -> Result<()> {
        let mut batch =
            Batch { machine_version: self.node.machine.version().version, ..Batch::default() };
        let mut net: KeyMap<(Option<Bytes>, Option<Bytes>)> = KeyMap::default();
        for block in blocks {
            for change in block.changes.changes() {
                let values = net.entry(change.key.clone());
                let before = || (change.before.clone(), None);
                values.or_insert_with(before).1.clone_from(&change.after);
            }
            let (receipts, changes) = (block.receipts.encode(), block.changes.encode());
            let (receipts_digest, changes_digest) = (Digest::of(&receipts), Digest::of(&changes));
            let body = BlockBody {
                txs: BlockBody::encode_txs(&block.txs),
                receipts: Packed::of(receipts),
                changes: Packed::of(changes),
                dependencies: None,
            };
            let row = BlockRow {
                order: block.order.clone(),
                parent: self.parent.as_ref().map_or(Digest::ZERO, BlockRow::digest),
                header: block.header.clone(),
                counts: block.receipts.counts(),
                receipts_digest,
                changes_digest,
                committed: UnixMillis(0),
                state_digest: None,
            };
            self.parent = Some(row.clone());
            batch.blocks.push(BlockWrite { row, body });
        }
        let net = net.into_iter().map(|(key, (before, after))| Change { key, before, after });
        batch.net = ChangeSet::new(net.collect());
        let mut lanes = self.node.store.main().lanes()?;
        lanes.apply(&batch.net);
        self.node.store.stage(&batch)?.commit(&lanes)?;
        Ok(())
    }
}
