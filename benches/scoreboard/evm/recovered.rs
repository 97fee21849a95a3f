//! Blocks of mainnet from the log of a node to its block table, against the two things that no recovery can do without.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rewake::exec::{CommitMode, Gate, Intake, NewEvent, SystemClock, examine};
use rewake::import::eth::{EthBlock, WitnessChain};
use rewake::machine::Registry;
use rewake::state::{MemoryState, StateDigest};
use rewake::store::{DataDir, Repairs};
use rewake::types::{Bytes, Digest};

use super::contest::Contest;
use super::mainnet;
use crate::recovery::{copied, recover};
use crate::row::{Goal, Row, median};
use crate::{Settings, raw};

/// What is measured, in this order: the recovery, senders, execution, the write.
const SIDES: usize = 4;

/// Recovers a node of mainnet's blocks, where they are at hand.
pub(crate) fn rows(settings: &Settings) -> Result<Vec<Row>> {
    let Some(blocks) = mainnet::blocks()? else { return Ok(Vec::new()) };
    let contest = Contest::new(mainnet::inputs(&blocks))?;
    let scratch = tempfile::tempdir()?;
    let template = imported(&scratch, &blocks)?;
    let expected = digest(&contest.after);
    let mut times = [const { Vec::new() }; SIDES];
    for _ in 0..settings.block_repetitions {
        let place = tempfile::tempdir_in(scratch.path())?;
        let node = copied(&template, &place.path().join("node"))?;
        let (node, recovery) = recover(&node, CommitMode::Restore, Gate::All)?;
        let found = node.store.main().lanes()?.digest();
        ensure!(found == expected, "the recovered state is {found}, in memory it was {expected}");
        let (senders, execution) = sequentially(&contest)?;
        let write = raw::write_state(&place.path().join("state.db"), contest.after.entries())?;
        for (times, time) in times.iter_mut().zip([recovery, senders, execution, write]) {
            times.push(time.as_secs_f64());
        }
    }
    Ok(compared(blocks.len(), times.map(median)))
}

fn compared(blocks: usize, [recovery, senders, execution, write]: [f64; SIDES]) -> Vec<Row> {
    let what = format!("{blocks} mainnet blocks from log to checkpoint");
    let floor = write.max(senders + execution);
    let seconds = |name, ours, theirs, goal| Row::new(name, ours, theirs, "s", goal);
    let most = Some(Goal::AtMost(1.4));
    let within = "  of which in revm, senders, against execution".to_owned();
    let written = "  of which in all, revm, against writing the net changes".to_owned();
    vec![
        seconds(format!("{what}, against the larger of two floors"), recovery, floor, most),
        seconds(written, senders + execution, write, None),
        seconds(within, senders, execution, None),
        seconds(format!("{what}, against revm that knows senders"), recovery, execution, None),
    ]
}

/// Fills the log of a node as the importer does: each block with the state that it needs, its transactions, its order.
fn imported(scratch: &tempfile::TempDir, blocks: &[EthBlock]) -> Result<DataDir> {
    let (dir, registry) = (DataDir::new(scratch.path().join("template")), Registry::built_in());
    dir.create(&registry.find("evm")?.version())?;
    let node = examine(&dir, &registry, Repairs::default())?;
    let mut intake = Intake::new(&node, Arc::new(SystemClock));
    let mut chain = WitnessChain::default();
    for block in blocks {
        let txs = block.txs.iter().cloned();
        let txs = txs.map(|(id, payload)| NewEvent::Tx { id, payload });
        let ids = block.txs.iter().map(|(id, _)| *id).collect();
        let order =
            NewEvent::Order { height: block.height, header: block.header.clone(), txs: ids };
        let patch = NewEvent::Patch(chain.patch(block));
        intake.append(std::iter::once(patch).chain(txs).chain([order]).collect())?;
    }
    node.store.settle()?;
    Ok(dir)
}

/// Recovers senders, then executes, one transaction after the other; returns what each took.
fn sequentially(contest: &Contest) -> Result<(Duration, Duration)> {
    let (mut senders, mut execution) = (Duration::ZERO, Duration::ZERO);
    for block in &contest.blocks {
        let began = Instant::now();
        std::hint::black_box(block.bare.recover_senders(&block.input.txs)?);
        senders += began.elapsed();
        execution += block.bare.execute()?.took;
    }
    Ok((senders, execution))
}

fn digest(state: &MemoryState) -> Digest {
    let mut digest = StateDigest::default();
    let entries: Vec<(Bytes, Bytes)> =
        state.entries().map(|(key, value)| (key.clone(), value.clone())).collect();
    digest.add_all(&entries);
    digest.digest()
}
