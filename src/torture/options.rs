//! The settings of a campaign.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::exec::StopSignal;
use crate::store::DataDir;
use crate::torture::Leavings;

/// Makes the command that runs this program with arguments.
pub type Launch = Arc<dyn Fn(&[OsString]) -> Command + Send + Sync>;

/// The node whose copies are tortured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One that exists; it is only read, under its lock.
    Node(DataDir),
    /// A small ledger that is made for this.
    Fresh,
}

/// Which rounds are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// From the first on, until a time is over.
    Elapsed(Duration),
    /// The first ones, so many.
    Rounds(u64),
    /// One round alone, by its number.
    Only(u64),
}

/// What is tortured, how and for how long.
#[derive(Clone)]
pub struct TortureOptions {
    /// The node.
    pub source: Source,
    /// The directory in which the scratch directory is made.
    pub scratch: PathBuf,
    /// Chooses one of 2^64 campaigns.
    pub seed: u64,
    /// Which rounds are run.
    pub extent: Extent,
    /// How long a child may take before it counts as hung.
    pub patience: Duration,
    /// Starts the program again.
    pub launch: Launch,
    /// What the reproduction of a round begins with, as it is typed.
    pub command: String,
    /// Ends the campaign early.
    pub stop: StopSignal,
    /// What there is to remove where the process ends at once.
    pub leavings: Leavings,
}
