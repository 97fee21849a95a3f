//! Executes one block above a state: the one way through the machine contract, used by every phase.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::block::Receipts;
use crate::exec::after::After;
use crate::exec::parallel::{self, Costs, Foreseen, Pool, SetAtEnd};
use crate::exec::room::Room;
use crate::exec::steps::{Job, Run};
use crate::exec::{
    Clock, Dependencies, RetryPolicy, SystemClock, Watch, WorkersChange, panic_guard,
};
use crate::machine::{
    BlockInput, BlockOutcome, CheckFailure, Limits, OpenBlock, StateMachine, Threads, Work,
};
use crate::state::{ChangeSet, StateError, StateRead, Writer};
use crate::types::{Bytes, Height, Seq};

/// Transactions that logged verdicts keep out of execution, with the reason of each.
pub type Rulings = BTreeMap<Seq, String>;

/// How blocks are executed; none of it changes a result, only whether one is reached.
#[derive(Clone)]
pub struct ExecutorSettings {
    /// What a step may use.
    pub limits: Limits,
    /// How transient failures are tried again.
    pub retry: RetryPolicy,
    /// Where pauses are spent.
    pub clock: Arc<dyn Clock>,
    /// Whether the keys that each step reads and writes are kept; such blocks are executed on one thread.
    pub records_access: bool,
    /// Threads that execute transactions of one block, at least 1; from 65 on as 64.
    pub workers: usize,
    /// When more than one of them takes part.
    pub scheduling: Scheduling,
}

/// When several threads execute one block. It is a matter of time alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// Where that pays, as far as can be told.
    #[default]
    Adaptive,
    /// Always, also where that takes longer; for tests and measurements.
    Parallel,
}

impl Default for ExecutorSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            retry: RetryPolicy::default(),
            clock: Arc::new(SystemClock),
            records_access: false,
            workers: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            scheduling: Scheduling::default(),
        }
    }
}

/// Executes blocks with one machine.
#[derive(Clone)]
pub struct Executor {
    machine: Arc<dyn StateMachine>,
    pub(super) settings: ExecutorSettings,
    watch: Arc<Watch>,
    pool: Arc<Pool>,
    room: Arc<Room>,
    costs: Arc<Costs>,
    pub(super) retries: Arc<AtomicU64>,
}

/// What is known beside a block that is to be executed.
#[derive(Debug, Default)]
pub struct Window<'a> {
    /// Which of its transactions read what others wrote.
    pub known: Option<&'a Dependencies>,
    /// What was executed of it before.
    pub foreseen: Foreseen,
    /// The block after it, and what keeps transactions out of that.
    pub next: Option<(&'a BlockInput, &'a Rulings)>,
}

/// The keys that one step of a block touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The step.
    pub step: Writer,
    /// Keys read from the state before the step.
    pub reads: BTreeSet<Bytes>,
    /// Keys written.
    pub writes: BTreeSet<Bytes>,
}

/// What a block gave, its checks passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The receipts in execution order.
    pub receipts: Receipts,
    /// The net changes.
    pub changes: ChangeSet,
    /// The step that wrote each change last, in the order of the changes.
    pub writers: Vec<Writer>,
    /// The keys that each step touched, where they were asked for.
    pub access: Vec<Access>,
    /// Which transactions read what others wrote, where that was looked at.
    pub dependencies: Option<Dependencies>,
    /// Attempts beyond the first that transient failures cost.
    pub retries: u64,
}

/// Why a block could not be executed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BlockFailure {
    /// A step cannot be executed: a panic, a runaway, an exceeded limit, or a transient failure that stayed.
    #[error("{step} of block {height} cannot be executed after {attempts} attempts: {reason}", height = height.get())]
    Poison {
        /// The block.
        height: Height,
        /// The step.
        step: Writer,
        /// Position of the transaction, where the step is one.
        seq: Option<Seq>,
        /// Why.
        reason: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The block did something else than its header says.
    #[error("block {height}: {failure}", height = height.get())]
    Check {
        /// The block.
        height: Height,
        /// What differs.
        failure: CheckFailure,
    },
    /// The state below could not be read.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Executor {
    /// Makes an executor.
    #[must_use]
    pub fn new(machine: Arc<dyn StateMachine>, settings: ExecutorSettings) -> Self {
        let pool = Pool::new(settings.workers);
        let watch = Arc::new(Watch::new(pool.threads()));
        let room = Arc::new(Room::new(pool.threads()));
        let (costs, retries) = (Arc::default(), Arc::default());
        Self { machine, settings, watch, pool: Arc::new(pool), room, costs, retries }
    }

    /// Returns the machine.
    #[must_use]
    pub fn machine(&self) -> &Arc<dyn StateMachine> {
        &self.machine
    }

    /// Returns an executor with another machine under the same watch.
    #[must_use]
    pub fn with(&self, machine: Arc<dyn StateMachine>) -> Self {
        Self { machine, ..self.clone() }
    }

    /// Returns the watch over the steps that are being executed.
    #[must_use]
    pub const fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// Says whether blocks are to be read before their turn, so that something can be done for them.
    pub(super) fn looks_ahead(&self) -> bool {
        let may_foresee = self.is_forced() || self.costs.may_foresee();
        self.pool.threads() > 1 && (self.machine.prepares() || may_foresee)
    }

    /// Says whether the next block is to be executed with the present one, in [`Executor::execute_window`]; the one with
    /// fewer transactions has so many.
    pub(super) fn foresees(&self, txs: usize) -> bool {
        let can = self.threads() > 1 && !self.settings.records_access;
        can && (self.is_forced() || self.costs.foresees(txs))
    }

    /// Says whether nobody asks what pays.
    pub(super) fn is_forced(&self) -> bool {
        self.settings.scheduling == Scheduling::Parallel
    }

    pub(super) const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Returns how many threads execute, the one that calls included.
    pub(super) fn threads(&self) -> usize {
        self.pool.threads().min(self.room.workers())
    }

    /// Returns how the number of workers followed the load of the machine; the first 64 changes.
    #[must_use]
    pub fn workers_changes(&self) -> Vec<WorkersChange> {
        self.room.changes()
    }

    pub(super) const fn costs(&self) -> &Arc<Costs> {
        &self.costs
    }

    /// Returns an executor for another thread: with a watch and workers of its own, counted together with this one.
    pub(crate) fn apart(&self) -> Self {
        let pool = Pool::new(self.pool.threads());
        Self { watch: Arc::new(Watch::new(pool.threads())), pool: Arc::new(pool), ..self.clone() }
    }

    /// Returns an executor under the same watch that executes everything on the calling thread.
    pub(crate) fn on_one_thread(&self) -> Self {
        Self { pool: Arc::new(Pool::new(1)), ..self.clone() }
    }

    /// Returns how often transient failures were tried again so far, in blocks that failed in the end as well.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Executes a block above `below` and checks it against its header.
    ///
    /// # Errors
    /// [`BlockFailure`]; the state below is untouched in every case.
    pub fn execute(
        &self,
        input: &BlockInput,
        rulings: &Rulings,
        below: &(dyn StateRead + Sync),
    ) -> Result<Executed, BlockFailure> {
        self.execute_known(input, rulings, below, None)
    }

    /// Executes a block like [`Executor::execute`], of whose transactions an earlier execution has recorded which
    /// read what others wrote. A record that is wrong costs time and changes nothing.
    ///
    /// # Errors
    /// As [`Executor::execute`].
    pub fn execute_known(
        &self,
        input: &BlockInput,
        rulings: &Rulings,
        below: &(dyn StateRead + Sync),
        known: Option<&Dependencies>,
    ) -> Result<Executed, BlockFailure> {
        let window = Window { known, ..Window::default() };
        self.execute_window(input, rulings, below, window).map(|(executed, _)| executed)
    }

    /// Executes a block like [`Executor::execute_known`], and besides, as far as there is a thread for it, transactions
    /// of the block after it, for the call that executes that one.
    ///
    /// # Errors
    /// As [`Executor::execute`].
    pub fn execute_window(
        &self,
        input: &BlockInput,
        rulings: &Rulings,
        below: &(dyn StateRead + Sync),
        Window { known, foreseen, next }: Window<'_>,
    ) -> Result<(Executed, Foreseen), BlockFailure> {
        if self.settings.scheduling == Scheduling::Adaptive {
            self.room.look(input.height);
        }
        let threads = self.threads();
        let job = Job { executor: self, input, rulings, known, threads };
        let foreseen = foreseen.at(input.height);
        let Some((input, rulings)) = next.filter(|_| threads > 1) else {
            return self.execute_job(job, below, foreseen).map(|done| (done, Foreseen::default()));
        };
        let (has_ended, ahead) = (AtomicBool::new(false), Mutex::default());
        let (job, last) = (Job { threads: threads - 1, ..job }, threads - 1);
        let help = |_| {
            let next = Job { input, rulings, known: None, ..job };
            let foreseen = Foreseen::of(next, below, last, &has_ended);
            *ahead.lock().unwrap_or_else(PoisonError::into_inner) = foreseen;
        };
        let executed = self.pool.run(2, help, || {
            let _end = SetAtEnd(&has_ended);
            self.execute_job(job, below, foreseen)
        });
        Ok((executed?, ahead.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }

    fn execute_job(
        &self,
        job: Job<'_>,
        below: &(dyn StateRead + Sync),
        foreseen: Vec<Option<parallel::Ahead>>,
    ) -> Result<Executed, BlockFailure> {
        let (mut run, input) = (Run::new(job, below), job.input);
        for patch in &input.patches {
            run.overlay.patch(patch)?;
        }
        let block = run.guarded(|| self.machine.open_block(input))?;
        run.step(Writer::Begin, None, |context| block.begin(context))?;
        parallel::transactions(&mut run, &*block, foreseen)?;
        let receipts = Receipts(std::mem::take(&mut run.receipts));
        run.step(Writer::End, None, |context| block.end(&receipts, context))?;
        let executed = Executed { receipts, ..run.finish() };
        self.check(&*block, job, &executed, below)?;
        Ok(executed)
    }

    fn check(
        &self,
        block: &dyn OpenBlock,
        Job { input: BlockInput { height, .. }, threads, .. }: Job<'_>,
        executed: &Executed,
        below: &dyn StateRead,
    ) -> Result<(), BlockFailure> {
        let height = *height;
        let Executed { receipts, changes, .. } = executed;
        let after = After::new(below, changes);
        let share = |work: &Work<'_>| {
            let help = |_| {
                let done = panic_guard::run(|| catch_unwind(AssertUnwindSafe(work)));
                // The calling thread goes on with it.
                done.unwrap_or_else(|panic| resume_unwind(panic));
            };
            self.pool.run(threads, help, work);
        };
        let threads = if threads > 1 { Threads::new(&share) } else { Threads::ONE };
        let outcome = BlockOutcome { receipts, changes, state: &after, threads };
        self.watch.begin(height, None);
        let checked = panic_guard::run(|| catch_unwind(AssertUnwindSafe(|| block.check(&outcome))));
        self.watch.end();
        after.finish()?;
        match checked {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => Err(BlockFailure::Check { height, failure }),
            Err(panic) => Err(BlockFailure::Poison {
                height,
                step: Writer::End,
                seq: None,
                reason: panic_guard::reason(panic.as_ref()),
                attempts: 1,
            }),
        }
    }
}
