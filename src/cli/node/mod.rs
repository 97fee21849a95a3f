//! `rewake node`: runs a node that is recovered first and then served over HTTP.

mod create;
mod limits;
mod options;
mod serve;
mod start;
mod wish;

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::cli::init::GenesisArgs;
use crate::cli::recover::EngineArgs;
use crate::cli::{App, Exit, NodeArgs};

/// Threads of the runtime: it only carries messages, the engine has threads of its own.
const RUNTIME_THREADS: usize = 2;

/// Which node, where it listens, and how it works.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Address of the HTTP interface; port 0 lets the system choose one
    #[arg(long, default_value = "127.0.0.1:8645", value_name = "ADDR")]
    listen: SocketAddr,
    /// A second address, for probes and metrics alone
    #[arg(long, value_name = "ADDR")]
    probe_listen: Option<SocketAddr>,
    /// Time between two blocks, in milliseconds; none is made while nothing waits
    #[arg(long, default_value_t = 200, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    block_ms: u64,
    /// Most transactions of a block
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    block_txs: u32,
    /// Makes the node where there is none
    #[arg(long)]
    create: bool,
    /// State machine of a node that is made
    #[arg(long, value_name = "NAME", default_value = "ledger")]
    machine: String,
    #[command(flatten)]
    genesis: GenesisArgs,
    #[command(flatten)]
    limits: limits::LimitArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

pub(crate) fn run(args: &ServeArgs, app: &App) -> Result<Exit> {
    create::where_asked(args, app)?;
    let (store, machine) = start::open(&args.node.dir(), app)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("rewake-http")
        .enable_all()
        .build()
        .context("the threads of the interface cannot be started")?;
    runtime.block_on(serve::serve(args, store, &machine, app))
}
