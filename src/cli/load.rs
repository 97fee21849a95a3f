//! `rewake load`: drives a node, outlives its deaths, and proves that it kept what it acknowledged.

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use indicatif::ProgressBar;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Advised, App, Exit, progress};
use crate::load::{
    Driver, KillPlan, KillReport, Latency, Launch, LoadError, LoadOptions, LoadReport, ManagedNode,
    NodeFault, Target, Until, Verdict,
};

/// Time between two steps of the progress bar.
const STEP: Duration = Duration::from_millis(100);

/// What is driven, how, and for how long.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Address of a running node
    #[arg(long, value_name = "URL", required_unless_present = "data", conflicts_with = "data")]
    url: Option<Target>,
    /// Runs the node in this directory as a child process instead, and makes it where there is none
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How often the child process is killed under load
    #[arg(long, default_value_t = 0, value_name = "N", conflicts_with = "url")]
    kills: u64,
    /// Longest time that it works between two kills; the seed chooses below it
    #[arg(long, default_value_t = 500, value_name = "MS", conflicts_with = "url")]
    life_max: u64,
    /// Accounts of a node that is made
    #[arg(long, default_value_t = 1_000, value_name = "N", conflicts_with = "url")]
    accounts: u64,
    /// Clients that submit at the same time
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// How long the load lasts; at least so long where the node is killed
    #[arg(long, default_value_t = 10, value_name = "N", conflicts_with = "transfers")]
    seconds: u64,
    /// Ends the load after so many transfers instead
    #[arg(long, value_name = "N", conflicts_with = "kills")]
    transfers: Option<u64>,
    /// Transfers in one submission
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    batch: u16,
    /// Chooses one of 2^64 workloads, and the moments of the kills
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Keeps the list of what was acknowledged in a file; what is in it already is checked as well
    #[arg(long, value_name = "FILE")]
    acknowledged: Option<PathBuf>,
    /// How long the node may take to become ready, and to come to rest, in seconds
    #[arg(long, default_value_t = 60, value_name = "N")]
    patience: u64,
    /// Ends without fetching what the node has
    #[arg(long)]
    no_check: bool,
    /// More arguments for the node that is run as a child process
    #[arg(last = true, value_name = "NODE ARGUMENT", conflicts_with = "url")]
    node_arguments: Vec<OsString>,
}

impl LoadArgs {
    fn options(&self) -> LoadOptions {
        let elapsed = Until::Elapsed(Duration::from_secs(self.seconds));
        LoadOptions {
            clients: self.clients.into(),
            batch: self.batch.into(),
            seed: self.seed,
            until: self.transfers.map_or(elapsed, Until::Transfers),
            patience: Duration::from_secs(self.patience),
            acknowledged: self.acknowledged.clone(),
            checks: !self.no_check,
            ..LoadOptions::default()
        }
    }

    /// Returns how the node in a directory is started; only one that is not there yet is made.
    fn launch(&self, data: PathBuf) -> Result<Launch> {
        let program = std::env::current_exe().context("the program cannot find itself")?;
        let accounts = self.accounts.to_string();
        let more = self.node_arguments.clone();
        Ok(Box::new(move |listen: SocketAddr| {
            let mut command = Command::new(&program);
            command.arg("node").arg("--data").arg(&data).args(["--listen", &listen.to_string()]);
            if !data.join("log.db").exists() {
                command.args(["--create", "--accounts", &accounts]);
            }
            command.args(&more);
            command
        }))
    }
}

pub(crate) fn run(args: &LoadArgs, app: &App) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let bar = progress::bar(&app.output, "submit", "transfers acknowledged", args.transfers);
    let report = runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // What is driven is dropped on a signal as well, and a child with it.
        tokio::select! {
            report = drive(args, &bar) => report,
            _ = interrupt.recv() => Err(anyhow!("interrupted")),
            _ = terminate.recv() => Err(anyhow!("asked to stop")),
        }
    });
    bar.finish_and_clear();
    let report = report?;
    tell(&report, app);
    app.output.object(&report);
    Ok(if report.outcome == Verdict::Violated { Exit::Diverged } else { Exit::Done })
}

async fn drive(args: &LoadArgs, bar: &ProgressBar) -> Result<LoadReport> {
    let options = args.options();
    let report = match (&args.url, &args.data) {
        (Some(target), _) => {
            let driver = Driver::new(target.clone(), options).map_err(|error| advised(&error))?;
            shown(driver.run(), &driver, bar).await
        }
        (None, Some(data)) => drive_child(args, data.clone(), options, bar).await?,
        // The command line is not understood without one of them.
        (None, None) => return Err(anyhow!("neither a node's address nor its directory is given")),
    };
    report.map_err(|error| advised(&error))
}

/// Runs the node as a child process, and stops it in an orderly way at the end.
async fn drive_child(
    args: &LoadArgs,
    data: PathBuf,
    options: LoadOptions,
    bar: &ProgressBar,
) -> Result<Result<LoadReport, LoadError>> {
    let patience = options.patience;
    let started = ManagedNode::start(args.launch(data)?, patience).await;
    let mut node = started.map_err(|fault| advised(&fault.into()))?;
    let driver = Driver::new(node.address().into(), options).map_err(|error| advised(&error))?;
    let report = if args.kills == 0 {
        shown(driver.run_managed(&mut node), &driver, bar).await
    } else {
        let plan = KillPlan { kills: args.kills, life_ms_max: args.life_max };
        shown(driver.run_killing(&mut node, plan), &driver, bar).await
    };
    if report.is_ok() {
        node.stop(patience).await.map_err(|fault| advised(&fault.into()))?;
    }
    Ok(report)
}

/// Moves the bar while a run is under way.
async fn shown(
    run: impl Future<Output = Result<LoadReport, LoadError>>,
    driver: &Driver,
    bar: &ProgressBar,
) -> Result<LoadReport, LoadError> {
    tokio::select! {
        report = run => report,
        never = steps(driver.progress(), bar) => match never {},
    }
}

async fn steps(acknowledged: impl Fn() -> u64, bar: &ProgressBar) -> Infallible {
    let mut step = tokio::time::interval(STEP);
    loop {
        step.tick().await;
        bar.set_position(acknowledged());
    }
}

fn advised(error: &LoadError) -> anyhow::Error {
    let advice = match error {
        LoadError::Unreachable { .. } | LoadError::Client(_) => {
            "start a node with `rewake node`, or name the address of one with `--url`"
        }
        LoadError::TooFewAccounts { .. } => {
            "use fewer `--clients`, or make a node with more `--accounts`"
        }
        LoadError::NoGenesis | LoadError::Unmodelled { .. } => {
            "drive a node of the ledger that was made with `rewake node --create`"
        }
        LoadError::Acknowledged(_) => "name another file with `--acknowledged`",
        LoadError::Node(NodeFault::Idle { .. }) | LoadError::Unsettled { .. } => {
            "give the node more time with `--patience`, and see what it logs"
        }
        LoadError::Refused { .. } | LoadError::NotAcknowledged { .. } | LoadError::Node(_) => {
            "see what the node logs on standard error"
        }
    };
    Advised::new(Exit::Unexpected, error.to_string(), advice).into()
}

fn tell(report: &LoadReport, app: &App) {
    app.output.table([
        ("acknowledged", format!("{} transactions", report.acknowledged)),
        ("throughput", format!("{} a second", report.acknowledged_per_s)),
        ("load", format!("{} clients, {} ms", report.clients, report.load_ms)),
        ("latency", latency(&report.latency)),
        ("across deaths", latency(&report.latency_disturbed)),
        ("retries", report.retries.to_string()),
        ("resubmitted", format!("{} on purpose", report.resubmissions)),
        ("deaths seen", report.deaths_seen.to_string()),
        ("seed", report.seed.to_string()),
    ]);
    if let Some(kills) = &report.kills {
        tell_kills(kills, app);
    }
    if report.outcome != Verdict::Unchecked {
        tell_checks(report, app);
    }
    for finding in &report.findings {
        app.output.line(format_args!("wrong: {finding}"));
    }
    app.output.line(match report.outcome {
        Verdict::Proved => "\nproved: the node has everything that it acknowledged, once",
        Verdict::Violated => "\nVIOLATED: the node is not what it acknowledged",
        Verdict::Unchecked => "\nnot checked: only the answers were compared",
    });
}

fn latency(latency: &Latency) -> String {
    let Latency { count, p50_us, p95_us, p99_us, max_us } = latency;
    if *count == 0 {
        return "none measured".to_owned();
    }
    format!("p50 {p50_us} µs, p95 {p95_us} µs, p99 {p99_us} µs, most {max_us} µs, of {count}")
}

fn tell_kills(kills: &KillReport, app: &App) {
    let recovery = kills.recovery_ms.map_or_else(
        || "never seen".to_owned(),
        |[least, median, most]| format!("least {least} ms, median {median} ms, most {most} ms"),
    );
    app.output.table([
        ("kills", format!("{}, each by signal 9", kills.kills)),
        ("  under load", format!("{}, each with an answer owed", kills.under_load)),
        ("  in recovery", format!("{} of {} aimed", kills.in_recovery, kills.aimed_at_recovery)),
        ("  in a life", {
            let (least, median) = (kills.acknowledged_min, kills.acknowledged_median);
            format!("least {least}, median {median} acknowledged before the kill")
        }),
        ("  in flight", {
            let (flight, cut_off) = (kills.in_flight_min, kills.cut_off_min);
            format!("least {flight}, of which least {cut_off} were never answered")
        }),
        ("  ready again", recovery),
    ]);
}

fn tell_checks(report: &LoadReport, app: &App) {
    app.output.line(format_args!(
        "checked {} blocks and {} transactions, {} of them in no block",
        report.blocks, report.transactions, report.mempool
    ));
    app.output.table(report.checks.iter().map(|checked| {
        let found = match checked.findings {
            0 => format!("{}, all right", checked.checked),
            wrong => format!("{}, {wrong} WRONG", checked.checked),
        };
        (checked.check.title(), found)
    }));
}
