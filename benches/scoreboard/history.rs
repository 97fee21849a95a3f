//! A long history: what start-up, memory and append cost with ten million events, against a short log or a limit.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rewake::exec::{
    Examined, Intake, NewEvent, Outcome, Recovery, RecoveryOptions, SystemClock, examine,
};
use rewake::generate::{Events, Workload};
use rewake::machine::Registry;
use rewake::recovery::Label;
use rewake::store::{DataDir, Repairs};

use crate::row::{Goal, Row, median, rate};
use crate::{LOT, Settings};

/// The argument by which the program recovers a node in a process of its own, whose memory nothing else has used.
pub(crate) const CHILD: &str = "--recover-and-tell-the-peak-of-memory";

/// Events that are pending where start-ups are compared.
const PENDING: usize = 1_000;
/// Start-ups of each side.
const OPENINGS: usize = 15;
/// The limit of a recovery's memory.
const PEAK_MIB: f64 = 512.0;
/// The limit of an opening that has nothing to do.
const OPENING_MS: f64 = 20.0;

/// Builds a long and a short log, recovers both, and compares what is then to be paid for the length.
pub(crate) fn rows(settings: &Settings) -> Result<Vec<Row>> {
    let scratch = tempfile::tempdir()?;
    let [short, long] = settings.histories;
    let mut short = Built::new(&scratch.path().join("short"), short, settings.accounts)?;
    let mut long = Built::new(&scratch.path().join("long"), long, settings.accounts)?;
    let mut rows = vec![long.growth(), long.peak()?];
    short.peak()?;
    rows.extend(in_sync(&short, &long)?);
    short.append(PENDING)?;
    long.append(PENDING)?;
    rows.push(start_up(&short, &long)?);
    Ok(rows)
}

/// Recovers a node and prints the greatest amount of memory that the process has used.
pub(crate) fn recover_here(dir: &str) -> Result<()> {
    let node = open(&DataDir::new(dir))?;
    let (_, report) = Recovery::new(node, RecoveryOptions::default()).run()?;
    ensure!(report.outcome == Outcome::Recovered, "the recovery came to {:?}", report.outcome);
    println!("{}", report.peak_rss_bytes);
    Ok(())
}

fn open(dir: &DataDir) -> Result<Examined> {
    Ok(examine(dir, &Registry::built_in(), Repairs::default())?)
}

/// A node with a log of its own length.
struct Built {
    dir: DataDir,
    events: Events,
    /// What each group of events took to append.
    times: Vec<Duration>,
    length: u64,
}

impl Built {
    /// Makes a node of so many pending events.
    fn new(path: &Path, length: u64, accounts: u64) -> Result<Self> {
        let dir = DataDir::new(path);
        dir.create(&Registry::built_in().find("ledger")?.version())?;
        let transfers = length + 10 * PENDING as u64;
        let workload = Workload { accounts, transfers, mempool: 0, ..Workload::default() };
        let mut built = Self { dir, events: workload.events(), times: Vec::new(), length };
        built.append(usize::try_from(length)?)?;
        Ok(built)
    }

    fn append(&mut self, events: usize) -> Result<()> {
        let mut intake = Intake::new(&open(&self.dir)?, Arc::new(SystemClock));
        let mut left = events;
        while left > 0 {
            let group: Vec<NewEvent> = self.events.by_ref().take(left.min(LOT)).collect();
            left -= group.len();
            let started = Instant::now();
            intake.append(group)?;
            self.times.push(started.elapsed());
        }
        Ok(())
    }

    /// Compares the last tenth of the appends with the first.
    fn growth(&self) -> Row {
        let tenth = self.times.len().div_ceil(10);
        let mean = |times: &[Duration]| {
            let sum = times.iter().sum::<Duration>();
            (tenth * LOT) as f64 / sum.as_secs_f64()
        };
        let (first, _) = self.times.split_at(tenth);
        let (_, last) = self.times.split_at(self.times.len() - tenth);
        let name = format!("append, last tenth of {} events against the first", self.length);
        Row::new(name, mean(last), mean(first), "events/s", None)
    }

    /// Recovers the node in a process of its own.
    fn peak(&self) -> Result<Row> {
        let started = Instant::now();
        let program = std::env::current_exe()?;
        let answer = Command::new(program).arg(CHILD).arg(self.dir.path()).output()?;
        ensure!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        let bytes: u64 = String::from_utf8(answer.stdout)?.trim().parse().context("a size")?;
        let length = self.length;
        eprintln!("  recovery of {length} pending events: {} ms", started.elapsed().as_millis());
        let name = format!("peak memory of recovering {length} pending events");
        let goal = Some(Goal::AtMost(1.0));
        Ok(Row::new(name, bytes as f64 / f64::from(1 << 20), PEAK_MIB, "MiB", goal))
    }

    fn start(&self) -> Result<(Duration, Examined)> {
        let started = Instant::now();
        let node = open(&self.dir)?;
        Ok((started.elapsed(), node))
    }

    fn log_mib(&self) -> Result<u64> {
        Ok(std::fs::metadata(self.dir.path().join("log.db"))?.len() >> 20)
    }
}

/// Opens nodes that have nothing to do.
fn in_sync(short: &Built, long: &Built) -> Result<[Row; 2]> {
    let (mut times, mut pages) = (Vec::new(), [0.0; 2]);
    for _ in 0..OPENINGS {
        for (built, pages) in [short, long].into_iter().zip(&mut pages) {
            let before = bytes_read()?;
            let (took, node) = built.start()?;
            *pages = (bytes_read()? - before) as f64 / 4096.0;
            ensure!(node.label == Label::InSync, "the node is {:?}", node.label);
            if built.length == long.length {
                times.push(took.as_secs_f64() * 1e3);
            }
        }
    }
    let [few, many] = pages;
    let mib = long.log_mib()?;
    let name = format!("opening in sync, {mib} MiB of log, against 20 ms");
    let goal = Some(Goal::AtMost(1.0));
    let name_pages = format!("what that reads, against a log of {} events", short.length);
    Ok([
        Row::new(name, median(times), OPENING_MS, "ms", goal),
        Row::new(name_pages, many, few, "pages", None),
    ])
}

/// Returns the bytes that this process has asked the system for, out of its cache or not.
fn bytes_read() -> Result<u64> {
    let counters = std::fs::read_to_string("/proc/self/io")?;
    let line = counters.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.context("no counter of what was read")?.parse().context("a counter")
}

/// Compares start-ups that find the same number of pending events after a short and after a long history.
fn start_up(short: &Built, long: &Built) -> Result<Row> {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..OPENINGS {
        for (built, times) in [long, short].into_iter().zip(&mut times) {
            let (took, node) = built.start()?;
            ensure!(node.log_head.seq == built.length + PENDING as u64, "events are missing");
            times.push(took);
        }
    }
    let [ours, theirs] = times.map(|times| 1e6 / rate(1, &times));
    let name =
        format!("start-up diff of 1,000 events, log of {} against {}", long.length, short.length);
    Ok(Row::new(name, ours, theirs, "us", Some(Goal::AtMost(1.3))))
}
