//! The command line: which commands there are, and how what was typed becomes an exit code.
//!
//! It is part of the library so that the builder of a node gets every command for machines of his own:
//!
//! ```no_run
//! use rewake::machine::{Registry, ledger::Ledger};
//!
//! fn main() -> std::process::ExitCode {
//!     rewake::cli::main(Registry::built_in().with(Ledger)) // … and `.with(YourMachine)`
//! }
//! ```

mod app;
mod args;
mod audit;
mod bundle;
mod completions;
#[cfg(feature = "evm")]
mod conformance;
mod demo;
mod estimate;
mod exit;
mod failure;
mod generate;
mod import;
mod init;
mod load;
mod logging;
mod node;
mod output;
mod plan;
mod progress;
mod quarantine;
mod recover;
mod replay;
mod signals;
mod status;
mod torture;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use app::App;
pub(crate) use args::NodeArgs;
pub use exit::Exit;
pub(crate) use exit::Finding;
pub(crate) use failure::Advised;
pub use output::Output;

use crate::machine::Registry;

/// Brings a deterministic node that died back to exactly the state of a node that never died.
#[derive(Debug, Parser)]
#[command(name = "rewake", version, arg_required_else_help = true, after_help = exit::HELP)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, Args)]
struct GlobalArgs {
    /// Writes one JSON object as the last line of standard output instead of text for people
    #[arg(long, global = true)]
    json: bool,
    /// Shows neither progress nor remarks
    #[arg(long, short, global = true)]
    quiet: bool,
}

/// Declares the commands: what `--help` says, its arguments, and the function that runs it.
macro_rules! commands {
    ($($(#[doc = $help:literal])+ $(#[cfg($on:meta)])? $(#[command($($clap:tt)*)])? $name:ident($args:ty) => $run:path,)+) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($(#[doc = $help])+ $(#[cfg($on)])? $(#[command($($clap)*)])? $name($args),)+
        }

        fn dispatch(command: &Command, app: &App) -> anyhow::Result<Exit> {
            match command {
                $($(#[cfg($on)])? Command::$name(args) => $run(args, app),)+
            }
        }
    };
}

commands! {
    /// Makes an empty node
    Init(init::InitArgs) => init::run,
    /// Logs transactions or blocks that other programs wrote
    Import(import::ImportArgs) => import::run,
    /// Makes a node with a seeded ledger history
    Generate(generate::GenerateArgs) => generate::run,
    /// Says where a node stands; changes nothing
    Status(status::StatusArgs) => status::run,
    /// Says what a recovery would do; changes nothing
    Plan(plan::PlanArgs) => plan::run,
    /// Runs a node: recovers it, then accepts, orders and confirms transactions over HTTP
    Node(node::ServeArgs) => node::run,
    /// Brings a node that died up to its log: rehearses, then commits
    Recover(recover::RecoverArgs) => recover::run,
    /// Executes confirmed history again and says where what is stored parts from it; changes nothing
    Audit(audit::AuditArgs) => audit::run,
    /// Cuts blocks with the state that they touch out of a node, into one file
    Bundle(bundle::BundleArgs) => bundle::run,
    /// Replays a bundle anywhere and compares what that gives
    Replay(replay::ReplayArgs) => replay::run,
    /// Looks after transactions that could not be executed
    Quarantine(quarantine::QuarantineArgs) => quarantine::run,
    /// Runs cases of the public `ethereum/tests` suite, each in a fresh store
    #[cfg(feature = "evm")]
    Conformance(conformance::ConformanceArgs) => conformance::run,
    /// Kills a node in the middle of work, recovers it, and proves the result
    Demo(demo::DemoArgs) => demo::run,
    /// Drives a node, outlives its deaths, and proves that it kept what it acknowledged
    Load(load::LoadArgs) => load::run,
    /// Kills, faults and damages copies of a node, and proves that each recovers or is refused
    Torture(torture::TortureArgs) => torture::run,
    /// Is a recovery that torture strikes
    #[command(hide = true)]
    TortureRecover(torture::LimitedRecoverArgs) => torture::run_recover,
    /// Is an appending process that torture strikes
    #[command(hide = true)]
    TortureAppend(torture::LimitedAppendArgs) => torture::run_append,
    /// Is the node that the demonstration kills
    #[command(hide = true)]
    DemoNode(demo::DemoNodeArgs) => demo::run_node,
    /// Writes a completion script for a shell
    Completions(completions::CompletionsArgs) => completions::run,
}

/// Runs the program: the process's own arguments, standard streams and logging.
#[must_use]
pub fn main(registry: Registry) -> ExitCode {
    logging::start();
    logging::hook_panics();
    let arguments: Vec<_> = std::env::args_os().collect();
    let run = || run_with(registry, arguments, Output::standard());
    let exit = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    exit.unwrap_or(Exit::Unexpected).into()
}

/// Runs one command, the program's name first among its arguments, and returns what it came to.
///
/// Everything that is printed goes to `output`; nothing here ends the process.
pub fn run_with<A: Into<OsString> + Clone>(
    registry: Registry,
    arguments: impl IntoIterator<Item = A>,
    output: Output,
) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let parsed = Cli::command().try_get_matches_from(&arguments);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return failure::not_understood(&error, &arguments, output),
    };
    let app = App::new(registry, output.with(cli.global.json, cli.global.quiet));
    let result = dispatch(&cli.command, &app);
    let exit = result.unwrap_or_else(|error| failure::tell(&error, &app));
    app.output.finish(exit)
}
