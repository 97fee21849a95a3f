//! Recovery from the log to the checkpoint, against its two floors, against no rehearsal, and the audit of what it made.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rewake::audit::{AuditRange, audit};
use rewake::exec::{
    CommitMode, Examined, Executor, ExecutorSettings, Gate, NewEvent, Recovery, RecoveryOptions,
    Rulings, examine,
};
use rewake::machine::{BlockInput, Registry, TxInput};
use rewake::plan::BatchLimits;
use rewake::state::MemoryState;
use rewake::store::{DataDir, Repairs};
use rewake::types::{Digest, Seq, Slice};

use crate::row::{Goal, Row, median};
use crate::{Settings, direct, fill, raw, transfers};

/// What PostgreSQL's redo does of the same transfers on such a machine, by its own log: it executes nothing.
const REDO_BY_SECOND: f64 = 200_000.0;
/// Batches of the size to which a recovery comes by itself.
const DIRECT: BatchLimits = BatchLimits { txs_max: 200_000, bytes_max: 1 << 40 };

/// What is measured, in this order.
const SIDES: usize = 8;

/// Measures each side in turn, and compares their medians.
pub(crate) fn rows(settings: &Settings) -> Result<Vec<Row>> {
    let events = transfers(settings);
    let (scratch, template) = filled(&events)?;
    let blocks = inputs(&events);
    drop(events);
    let mut times = [const { Vec::new() }; SIDES];
    let mut digests = Vec::new();
    for _ in 0..settings.repetitions {
        let place = tempfile::tempdir_in(scratch.path())?;
        let copy = |name: &str| copied(&template, &place.path().join(name));
        let (node, restore) = recover(&copy("restore")?, CommitMode::Restore, Gate::All)?;
        let begun = Instant::now();
        let audited = audit(&node.store, &node.machine, AuditRange::default(), &mut |_| {})?;
        let audit = begun.elapsed();
        ensure!(audited.findings.is_empty(), "the audit found {:?}", audited.findings);
        digests.push(node.store.main().lanes()?.digest());
        drop(node);
        let mut timed = |name: &str, commit, gate| -> Result<Duration> {
            let (node, time) = recover(&copy(name)?, commit, gate)?;
            digests.push(node.store.main().lanes()?.digest());
            Ok(time)
        };
        let reexecute = timed("reexecute", CommitMode::Reexecute, Gate::All)?;
        let batches = timed("batches", CommitMode::Restore, Gate::Batch)?;
        let again_batches = timed("batches again", CommitMode::Reexecute, Gate::Batch)?;
        let node = examine(&copy("direct")?, &Registry::built_in(), Repairs::default())?;
        let (directly, digest) = direct::commit(&node, DIRECT)?;
        let (memory, state) = execute_in_memory(&blocks)?;
        let write = raw::write_state(&place.path().join("state.db"), state.entries())?;
        digests.push(digest);
        let seconds = [restore, reexecute, batches, again_batches, directly, memory, write, audit];
        for (times, time) in times.iter_mut().zip(seconds) {
            times.push(time.as_secs_f64());
        }
    }
    ensure!(
        digests.iter().all(|digest| Some(digest) == digests.first()),
        "digests differ: {digests:?}"
    );
    ensure!(digests.iter().all(|digest| *digest != Digest::ZERO), "nothing was recovered");
    Ok(compared(settings, times.map(median)))
}

fn compared(settings: &Settings, seconds: [f64; SIDES]) -> Vec<Row> {
    let [restore, reexecute, batches, again_batches, directly, memory, write, audit] = seconds;
    let floor = memory.max(write);
    let rate = |seconds: f64| settings.transfers as f64 / seconds;
    let seconds = |name, ours, theirs, limit| Row::new(name, ours, theirs, "s", limit);
    let most = |limit| Some(Goal::AtMost(limit));
    vec![
        seconds("recovery, against the larger of the two floors", restore, floor, most(1.4)),
        seconds(
            "  of which executing in memory, against writing the net changes",
            memory,
            write,
            None,
        ),
        Row::new(
            "recovery, against PostgreSQL's redo (a figure from elsewhere)",
            rate(restore),
            REDO_BY_SECOND,
            "transfers/s",
            Some(Goal::AtLeast(3.0)),
        ),
        seconds("both phases, restore, against no rehearsal", restore, directly, most(1.15)),
        seconds("both phases, reexecute, against no rehearsal", reexecute, directly, most(1.6)),
        seconds("restore with a gate for each batch, against one for all", batches, restore, None),
        seconds(
            "reexecute with a gate for each batch, against one for all",
            again_batches,
            reexecute,
            None,
        ),
        seconds("audit of what was confirmed, against recovery", audit, restore, most(1.0)),
    ]
}

fn filled(events: &[NewEvent]) -> Result<(tempfile::TempDir, DataDir)> {
    let scratch = tempfile::tempdir()?;
    let dir = DataDir::new(scratch.path().join("node"));
    fill(&dir, events)?;
    dir.open()?.settle()?;
    Ok((scratch, dir))
}

/// Copies a node. What is copied is on the disk then, so that no side pays for that with its first sync.
pub(crate) fn copied(from: &DataDir, to: &Path) -> Result<DataDir> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from.path())? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        std::fs::copy(entry.path(), &copy)?;
        std::fs::File::open(copy)?.sync_all()?;
    }
    Ok(DataDir::new(to))
}

/// Recovers a node, from its opening on.
pub(crate) fn recover(
    dir: &DataDir,
    commit: CommitMode,
    gate: Gate,
) -> Result<(Examined, Duration)> {
    let started = Instant::now();
    let node = examine(dir, &Registry::built_in(), Repairs::default())?;
    let options = RecoveryOptions { commit, gate, ..RecoveryOptions::default() };
    let (node, report) = Recovery::new(node, options).run()?;
    let took = started.elapsed();
    eprintln!(
        "  {commit:?}, gate {gate:?}: rehearse {} ms, commit {} ms in {} batches, all {} ms, peak {} MiB",
        report.rehearse_ms,
        report.commit_ms,
        report.batches,
        took.as_millis(),
        report.peak_rss_bytes >> 20
    );
    Ok((node, took))
}

/// Turns events into the blocks that the engine makes of them.
fn inputs(events: &[NewEvent]) -> Vec<BlockInput> {
    let (mut blocks, mut patches, mut txs) = (Vec::new(), Vec::new(), Vec::new());
    for (index, event) in events.iter().enumerate() {
        match event {
            NewEvent::Patch(patch) => patches.push(patch.clone()),
            NewEvent::Tx { id, payload } => {
                let seq = Seq::new(index as u64 + 1).expect("positions start at 1");
                let payload = Slice::copy_from_slice(payload);
                txs.push(TxInput { seq, id: *id, payload, created: None });
            }
            NewEvent::Order { height, header, .. } => blocks.push(BlockInput {
                height: *height,
                header: header.clone(),
                patches: std::mem::take(&mut patches),
                txs: std::mem::take(&mut txs),
            }),
            NewEvent::Next { .. } | NewEvent::Settle { .. } => {}
        }
    }
    blocks
}

fn execute_in_memory(blocks: &[BlockInput]) -> Result<(Duration, MemoryState)> {
    let machine = Registry::built_in().find("ledger")?;
    let executor = Executor::new(machine, ExecutorSettings::default());
    let mut state = MemoryState::default();
    let started = Instant::now();
    for block in blocks {
        let executed = executor.execute(block, &Rulings::new(), &state)?;
        state.apply(&executed.changes);
    }
    Ok((started.elapsed(), state))
}
