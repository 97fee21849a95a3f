//! `rewake generate`: makes a node with a seeded ledger history that is confirmed up to a block.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::cli::{Advised, App, Exit, NodeArgs, progress};
use crate::exec::{Examined, Gate, Intake, NewEvent, Recovery, RecoveryOptions, SystemClock};
use crate::generate::{Workload, WorkloadError};
use crate::machine::StateMachine as _;
use crate::machine::ledger::Ledger;
use crate::types::{Digest, Height};

/// Events that are appended in one durable transaction.
pub(crate) const LOT: usize = 10_000;

/// The node and its history.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Accounts that genesis opens
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    accounts: u64,
    /// Transfers, those of the mempool among them
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    transfers: u64,
    /// Transfers in a block; the last may hold fewer
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    block_txs: u64,
    /// Blocks at the end that are ordered but not confirmed [default: 10, or all where there are fewer]
    #[arg(long, value_name = "N")]
    unconfirmed_blocks: Option<u64>,
    /// Transfers at the end that no block orders [default: 100, or all where there are fewer]
    #[arg(long, value_name = "N")]
    mempool: Option<u64>,
    /// How unevenly accounts are chosen: 0 is uniform, 1 the classic Zipf law
    #[arg(long, default_value = "0.8", value_name = "Z", value_parser = hundredths)]
    skew: u16,
    /// How many of 100 ordered transfers are meant to be refused
    #[arg(long, default_value_t = 2, value_name = "PERCENT")]
    refusals: u8,
    /// Chooses one of 2^64 histories of this shape
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
}

/// Reads a decimal number of at most two places, as hundredths.
fn hundredths(text: &str) -> Result<u16, String> {
    let wrong =
        || "give a number like 0.8, with at most two decimal places and at most 100".to_owned();
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(places) || places.len() > 2 {
        return Err(wrong());
    }
    let whole: u16 = whole.parse().map_err(|_| wrong())?;
    let places: u16 = format!("{places:0<2}").parse().map_err(|_| wrong())?;
    let all = whole.checked_mul(100).and_then(|whole| whole.checked_add(places));
    all.filter(|all| *all <= 10_000).ok_or_else(wrong)
}

impl GenerateArgs {
    fn workload(&self) -> Result<Workload, WorkloadError> {
        let mut workload = Workload {
            accounts: self.accounts,
            transfers: self.transfers,
            block_txs: self.block_txs,
            unconfirmed_blocks: 0,
            mempool: self.mempool.unwrap_or(self.transfers.min(100)),
            skew_percent: self.skew,
            refusals_percent: self.refusals,
            seed: self.seed,
        };
        workload.unconfirmed_blocks = self.unconfirmed_blocks.unwrap_or(workload.blocks().min(10));
        workload.checked()
    }
}

/// What was made.
#[derive(Debug, Serialize)]
struct Generated {
    outcome: &'static str,
    data: std::path::PathBuf,
    seed: u64,
    accounts: u64,
    transfers: u64,
    blocks: u64,
    confirmed_blocks: u64,
    pending_blocks: u64,
    mempool: u64,
    log_head_seq: u64,
    state_digest: Digest,
    wall_ms: u64,
    peak_rss_bytes: u64,
}

pub(crate) fn run(args: &GenerateArgs, app: &App) -> Result<Exit> {
    let workload = args.workload().map_err(|error| {
        Advised::new(Exit::Usage, error.to_string(), "give numbers within these limits")
    })?;
    let machine = app.machine(&Ledger.version().id)?;
    args.node.dir().create(&machine.version())?;
    let node = fill(args, &workload, app)?;
    let main = node.store.main();
    let generated = Generated {
        outcome: "done",
        data: args.node.data.clone(),
        seed: workload.seed,
        accounts: workload.accounts,
        transfers: workload.transfers,
        blocks: workload.blocks(),
        confirmed_blocks: workload.confirmed_blocks(),
        pending_blocks: workload.unconfirmed_blocks,
        mempool: workload.mempool,
        log_head_seq: node.store.log().head().seq,
        state_digest: main.lanes()?.digest(),
        wall_ms: app.wall_ms(),
        peak_rss_bytes: crate::exec::peak_rss_bytes(),
    };
    drop(main);
    tell(&generated, app);
    Ok(Exit::Done)
}

fn tell(generated: &Generated, app: &App) {
    app.output.line(format_args!("made a ledger node in {}", generated.data.display()));
    app.output.table([
        ("transfers", format!("{} among {} accounts", generated.transfers, generated.accounts)),
        ("confirmed", format!("{} blocks after genesis", generated.confirmed_blocks)),
        ("waiting", format!("{} blocks", generated.pending_blocks)),
        ("mempool", format!("{} transfers in no block", generated.mempool)),
        ("log head", format!("event {}", generated.log_head_seq)),
        ("state digest", generated.state_digest.to_string()),
        ("seed", generated.seed.to_string()),
    ]);
    app.output.object(generated);
}

/// Appends the events of a workload; after the last block to be confirmed, recovers what is there.
fn fill(args: &GenerateArgs, workload: &Workload, app: &App) -> Result<Examined> {
    let bar = progress::bar(&app.output, "append", "transfers", Some(workload.transfers));
    let confirmed = Height(workload.confirmed_blocks());
    let mut node = args.node.examine(app)?;
    let mut intake = Intake::new(&node, Arc::new(SystemClock));
    let mut lot = Vec::with_capacity(LOT);
    for event in workload.events() {
        let confirms = matches!(&event, NewEvent::Order { height, .. } if *height == confirmed);
        lot.push(event);
        if confirms || lot.len() >= LOT {
            append(&mut intake, &mut lot, &bar)?;
        }
        if confirms {
            // The recovery starts from the files, as that of any node that was stopped does.
            drop((intake, node));
            node = confirm(args, app)?;
            intake = Intake::new(&node, Arc::new(SystemClock));
        }
    }
    append(&mut intake, &mut lot, &bar)?;
    bar.finish_and_clear();
    node.store.settle()?;
    Ok(node)
}

fn append(intake: &mut Intake, lot: &mut Vec<NewEvent>, bar: &ProgressBar) -> Result<()> {
    let transfers = lot.iter().filter(|event| matches!(event, NewEvent::Tx { .. })).count();
    intake.append(std::mem::replace(lot, Vec::with_capacity(LOT)))?;
    bar.inc(crate::codec::count(transfers));
    Ok(())
}

fn confirm(args: &GenerateArgs, app: &App) -> Result<Examined> {
    let node = args.node.examine(app)?;
    let options = RecoveryOptions { gate: Gate::Batch, ..RecoveryOptions::default() };
    let bar = progress::bar(&app.output, "confirm", "transfers", Some(node.backlog.txs));
    let committed = bar.clone();
    options.committed.subscribe(move |block| committed.inc(block.counts.txs));
    let (node, report) = Recovery::new(node, options).run()?;
    bar.finish_and_clear();
    match &report.halt {
        None => Ok(node),
        Some(halt) => Err(anyhow::anyhow!("a generated block was refused: {}", halt.reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::hundredths;

    #[test]
    fn a_skew_is_read_as_hundredths() {
        let cases =
            [("0", 0), ("0.8", 80), ("1", 100), ("1.05", 105), ("0.99", 99), ("100", 10_000)];
        for (text, expected) in cases {
            assert_eq!(hundredths(text), Ok(expected), "{text}");
        }
        for text in ["", ".", "1.", ".5", "-1", "0.123", "100.01", "1e2", "99999999"] {
            assert!(hundredths(text).is_err(), "{text}");
        }
    }
}
