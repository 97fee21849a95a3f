//! `rewake bundle`: cuts a transaction sequence with the state that it touches out of a node.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::cli::{Advised, App, Exit, NodeArgs};
use crate::machine::MachineVersion;
use crate::reproduce::{BundleError, CutError, cut};
use crate::types::Height;

/// Which blocks of which node, and where to.
#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The first block
    #[arg(long, value_name = "HEIGHT", value_parser = clap::value_parser!(u64).range(..i64::MAX.cast_unsigned()))]
    from: u64,
    /// The last block
    #[arg(long, value_name = "HEIGHT", value_parser = clap::value_parser!(u64).range(..i64::MAX.cast_unsigned()))]
    to: u64,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    file: PathBuf,
    bytes: u64,
    machine: MachineVersion,
    from_height: Option<Height>,
    to_height: Option<Height>,
    blocks: u64,
    txs: u64,
    state_entries: u64,
}

pub(crate) fn run(args: &BundleArgs, app: &App) -> Result<Exit> {
    let store = Arc::new(args.node.dir().open()?);
    let machine = app.machine(&store.main().machine().id.clone())?;
    let cut = cut(&store, &machine, (Height(args.from), Height(args.to))).map_err(refused)?;
    cut.save(&args.output).map_err(|error| {
        let what = format!("{}: {error}", args.output.display());
        match error {
            BundleError::TooLarge { .. } => Advised::new(Exit::Usage, what, "cut fewer blocks"),
            _ => Advised::new(Exit::Unexpected, what, "check the path and the disk"),
        }
    })?;
    let size = std::fs::metadata(&args.output).map_or(0, |data| data.len());
    let height = |index: Option<&crate::reproduce::BundleBlock>| index.map(|b| b.order.height);
    let txs: usize = cut.blocks.iter().map(|block| block.input.txs.len()).sum();
    let written = Written {
        file: args.output.clone(),
        bytes: size,
        machine: cut.machine.clone(),
        from_height: height(cut.blocks.first()),
        to_height: height(cut.blocks.last()),
        blocks: crate::codec::count(cut.blocks.len()),
        txs: crate::codec::count(txs),
        state_entries: crate::codec::count(cut.state.entries().count()),
    };
    app.output.table([
        ("bundle", format!("{} ({} bytes)", written.file.display(), written.bytes)),
        ("machine", written.machine.to_string()),
        ("holds", format!("{} blocks, {} transactions", written.blocks, written.txs)),
        ("state", format!("{} entries that they touch", written.state_entries)),
    ]);
    app.output.object(&written);
    Ok(Exit::Done)
}

/// Gives a refusal its exit code; a failure of the store has its own.
fn refused(error: CutError) -> anyhow::Error {
    match error {
        CutError::Store(error) => error.into(),
        CutError::NothingThere { .. } => {
            let advice = "see `rewake status` for the blocks that there are";
            Advised::new(Exit::Usage, error.to_string(), advice).into()
        }
        CutError::StateLost { .. } | CutError::NotInLog { .. } | CutError::State(_) => {
            let advice = "run `rewake audit` to see what is damaged";
            Advised::new(Exit::Corrupt, error.to_string(), advice).into()
        }
    }
}
