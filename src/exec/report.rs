//! The report: what a recovery did, for people and programs.

use std::io::Read as _;

use serde::{Deserialize, Serialize};

use crate::block::Counts;
use crate::exec::{CommitMode, Gate, PaceChange, WorkersChange};
use crate::recovery::Label;
use crate::types::{Digest, Height};

/// Changes of one kind that a report shows; what comes after them is still done.
pub(super) const CHANGES_MAX: usize = 64;

/// How a recovery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// There was nothing to do.
    InSync,
    /// Every ordered block is confirmed.
    Recovered,
    /// Every ordered block is confirmed; verdicts kept transactions out.
    RecoveredWithQuarantine,
    /// It stopped before the end. Where a block is the cause, what was verified before it is committed; otherwise the
    /// next recovery goes on from where this one stopped.
    Halted,
}

/// Why a recovery stopped before the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halt {
    /// The class of the reason.
    pub cause: HaltCause,
    /// The block at which it stopped, where one is to blame.
    pub height: Option<Height>,
    /// The reason, for people.
    pub reason: String,
}

/// The class of the reason why a recovery stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltCause {
    /// A block cannot be executed.
    Poison,
    /// A block did something else than its header says.
    Check,
    /// Executing a block again gave another result.
    Difference,
    /// Somebody asked for it.
    Stopped,
    /// The recovery took longer than it may.
    TimeLimit,
    /// For longer than allowed no block was rehearsed or committed.
    Stalled,
}

impl HaltCause {
    /// Says whether nothing is wrong with any block: the next recovery goes on from where this one stopped.
    #[must_use]
    pub const fn goes_on(self) -> bool {
        matches!(self, Self::Stopped | Self::TimeLimit | Self::Stalled)
    }
}

/// What a recovery did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// The decision that it followed.
    pub decision: Label,
    /// The first block that it committed.
    pub from_height: Option<Height>,
    /// The last block that it committed.
    pub to_height: Option<Height>,
    /// Blocks that it committed.
    pub blocks: u64,
    /// Their transactions, by how they ended.
    #[serde(flatten)]
    pub counts: Counts,
    /// Transactions that were received and are in no block.
    pub mempool: u64,
    /// Digest of the whole state after it.
    pub state_digest: Digest,
    /// Position of the last event.
    pub log_head_seq: u64,
    /// Transactions of the store that it took: one for each checkpoint.
    pub batches: u64,
    /// How the size of a batch changed, and why; the first 64 changes.
    pub paces: Vec<PaceChange>,
    /// How the number of workers followed the load of the machine; the first 64 changes.
    pub workers: Vec<WorkersChange>,
    /// Blocks that an earlier process had rehearsed and that were not rehearsed again.
    pub resumed_blocks: u64,
    /// Attempts beyond the first that transient failures cost.
    pub retries: u64,
    /// How the effects were committed.
    pub commit_mode: CommitMode,
    /// When they were.
    pub gate: Gate,
    /// Milliseconds spent in rehearsing. With a gate for each batch, another one may be committed meanwhile.
    pub rehearse_ms: u64,
    /// Milliseconds spent in committing.
    pub commit_ms: u64,
    /// Milliseconds from opening to the end.
    pub wall_ms: u64,
    /// Largest resident memory of the process so far, in bytes; 0 where the system does not tell.
    pub peak_rss_bytes: u64,
    /// Why it stopped before the end.
    pub halt: Option<Halt>,
    /// Bundles that were written for blocks that failed.
    pub bundles: Vec<std::path::PathBuf>,
}

/// Returns the largest resident memory of this process so far, in bytes; 0 where the system does not tell.
#[must_use]
pub(crate) fn peak_rss_bytes() -> u64 {
    // The kernel gives all of it at once: asking for it in pieces costs more than the rest of a small recovery.
    let mut status = [0; 4096];
    let read = std::fs::File::open("/proc/self/status").and_then(|mut file| file.read(&mut status));
    let status = String::from_utf8_lossy(status.get(..read.unwrap_or(0)).unwrap_or_default());
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}
