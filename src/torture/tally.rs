//! The tally: how often each kind of fault was reached, and what came of it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::torture::Kind;

/// What came of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The process went down, and recovery brought the node to where it would have been.
    Recovered,
    /// Recovery refused the damage with a documented exit code.
    Refused,
    /// Recovery did not meet the damage, and the audit found it.
    Audited,
    /// The damage is gone, and the node is where it would have been.
    Repaired,
    /// The damage is still there, nothing depends on it, and the node is where it would have been.
    Harmless,
    /// Something that was promised does not hold.
    Violated,
}

impl Outcome {
    /// Returns the name as tables have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Refused => "refused",
            Self::Audited => "found by the audit",
            Self::Repaired => "repaired",
            Self::Harmless => "harmless",
            Self::Violated => "VIOLATED",
        }
    }
}

/// How often one kind was tried, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KindTally {
    /// Rounds in which it did not take effect, whatever was tried.
    pub(super) missed: u64,
    pub(super) outcomes: BTreeMap<Outcome, u64>,
}

impl KindTally {
    /// Returns how often it took effect.
    pub(super) fn reached(&self) -> u64 {
        self.outcomes.values().sum()
    }
}

/// Counts of a campaign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub(super) kinds: BTreeMap<Kind, KindTally>,
    pub(super) rounds: u64,
    pub(super) kills: u64,
}

impl Tally {
    /// Begins with kinds that were never reached.
    pub(super) fn of(kinds: &[Kind]) -> Self {
        let kinds = kinds.iter().map(|kind| (*kind, KindTally::default())).collect();
        Self { kinds, rounds: 0, kills: 0 }
    }

    /// Counts a round; `None` where its fault did not take effect.
    pub(super) fn count(&mut self, kind: Kind, outcome: Option<Outcome>, kills: u64) {
        self.rounds = self.rounds.saturating_add(1);
        self.kills = self.kills.saturating_add(kills);
        let tally = self.kinds.entry(kind).or_default();
        let counter = match outcome {
            Some(outcome) => tally.outcomes.entry(outcome).or_default(),
            None => &mut tally.missed,
        };
        *counter = counter.saturating_add(1);
    }

    /// Returns how many rounds were run.
    #[must_use]
    pub const fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Returns how many rounds showed that something does not hold.
    #[must_use]
    pub fn violations(&self) -> u64 {
        self.kinds.values().filter_map(|kind| kind.outcomes.get(&Outcome::Violated)).sum()
    }

    /// Returns the kinds that never took effect.
    #[must_use]
    pub fn never_reached(&self) -> Vec<Kind> {
        let missing = self.kinds.iter().filter(|(_, tally)| tally.reached() == 0);
        missing.map(|(kind, _)| *kind).collect()
    }
}
