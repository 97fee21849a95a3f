//! Allocations that a transaction costs, counted on the thread that executes it.

use anyhow::{Result, ensure};
use densa_alloc::CountingAllocator;
use rewake::exec::{Executor, ExecutorSettings, Rulings};
use rewake::machine::Registry;
use rewake::state::MemoryState;

use crate::Settings;
use crate::execution::ledger;
use crate::row::Row;

/// The system's allocator, with a count for each thread that takes a nanosecond or two: the same on both sides of each row.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::system();

/// Counts over transfers of the ledger.
pub(crate) fn rows(_: &Settings) -> Result<Vec<Row>> {
    ensure!(densa_alloc::is_active(), "allocations are not counted");
    let name = "allocations per transaction, ledger transfers, against one";
    Ok(vec![Row::new(name, of_ledger()?, 1.0, "allocations", None)])
}

/// Returns the allocations of this thread so far, those that grow an allocation included.
pub(crate) fn so_far() -> u64 {
    let stats = densa_alloc::thread_stats();
    stats.allocs + stats.reallocs
}

/// Does work on one thread, also what it would hand to others; returns what it allocated there.
pub(crate) fn counted<R: Send>(work: impl FnOnce() -> R + Send) -> Result<(R, u64)> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    Ok(pool.install(|| {
        let before = so_far();
        let result = work();
        (result, so_far() - before)
    }))
}

fn of_ledger() -> Result<f64> {
    let settings = ExecutorSettings { workers: 1, ..ExecutorSettings::default() };
    let executor = Executor::new(Registry::built_in().find("ledger")?, settings);
    let mut state = MemoryState::default();
    let (mut allocations, mut txs) = (0, 0);
    for block in ledger(4, false) {
        let (executed, allocated) = counted(|| executor.execute(&block, &Rulings::new(), &state))?;
        state.apply(&executed?.changes);
        // The block that makes the accounts has no transactions.
        if !block.txs.is_empty() {
            allocations += allocated;
            txs += block.txs.len();
        }
    }
    Ok(allocations as f64 / txs as f64)
}
