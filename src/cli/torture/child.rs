//! The processes that `rewake torture` strikes: they limit themselves first, and then do an ordinary command's work.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::cli::{App, Exit, NodeArgs, recover, signals};
use crate::exec::{Intake, SystemClock};
use crate::torture::Appends;

/// What the process does without.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct LimitArgs {
    /// Largest size to which a file may grow
    #[arg(long, value_name = "BYTES")]
    file_bytes_max: Option<u64>,
    /// Most files that may be open
    #[arg(long, value_name = "N")]
    files_max: Option<u64>,
    /// Gets an error instead of a signal where a file may not grow
    #[arg(long)]
    outlive_file_limit: bool,
}

impl LimitArgs {
    fn set(self) -> Result<()> {
        if self.outlive_file_limit {
            signals::outlive_file_limit()?;
        }
        // A process that a limit kills leaves no image of its memory behind.
        limit(Resource::Core, Some(0))?;
        limit(Resource::Fsize, self.file_bytes_max)?;
        limit(Resource::Nofile, self.files_max)
    }
}

fn limit(resource: Resource, most: Option<u64>) -> Result<()> {
    let Some(most) = most else { return Ok(()) };
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(resource, limit).context("a process cannot be given less")
}

/// A recovery under limits.
#[derive(Debug, Args)]
pub(crate) struct LimitedRecoverArgs {
    #[command(flatten)]
    recover: recover::RecoverArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

pub(crate) fn run_recover(args: &LimitedRecoverArgs, app: &App) -> Result<Exit> {
    args.limits.set()?;
    recover::run(&args.recover, app)
}

/// A process that appends, perhaps under limits.
#[derive(Debug, Args)]
pub(crate) struct LimitedAppendArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Chooses what is appended
    #[arg(long, value_name = "S")]
    seed: u64,
    #[command(flatten)]
    limits: LimitArgs,
}

pub(crate) fn run_append(args: &LimitedAppendArgs, app: &App) -> Result<Exit> {
    args.limits.set()?;
    let node = args.node.examine(app)?;
    let appends = Appends::of(&node, args.seed).map_err(|error| anyhow!(error))?;
    let mut intake = Intake::new(&node, Arc::new(SystemClock));
    for lot in appends {
        intake.append(lot)?;
        let head = intake.head();
        // Only what is durable is said.
        app.output.raw(format!("acknowledged {} {}\n", head.seq, head.chain).as_bytes());
    }
    node.store.settle()?;
    Ok(Exit::Done)
}
