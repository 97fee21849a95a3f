//! `rewake plan`: what a recovery would do; writes nothing.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::cli::recover::EngineArgs;
use crate::cli::status::height;
use crate::cli::{App, Exit, Finding, NodeArgs, estimate};
use crate::exec::{CommitMode, Estimate, Examined, Gate, RecoveryOptions};
use crate::recovery::Label;
use crate::store::StoreError;
use crate::types::Height;

/// Which node, and how it would be recovered.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What a recovery would do.
#[derive(Debug, Serialize)]
struct Plan {
    decision: Label,
    from_height: Option<Height>,
    to_height: Option<Height>,
    blocks: u64,
    txs: u64,
    mempool: u64,
    verdicts: u64,
    batches_estimate: u64,
    commit_mode: CommitMode,
    gate: Gate,
    estimate: Estimate,
}

impl Plan {
    fn of(node: &Examined, options: &RecoveryOptions) -> Result<Self, StoreError> {
        let backlog = &node.backlog;
        Ok(Self {
            decision: node.label,
            from_height: backlog.first,
            to_height: backlog.last_ordered.filter(|_| backlog.blocks > 0),
            blocks: backlog.blocks,
            txs: backlog.txs,
            mempool: backlog.mempool.len(),
            verdicts: crate::codec::count(backlog.verdicts.last().count()),
            batches_estimate: batches(backlog.blocks, backlog.txs, options.batch.txs_max),
            commit_mode: options.commit,
            gate: options.gate,
            estimate: Estimate::of(node, options)?,
        })
    }
}

/// Estimates the number of batches, as if every block were as large as the mean and bytes filled none.
const fn batches(blocks: u64, txs: u64, txs_max: u64) -> u64 {
    if blocks == 0 {
        return 0;
    }
    let block_txs = txs.div_ceil(blocks);
    let batch_blocks = if block_txs == 0 { blocks } else { txs_max.div_ceil(block_txs) };
    blocks.div_ceil(if batch_blocks == 0 { 1 } else { batch_blocks })
}

pub(crate) fn run(args: &PlanArgs, app: &App) -> Result<Exit> {
    let node = args.node.examine(app)?;
    let plan = Plan::of(&node, &args.engine.options())?;
    let replayed = match (plan.from_height, plan.to_height) {
        (Some(first), Some(last)) => format!(
            "{} blocks ({} to {}) with {} transactions",
            plan.blocks,
            first.get(),
            last.get(),
            plan.txs
        ),
        _ => "no blocks".to_owned(),
    };
    let steps = match (plan.commit_mode, plan.gate) {
        (CommitMode::Restore, Gate::All) => "rehearse all, then commit the rehearsed effects",
        (CommitMode::Restore, Gate::Batch) => "rehearse and commit batch by batch",
        (CommitMode::Reexecute, Gate::All) => "rehearse all, then execute again and compare",
        (CommitMode::Reexecute, Gate::Batch) => {
            "rehearse, execute again and compare batch by batch"
        }
    };
    let checkpoint = node.checkpoint.as_ref().map(|row| row.order.height);
    let mut rows = vec![
        ("decision", plan.decision.name().to_owned()),
        ("checkpoint", height(checkpoint)),
        ("replay", replayed),
        ("batches", format!("about {}", plan.batches_estimate)),
        ("how", steps.to_owned()),
        ("verdicts", format!("{} transactions have one since the checkpoint", plan.verdicts)),
        ("mempool", format!("{} transactions go back to the node", plan.mempool)),
    ];
    rows.extend(estimate::rows(&plan.estimate));
    app.output.table(rows);
    if let Some(warning) = estimate::warning(&plan.estimate) {
        app.output.error(warning);
    }
    app.output.object(&plan);
    Ok(Finding::Decided(Label::InSync).exit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_estimated_from_the_mean_block() {
        let cases = [
            ((0, 0, 100), 0),
            ((7, 0, 100), 1),
            ((10, 1_000, 100), 10),
            ((10, 1_000, 250), 4),
            ((10, 1_000, 1), 10),
            ((10, 1_000, 0), 10),
            ((1, 1, u64::MAX), 1),
        ];
        for ((blocks, txs, txs_max), expected) in cases {
            assert_eq!(batches(blocks, txs, txs_max), expected, "{blocks} {txs} {txs_max}");
        }
    }
}
