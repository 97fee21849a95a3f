//! `rewake status`: where a node stands, and what to do next.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::cli::{App, Exit, Finding, NodeArgs};
use crate::exec::{Examined, Quarantine};
use crate::machine::MachineVersion;
use crate::recovery::Label;
use crate::store::StoreError;
use crate::types::{Digest, Height};

/// Which node.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    node: NodeArgs,
}

/// Where a node stands.
#[derive(Debug, Serialize)]
struct Status {
    decision: Label,
    machine: MachineVersion,
    log_head_seq: u64,
    block_height: Option<Height>,
    last_ordered_height: Option<Height>,
    pending_blocks: u64,
    pending_txs: u64,
    mempool: u64,
    quarantined: u64,
    state_digest: Digest,
}

impl Status {
    fn of(node: &Examined) -> Result<Self, StoreError> {
        let Examined { store, machine, checkpoint, log_head, backlog, label, .. } = node;
        let held = Quarantine::of(node)?.len();
        let state_digest = store.main().lanes()?.digest();
        Ok(Self {
            decision: *label,
            machine: machine.version(),
            log_head_seq: log_head.seq,
            block_height: checkpoint.as_ref().map(|row| row.order.height),
            last_ordered_height: backlog.last_ordered,
            pending_blocks: backlog.blocks,
            pending_txs: backlog.txs,
            mempool: backlog.mempool.len(),
            quarantined: crate::codec::count(held),
            state_digest,
        })
    }
}

pub(crate) fn run(args: &StatusArgs, app: &App) -> Result<Exit> {
    let status = Status::of(&args.node.examine(app)?)?;
    let next = match status.decision {
        Label::InSync => "nothing: every ordered block is confirmed",
        _ => "run `rewake recover` to confirm the waiting blocks",
    };
    app.output.table([
        ("decision", status.decision.name().to_owned()),
        ("machine", status.machine.to_string()),
        ("log head", format!("event {}", status.log_head_seq)),
        ("block head", height(status.block_height)),
        (
            "waiting",
            format!("{} blocks with {} transactions", status.pending_blocks, status.pending_txs),
        ),
        ("mempool", format!("{} transactions received and in no block", status.mempool)),
        ("quarantine", format!("{} transactions held", status.quarantined)),
        ("state digest", status.state_digest.to_string()),
        ("to do", next.to_owned()),
    ]);
    app.output.object(&status);
    Ok(Finding::Decided(status.decision).exit())
}

/// Names a height for people.
pub(crate) fn height(height: Option<Height>) -> String {
    height.map_or_else(|| "none yet".to_owned(), |height| format!("block {}", height.get()))
}
