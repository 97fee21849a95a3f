//! Execution of ledger blocks in memory, on two workers against one; those of Ethereum are in `evm`.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rewake::exec::{Executor, ExecutorSettings, Rulings};
use rewake::machine::ledger::{Account, Ledger, Transfer};
use rewake::machine::{BlockInput, Registry, TxInput};
use rewake::state::MemoryState;
use rewake::types::{Bytes, Digest, Height, Seq};

use crate::Settings;
use crate::row::{Goal, Row, median};

const BLOCK_TXS: u64 = 1_000;

/// Executes transfers that have nothing in common, and transfers from one account.
pub(crate) fn rows(settings: &Settings) -> Result<Vec<Row>> {
    let blocks = (settings.transfers / BLOCK_TXS / 5).max(4);
    let least = |goal| Some(Goal::AtLeast(goal));
    Ok(vec![
        row(settings, "independent transfers", &ledger(blocks, false), least(1.8))?,
        row(settings, "transfers of one account", &ledger(blocks, true), least(0.97))?,
    ])
}

fn row(settings: &Settings, what: &str, blocks: &[BlockInput], goal: Option<Goal>) -> Result<Row> {
    let (mut two, mut one) = (Vec::new(), Vec::new());
    for _ in 0..settings.repetitions.max(3) {
        let (time, digests) = execute(2, blocks)?;
        two.push(time.as_secs_f64());
        let (time, alone) = execute(1, blocks)?;
        one.push(time.as_secs_f64());
        ensure!(digests == alone, "{what}: two workers gave another result than one");
    }
    let name = format!("{what}: two workers, against one");
    Ok(Row::faster(name, median(two), median(one), goal))
}

/// Executes blocks in memory; returns the time and the digest of what each changed.
fn execute(workers: usize, blocks: &[BlockInput]) -> Result<(Duration, Vec<Digest>)> {
    let settings = ExecutorSettings { workers, ..ExecutorSettings::default() };
    let executor = Executor::new(Registry::built_in().find("ledger")?, settings);
    let mut state = MemoryState::default();
    let (mut time, mut digests) = (Duration::ZERO, Vec::new());
    for block in blocks {
        let begun = Instant::now();
        let executed = executor.execute(block, &Rulings::new(), &state)?;
        time += begun.elapsed();
        state.apply(&executed.changes);
        digests.push(Digest::of(&executed.changes.encode()));
    }
    Ok((time, digests))
}

/// Blocks of transfers: between pairs that have nothing in common, or all of them from one account.
pub(crate) fn ledger(blocks: u64, is_hot: bool) -> Vec<BlockInput> {
    let pair = |number: u64| {
        let first = if is_hot { 1 } else { 2 * number + 1 };
        (Account(first), Account(2 * number + 2))
    };
    let senders = (0..BLOCK_TXS).map(|number| (pair(number).0, 1_000_000_000_000));
    let senders: std::collections::BTreeMap<_, _> = senders.collect();
    let genesis = BlockInput {
        height: Height::GENESIS,
        header: Bytes::default(),
        patches: vec![Ledger::genesis_patch(senders)],
        txs: Vec::new(),
    };
    let block = |height: u64| {
        let txs = (0..BLOCK_TXS).map(|number| {
            let (from, to) = pair(number);
            let nonce = if is_hot { (height - 1) * BLOCK_TXS + number } else { height - 1 };
            tx(number, Transfer { from, to, amount: 1, nonce })
        });
        let (height, txs) = (Height(height), txs.collect());
        BlockInput { height, header: Bytes::default(), patches: Vec::new(), txs }
    };
    std::iter::once(genesis).chain((1..=blocks).map(block)).collect()
}

fn tx(number: u64, transfer: Transfer) -> TxInput {
    let seq = Seq::new(number + 1).expect("positions start at 1");
    let payload = transfer.encode().to_vec().into();
    TxInput { seq, id: transfer.id(), payload, created: None }
}
