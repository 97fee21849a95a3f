//! What the clients of one run share: how much is wanted, and where they put what they learn.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::load::acknowledged::Acknowledged;
use crate::load::api::Reader;
use crate::load::gate::Gate;
use crate::load::tally::{self, Tally};
use crate::load::{LoadError, LoadOptions, Target, Until};

/// The surroundings of the clients.
pub(super) struct Shared {
    pub(super) target: Target,
    pub(super) options: LoadOptions,
    pub(super) gate: Gate,
    pub(super) tally: Tally,
    acknowledged: Mutex<Acknowledged>,
    /// Transfers that are wanted and that no client has taken.
    wanted: AtomicU64,
    is_over: AtomicBool,
}

impl Shared {
    pub(super) fn new(target: Target, options: LoadOptions) -> Result<Self, LoadError> {
        let acknowledged = match &options.acknowledged {
            Some(path) => Acknowledged::in_file(path)?,
            None => Acknowledged::default(),
        };
        let wanted = match options.until {
            Until::Transfers(count) => count,
            Until::Elapsed(_) | Until::Stopped => u64::MAX,
        };
        Ok(Self {
            target,
            options,
            gate: Gate::new(),
            tally: Tally::default(),
            acknowledged: Mutex::new(acknowledged),
            wanted: AtomicU64::new(wanted),
            is_over: AtomicBool::new(false),
        })
    }

    /// Takes the next submission's worth of what is wanted: how many transfers, none at the end.
    pub(super) fn take(&self) -> usize {
        if self.is_over.load(Ordering::Relaxed) {
            return 0;
        }
        let batch = u64::try_from(self.options.batch.max(1)).unwrap_or(u64::MAX);
        let less = |wanted: u64| Some(wanted.saturating_sub(batch));
        let before = self.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        let taken = before.unwrap_or_else(|wanted| wanted).min(batch);
        usize::try_from(taken).unwrap_or(usize::MAX)
    }

    /// Ends the load: each client waits for the answer that it is owed, and stops.
    pub(super) fn stop(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Returns a reader of the node.
    pub(super) fn reader(&self) -> Reader {
        Reader::new(self.target.clone(), self.options.request_limit)
    }

    /// Locks the list; never across a wait.
    pub(super) fn acknowledged(&self) -> MutexGuard<'_, Acknowledged> {
        tally::guard(&self.acknowledged)
    }
}
