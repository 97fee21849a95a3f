//! The decision: what was observed at start-up, and what it obliges us to do.
//!
//! Pure. The table is data; a test walks every combination of what can be observed and shows that exactly one row
//! applies to each.

use serde::{Deserialize, Serialize};

/// What an observer saw, one value a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Whether the files could be opened.
    pub files: Files,
    /// The machine against the one that made the block table.
    pub machine: MachineSeen,
    /// The block table's head against the log.
    pub checkpoint: CheckpointSeen,
    /// The witness against the log.
    pub witness: WitnessSeen,
    /// The hash chain from the checkpoint on.
    pub chain: ChainSeen,
    /// What waits beyond the checkpoint.
    pub pending: PendingSeen,
}

/// Declares one dimension of an observation and lists its values for the table and its test.
macro_rules! dimension {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$value_doc])* $value),+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];
        }
    };
}

dimension! {
    /// Whether the files could be opened.
    Files {
        /// All of them, and their schema is known.
        Open,
        /// Another process holds the lock.
        Locked,
        /// A schema is newer than this program.
        TooNew,
        /// One is missing, foreign, damaged or cannot be read.
        Unusable,
    }
}

dimension! {
    /// The machine against the one that made the block table.
    MachineSeen {
        /// The same name and version.
        Same,
        /// The same name, another version.
        OtherVersion,
        /// A name that this program does not know.
        Unknown,
    }
}

dimension! {
    /// The block table's head against the log.
    CheckpointSeen {
        /// No block was ever committed.
        None,
        /// The log holds the order of the head with the same chain digest.
        Meets,
        /// The log holds another event there.
        Differs,
        /// The log ends before it.
        Beyond,
    }
}

dimension! {
    /// The witness against the log.
    WitnessSeen {
        /// The log holds what the witness says, and perhaps more.
        Agrees,
        /// The log ends before what was acknowledged.
        Ahead,
        /// The log holds another event there.
        Differs,
    }
}

dimension! {
    /// The hash chain from the checkpoint on.
    ChainSeen {
        /// Every link holds.
        Whole,
        /// The event at the checkpoint does not follow from its predecessor.
        BrokenBefore,
        /// An event after the checkpoint does not follow from its predecessor or cannot be read.
        BrokenAfter,
    }
}

dimension! {
    /// What waits beyond the checkpoint.
    PendingSeen {
        /// No ordered block.
        Nothing,
        /// Ordered blocks.
        Blocks,
    }
}

/// The name of a decision, as it is shown and tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    /// Every ordered block is confirmed.
    InSync,
    /// Ordered blocks wait to be replayed on top of the checkpoint.
    Behind,
    /// Ordered blocks wait, and none was ever committed: replay from genesis.
    NeverCommitted,
    /// The block table knows events that the log lacks.
    LogLost,
    /// The witness knows acknowledged events that the log lacks.
    LogCut,
    /// The log holds another event than the one that was acknowledged.
    LogReplaced,
    /// The block table and the log tell different histories.
    Diverged,
    /// The log is damaged at or before the checkpoint.
    ChainBrokenBefore,
    /// The log is damaged after the checkpoint.
    ChainBrokenAfter,
    /// The block table was made by another version of the machine.
    MachineChanged,
    /// The machine is not built into this program.
    MachineUnknown,
    /// A file was written by a newer program.
    SchemaTooNew,
    /// Another process has the node open.
    Locked,
    /// A file is missing, foreign or damaged.
    Unusable,
}

impl Label {
    /// Returns the name as JSON and tables have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Behind => "behind",
            Self::NeverCommitted => "never_committed",
            Self::LogLost => "log_lost",
            Self::LogCut => "log_cut",
            Self::LogReplaced => "log_replaced",
            Self::Diverged => "diverged",
            Self::ChainBrokenBefore => "chain_broken_before",
            Self::ChainBrokenAfter => "chain_broken_after",
            Self::MachineChanged => "machine_changed",
            Self::MachineUnknown => "machine_unknown",
            Self::SchemaTooNew => "schema_too_new",
            Self::Locked => "locked",
            Self::Unusable => "unusable",
        }
    }
}

/// What a decision obliges us to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: the node is ready.
    Nothing,
    /// Rehearse and commit the backlog.
    Replay,
    /// Change nothing and say why.
    Refuse,
}

/// One row of the decision table: it applies where each observed value is among those it lists.
#[derive(Debug)]
pub struct Rule {
    /// The decision.
    pub label: Label,
    /// What it obliges us to do.
    pub action: Action,
    files: &'static [Files],
    machine: &'static [MachineSeen],
    checkpoint: &'static [CheckpointSeen],
    witness: &'static [WitnessSeen],
    chain: &'static [ChainSeen],
    pending: &'static [PendingSeen],
}

impl Rule {
    /// A row that lists everything; rows of the table narrow it.
    const fn new(label: Label, action: Action) -> Self {
        Self {
            label,
            action,
            files: &[Files::Open],
            machine: MachineSeen::ALL,
            checkpoint: CheckpointSeen::ALL,
            witness: WitnessSeen::ALL,
            chain: ChainSeen::ALL,
            pending: PendingSeen::ALL,
        }
    }

    fn applies(&self, seen: Observation) -> bool {
        self.files.contains(&seen.files)
            && self.machine.contains(&seen.machine)
            && self.checkpoint.contains(&seen.checkpoint)
            && self.witness.contains(&seen.witness)
            && self.chain.contains(&seen.chain)
            && self.pending.contains(&seen.pending)
    }
}

const BUILT: &[MachineSeen] = &[MachineSeen::Same, MachineSeen::OtherVersion];
const PRESENT: &[CheckpointSeen] =
    &[CheckpointSeen::None, CheckpointSeen::Meets, CheckpointSeen::Differs];
const JOINED: &[CheckpointSeen] = &[CheckpointSeen::None, CheckpointSeen::Meets];
const AGREES: &[WitnessSeen] = &[WitnessSeen::Agrees];
const WHOLE: &[ChainSeen] = &[ChainSeen::Whole];

/// The decision table. Refusals come first, the gravest first; each row excludes those above it.
pub const TABLE: &[Rule] = &[
    Rule { files: &[Files::Locked], ..Rule::new(Label::Locked, Action::Refuse) },
    Rule { files: &[Files::TooNew], ..Rule::new(Label::SchemaTooNew, Action::Refuse) },
    Rule { files: &[Files::Unusable], ..Rule::new(Label::Unusable, Action::Refuse) },
    Rule { machine: &[MachineSeen::Unknown], ..Rule::new(Label::MachineUnknown, Action::Refuse) },
    Rule {
        machine: BUILT,
        checkpoint: &[CheckpointSeen::Beyond],
        ..Rule::new(Label::LogLost, Action::Refuse)
    },
    Rule {
        machine: BUILT,
        checkpoint: PRESENT,
        witness: &[WitnessSeen::Ahead],
        ..Rule::new(Label::LogCut, Action::Refuse)
    },
    Rule {
        machine: BUILT,
        checkpoint: PRESENT,
        witness: &[WitnessSeen::Agrees, WitnessSeen::Differs],
        chain: &[ChainSeen::BrokenBefore],
        ..Rule::new(Label::ChainBrokenBefore, Action::Refuse)
    },
    Rule {
        machine: BUILT,
        checkpoint: &[CheckpointSeen::Differs],
        witness: &[WitnessSeen::Agrees, WitnessSeen::Differs],
        chain: &[ChainSeen::Whole, ChainSeen::BrokenAfter],
        ..Rule::new(Label::Diverged, Action::Refuse)
    },
    Rule {
        machine: BUILT,
        checkpoint: JOINED,
        witness: &[WitnessSeen::Agrees, WitnessSeen::Differs],
        chain: &[ChainSeen::BrokenAfter],
        ..Rule::new(Label::ChainBrokenAfter, Action::Refuse)
    },
    Rule {
        machine: BUILT,
        checkpoint: JOINED,
        witness: &[WitnessSeen::Differs],
        chain: WHOLE,
        ..Rule::new(Label::LogReplaced, Action::Refuse)
    },
    // Before the first block there is no result that another version could contradict.
    Rule {
        machine: &[MachineSeen::OtherVersion],
        checkpoint: &[CheckpointSeen::Meets],
        witness: AGREES,
        chain: WHOLE,
        ..Rule::new(Label::MachineChanged, Action::Refuse)
    },
    Rule {
        machine: BUILT,
        checkpoint: &[CheckpointSeen::None],
        witness: AGREES,
        chain: WHOLE,
        pending: &[PendingSeen::Blocks],
        ..Rule::new(Label::NeverCommitted, Action::Replay)
    },
    Rule {
        machine: &[MachineSeen::Same],
        checkpoint: &[CheckpointSeen::Meets],
        witness: AGREES,
        chain: WHOLE,
        pending: &[PendingSeen::Blocks],
        ..Rule::new(Label::Behind, Action::Replay)
    },
    Rule {
        machine: &[MachineSeen::Same],
        checkpoint: &[CheckpointSeen::Meets],
        witness: AGREES,
        chain: WHOLE,
        pending: &[PendingSeen::Nothing],
        ..Rule::new(Label::InSync, Action::Nothing)
    },
    Rule {
        machine: BUILT,
        checkpoint: &[CheckpointSeen::None],
        witness: AGREES,
        chain: WHOLE,
        pending: &[PendingSeen::Nothing],
        ..Rule::new(Label::InSync, Action::Nothing)
    },
];

/// Decides what an observation obliges us to do.
#[must_use]
pub fn decide(seen: Observation) -> (Label, Action) {
    let rule = TABLE.iter().find(|rule| rule.applies(seen));
    // The test below shows that a row is always found.
    rule.map_or((Label::Unusable, Action::Refuse), |rule| (rule.label, rule.action))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_observation() -> Vec<Observation> {
        let mut all = Vec::new();
        for &files in Files::ALL {
            for &machine in MachineSeen::ALL {
                for &checkpoint in CheckpointSeen::ALL {
                    for &witness in WitnessSeen::ALL {
                        for &chain in ChainSeen::ALL {
                            for &pending in PendingSeen::ALL {
                                all.push(Observation {
                                    files,
                                    machine,
                                    checkpoint,
                                    witness,
                                    chain,
                                    pending,
                                });
                            }
                        }
                    }
                }
            }
        }
        all
    }

    #[test]
    fn exactly_one_row_applies_to_whatever_can_be_observed() {
        let all = every_observation();
        assert_eq!(all.len(), 4 * 3 * 4 * 3 * 3 * 2);
        for seen in all {
            let rows: Vec<_> = TABLE.iter().filter(|rule| rule.applies(seen)).collect();
            assert_eq!(rows.len(), 1, "{seen:?} has {rows:#?}");
        }
    }

    #[test]
    fn every_row_applies_to_something() {
        let all = every_observation();
        for rule in TABLE {
            assert!(all.iter().any(|seen| rule.applies(*seen)), "{rule:?} never applies");
        }
    }

    #[test]
    fn nothing_is_replayed_unless_everything_was_verified() {
        for seen in every_observation() {
            let (label, action) = decide(seen);
            let sound = seen.files == Files::Open
                && seen.machine != MachineSeen::Unknown
                && JOINED.contains(&seen.checkpoint)
                && seen.witness == WitnessSeen::Agrees
                && seen.chain == ChainSeen::Whole;
            assert!(sound || action == Action::Refuse, "{seen:?} gives {label:?}");
        }
    }

    #[test]
    fn a_label_has_one_name() {
        for rule in TABLE {
            let json = serde_json::to_string(&rule.label).expect("a label");
            assert_eq!(json, format!("\"{}\"", rule.label.name()));
        }
    }

    #[test]
    fn the_gravest_refusal_wins() {
        let sound = Observation {
            files: Files::Open,
            machine: MachineSeen::Same,
            checkpoint: CheckpointSeen::Meets,
            witness: WitnessSeen::Agrees,
            chain: ChainSeen::Whole,
            pending: PendingSeen::Blocks,
        };
        let (meets, none) = (CheckpointSeen::Meets, CheckpointSeen::None);
        let refuse = |label| (label, Action::Refuse);
        let mut cases = vec![
            (sound, (Label::Behind, Action::Replay)),
            (Observation { checkpoint: none, ..sound }, (Label::NeverCommitted, Action::Replay)),
        ];
        for checkpoint in [meets, none] {
            let seen = Observation { pending: PendingSeen::Nothing, checkpoint, ..sound };
            cases.push((seen, (Label::InSync, Action::Nothing)));
        }
        let mut seen = Observation { machine: MachineSeen::OtherVersion, ..sound };
        cases.push((seen, refuse(Label::MachineChanged)));
        seen.witness = WitnessSeen::Differs;
        cases.push((seen, refuse(Label::LogReplaced)));
        seen.chain = ChainSeen::BrokenAfter;
        cases.push((seen, refuse(Label::ChainBrokenAfter)));
        seen.checkpoint = CheckpointSeen::Differs;
        cases.push((seen, refuse(Label::Diverged)));
        seen.chain = ChainSeen::BrokenBefore;
        cases.push((seen, refuse(Label::ChainBrokenBefore)));
        seen.witness = WitnessSeen::Ahead;
        cases.push((seen, refuse(Label::LogCut)));
        seen.checkpoint = CheckpointSeen::Beyond;
        cases.push((seen, refuse(Label::LogLost)));
        seen.machine = MachineSeen::Unknown;
        cases.push((seen, refuse(Label::MachineUnknown)));
        for (files, label) in [
            (Files::Unusable, Label::Unusable),
            (Files::TooNew, Label::SchemaTooNew),
            (Files::Locked, Label::Locked),
        ] {
            cases.push((Observation { files, ..seen }, refuse(label)));
        }
        for (seen, expected) in cases {
            assert_eq!(decide(seen), expected, "{seen:?}");
        }
    }
}
