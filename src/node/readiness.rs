//! Readiness: what a node is doing, how far it is, and when it last got on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, watch};

use crate::exec::{Clock, Estimate};
use crate::plan::Work;
use crate::telemetry::Metrics;
use crate::types::UnixMillis;

/// Phases that a slow listener may miss before it is told how many.
const LIFECYCLE_KEPT: usize = 256;

/// Shortest time between two notices of progress, so that watchers cost the engine nothing that counts.
const NOTICE_PAUSE: Duration = Duration::from_millis(20);

/// What a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Opens its files, observes and decides.
    Checking,
    /// Executes unconfirmed blocks in the sandbox.
    Rehearsing,
    /// Writes rehearsed blocks.
    Committing,
    /// Accepts, orders and confirms.
    Ready,
    /// As ready; transactions in quarantine wait for an operator.
    Degraded,
    /// Accepts nothing: a block cannot be executed or verified. What was verified before it is confirmed.
    Halted,
    /// Accepts nothing: a file failed, or a part of the program did.
    Failed,
    /// Ends in an orderly way.
    Stopping,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 8] = [
        Self::Checking,
        Self::Rehearsing,
        Self::Committing,
        Self::Ready,
        Self::Degraded,
        Self::Halted,
        Self::Failed,
        Self::Stopping,
    ];

    /// Returns its name as JSON and metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Rehearsing => "rehearsing",
            Self::Committing => "committing",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Halted => "halted",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
        }
    }

    /// Says whether the node is on its way up.
    #[must_use]
    pub const fn is_recovering(self) -> bool {
        matches!(self, Self::Checking | Self::Rehearsing | Self::Committing)
    }

    /// Says whether a node in this phase may enter another one: what ended its life is not forgotten.
    const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Halted | Self::Failed => false,
            Self::Stopping => matches!(next, Self::Halted | Self::Failed),
            _ => true,
        }
    }

    /// Says whether the node accepts transactions.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }
}

/// A node's phase with its counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// What it is doing.
    pub phase: Phase,
    /// Since when.
    pub since: UnixMillis,
    /// What of the phase's work is done.
    pub done: Work,
    /// The phase's work; nothing where it has no end.
    pub total: Work,
    /// Transactions done a second since the phase began, or blocks where they hold none.
    pub rate: u64,
    /// Milliseconds that the rest will take at that rate, where it is known.
    pub remaining_ms: Option<u64>,
    /// When it last got on.
    pub last_progress: UnixMillis,
    /// What the recovery was expected to cost before it began; `None` where there is none.
    pub estimate: Option<Estimate>,
    /// Transactions in quarantine that wait for an operator.
    pub held: u64,
    /// Why it is as it is, where there is more to say.
    pub detail: Option<String>,
}

/// Tells watchers what the node is doing. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(super) struct Monitor {
    watch: watch::Sender<Readiness>,
    lifecycle: broadcast::Sender<Readiness>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// The progress of one phase, counted by the thread that makes it.
pub(super) struct Progress {
    monitor: Monitor,
    phase: Phase,
    total: Work,
    began: Instant,
    told: Instant,
    done: Work,
}

impl Monitor {
    /// Starts in [`Phase::Checking`].
    pub(super) fn new(clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        let now = clock.now();
        let (watch, _) = watch::channel(Readiness {
            phase: Phase::Checking,
            since: now,
            done: Work::default(),
            total: Work::default(),
            rate: 0,
            remaining_ms: None,
            last_progress: now,
            estimate: None,
            held: 0,
            detail: None,
        });
        let (lifecycle, _) = broadcast::channel(LIFECYCLE_KEPT);
        let monitor = Self { watch, lifecycle, clock, metrics };
        monitor.count(Phase::Checking);
        monitor
    }

    /// Enters a phase with so much work; its progress is counted from here. A phase that ends a node's life is not left.
    pub(super) fn enter(&self, phase: Phase, total: Work, detail: Option<String>) -> Progress {
        self.change(|now| now.phase.may_become(phase).then_some((phase, total, detail)));
        let began = Instant::now();
        Progress { monitor: self.clone(), phase, total, began, told: began, done: Work::default() }
    }

    /// Says what the recovery is expected to cost.
    pub(super) fn expects(&self, estimate: Estimate) {
        self.watch.send_modify(|readiness| readiness.estimate = Some(estimate));
    }

    /// Says how many transactions are held, which tells a node that is ready from one that is degraded.
    pub(super) fn holds(&self, held: u64) {
        self.change(|now| {
            now.held = held;
            let phase = up(held);
            (now.phase.is_ready() && now.phase != phase)
                .then(|| (phase, Work::default(), degraded(held)))
        });
    }

    /// Enters the phase of a node that is up.
    pub(super) fn up(&self, held: u64) {
        self.change(|now| {
            now.held = held;
            let phase = up(held);
            now.phase.may_become(phase).then(|| (phase, Work::default(), degraded(held)))
        });
    }

    /// Changes the readiness, and enters a phase where `change` names one, in one step.
    fn change(&self, change: impl FnOnce(&mut Readiness) -> Option<(Phase, Work, Option<String>)>) {
        let mut entered = None;
        self.watch.send_modify(|readiness| {
            let Some((phase, total, detail)) = change(readiness) else { return };
            let now = self.clock.now();
            let estimate = readiness.estimate.filter(|_| phase.is_recovering());
            *readiness = Readiness {
                phase,
                since: now,
                done: Work::default(),
                total,
                rate: 0,
                // Until the phase has a pace of its own.
                remaining_ms: estimate.and_then(|estimate| estimate.time_ms),
                last_progress: now,
                estimate,
                held: readiness.held,
                detail,
            };
            self.count(phase);
            entered = Some(readiness.clone());
        });
        if let Some(readiness) = entered {
            tracing::info!(phase = readiness.phase.name(), "phase entered");
            // Nobody need listen.
            let _ = self.lifecycle.send(readiness);
        }
    }

    /// Takes note that the node got on.
    pub(super) fn got_on(&self) {
        let now = self.clock.now();
        self.watch.send_modify(|readiness| readiness.last_progress = now);
    }

    pub(super) fn watch(&self) -> watch::Receiver<Readiness> {
        self.watch.subscribe()
    }

    pub(super) fn lifecycle(&self) -> broadcast::Receiver<Readiness> {
        self.lifecycle.subscribe()
    }

    fn count(&self, phase: Phase) {
        self.metrics.phase(phase.name());
    }
}

impl Progress {
    /// Counts a block with so many transactions; shown as long as the node is in this phase.
    pub(super) fn add_block(&mut self, txs: u64) {
        self.done.add_block(txs);
        if self.done.blocks < self.total.blocks && self.told.elapsed() < NOTICE_PAUSE {
            return;
        }
        self.told = Instant::now();
        let now = self.monitor.clock.now();
        let took = self.began.elapsed();
        self.monitor.watch.send_modify(|readiness| {
            readiness.last_progress = now;
            if readiness.phase == self.phase {
                readiness.done = self.done;
                (readiness.rate, readiness.remaining_ms) = pace(self.done, self.total, took);
            }
        });
    }
}

/// Returns the rate of the work done, and the milliseconds that the rest takes at that rate.
fn pace(done: Work, total: Work, took: Duration) -> (u64, Option<u64>) {
    let (done, total) = match total.txs {
        0 => (done.blocks, total.blocks),
        txs => (done.txs, txs),
    };
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let rate = done.saturating_mul(1_000_000) / micros;
    let left = u128::from(total.saturating_sub(done));
    let remaining = (left * u128::from(micros)).checked_div(u128::from(done)).unwrap_or(u128::MAX);
    (rate, (done > 0).then(|| u64::try_from(remaining / 1_000).unwrap_or(u64::MAX)))
}

/// Returns the phase of a node that is up.
const fn up(held: u64) -> Phase {
    if held == 0 { Phase::Ready } else { Phase::Degraded }
}

fn degraded(held: u64) -> Option<String> {
    (held > 0).then(|| format!("{held} transactions are in quarantine"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_transactions_and_of_blocks_where_there_are_none() {
        let work = |blocks, txs| Work { blocks, txs };
        let second = Duration::from_secs(1);
        for (done, total, expected) in [
            (work(1, 100), work(4, 400), (100, Some(3_000))),
            (work(2, 0), work(4, 0), (2, Some(1_000))),
            (work(4, 400), work(4, 400), (400, Some(0))),
            (work(0, 0), work(4, 400), (0, None)),
        ] {
            assert_eq!(pace(done, total, second), expected, "{done:?} of {total:?}");
        }
    }
}
