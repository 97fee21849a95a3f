//! Recovery from the log to the checkpoint, against executing the same blocks in memory.

use std::time::{Duration, Instant};

use anyhow::Result;
use rewake::exec::{
    CommitMode, Executor, ExecutorSettings, Gate, NewEvent, Recovery, RecoveryOptions, Rulings,
    examine,
};
use rewake::machine::{BlockInput, Registry, TxInput};
use rewake::state::MemoryState;
use rewake::store::{DataDir, Repairs};
use rewake::types::{Digest, Seq, Slice};

use crate::row::{Row, in_turn};
use crate::{Settings, fill, transfers};

/// Recovers with the rehearsed changes, and with executing every block once more.
pub(crate) fn rows(settings: &Settings) -> Result<Vec<Row>> {
    let modes = [CommitMode::Restore, CommitMode::Reexecute];
    modes.into_iter().map(|mode| recovery(settings, mode)).collect()
}

/// End-to-end recovery, against executing the same blocks in memory.
fn recovery(settings: &Settings, commit: CommitMode) -> Result<Row> {
    let events = transfers(settings);
    let blocks = inputs(&events);
    let mut digests = Vec::new();
    let name = format!("recovery with {commit:?}, against execution in memory");
    let [ours, theirs] = in_turn(
        settings.transfers,
        settings.repetitions,
        [
            &mut || {
                let scratch = tempfile::tempdir()?;
                let dir = DataDir::new(scratch.path().join("node"));
                fill(&dir, &events)?;
                let started = Instant::now();
                let node = examine(&dir, &Registry::built_in(), Repairs::default())?;
                let options =
                    RecoveryOptions { commit, gate: Gate::All, ..RecoveryOptions::default() };
                let (_, report) = Recovery::new(node, options).run()?;
                digests.push(report.state_digest);
                eprintln!(
                    "  {commit:?}: rehearse {} ms, commit {} ms, wall {} ms, peak {} MiB",
                    report.rehearse_ms,
                    report.commit_ms,
                    started.elapsed().as_millis(),
                    report.peak_rss_bytes >> 20
                );
                Ok(started.elapsed())
            },
            &mut || execute_in_memory(&blocks),
        ],
    )?;
    assert!(
        digests.iter().all(|digest| Some(digest) == digests.first()),
        "digests differ: {digests:?}"
    );
    assert!(digests.iter().all(|digest| *digest != Digest::ZERO));
    Ok(Row::new(name, ours, theirs, "transfers/s", None))
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

fn execute_in_memory(blocks: &[BlockInput]) -> Result<Duration> {
    let machine = Registry::built_in().find("ledger")?;
    let executor = Executor::new(machine, ExecutorSettings::default());
    let mut state = MemoryState::default();
    let started = Instant::now();
    for block in blocks {
        let executed = executor.execute(block, &Rulings::new(), &state)?;
        state.apply(&executed.changes);
    }
    Ok(started.elapsed())
}
