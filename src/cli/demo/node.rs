//! The node of the demonstration: accepts transfers until it is killed, and confirms blocks some way behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::cli::demo::{open, workload};
use crate::cli::{App, Exit, NodeArgs};
use crate::exec::{Examined, Gate, Intake, NewEvent, Recovery, RecoveryOptions, SystemClock};
use crate::machine::StateMachine as _;
use crate::machine::ledger::Ledger;
use crate::plan::BatchLimits;

/// Events of one durable append.
const GROUP: usize = 40;
/// Blocks that wait before some are confirmed.
const BEHIND: u64 = 8;
/// Transfers after which a batch is full.
const BATCH_TXS: u64 = 1_000;

/// Which node, and which transfers.
#[derive(Debug, Args)]
pub(crate) struct DemoNodeArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Chooses the transfers
    #[arg(long)]
    seed: u64,
}

/// How far the node is, shared by the thread that accepts and the one that confirms.
#[derive(Default)]
struct Reached {
    ordered: AtomicU64,
    confirmed: AtomicU64,
}

pub(crate) fn run(args: &DemoNodeArgs, app: &App) -> Result<Exit> {
    let dir = args.node.dir();
    dir.create(&Ledger.version())?;
    let node = open(dir.path(), app)?;
    let reached = Arc::new(Reached::default());
    let mut intake = Intake::new(&node, Arc::new(SystemClock));
    let confirming = {
        let reached = Arc::clone(&reached);
        std::thread::Builder::new().spawn(move || confirm(node, &reached))?
    };
    let mut events = workload(args.seed).events();
    let mut accepted = 0u64;
    // It ends by being killed, or when nobody listens any more.
    while !app.output.is_closed() {
        let group: Vec<_> = events.by_ref().take(GROUP).collect();
        let mut ordered = None;
        for event in &group {
            match event {
                NewEvent::Tx { .. } => accepted = accepted.saturating_add(1),
                NewEvent::Order { height, .. } => ordered = Some(height.get()),
                NewEvent::Patch(_) | NewEvent::Next { .. } | NewEvent::Settle { .. } => {}
            }
        }
        intake.append(group)?;
        if let Some(height) = ordered {
            reached.ordered.store(height, Ordering::Release);
        }
        if confirming.is_finished() {
            return match confirming.join() {
                Ok(ended) => ended.map(|()| Exit::Unexpected),
                Err(_) => bail!("the confirming thread panicked"),
            };
        }
        // Only what is durable is acknowledged.
        let (ordered, confirmed) =
            (reached.ordered.load(Ordering::Acquire), reached.confirmed.load(Ordering::Acquire));
        app.output.raw(format!("{accepted} {ordered} {confirmed}\n").as_bytes());
    }
    Ok(Exit::Done)
}

/// Confirms blocks by the recovery itself, whenever enough of them wait.
fn confirm(mut node: Examined, reached: &Arc<Reached>) -> Result<()> {
    loop {
        let waiting = reached
            .ordered
            .load(Ordering::Acquire)
            .saturating_sub(reached.confirmed.load(Ordering::Acquire));
        if waiting < BEHIND {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        node.catch_up()?;
        let batch = BatchLimits { txs_max: BATCH_TXS, ..BatchLimits::default() };
        let options = RecoveryOptions { gate: Gate::Batch, batch, ..RecoveryOptions::default() };
        let told = Arc::clone(reached);
        options.committed.subscribe(move |block| {
            told.confirmed.store(block.height.get(), Ordering::Release);
        });
        let (next, report) = Recovery::new(node, options).run()?;
        node = next;
        if let Some(halt) = report.halt {
            bail!("confirming halted: {}", halt.reason);
        }
    }
}
