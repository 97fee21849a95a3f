//! The threads that help the one that executes a block.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Threads beyond which more would only look at each other.
const THREADS_MAX: usize = 64;

/// Threads that are started when they are first needed, and go when nobody needs them any more.
pub(in crate::exec) struct Pool {
    /// With the one that calls.
    threads: usize,
    helpers: OnceLock<Option<ThreadPool>>,
}

impl Pool {
    pub(in crate::exec) fn new(threads: usize) -> Self {
        Self { threads: threads.clamp(1, THREADS_MAX), helpers: OnceLock::new() }
    }

    /// Returns the number of threads at most, the one that calls included.
    pub(in crate::exec) const fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `lead` on the calling thread and `help` on the others of so many, each with its number from 1 on, until all
    /// have returned. Where no thread can be had, `lead` runs alone.
    pub(in crate::exec) fn run<R>(
        &self,
        threads: usize,
        help: impl Fn(usize) + Sync,
        lead: impl FnOnce() -> R,
    ) -> R {
        let helpers = self.helpers.get_or_init(|| {
            let names = |number| format!("execute-{number}");
            let count = self.threads.saturating_sub(1);
            ThreadPoolBuilder::new().num_threads(count).thread_name(names).build().ok()
        });
        let Some(helpers) = helpers.as_ref().filter(|_| self.threads > 1) else { return lead() };
        helpers.in_place_scope(|scope| {
            for number in 1..threads.min(self.threads) {
                let help = &help;
                scope.spawn(move |_| help(number));
            }
            lead()
        })
    }
}

/// Sets a flag that tells the helpers to end, however the leader's part ends.
pub(in crate::exec) struct SetAtEnd<'a>(pub(in crate::exec) &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn every_thread_but_the_calling_one_helps_once() {
        for threads in [0, 1, 2, 5] {
            let pool = Pool::new(threads);
            for _ in 0..3 {
                let helped = Mutex::new(Vec::new());
                let help = |number| helped.lock().expect("no holder panics").push(number);
                assert_eq!(pool.run(threads, help, || 7), 7);
                let mut helped = helped.into_inner().expect("no holder panics");
                helped.sort_unstable();
                assert_eq!(helped, (1..threads).collect::<Vec<_>>());
            }
            let helped = AtomicUsize::new(0);
            let count = |_| {
                helped.fetch_add(1, Ordering::Relaxed);
            };
            pool.run(3, count, || ());
            assert_eq!(helped.into_inner(), threads.saturating_sub(1).min(2), "of {threads}");
        }
    }
}
