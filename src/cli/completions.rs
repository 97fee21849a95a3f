//! `rewake completions`: a script that completes commands and options in a shell.

use anyhow::Result;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::{App, Cli, Exit};

/// What the script is for.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, app: &App) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rewake", &mut script);
    let script = String::from_utf8(script)?;
    if !app.output.is_json() {
        app.output.raw(script.as_bytes());
    }
    app.output.object(&serde_json::json!({ "outcome": "done", "script": script }));
    Ok(Exit::Done)
}
