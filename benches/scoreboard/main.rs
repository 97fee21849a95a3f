//! The scoreboard: what the engine does against what the disk and the processor allow, both sides in one run.
//!
//! `cargo bench --bench scoreboard [-- --quick] [-- --only WORD] [-- --json FILE]`. Each side is measured several times in turn with
//! the other, and medians are compared, so that a machine whose speed drifts does not favour one of them.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a measurement prints, stops where it cannot be made, and rounds"
)]

mod node;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rewake::exec::{
    CommitMode, Executor, ExecutorSettings, Gate, Intake, NewEvent, Recovery, RecoveryOptions,
    Rulings, SystemClock, examine,
};
use rewake::generate::Workload;
use rewake::machine::{BlockInput, Registry, TxInput};
use rewake::state::MemoryState;
use rewake::store::{DataDir, Repairs};
use rewake::types::{Digest, Seq};
use serde::Serialize;

/// Events that are appended in one durable transaction.
const LOT: usize = 10_000;

#[derive(Serialize)]
struct Scoreboard {
    machine: String,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    ours: f64,
    theirs: f64,
    unit: &'static str,
    ratio: f64,
    goal: Option<f64>,
    met: Option<bool>,
}

struct Settings {
    transfers: u64,
    accounts: u64,
    repetitions: usize,
}

/// What is measured, by the name that `--only` takes.
const GROUPS: [(&str, Measure); 3] =
    [("append", append), ("recovery", recoveries), ("node", node::rows)];

type Measure = fn(&Settings) -> Result<Vec<Row>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let after = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)
    };
    let settings = if quick {
        Settings { transfers: 20_000, accounts: 2_000, repetitions: 2 }
    } else {
        Settings { transfers: 1_000_000, accounts: 100_000, repetitions: 3 }
    };
    let mut rows = Vec::new();
    for (name, measure) in GROUPS {
        if after("--only").is_none_or(|only| only == name) {
            rows.extend(measure(&settings)?);
        }
    }
    anyhow::ensure!(!rows.is_empty(), "--only knows {}", GROUPS.map(|(name, _)| name).join(", "));
    print(&settings, &rows);
    if let Some(file) = after("--json") {
        let board = Scoreboard { machine: machine(), rows };
        std::fs::write(file, serde_json::to_vec_pretty(&board)?).context(file.clone())?;
    }
    Ok(())
}

fn print(settings: &Settings, rows: &[Row]) {
    println!("{}; {} transfers, {} accounts", machine(), settings.transfers, settings.accounts);
    println!("{:<58} {:>12} {:>12} {:>14} {:>7}", "what", "ours", "theirs", "unit", "ratio");
    for row in rows {
        println!(
            "{:<58} {:>12.0} {:>12.0} {:>14} {:>7.2}",
            row.name, row.ours, row.theirs, row.unit, row.ratio
        );
    }
}

fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{}, {cores} cores", model.unwrap_or("unknown processor"))
}

/// Measures two sides in turn and compares their medians, in items a second.
fn compare(
    name: &str,
    items: u64,
    repetitions: usize,
    mut ours: impl FnMut() -> Result<Duration>,
    mut theirs: impl FnMut() -> Result<Duration>,
) -> Result<Row> {
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..repetitions {
        our_times.push(ours()?);
        their_times.push(theirs()?);
    }
    let rate = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        items as f64 / median.as_secs_f64()
    };
    let (ours, theirs) = (rate(&mut our_times), rate(&mut their_times));
    let ratio = ours / theirs;
    Ok(Row {
        name: name.to_owned(),
        ours,
        theirs,
        unit: "transfers/s",
        ratio,
        goal: None,
        met: None,
    })
}

fn workload(settings: &Settings) -> Workload {
    let block_txs = 1_000.min(settings.transfers / 10);
    let Settings { transfers, accounts, .. } = *settings;
    Workload { accounts, transfers, block_txs, mempool: 0, ..Workload::default() }
}

fn events(settings: &Settings) -> Vec<NewEvent> {
    workload(settings).events().collect()
}

fn fill(dir: &DataDir, events: &[NewEvent]) -> Result<Duration> {
    let registry = Registry::built_in();
    dir.create(&registry.find("ledger")?.version())?;
    let node = examine(dir, &registry, Repairs::default())?;
    let mut intake = Intake::new(&node, Arc::new(SystemClock));
    let started = Instant::now();
    for lot in events.chunks(LOT) {
        intake.append(lot.to_vec())?;
    }
    Ok(started.elapsed())
}

/// Durable append through the intake, against inserting rows of the same size into the same schema.
fn append(settings: &Settings) -> Result<Vec<Row>> {
    let events = events(settings);
    compare(
        "durable append in lots, against a raw bulk insert",
        settings.transfers,
        settings.repetitions,
        || {
            let scratch = tempfile::tempdir()?;
            fill(&DataDir::new(scratch.path().join("node")), &events)
        },
        || {
            let scratch = tempfile::tempdir()?;
            raw_insert(scratch.path(), &events)
        },
    )
    .map(|row| vec![row])
}

fn raw_insert(dir: &Path, events: &[NewEvent]) -> Result<Duration> {
    let mut sql = rusqlite::Connection::open(dir.join("raw.db"))?;
    sql.pragma_update(None, "locking_mode", "exclusive")?;
    sql.pragma_update(None, "journal_mode", "wal")?;
    sql.pragma_update(None, "synchronous", "full")?;
    sql.pragma_update(None, "cache_size", -65_536)?;
    sql.execute_batch(include_str!("../../migrations/log/0001_event_log.sql"))?;
    let started = Instant::now();
    let mut seq = 0u64;
    for lot in events.chunks(LOT) {
        let transaction = sql.transaction()?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO event (seq, format, kind, created, body, chain) VALUES (?1, 1, 2, 0, ?2, ?3)",
        )?;
        for event in lot {
            let body: &[u8] = match event {
                NewEvent::Tx { payload, .. } => payload,
                _ => &[],
            };
            seq += 1;
            let padded = [&[0u8; 32], body].concat();
            insert.execute(rusqlite::params![seq, padded, [0u8; 32]])?;
        }
        drop(insert);
        transaction.commit()?;
    }
    Ok(started.elapsed())
}

fn recoveries(settings: &Settings) -> Result<Vec<Row>> {
    let modes = [CommitMode::Restore, CommitMode::Reexecute];
    modes.into_iter().map(|mode| recovery(settings, mode)).collect()
}

/// End-to-end recovery, against executing the same blocks in memory.
fn recovery(settings: &Settings, commit: CommitMode) -> Result<Row> {
    let events = events(settings);
    let blocks = inputs(&events);
    let mut digests = Vec::new();
    let name = format!("recovery with {commit:?}, against execution in memory");
    let row = compare(
        &name,
        settings.transfers,
        settings.repetitions,
        || {
            let scratch = tempfile::tempdir()?;
            let dir = DataDir::new(scratch.path().join("node"));
            fill(&dir, &events)?;
            let started = Instant::now();
            let node = examine(&dir, &Registry::built_in(), Repairs::default())?;
            let options = RecoveryOptions { commit, gate: Gate::All, ..RecoveryOptions::default() };
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
        || execute_in_memory(&blocks),
    )?;
    assert!(
        digests.iter().all(|digest| Some(digest) == digests.first()),
        "digests differ: {digests:?}"
    );
    assert!(digests.iter().all(|digest| *digest != Digest::ZERO));
    Ok(row)
}

/// Turns events into the blocks that the engine makes of them.
fn inputs(events: &[NewEvent]) -> Vec<BlockInput> {
    let (mut blocks, mut patches, mut txs) = (Vec::new(), Vec::new(), Vec::new());
    for (index, event) in events.iter().enumerate() {
        match event {
            NewEvent::Patch(patch) => patches.push(patch.clone()),
            NewEvent::Tx { id, payload } => {
                let seq = Seq::new(index as u64 + 1).expect("positions start at 1");
                txs.push(TxInput { seq, id: *id, payload: payload.clone(), created: None });
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
