//! The node: durable submissions of many clients, against one durable write for each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rewake::exec::{Intake, NewEvent, SystemClock, examine};
use rewake::machine::Registry;
use rewake::machine::ledger::{Account, Header, Ledger, Transfer};
use rewake::node::{NewTx, Node, NodeOptions, Sequencer};
use rewake::store::{DataDir, Repairs};
use rewake::types::Bytes;

use crate::Row;

/// Clients that submit at once, each one transaction at a time.
const CLIENTS: u64 = 64;

/// What one run of submissions took.
pub(crate) struct Submissions {
    /// Acknowledged transactions a second.
    pub(crate) rate: f64,
    /// Acknowledgement latencies in microseconds, ascending.
    pub(crate) latencies: Vec<u64>,
}

impl Submissions {
    /// Sums up the latencies of all clients.
    pub(crate) fn new(mut latencies: Vec<u64>, took: Duration) -> Self {
        latencies.sort_unstable();
        Self { rate: latencies.len() as f64 / took.as_secs_f64(), latencies }
    }

    /// Returns the latency below which so many of a thousand lie, in microseconds.
    pub(crate) fn per_mille(&self, per_mille: usize) -> f64 {
        let at = self.latencies.len().saturating_sub(1) * per_mille / 1_000;
        self.latencies.get(at).copied().unwrap_or(0) as f64
    }
}

/// Durable submissions through the library, and how long the slowest of a hundred waits, both against one durable
/// write for each transaction.
pub(crate) fn rows(each: u64, repetitions: usize) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut single, mut library) = (Vec::new(), Vec::new());
    for _ in 0..repetitions {
        single.push(one_by_one(each.min(1_000))?);
        library.push(runtime.block_on(through_library(each))?);
    }
    let row = |name: &str, ours, theirs, unit, goal: f64, at_least: bool| {
        let ratio = ours / theirs;
        let met = if at_least { ratio >= goal } else { ratio <= goal };
        Row { name: name.to_owned(), ours, theirs, unit, ratio, goal: Some(goal), met: Some(met) }
    };
    let write = median(single.iter().map(|run| 1e6 / run.rate));
    let rate = |runs: &[Submissions]| median(runs.iter().map(|run| run.rate));
    let slow = |runs: &[Submissions]| median(runs.iter().map(|run| run.per_mille(990)));
    Ok(vec![
        row(
            "64 clients through the library, against one at a time",
            rate(&library),
            rate(&single),
            "transactions/s",
            20.0,
            true,
        ),
        row(
            "their p99 latency, against one durable write",
            slow(&library),
            write,
            "us",
            10.0,
            false,
        ),
    ])
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn transfer(from: u64, nonce: u64) -> NewTx {
    let to = Account(from % CLIENTS + 1);
    let transfer = Transfer { from: Account(from), to, amount: 1, nonce };
    NewTx { id: transfer.id(), payload: Bytes::from(transfer.encode().as_slice()) }
}

/// Makes a ledger in which every client has an account.
fn ledger(scratch: &tempfile::TempDir) -> Result<DataDir> {
    let dir = DataDir::new(scratch.path().join("node"));
    let registry = Registry::built_in();
    dir.create(&registry.find("ledger")?.version())?;
    let node = examine(&dir, &registry, Repairs::default())?;
    let patch = Ledger::genesis_patch((1..=CLIENTS).map(|number| (Account(number), 1_000_000)));
    let genesis =
        NewEvent::Next { header: Bytes::default(), txs: rewake::exec::NextTxs::Named(Vec::new()) };
    Intake::new(&node, Arc::new(SystemClock)).append(vec![NewEvent::Patch(patch), genesis])?;
    Ok(dir)
}

/// One durable write for each transaction, as a node without group commit makes them.
fn one_by_one(txs: u64) -> Result<Submissions> {
    let scratch = tempfile::tempdir()?;
    let node = examine(&ledger(&scratch)?, &Registry::built_in(), Repairs::default())?;
    let mut intake = Intake::new(&node, Arc::new(SystemClock));
    let started = Instant::now();
    let mut latencies = Vec::new();
    for nonce in 0..txs {
        let NewTx { id, payload } = transfer(1, nonce);
        let clock = Instant::now();
        intake.append(vec![NewEvent::Tx { id, payload }])?;
        latencies.push(micros(clock.elapsed()));
    }
    Ok(Submissions::new(latencies, started.elapsed()))
}

/// Many clients on a node that orders and confirms what they submit.
async fn through_library(each: u64) -> Result<Submissions> {
    let scratch = tempfile::tempdir()?;
    let header = |time: rewake::types::UnixMillis| Header { time_ms: time.0 }.encode().into();
    let options = NodeOptions { sequencer: Some(Sequencer::new(header)), ..NodeOptions::default() };
    let (node, ..) = Node::open(ledger(&scratch)?, Registry::built_in(), options).await?;
    let started = Instant::now();
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|from| {
            let node = node.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                for nonce in 0..each {
                    let clock = Instant::now();
                    node.submit(transfer(from, nonce)).await?;
                    latencies.push(micros(clock.elapsed()));
                }
                Ok::<_, rewake::node::SubmitError>(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for client in clients {
        latencies.extend(client.await?.context("a client failed")?);
    }
    let took = started.elapsed();
    node.shutdown().await?;
    Ok(Submissions::new(latencies, took))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
