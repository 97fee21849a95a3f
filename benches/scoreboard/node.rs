//! The node: durable submissions of many clients, against one durable write for each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rewake::exec::{Intake, NewEvent, SystemClock, examine};
use rewake::http::{Door, Probe, Server, ServerLimits, routes};
use rewake::load::{Driver, LoadOptions, Until, Verdict};
use rewake::machine::Registry;
use rewake::machine::ledger::{Account, Header, Ledger, Transfer};
use rewake::node::{NewTx, Node, NodeOptions, Sequencer};
use rewake::store::{DataDir, Repairs};
use rewake::telemetry::{Exposition, Metrics};
use rewake::types::Bytes;

use crate::Settings;
use crate::row::{Goal, Row, median};

/// Clients that submit at once, each one transaction at a time.
const CLIENTS: u64 = 64;

/// What one run of submissions gave.
struct Submissions {
    /// Acknowledged transactions a second.
    rate: f64,
    /// Latency of an acknowledgement below which 99 of 100 lie.
    p99_us: f64,
}

impl Submissions {
    /// Sums up latencies, in microseconds.
    fn new(mut latencies: Vec<u64>, took: Duration) -> Self {
        latencies.sort_unstable();
        let at = latencies.len().saturating_sub(1) * 99 / 100;
        let p99_us = latencies.get(at).copied().unwrap_or(0) as f64;
        Self { rate: latencies.len() as f64 / took.as_secs_f64(), p99_us }
    }
}

/// Durable submissions by the library and over HTTP, and how long all but the slowest of a hundred wait, against one
/// durable write for each transaction. The load driver over HTTP shares the machine and checks every acknowledgement.
pub(crate) fn rows(settings: &Settings) -> Result<Vec<Row>> {
    let (each, repetitions) = (settings.transfers / 200, settings.repetitions);
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut single, mut library, mut http) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repetitions {
        single.push(one_by_one(each.min(1_000))?);
        library.push(runtime.block_on(through_library(each))?);
        http.push(runtime.block_on(through_http(each / 4))?);
    }
    let write = median(single.iter().map(|run| 1e6 / run.rate));
    let alone = median(single.iter().map(|run| run.rate));
    let rate = |runs: &[Submissions]| median(runs.iter().map(|run| run.rate));
    let p99 = |runs: &[Submissions]| median(runs.iter().map(|run| run.p99_us));
    let (least, most) = (Some(Goal::AtLeast(20.0)), Some(Goal::AtMost(10.0)));
    let (by_library, by_http) = (rate(&library), rate(&http));
    let unit = "transactions/s";
    Ok(vec![
        Row::new(
            "64 clients by the library, against one at a time",
            by_library,
            alone,
            unit,
            least,
        ),
        Row::new("p99 of those, against one durable write", p99(&library), write, "us", most),
        Row::new("64 clients over HTTP, against one at a time", by_http, alone, unit, None),
        Row::new(
            "p99 of those over HTTP, against one durable write",
            p99(&http),
            write,
            "us",
            None,
        ),
    ])
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

/// Returns the options of a node that orders what is submitted.
fn options(metrics: Metrics) -> NodeOptions {
    let header = |time: rewake::types::UnixMillis| Header { time_ms: time.0 }.encode().into();
    NodeOptions { sequencer: Some(Sequencer::new(header)), metrics, ..NodeOptions::default() }
}

/// Many clients on a node that orders and confirms what they submit.
async fn through_library(each: u64) -> Result<Submissions> {
    let scratch = tempfile::tempdir()?;
    let options = options(Metrics::default());
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

/// The load driver's clients on a node that is served in the same process.
async fn through_http(each: u64) -> Result<Submissions> {
    let scratch = tempfile::tempdir()?;
    let (exposition, metrics) = Exposition::new();
    let options = options(metrics.clone());
    let (node, ..) = Node::open(ledger(&scratch)?, Registry::built_in(), options).await?;
    let local = ([127, 0, 0, 1], 0).into();
    let telemetry = (exposition.clone(), metrics);
    let server = Server::bind(local, ServerLimits::default(), telemetry).await?;
    let target = format!("http://{}", server.address()).parse()?;
    let door = Door::default();
    door.open(node.clone());
    let router = routes(Probe::of(node.vitals(), door.clone(), exposition), door, server.limits());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(router, async { drop(stopped.await) }));
    let options = LoadOptions {
        clients: usize::try_from(CLIENTS)?,
        until: Until::Transfers(each * CLIENTS),
        ..LoadOptions::default()
    };
    let report = Driver::new(target, options)?.run().await?;
    assert!(report.outcome == Verdict::Proved, "the node lost or doubled something: {report:?}");
    drop(stop);
    serving.await?;
    node.shutdown().await?;
    Ok(Submissions { rate: report.acknowledged_per_s as f64, p99_us: report.latency.p99_us as f64 })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
