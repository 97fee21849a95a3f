//! The report: what a run did, what it measured, and what the checks found.

use serde::Serialize;

use crate::load::check::{Checked, Finding};
use crate::load::histogram::Latency;
use crate::load::kills::KillReport;

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every check holds.
    Proved,
    /// A check does not hold.
    Violated,
    /// Nothing was checked but the answers, which agree.
    Unchecked,
}

/// One run of the driver.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// What it came to.
    pub outcome: Verdict,
    /// Clients that submitted at the same time.
    pub clients: usize,
    /// Transfers in one submission.
    pub batch: usize,
    /// What chose the workload.
    pub seed: u64,
    /// How long the load lasted.
    pub load_ms: u64,
    /// Transactions that were acknowledged.
    pub acknowledged: u64,
    /// Acknowledged transactions a second, over the whole load.
    pub acknowledged_per_s: u64,
    /// Of submissions under which the node stayed.
    pub latency: Latency,
    /// Of submissions under which the node went away.
    pub latency_disturbed: Latency,
    /// Submissions beyond the first of a transaction, because its outcome was unknown or the node was busy.
    pub retries: u64,
    /// Old transactions that were submitted again on purpose.
    pub resubmissions: u64,
    /// How often the node was seen to go away.
    pub deaths_seen: u64,
    /// What was killed, where the driver kills.
    pub kills: Option<KillReport>,
    /// Confirmed blocks of the node, genesis among them.
    pub blocks: u64,
    /// Transactions of the node.
    pub transactions: u64,
    /// Those of them that are in no block.
    pub mempool: u64,
    /// Every check with its counts.
    pub checks: Vec<Checked>,
    /// The first findings of each check.
    pub findings: Vec<Finding>,
}
