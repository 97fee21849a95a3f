//! The scoreboard: what the engine does against what the disk and the processor allow, both sides in one run.
//!
//! `cargo bench --bench scoreboard [-- --quick] [-- --only GROUP] [-- --blocks] [-- --json FILE]`. With `--blocks`, and where a
//! file is asked for, each block of mainnet has rows of its own. Each side is measured several times in turn with
//! the other, and medians are compared, so that a machine whose speed drifts does not favour one of them.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a measurement prints, stops where it cannot be made, and rounds"
)]

mod allocations;
mod append;
mod direct;
#[cfg(feature = "evm")]
mod evm;
mod execution;
mod history;
mod node;
mod raw;
mod recovery;
mod row;
mod scan;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rewake::exec::{Intake, NewEvent, SystemClock, examine};
use rewake::generate::Workload;
use rewake::machine::Registry;
use rewake::store::{DataDir, Repairs};
use serde::Serialize;

use row::Row;

/// Events that are appended in one durable transaction.
const LOT: usize = 10_000;

#[derive(Serialize)]
struct Scoreboard {
    machine: String,
    rows: Vec<Row>,
}

#[cfg_attr(not(feature = "evm"), expect(dead_code, reason = "some are of EVM blocks alone"))]
struct Settings {
    transfers: u64,
    accounts: u64,
    /// Events of the short and of the long log whose start-ups are compared.
    histories: [u64; 2],
    repetitions: usize,
    /// Repetitions of EVM blocks, whose medians are compared one by one.
    block_repetitions: usize,
    /// Whether each block has rows of its own.
    each_block: bool,
}

const FULL: Settings = Settings {
    transfers: 1_000_000,
    accounts: 100_000,
    histories: [10_000, 10_000_000],
    repetitions: 3,
    block_repetitions: 9,
    each_block: false,
};

const QUICK: Settings = Settings {
    transfers: 20_000,
    accounts: 2_000,
    histories: [10_000, 100_000],
    repetitions: 2,
    block_repetitions: 3,
    each_block: false,
};

/// What is measured, by the name that `--only` takes.
const GROUPS: &[(&str, Measure)] = &[
    ("append", append::rows),
    ("scan", scan::rows),
    ("history", history::rows),
    ("recovery", recovery::rows),
    ("execution", execution::rows),
    #[cfg(feature = "evm")]
    ("execution", evm::rows),
    #[cfg(feature = "evm")]
    ("mainnet", evm::recovered::rows),
    ("allocations", allocations::rows),
    #[cfg(feature = "evm")]
    ("allocations", evm::allocations),
    ("node", node::rows),
];

type Measure = fn(&Settings) -> Result<Vec<Row>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let after = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)
    };
    if let Some(dir) = after(history::CHILD) {
        return history::recover_here(dir);
    }
    let each_block =
        arguments.iter().any(|argument| argument == "--blocks" || argument == "--json");
    let settings = Settings { each_block, ..if quick { QUICK } else { FULL } };
    let mut groups = GROUPS.to_vec();
    if let Some(only) = after("--only") {
        groups.retain(|(name, _)| only == name);
        let mut names: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
        names.dedup();
        anyhow::ensure!(!groups.is_empty(), "--only knows {}", names.join(", "));
    }
    let mut rows = Vec::new();
    for (_, measure) in groups {
        rows.extend(measure(&settings)?);
    }
    println!("{}; {} transfers, {} accounts", machine(), settings.transfers, settings.accounts);
    Row::print_head();
    rows.iter().for_each(Row::print);
    if let Some(file) = after("--json") {
        let board = Scoreboard { machine: machine(), rows };
        std::fs::write(file, serde_json::to_vec_pretty(&board)?).context(file.clone())?;
    }
    Ok(())
}

fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{}, {cores} cores", model.unwrap_or("unknown processor"))
}

fn workload(settings: &Settings) -> Workload {
    let block_txs = 1_000.min(settings.transfers / 10);
    let Settings { transfers, accounts, .. } = *settings;
    Workload { accounts, transfers, block_txs, mempool: 0, ..Workload::default() }
}

/// Returns transfers with the orders that name them.
fn transfers(settings: &Settings) -> Vec<NewEvent> {
    workload(settings).events().collect()
}

/// Makes a ledger of some events.
fn fill(dir: &DataDir, events: &[NewEvent]) -> Result<Duration> {
    let registry = Registry::built_in();
    dir.create(&registry.find("ledger")?.version())?;
    let node = examine(dir, &registry, Repairs::default())?;
    let mut intake = Intake::new(&node, Arc::new(SystemClock));
    let lots: Vec<Vec<NewEvent>> = events.chunks(LOT).map(<[_]>::to_vec).collect();
    let started = Instant::now();
    for lot in lots {
        intake.append(lot)?;
    }
    Ok(started.elapsed())
}
