//! The settings of a run.

use std::path::PathBuf;
use std::time::Duration;

/// When the load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After a time.
    Elapsed(Duration),
    /// After so many transfers.
    Transfers(u64),
    /// When somebody stops it.
    Stopped,
}

/// How a node is driven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Clients that submit at the same time, each with senders of its own.
    pub clients: usize,
    /// Transfers in one submission, 1 to 1000.
    pub batch: usize,
    /// Chooses one of 2^64 workloads.
    pub seed: u64,
    /// When the load ends.
    pub until: Until,
    /// How long the node may take to become ready, and to come to rest after the load.
    pub patience: Duration,
    /// How long one question may take.
    pub request_limit: Duration,
    /// How long nothing may move before what waits in the mempool is taken to stay there.
    pub still: Duration,
    /// A file for the list of acknowledgements.
    pub acknowledged: Option<PathBuf>,
    /// Whether the node is checked after the load.
    pub checks: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            clients: 64,
            batch: 1,
            seed: 1,
            until: Until::Elapsed(Duration::from_secs(10)),
            patience: Duration::from_mins(1),
            request_limit: Duration::from_secs(10),
            still: Duration::from_secs(3),
            acknowledged: None,
            checks: true,
        }
    }
}
