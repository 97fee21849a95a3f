//! Exit codes: one pure function from what was found to the number that a script sees.

use std::process::ExitCode;

use crate::exec::{HaltCause, Outcome};
use crate::recovery::Label;
use crate::store::Problem;

/// What a command came to; the numbers are the exit codes of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and nothing is left to do.
    Done = 0,
    /// Something unexpected, also of the operating system.
    Unexpected = 1,
    /// The command line cannot be followed.
    Usage = 2,
    /// Ordered blocks wait for a recovery.
    Behind = 3,
    /// A file is missing, foreign, damaged, cut, or of a newer program.
    Corrupt = 4,
    /// Two histories, or two executions of one block, differ.
    Diverged = 5,
    /// The machine is unknown, changed, or not built into this program.
    Machine = 6,
    /// Another process has the node open.
    Busy = 7,
    /// A recovery stopped before the end.
    Halted = 8,
    /// Recovered; transactions are held in quarantine.
    Quarantined = 9,
    /// A campaign of torture ended before every kind of fault was reached.
    Incomplete = 10,
}

/// The exit codes, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  unexpected, also input and output
  2  usage: the command line cannot be followed, or no node is there
  3  behind: ordered blocks wait for `rewake recover`
  4  corrupt: a file is missing, foreign, damaged, cut, or of a newer program
  5  diverged: two histories, or two executions of one block, differ
  6  machine: unknown, changed, or not built into this program
  7  busy: another process has the node open
  8  halted before the end, or stopped: the next recovery goes on from there
  9  recovered, with transactions in quarantine
 10  incomplete (`torture`): some kinds of fault were never reached

Environment:
  REWAKE_LOG  what is logged to standard error, as in `info` or `rewake::exec=debug`; default `warn`";

/// What was found, as far as the exit code depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Finding<'a> {
    /// A node was opened and this was decided.
    Decided(Label),
    /// A node was refused, perhaps because of a file.
    Refused(Label, Option<&'a Problem>),
    /// A file failed.
    Failed(&'a Problem),
    /// A file failed during a recovery.
    Stopped(&'a Problem),
    /// A recovery ended.
    Ended(Outcome, Option<HaltCause>),
}

impl Finding<'_> {
    /// Returns the exit code.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Decided(label) | Self::Refused(label, None) => of_label(label),
            Self::Stopped(Problem::DiskFull) => Exit::Halted,
            Self::Stopped(Problem::OutcomeUnknown(cause)) => Self::Stopped(cause).exit(),
            Self::Refused(_, Some(problem)) | Self::Failed(problem) | Self::Stopped(problem) => {
                of_problem(problem)
            }
            Self::Ended(outcome, cause) => of_outcome(outcome, cause),
        }
    }
}

const fn of_label(label: Label) -> Exit {
    match label {
        Label::InSync => Exit::Done,
        Label::Behind | Label::NeverCommitted => Exit::Behind,
        Label::LogLost
        | Label::LogCut
        | Label::LogReplaced
        | Label::ChainBrokenBefore
        | Label::ChainBrokenAfter
        | Label::SchemaTooNew
        | Label::Unusable => Exit::Corrupt,
        Label::Diverged => Exit::Diverged,
        Label::MachineChanged | Label::MachineUnknown => Exit::Machine,
        Label::Locked => Exit::Busy,
    }
}

const fn of_problem(problem: &Problem) -> Exit {
    match problem {
        Problem::NotInitialized | Problem::NotEmpty => Exit::Usage,
        Problem::Busy => Exit::Busy,
        Problem::Missing
        | Problem::Foreign(_)
        | Problem::TooNew { .. }
        | Problem::SchemaAltered { .. }
        | Problem::Damaged(_)
        | Problem::Codec { .. } => Exit::Corrupt,
        Problem::ReadOnly
        | Problem::DiskFull
        | Problem::Io { .. }
        | Problem::OutcomeUnknown(_)
        | Problem::Setting { .. }
        | Problem::Sql(_) => Exit::Unexpected,
    }
}

const fn of_outcome(outcome: Outcome, cause: Option<HaltCause>) -> Exit {
    match (outcome, cause) {
        (Outcome::InSync | Outcome::Recovered, _) => Exit::Done,
        (Outcome::RecoveredWithQuarantine, _) => Exit::Quarantined,
        (Outcome::Halted, Some(HaltCause::Difference)) => Exit::Diverged,
        (
            Outcome::Halted,
            Some(
                HaltCause::Poison
                | HaltCause::Check
                | HaltCause::Stopped
                | HaltCause::TimeLimit
                | HaltCause::Stalled,
            )
            | None,
        ) => Exit::Halted,
    }
}

impl Exit {
    /// Returns the number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_has_the_documented_code() {
        let problem = |problem: Problem| Finding::Failed(&problem).exit().code();
        let stopped = |problem: Problem| Finding::Stopped(&problem).exit().code();
        let text = String::new;
        let cases = [
            (0, Finding::Decided(Label::InSync).exit().code()),
            (0, Finding::Ended(Outcome::InSync, None).exit().code()),
            (0, Finding::Ended(Outcome::Recovered, None).exit().code()),
            (1, problem(Problem::ReadOnly)),
            (1, problem(Problem::DiskFull)),
            (1, problem(Problem::Io { operation: "reading", detail: text() })),
            (1, problem(Problem::OutcomeUnknown(Box::new(Problem::DiskFull)))),
            (2, problem(Problem::NotInitialized)),
            (2, problem(Problem::NotEmpty)),
            (3, Finding::Decided(Label::Behind).exit().code()),
            (3, Finding::Decided(Label::NeverCommitted).exit().code()),
            (4, Finding::Refused(Label::LogLost, None).exit().code()),
            (4, Finding::Refused(Label::LogCut, None).exit().code()),
            (4, Finding::Refused(Label::LogReplaced, None).exit().code()),
            (4, Finding::Refused(Label::ChainBrokenBefore, None).exit().code()),
            (4, Finding::Refused(Label::ChainBrokenAfter, None).exit().code()),
            (4, Finding::Refused(Label::SchemaTooNew, None).exit().code()),
            (4, Finding::Refused(Label::Unusable, None).exit().code()),
            (4, problem(Problem::Missing)),
            (4, problem(Problem::Foreign(text()))),
            (4, problem(Problem::Damaged(text()))),
            (4, problem(Problem::TooNew { found: 2, known: 1 })),
            (4, problem(Problem::SchemaAltered { version: 1 })),
            (5, Finding::Refused(Label::Diverged, None).exit().code()),
            (5, Finding::Ended(Outcome::Halted, Some(HaltCause::Difference)).exit().code()),
            (6, Finding::Refused(Label::MachineChanged, None).exit().code()),
            (6, Finding::Refused(Label::MachineUnknown, None).exit().code()),
            (7, Finding::Refused(Label::Locked, Some(&Problem::Busy)).exit().code()),
            (8, Finding::Ended(Outcome::Halted, Some(HaltCause::Poison)).exit().code()),
            (8, Finding::Ended(Outcome::Halted, Some(HaltCause::Check)).exit().code()),
            (8, Finding::Ended(Outcome::Halted, Some(HaltCause::Stopped)).exit().code()),
            (8, Finding::Ended(Outcome::Halted, Some(HaltCause::TimeLimit)).exit().code()),
            (8, Finding::Ended(Outcome::Halted, Some(HaltCause::Stalled)).exit().code()),
            (8, stopped(Problem::DiskFull)),
            (8, stopped(Problem::OutcomeUnknown(Box::new(Problem::DiskFull)))),
            (1, stopped(Problem::OutcomeUnknown(Box::new(Problem::Sql(text()))))),
            (1, stopped(Problem::ReadOnly)),
            (9, Finding::Ended(Outcome::RecoveredWithQuarantine, None).exit().code()),
        ];
        for (index, (expected, found)) in cases.into_iter().enumerate() {
            assert_eq!(found, expected, "case {index}");
        }
        for code in 0..=9 {
            assert!(HELP.contains(&format!("\n  {code}  ")), "{code} is not in the help");
        }
    }
}
