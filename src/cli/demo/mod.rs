//! `rewake demo`: kills a node in the middle of work, recovers it, and proves the result.

mod crash;
mod node;
mod proof;

use std::path::Path;
use std::time::SystemTime;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::cli::{App, Exit, recover};
use crate::exec::{Examined, RecoveryOptions, Report, examine};
use crate::generate::Workload;
use crate::machine::Registry;
use crate::machine::ledger::Ledger;
use crate::store::{DataDir, Repairs};
use crate::types::{Digest, Height};

use crash::{Crash, Seen};
pub(crate) use node::{DemoNodeArgs, run as run_node};
use proof::Proof;

/// How the demonstration runs.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Repeats the transfers and the choice of the moment of an earlier run
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Keeps the directory with both nodes
    #[arg(long)]
    keep: bool,
}

/// What the crash left, before anything was done about it.
#[derive(Debug, Serialize)]
struct Left {
    log_head_seq: u64,
    block_height: Option<Height>,
    pending_blocks: u64,
    pending_txs: u64,
    mempool: u64,
}

/// The whole demonstration.
#[derive(Debug, Serialize)]
struct Demo {
    outcome: &'static str,
    seed: u64,
    crash: Crash,
    left: Left,
    recovery: Report,
    proof: Proof,
    state_digest: Digest,
    data: Option<std::path::PathBuf>,
    wall_ms: u64,
}

/// The transfers of the demonstration: more than any run comes to.
fn workload(seed: u64) -> Workload {
    Workload {
        accounts: 1_000,
        transfers: 1 << 40,
        block_txs: 250,
        unconfirmed_blocks: 0,
        mempool: 0,
        seed,
        ..Workload::default()
    }
}

fn registry(app: &App) -> Registry {
    app.registry.clone().with(Ledger)
}

fn open(dir: &Path, app: &App) -> Result<Examined> {
    Ok(examine(&DataDir::new(dir), &registry(app), Repairs::default())?)
}

pub(crate) fn run(args: &DemoArgs, app: &App) -> Result<Exit> {
    let seed = args.seed.unwrap_or_else(fresh_seed);
    let scratch = tempfile::Builder::new().prefix("rewake-demo-").tempdir()?;
    app.output.line(format_args!(
        "a node is killed in the middle of work and brought back (seed {seed})\n"
    ));
    let demo = demonstrate(seed, scratch.path(), app);
    let holds = demo.as_ref().is_ok_and(|demo| demo.proof.holds);
    let mut kept = None;
    if args.keep || !holds {
        let path = scratch.keep();
        app.output.note(format_args!("the nodes are kept in {}", path.display()));
        kept = Some(path);
    }
    let demo = Demo { data: kept, wall_ms: app.wall_ms(), ..demo? };
    let exit = if holds { Exit::Done } else { Exit::Diverged };
    app.output.line(if holds {
        "\nproved: the node is exactly where it would be had it never died"
    } else {
        "\nNOT proved: the node is not where it would be had it never died"
    });
    app.output.object(&demo);
    Ok(exit)
}

fn demonstrate(seed: u64, scratch: &Path, app: &App) -> Result<Demo> {
    let killed = scratch.join("killed");
    let workload = workload(seed);
    let crash = crash::kill_a_node(&killed, seed, app)?;
    let node = open(&killed, app)?;
    let left = left(&node);
    let kept = proof::kept(&node, &workload, crash.last_seen.accepted)?;
    tell_crash(&crash, &left, kept, app);
    let (node, recovery) = recover::recover(node, RecoveryOptions::default(), app)?;
    tell_recovery(&recovery, app);
    let proof =
        proof::prove(&node, &recovery, &workload, kept, &scratch.join("never-killed"), app)?;
    tell_proof(&proof, recovery.state_digest, app);
    Ok(Demo {
        outcome: if proof.holds { "proved" } else { "not_proved" },
        seed,
        crash,
        left,
        state_digest: recovery.state_digest,
        recovery,
        proof,
        data: None,
        wall_ms: 0,
    })
}

fn left(node: &Examined) -> Left {
    Left {
        log_head_seq: node.log_head.seq,
        block_height: node.checkpoint.as_ref().map(|row| row.order.height),
        pending_blocks: node.backlog.blocks,
        pending_txs: node.backlog.txs,
        mempool: node.backlog.mempool.len(),
    }
}

fn tell_crash(crash: &Crash, left: &Left, kept: proof::Kept, app: &App) {
    let Seen { accepted, ordered, confirmed } = crash.last_seen;
    let blocks = left.pending_blocks;
    app.output.line(format_args!(
        "1. process {} accepted transfers, ordered them into blocks and confirmed blocks,\n   \
         until SIGKILL hit it after {} ms; its last words: {accepted} transfers accepted,\n   \
         block {ordered} ordered, block {confirmed} confirmed",
        crash.process, crash.ran_ms
    ));
    app.output.line("2. what the crash left on disk");
    app.output.table([
        ("   event log ends at", format!("event {}", left.log_head_seq)),
        ("   block table ends at", crate::cli::status::height(left.block_height)),
        (
            "   ordered, not confirmed",
            format!("{blocks} blocks with {} transfers", left.pending_txs),
        ),
        ("   received, in no block", format!("{} transfers", left.mempool)),
        (
            "   acknowledged transfers",
            format!(
                "{} of {accepted} are in the log, which holds {}",
                kept.acknowledged, kept.logged
            ),
        ),
    ]);
}

fn tell_recovery(report: &Report, app: &App) {
    app.output.line("3. recovery: rehearsed in a sandbox, then committed");
    let counts = report.counts;
    app.output.table([
        (
            "   confirmed",
            format!("{} blocks in {} ms", report.blocks, report.rehearse_ms + report.commit_ms),
        ),
        (
            "   transfers",
            format!(
                "{}: {} applied, {} refused by the rules",
                counts.txs, counts.applied, counts.rejected
            ),
        ),
        ("   back in the mempool", format!("{} transfers", report.mempool)),
    ]);
}

fn tell_proof(proof: &Proof, digest: Digest, app: &App) {
    let verdict = |holds| if holds { "equal" } else { "DIFFERENT" };
    app.output
        .line("4. proof: the same transfers on a node that was never killed, and on a plain model");
    app.output.table([
        ("   state, killed", digest.to_string()),
        (
            "   state, never killed",
            format!("{} {}", proof.undisturbed_digest, verdict(proof.digests_equal)),
        ),
        (
            "   balances and nonces",
            format!(
                "of {} accounts against the model: {}",
                proof.accounts,
                verdict(proof.balances_equal)
            ),
        ),
        (
            "   transfers applied",
            format!("{} by the node, {} by the model", proof.applied, proof.applied_by_model),
        ),
    ]);
}

/// A seed that nobody could foresee, short enough to be typed.
fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (u64::from(now.subsec_nanos()) ^ u64::from(std::process::id()) << 12) % 1_000_000
}
