//! `rewake recover`: rehearses what was logged and not confirmed, and commits it.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use indicatif::{MultiProgress, ProgressBar};

use crate::cli::{App, Exit, Finding, NodeArgs, estimate, progress, signals};
use crate::exec::{
    CommitMode, Estimate, Examined, Gate, HaltCause, Outcome, PaceChange, Recovery, RecoveryLimits,
    RecoveryOptions, Report, examine,
};
use crate::pace::{PaceLimits, Why};
use crate::reproduce::with_failure_bundles;
use crate::store::Repairs;

/// Which node, how, and after which repairs.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// Makes a new main.db where it is missing, and all of it from the log
    #[arg(long)]
    rebuild_main: bool,
    /// Makes a new WITNESS where it is missing or foreign, from the log as it stands
    #[arg(long)]
    accept_log: bool,
}

/// How a recovery works; none of it changes the result.
#[derive(Clone, Debug, Args)]
pub(crate) struct EngineArgs {
    /// Where committed effects come from
    #[arg(long, value_enum, default_value = "restore", value_name = "HOW")]
    commit: CommitArg,
    /// When rehearsed blocks are committed
    #[arg(long, value_enum, default_value = "all", value_name = "WHEN")]
    gate: GateArg,
    /// Transactions after which a batch is full; without it, batches grow and shrink with what the last one cost
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    batch_txs: Option<u64>,
    /// Work that the next crash may cost, about: no batch takes longer
    #[arg(long, default_value_t = PaceLimits::default().repeat_max.as_secs(), value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400), conflicts_with = "batch_txs")]
    repeat_max: u64,
    /// Threads that execute the transactions of one block [default: the number of processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Option<u8>,
    /// Memory for rehearsed blocks in MiB; beyond it they go to disk
    #[arg(long, default_value_t = mebibytes(RecoveryOptions::default().memory_bytes), value_name = "MIB", value_parser = clap::value_parser!(u32).range(..=1_048_576))]
    memory: u32,
    /// Longest time that one transaction may take, in milliseconds
    #[arg(long, default_value_t = 30_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    step_time_max: u64,
    /// Longest time that a recovery may take, in seconds; the next one goes on from there
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    time_max: Option<u64>,
    /// Longest time in which no block is rehearsed or committed, in seconds; 0 sets no limit
    #[arg(long, default_value_t = stall_seconds(), value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=31_536_000))]
    stall_max: u64,
    /// How often a transient failure is tried again
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000))]
    retries: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CommitArg {
    /// From the rehearsal
    Restore,
    /// By executing again; each result must be that of the rehearsal
    Reexecute,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GateArg {
    /// After the whole backlog is rehearsed
    All,
    /// Batch by batch, for very long backlogs
    Batch,
}

fn mebibytes(bytes: usize) -> u32 {
    u32::try_from(bytes >> 20).unwrap_or(u32::MAX)
}

fn stall_seconds() -> u64 {
    RecoveryLimits::default().stall_max.map_or(0, |limit| limit.as_secs())
}

impl EngineArgs {
    /// Returns what they mean to the engine.
    pub(crate) fn options(&self) -> RecoveryOptions {
        let mut options = RecoveryOptions {
            commit: match self.commit {
                CommitArg::Restore => CommitMode::Restore,
                CommitArg::Reexecute => CommitMode::Reexecute,
            },
            gate: match self.gate {
                GateArg::All => Gate::All,
                GateArg::Batch => Gate::Batch,
            },
            memory_bytes: usize::try_from(u64::from(self.memory) << 20).unwrap_or(usize::MAX),
            step_time_max: Duration::from_millis(self.step_time_max),
            limits: RecoveryLimits {
                time_max: self.time_max.map(Duration::from_secs),
                stall_max: Some(self.stall_max).filter(|limit| *limit > 0).map(Duration::from_secs),
            },
            ..RecoveryOptions::default()
        };
        let repeat_max = Duration::from_secs(self.repeat_max);
        options.pace = Some(PaceLimits { repeat_max, ..PaceLimits::default() });
        if let Some(txs_max) = self.batch_txs {
            (options.batch.txs_max, options.pace) = (txs_max, None);
        }
        if let Some(workers) = self.workers {
            options.executor.workers = workers.into();
        }
        options.executor.retry.attempts_max = self.retries.saturating_add(1);
        options
    }
}

pub(crate) fn run(args: &RecoverArgs, app: &App) -> Result<Exit> {
    let repairs = Repairs { rebuild_main: args.rebuild_main, accept_log: args.accept_log };
    let node = examine(&args.node.dir(), &app.registry, repairs)?;
    let options = args.engine.options();
    let stop = options.stop.clone();
    let listening = signals::at_first(move || stop.request())?;
    estimate::announce(&Estimate::of(&node, &options)?, app);
    let (_, mut report) = recover(node, options, app)?;
    drop(listening);
    // The time that opening and reading the unconfirmed events took is part of it.
    report.wall_ms = app.wall_ms();
    tell(&report, app);
    Ok(exit(&report))
}

/// Returns the exit code of a recovery that ran.
pub(crate) fn exit(report: &Report) -> Exit {
    Finding::Ended(report.outcome, report.halt.as_ref().map(|halt| halt.cause)).exit()
}

/// Runs the recovery of a node with a progress bar for each phase.
pub(crate) fn recover(
    node: Examined,
    options: RecoveryOptions,
    app: &App,
) -> Result<(Examined, Report)> {
    let options = with_failure_bundles(options, &node);
    let bars = Bars::start(&node, &options, app);
    let result = Recovery::new(node, options).run();
    bars.end();
    Ok(result?)
}

struct Bars {
    rehearse: ProgressBar,
    commit: ProgressBar,
}

impl Bars {
    fn start(node: &Examined, options: &RecoveryOptions, app: &App) -> Self {
        let backlog = &node.backlog;
        if !app.output.shows_progress() || backlog.blocks == 0 {
            return Self { rehearse: ProgressBar::hidden(), commit: ProgressBar::hidden() };
        }
        let counts_txs = backlog.txs > 0;
        let (unit, length) =
            if counts_txs { ("transactions", backlog.txs) } else { ("blocks", backlog.blocks) };
        let both = MultiProgress::new();
        let bar = |verb| both.add(progress::bar(&app.output, verb, unit, Some(length)));
        let bars = Self { rehearse: bar("rehearse"), commit: bar("commit") };
        let step = move |txs| if counts_txs { txs } else { 1 };
        let rehearse = bars.rehearse.clone();
        options.rehearsed.subscribe(move |block| rehearse.inc(step(block.counts.txs)));
        let commit = bars.commit.clone();
        options.committed.subscribe(move |block| {
            if commit.position() == 0 {
                // It has waited for the rehearsal until now.
                commit.reset_elapsed();
                commit.reset_eta();
            }
            commit.inc(step(block.counts.txs));
        });
        bars
    }

    fn end(&self) {
        self.rehearse.finish_and_clear();
        self.commit.finish_and_clear();
    }
}

/// Tells what a recovery did.
pub(crate) fn tell(report: &Report, app: &App) {
    app.output.line(headline(report));
    let counts = report.counts;
    let mut rows = vec![
        ("decision", report.decision.name().to_owned()),
        ("confirmed", confirmed(report)),
        (
            "transactions",
            format!(
                "{}: {} applied, {} rejected, {} quarantined",
                counts.txs, counts.applied, counts.rejected, counts.quarantined
            ),
        ),
        ("mempool", format!("{} transactions received and in no block", report.mempool)),
        ("state digest", report.state_digest.to_string()),
        ("log head", format!("event {}", report.log_head_seq)),
        ("time", times(report)),
        ("memory", format!("{} MiB at most", report.peak_rss_bytes >> 20)),
    ];
    rows.extend(report.paces.last().map(|change| ("pace", pace(report.paces.len(), change))));
    rows.extend(report.bundles.iter().map(|path| ("bundle", path.display().to_string())));
    app.output.table(rows);
    if let Some(halt) = &report.halt {
        app.output.error(format_args!("error: {}", halt.reason));
        app.output.error(format_args!("help: {}", advice(halt.cause)));
    } else if report.outcome == Outcome::RecoveredWithQuarantine {
        app.output.note("help: see `rewake quarantine list`; retry or discard what is held");
    }
    app.output.object(report);
}

fn headline(report: &Report) -> String {
    match report.outcome {
        Outcome::InSync => "in sync: nothing was left to recover".to_owned(),
        Outcome::Recovered => "recovered: every ordered block is confirmed".to_owned(),
        Outcome::RecoveredWithQuarantine => {
            "recovered: every ordered block is confirmed, with transactions in quarantine"
                .to_owned()
        }
        Outcome::Halted if report.halt.as_ref().is_some_and(|halt| halt.cause.goes_on()) => {
            "stopped before the end: the next recovery goes on from there".to_owned()
        }
        Outcome::Halted => "halted before the end: what was verified is confirmed".to_owned(),
    }
}

fn confirmed(report: &Report) -> String {
    match (report.from_height, report.to_height) {
        (Some(first), Some(last)) => format!(
            "{} blocks ({} to {}) in {} batches",
            report.blocks,
            first.get(),
            last.get(),
            report.batches
        ),
        _ => "no blocks".to_owned(),
    }
}

fn pace(changes: usize, change: &PaceChange) -> String {
    let why = match change.why {
        Why::RoomForMore => "a crash would have had less to repeat than it may",
        Why::TooMuchToRepeat => "a crash would have had more to repeat than it may",
        Why::MemoryShort => "the machine is short of memory",
    };
    let after =
        change.after.map_or(String::new(), |after| format!(", after block {}", after.get()));
    let txs = change.batch.txs_max;
    format!("change {changes}{after}: batches of {txs}, since {why}")
}

fn times(report: &Report) -> String {
    let Report { wall_ms, rehearse_ms, commit_ms, resumed_blocks, retries, .. } = report;
    let resumed = match resumed_blocks {
        0 => String::new(),
        _ => format!("; {resumed_blocks} blocks were rehearsed already"),
    };
    let repeated = match retries {
        0 => String::new(),
        _ => format!("; {retries} attempts were repeated"),
    };
    let phases = phases(*wall_ms, *rehearse_ms, *commit_ms);
    format!("{phases}{resumed}{repeated}")
}

fn phases(wall_ms: u64, rehearse_ms: u64, commit_ms: u64) -> String {
    let at_once =
        if rehearse_ms.saturating_add(commit_ms) > wall_ms { ", partly at once" } else { "" };
    format!("{wall_ms} ms, of which {rehearse_ms} rehearsing and {commit_ms} committing{at_once}")
}

const fn advice(cause: HaltCause) -> &'static str {
    match cause {
        HaltCause::Poison => {
            "mend the machine or its input and run `rewake recover` again; the blocks before are confirmed"
        }
        HaltCause::Check => {
            "the block is not what its header says: check where it came from, or use a program version that executes it rightly"
        }
        HaltCause::Difference => {
            "the machine is not deterministic or the hardware is faulty: do not trust this node before that is found"
        }
        HaltCause::Stopped => "run `rewake recover` again: no block is rehearsed twice",
        HaltCause::TimeLimit => {
            "run `rewake recover` again, with a longer --time-max or none: no block is rehearsed twice"
        }
        HaltCause::Stalled => {
            "see what keeps the machine or the disk; then run `rewake recover` again, with a --stall-max of more than twice --step-time-max"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_that_overlap_are_said_to() {
        let alternating = "10 ms, of which 6 rehearsing and 4 committing";
        assert_eq!(phases(10, 6, 4), alternating);
        assert_eq!(phases(9, 6, 4), "9 ms, of which 6 rehearsing and 4 committing, partly at once");
    }
}
