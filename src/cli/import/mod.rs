//! `rewake import`: logs what other programs wrote; one file for each format.

#[cfg(feature = "evm")]
mod eth;
mod jsonl;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::cli::{Advised, App, Exit, NodeArgs};
use crate::exec::{Examined, Intake};
use crate::store::{Problem, Repairs, StoreError};

/// What is to be imported.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Format {
    /// Logs ledger transfers, one JSON object a line
    Jsonl(jsonl::JsonlArgs),
    /// Logs Ethereum blocks with the state that they touch, one a file, plain or compressed with zstd
    #[cfg(feature = "evm")]
    Eth(eth::EthArgs),
}

pub(crate) fn run(args: &ImportArgs, app: &App) -> Result<Exit> {
    match &args.format {
        Format::Jsonl(args) => jsonl::run(args, app),
        #[cfg(feature = "evm")]
        Format::Eth(args) => eth::run(args, app),
    }
}

/// Opens a node of a machine, and makes it where none is; says whether it did.
fn open_or_make(node: &NodeArgs, machine: &str, app: &App) -> Result<(Examined, bool)> {
    let dir = node.dir();
    let absent = StoreError { file: dir.path().to_owned(), problem: Problem::NotInitialized };
    let opened = crate::exec::examine(&dir, &app.registry, Repairs::default());
    let (node, is_new) = match opened {
        Err(refusal) if refusal.source.as_ref() == Some(&absent) => {
            dir.create(&app.machine(machine)?.version())?;
            (node.examine(app)?, true)
        }
        opened => (opened?, false),
    };
    let found = node.machine.version();
    if found.id != machine {
        let what = format!("the node runs {found}, the import is for {machine}");
        let advice = "name another directory with --data: one that does not exist yet is made";
        return Err(Advised::new(Exit::Usage, what, advice).into());
    }
    Ok((node, is_new))
}

/// Tells what an import did beside what it counts.
fn where_it_ended(node: &Examined, intake: &Intake) -> (u64, u64) {
    (node.store.log().head().seq, intake.backlog().mempool.len())
}
