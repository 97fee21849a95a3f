//! The report of an audit, for people and programs.

use serde::{Deserialize, Serialize};

use crate::audit::finding::Finding;
use crate::machine::MachineVersion;
use crate::types::{Digest, Height};

/// What an audit did and found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// The machine that executed.
    pub machine: MachineVersion,
    /// The machine that had made the blocks.
    pub made_by: MachineVersion,
    /// The first confirmed block of the range.
    pub from_height: Option<Height>,
    /// The last confirmed block of the range.
    pub to_height: Option<Height>,
    /// Whether execution began with an empty state rather than with one that was got by undoing blocks.
    pub from_genesis: bool,
    /// Blocks that were executed again.
    pub blocks_executed: u64,
    /// Transactions that were executed again; those that verdicts keep out are not.
    pub txs_executed: u64,
    /// Blocks whose stored rows and parts were compared, executed or not.
    pub blocks_compared: u64,
    /// Blocks whose change sets were taken back to come to the state before the range.
    pub blocks_undone: u64,
    /// The first event of the log that was verified.
    pub first_seq: u64,
    /// The last event of the log that was verified.
    pub last_seq: u64,
    /// Events that were read and whose links were verified.
    pub events_verified: u64,
    /// Blocks that are ordered and not confirmed: only their events were verified.
    pub blocks_unconfirmed: u64,
    /// Whether the state table, the mempool, the verdicts and the witness were compared: where the range ends at the head.
    pub reached_head: bool,
    /// Entries of the state table that were read.
    pub state_entries: u64,
    /// Digest of the state after the last block of the range, as its row has it.
    pub state_digest: Option<Digest>,
    /// How many places differ.
    pub finding_count: u64,
    /// The first of them, at most [`FINDINGS_MAX`](crate::audit::FINDINGS_MAX).
    pub findings: Vec<Finding>,
    /// Milliseconds that it took.
    pub wall_ms: u64,
}

impl AuditReport {
    /// Says whether everything is as it must be.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.finding_count == 0
    }
}
