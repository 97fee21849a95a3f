//! How a recovery works; none of it changes its result.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exec::bus::{Bus, Committed, Rehearsed};
use crate::exec::sandbox::FailedBlock;
use crate::exec::{CommitMode, ExecutorSettings, StopSignal};
use crate::pace::PaceLimits;
use crate::plan::BatchLimits;

/// Longest time that one step of a block may take, where nobody says otherwise.
pub(crate) const STEP_TIME_MAX: Duration = Duration::from_secs(30);

/// When rehearsed blocks are committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// After the whole backlog is rehearsed.
    #[default]
    All,
    /// Batch by batch, for very long backlogs.
    Batch,
}

/// How long a recovery may take. It ends at a limit as it does at a stop: the next one goes on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryLimits {
    /// Longest time from its beginning on; `None` sets no limit.
    pub time_max: Option<Duration>,
    /// Longest time in which no block is rehearsed or committed; `None` sets no limit.
    ///
    /// A step that never ends gets its verdict after twice `step_time_max`: a shorter limit leaves it without one.
    pub stall_max: Option<Duration>,
}

impl Default for RecoveryLimits {
    fn default() -> Self {
        Self { time_max: None, stall_max: Some(Duration::from_mins(10)) }
    }
}

type OnFailure = dyn Fn(&FailedBlock) -> Option<PathBuf> + Send + Sync;

/// How a recovery works; none of it changes its result.
#[derive(Clone)]
pub struct RecoveryOptions {
    /// Where committed effects come from.
    pub commit: CommitMode,
    /// When they are committed.
    pub gate: Gate,
    /// When a batch is full: always, or the first time where there is a pace.
    pub batch: BatchLimits,
    /// Within what the size of a batch follows what the last one cost; `None` leaves it as it is.
    pub pace: Option<PaceLimits>,
    /// Bytes of memory for what is rehearsed and not committed; beyond it the sandbox database is used.
    pub memory_bytes: usize,
    /// Longest time that one step of a block may take; then it is stopped, and given up on after as long again.
    pub step_time_max: Duration,
    /// How long the whole of it may take.
    pub limits: RecoveryLimits,
    /// Asks it to stop.
    pub stop: StopSignal,
    /// How blocks are executed.
    pub executor: ExecutorSettings,
    /// Told what is rehearsed.
    pub rehearsed: Bus<Rehearsed>,
    /// Told what is committed.
    pub committed: Bus<Committed>,
    /// Called with each block that cannot be executed; may write a bundle and return its path.
    pub on_failure: Option<Arc<OnFailure>>,
}

impl Default for RecoveryOptions {
    fn default() -> Self {
        Self {
            commit: CommitMode::default(),
            gate: Gate::default(),
            batch: BatchLimits::default(),
            pace: Some(PaceLimits::default()),
            memory_bytes: 64 << 20,
            step_time_max: STEP_TIME_MAX,
            limits: RecoveryLimits::default(),
            stop: StopSignal::default(),
            executor: ExecutorSettings::default(),
            rehearsed: Bus::default(),
            committed: Bus::default(),
            on_failure: None,
        }
    }
}

impl RecoveryOptions {
    /// Returns the bytes that a batch may come to.
    pub(crate) fn batch_bytes_max(&self) -> u64 {
        let grown = self.pace.map_or(0, |limits| limits.bytes_max);
        self.batch.bytes_max.max(grown)
    }
}
