//! `rewake init`: makes an empty node.

use anyhow::Result;
use clap::Args;

use crate::cli::{App, Exit, NodeArgs};

/// What the node is to be.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// State machine that the node runs
    #[arg(long, value_name = "NAME", default_value = "ledger")]
    machine: String,
}

pub(crate) fn run(args: &InitArgs, app: &App) -> Result<Exit> {
    let machine = app.machine(&args.machine)?.version();
    let dir = args.node.dir();
    dir.create(&machine)?;
    let path = dir.path().display();
    app.output.line(format_args!("made an empty node of {machine} in {path}"));
    app.output.object(&serde_json::json!({
        "outcome": "done",
        "data": dir.path(),
        "machine": machine.id,
        "machine_version": machine.version,
    }));
    Ok(Exit::Done)
}
