//! Room for others: how many workers execute, as the load of the machine changes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::exec::host_load::Meter;
use crate::exec::report::CHANGES_MAX;
use crate::pace::{HostLoad, workers_beside};
use crate::types::Height;

/// Time between two looks at the machine.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// From which block on another number of workers executes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkersChange {
    /// The block.
    pub from: Height,
    /// How many workers execute it.
    pub workers: usize,
    /// What the machine did besides in the second before.
    pub load: HostLoad,
}

/// How many of some workers execute.
#[derive(Debug)]
pub(in crate::exec) struct Room {
    workers_max: usize,
    workers: AtomicUsize,
    looks: Mutex<Looks>,
}

#[derive(Debug)]
struct Looks {
    last: Instant,
    meter: Meter,
    changes: Vec<WorkersChange>,
}

impl Room {
    /// Starts with all of the workers.
    pub(in crate::exec) fn new(workers_max: usize) -> Self {
        let looks = Looks { last: Instant::now(), meter: Meter::default(), changes: Vec::new() };
        Self { workers_max, workers: AtomicUsize::new(workers_max), looks: Mutex::new(looks) }
    }

    /// Returns how many workers execute.
    pub(in crate::exec) fn workers(&self) -> usize {
        self.workers.load(Ordering::Relaxed)
    }

    /// Returns the first changes, in order.
    pub(in crate::exec) fn changes(&self) -> Vec<WorkersChange> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).changes.clone()
    }

    /// Looks at the machine before a block, once in a while.
    pub(in crate::exec) fn look(&self, next: Height) {
        if self.workers_max < 2 {
            return;
        }
        // Somebody else looks, which is enough.
        let Ok(mut looks) = self.looks.try_lock() else { return };
        if looks.last.elapsed() < LOOK_EVERY {
            return;
        }
        let load = looks.meter.look();
        looks.last = Instant::now();
        if let Some(load) = load {
            self.adapt(&mut looks, next, load);
        }
    }

    fn adapt(&self, looks: &mut Looks, from: Height, load: HostLoad) {
        let workers = workers_beside(load, self.workers_max);
        if self.workers.swap(workers, Ordering::Relaxed) == workers {
            return;
        }
        tracing::debug!(height = from.get(), workers, ?load, "another number of workers");
        if looks.changes.len() < CHANGES_MAX {
            looks.changes.push(WorkersChange { from, workers, load });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: HostLoad = HostLoad { others: 60, cpu_waits: 80, memory_waits: 0 };

    #[test]
    fn workers_leave_and_come_back_with_the_load_and_each_change_is_told() {
        let room = Room::new(2);
        let adapt = |height, load| {
            room.adapt(&mut room.looks.lock().expect("no holder panics"), Height(height), load);
            room.workers()
        };
        assert_eq!((adapt(1, HostLoad::default()), adapt(2, BUSY), adapt(3, BUSY)), (2, 1, 1));
        assert_eq!(adapt(4, HostLoad::default()), 2);
        let told: Vec<_> = room.changes().iter().map(|it| (it.from.get(), it.workers)).collect();
        assert_eq!(told, [(2, 1), (4, 2)]);
        for height in 0..100 {
            adapt(height, if height % 2 == 0 { BUSY } else { HostLoad::default() });
        }
        assert_eq!(room.changes().len(), CHANGES_MAX);
    }

    #[test]
    fn the_machine_is_looked_at_once_in_a_while() {
        let room = Room::new(2);
        room.look(Height(1));
        assert!(!room.looks.lock().expect("no holder panics").meter.has_looked(), "too soon");
        let long_ago = Instant::now().checked_sub(LOOK_EVERY * 2).expect("a time");
        room.looks.lock().expect("no holder panics").last = long_ago;
        room.look(Height(2));
        assert!(room.looks.lock().expect("no holder panics").meter.has_looked());
        let alone = Room::new(1);
        alone.looks.lock().expect("no holder panics").last = long_ago;
        alone.look(Height(2));
        assert!(!alone.looks.lock().expect("no holder panics").meter.has_looked());
    }
}
