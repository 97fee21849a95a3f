//! The report of a campaign, for people and programs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::torture::{Kind, Outcome, Tally};

/// What a campaign came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every kind of fault was reached, and all that was promised held.
    Survived,
    /// Something that was promised does not hold.
    Violated,
    /// All that was promised held, but some kinds of fault were never reached.
    Incomplete,
    /// One round was repeated, and all that was promised held.
    Repeated,
    /// It was stopped, and all that was promised held until then.
    Stopped,
}

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The round.
    pub round: u64,
    /// What was done.
    #[serde(flatten)]
    pub kind: Kind,
    /// What was done exactly.
    pub fault_detail: String,
    /// What does not hold.
    pub what: String,
    /// The command that repeats the round.
    pub reproduce: String,
    /// The copy of the node as the round left it.
    pub kept: PathBuf,
}

/// What came of one kind of fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KindReport {
    /// The kind.
    #[serde(flatten)]
    pub kind: Kind,
    /// Rounds in which it took effect.
    pub reached: u64,
    /// Rounds in which it did not.
    pub missed: u64,
    /// What came of it, how often.
    pub outcomes: BTreeMap<Outcome, u64>,
}

/// One campaign.
#[derive(Clone, Debug, Serialize)]
pub struct TortureReport {
    /// What it came to.
    pub outcome: Verdict,
    /// What chose everything.
    pub seed: u64,
    /// Rounds that were run.
    pub rounds: u64,
    /// Processes that were killed by signal 9.
    pub kills: u64,
    /// How long it took, in milliseconds.
    pub wall_ms: u64,
    /// Every kind of fault that this node offers.
    pub kinds: Vec<KindReport>,
    /// The kinds that were never reached.
    pub never_reached: Vec<Kind>,
    /// What does not hold.
    pub violations: Vec<Violation>,
    /// What one round did, where it was repeated alone.
    pub repeated: Option<String>,
    /// The scratch directory, where it was kept.
    pub scratch: Option<PathBuf>,
}

impl KindReport {
    pub(super) fn all(tally: &Tally) -> Vec<Self> {
        let each = tally.kinds.iter().map(|(kind, counted)| Self {
            kind: *kind,
            reached: counted.reached(),
            missed: counted.missed,
            outcomes: counted.outcomes.clone(),
        });
        each.collect()
    }
}
