//! `rewake import eth`: logs Ethereum blocks, each with the state that it touches.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{open_or_make, where_it_ended};
use crate::cli::{Advised, App, Exit, NodeArgs, progress};
use crate::exec::{Intake, NewEvent, SystemClock};
use crate::import::eth::{EthBlock, EthBlockFile, WitnessChain, read_block_file};
use crate::machine::StateMachine as _;
use crate::machine::evm::{Evm, ForkSchedule};
use crate::types::Height;

/// Which blocks.
#[derive(Debug, Args)]
pub(crate) struct EthArgs {
    /// Files with one block each; they are logged in the order of their numbers
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The chain's forks: `mainnet`, or a network name of `ethereum/tests`
    #[arg(long, value_name = "NAME", default_value = "mainnet")]
    fork: String,
    #[command(flatten)]
    node: NodeArgs,
}

/// What was imported.
#[derive(Debug, Default, Serialize)]
struct Imported {
    outcome: &'static str,
    blocks: u64,
    txs: u64,
    known_blocks: u64,
    from_height: Option<Height>,
    to_height: Option<Height>,
    mempool: u64,
    log_head_seq: u64,
    wall_ms: u64,
}

pub(crate) fn run(args: &EthArgs, app: &App) -> Result<Exit> {
    let schedule = ForkSchedule::named(&args.fork).map_err(|error| {
        let advice = "give one of the names that this program knows";
        Advised::new(Exit::Machine, error.to_string(), advice)
    })?;
    // Every file is verified before anything is logged; only numbers and paths are kept.
    let bar =
        progress::bar(&app.output, "verify", "blocks", Some(crate::codec::count(args.files.len())));
    let mut files = Vec::with_capacity(args.files.len());
    for path in &args.files {
        files.push((read(path)?.height(), path));
        bar.inc(1);
    }
    files.sort_unstable();
    bar.finish_and_clear();
    let (node, _) = open_or_make(&args.node, &Evm::default().version().id, app)?;
    let mut intake = Intake::new(&node, Arc::new(SystemClock));
    let bar =
        progress::bar(&app.output, "import", "blocks", Some(crate::codec::count(files.len())));
    let mut imported = Imported { outcome: "done", ..Imported::default() };
    let mut chain = WitnessChain::default();
    for (height, path) in files {
        if intake.backlog().last_ordered.is_some_and(|last| height <= last) {
            imported.known_blocks = imported.known_blocks.saturating_add(1);
            continue;
        }
        let block = read(path)?.into_block(&schedule);
        imported.blocks = imported.blocks.saturating_add(1);
        imported.txs = imported.txs.saturating_add(crate::codec::count(block.txs.len()));
        imported.from_height = imported.from_height.or(Some(height));
        imported.to_height = Some(height);
        intake.append(events(block, &mut chain))?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    (imported.log_head_seq, imported.mempool) = where_it_ended(&node, &intake);
    imported.wall_ms = app.wall_ms();
    tell(&imported, app);
    Ok(Exit::Done)
}

fn read(path: &std::path::Path) -> Result<EthBlockFile> {
    read_block_file(path).map_err(|error| {
        let advice = "nothing of this file was logged; see the message";
        Advised::new(Exit::Usage, error.to_string(), advice).into()
    })
}

/// A block is logged whole or not at all: the state that it touches, its transactions, its order.
fn events(block: EthBlock, chain: &mut WitnessChain) -> Vec<NewEvent> {
    let patch = chain.patch(&block);
    let EthBlock { height, header, txs, .. } = block;
    let ids = txs.iter().map(|(id, _)| *id).collect();
    let order = NewEvent::Order { height, header, txs: ids };
    let txs = txs.into_iter().map(|(id, payload)| NewEvent::Tx { id, payload });
    std::iter::once(NewEvent::Patch(patch)).chain(txs).chain([order]).collect()
}

fn tell(imported: &Imported, app: &App) {
    let Imported { blocks, txs, known_blocks, .. } = imported;
    app.output.line(format_args!("imported {blocks} blocks with {txs} transactions"));
    if *known_blocks > 0 {
        app.output.line(format_args!(
            "left out {known_blocks} blocks: the log has ordered theirs or later ones already"
        ));
    }
    if *blocks > 0 {
        app.output.line("next: `rewake recover` executes and confirms them");
    }
    app.output.object(imported);
}
