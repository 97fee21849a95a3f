//! Executes one block above a state: the one loop through the machine contract, used by every phase.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::block::{Receipt, Receipts};
use crate::exec::{Clock, RetryPolicy, SystemClock, Watch, panic_guard};
use crate::machine::{
    BlockInput, BlockOutcome, CheckFailure, Context, ExecError, Limits, StateMachine,
};
use crate::state::{BlockOverlay, ChangeSet, KeyMap, StateError, StateRead, Writer};
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
    /// Whether the keys that each step reads and writes are kept.
    pub records_access: bool,
}

impl Default for ExecutorSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            retry: RetryPolicy::default(),
            clock: Arc::new(SystemClock),
            records_access: false,
        }
    }
}

/// Executes blocks with one machine.
#[derive(Clone)]
pub struct Executor {
    machine: Arc<dyn StateMachine>,
    settings: ExecutorSettings,
    watch: Arc<Watch>,
    retries: Arc<AtomicU64>,
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

type Writes = KeyMap<Option<Bytes>>;
type Reads = Option<BTreeSet<Bytes>>;

impl Executor {
    /// Makes an executor.
    #[must_use]
    pub fn new(machine: Arc<dyn StateMachine>, settings: ExecutorSettings) -> Self {
        Self { machine, settings, watch: Arc::default(), retries: Arc::default() }
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

    /// Returns the watch over the step that is being executed.
    #[must_use]
    pub const fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// Returns an executor for another thread: under a watch of its own, counted together with this one.
    pub(crate) fn apart(&self) -> Self {
        Self { watch: Arc::default(), ..self.clone() }
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
        below: &dyn StateRead,
    ) -> Result<Executed, BlockFailure> {
        let mut run = Run {
            executor: self,
            input,
            overlay: BlockOverlay::new(below),
            access: Vec::new(),
            retries: 0,
        };
        for patch in &input.patches {
            run.overlay.patch(patch)?;
        }
        let block = run.guarded(Writer::Begin, None, |_| self.machine.open_block(input))?;
        run.step(Writer::Begin, None, |context| block.begin(context))?;
        let mut receipts = Vec::with_capacity(input.txs.len());
        for (index, tx) in input.txs.iter().enumerate() {
            receipts.push(if let Some(reason) = rulings.get(&tx.seq) {
                Receipt::quarantined(reason.clone())
            } else {
                let writer = Writer::Tx(u32::try_from(index).unwrap_or(u32::MAX));
                run.step(writer, Some(tx.seq), |context| block.execute(index, context))?
            });
        }
        let receipts = Receipts(receipts);
        run.step(Writer::End, None, |context| block.end(&receipts, context))?;
        let Run { overlay, access, retries, .. } = run;
        let (changes, writers) = overlay.finish();
        let after = After { below, changes: &changes, failed: RefCell::default() };
        let outcome = BlockOutcome { receipts: &receipts, changes: &changes, state: &after };
        self.watch.begin(input.height, None);
        let checked = panic_guard::run(|| catch_unwind(AssertUnwindSafe(|| block.check(&outcome))));
        self.watch.end();
        if let Some(error) = after.failed.take() {
            return Err(error.into());
        }
        match checked {
            Ok(Ok(())) => Ok(Executed { receipts, changes, writers, access, retries }),
            Ok(Err(failure)) => Err(BlockFailure::Check { height: input.height, failure }),
            Err(panic) => Err(BlockFailure::Poison {
                height: input.height,
                step: Writer::End,
                seq: None,
                reason: panic_guard::reason(panic.as_ref()),
                attempts: 1,
            }),
        }
    }
}

struct Run<'a> {
    executor: &'a Executor,
    input: &'a BlockInput,
    overlay: BlockOverlay<'a>,
    access: Vec<Access>,
    retries: u64,
}

impl Run<'_> {
    /// Runs one step and takes over its writes.
    fn step<R>(
        &mut self,
        writer: Writer,
        seq: Option<Seq>,
        body: impl Fn(&mut Context<'_>) -> Result<R, ExecError>,
    ) -> Result<R, BlockFailure> {
        let ((result, writes, reads), attempts) = self.attempts(writer, seq, |run| {
            let settings = &run.executor.settings;
            let must_stop = || run.executor.watch.must_stop();
            let mut context = Context::new(&run.overlay, settings.limits, &must_stop);
            if settings.records_access {
                context = context.recording_reads();
            }
            let result = body(&mut context)?;
            let (writes, reads): (Writes, Reads) = context.finish();
            Ok((result, writes, reads))
        })?;
        self.retries = self.retries.saturating_add(u64::from(attempts) - 1);
        if let Some(reads) = reads {
            let writes = writes.keys().cloned().collect();
            self.access.push(Access { step: writer, reads, writes });
        }
        self.overlay.absorb(writer, writes)?;
        Ok(result)
    }

    /// Runs what touches no state under the same guards as a step.
    fn guarded<R>(
        &mut self,
        writer: Writer,
        seq: Option<Seq>,
        body: impl Fn(&Self) -> Result<R, ExecError>,
    ) -> Result<R, BlockFailure> {
        self.attempts(writer, seq, body).map(|(result, _)| result)
    }

    fn attempts<R>(
        &self,
        step: Writer,
        seq: Option<Seq>,
        body: impl Fn(&Self) -> Result<R, ExecError>,
    ) -> Result<(R, u32), BlockFailure> {
        let Executor { settings, watch, .. } = self.executor;
        let mut attempts = 0u32;
        loop {
            attempts = attempts.saturating_add(1);
            watch.begin(self.input.height, seq);
            let result = panic_guard::run(|| catch_unwind(AssertUnwindSafe(|| body(self))));
            watch.end();
            let reason = match result {
                Ok(Ok(result)) => return Ok((result, attempts)),
                Ok(Err(ExecError::State(error))) => return Err(error.into()),
                Ok(Err(ExecError::Transient(_)))
                    if attempts < settings.retry.attempts_max && !watch.is_closed() =>
                {
                    let number = seq.map_or(0, Seq::get);
                    let pause = settings.retry.pause(attempts, self.input.height, number);
                    settings.clock.sleep(pause);
                    self.executor.retries.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Ok(Err(error @ ExecError::Transient(_))) => error.to_string(),
                Ok(Err(ExecError::Poison(reason))) => reason,
                Err(panic) => panic_guard::reason(panic.as_ref()),
            };
            let height = self.input.height;
            return Err(BlockFailure::Poison { height, step, seq, reason, attempts });
        }
    }
}

/// The state after a block, read through its change set.
struct After<'a> {
    below: &'a dyn StateRead,
    changes: &'a ChangeSet,
    /// The first failure to read, which is no fault of the block.
    failed: RefCell<Option<StateError>>,
}

impl After<'_> {
    fn note(&self, error: &StateError) {
        self.failed.borrow_mut().get_or_insert_with(|| error.clone());
    }
}

impl StateRead for After<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        match self.changes.find(key) {
            Some(change) => Ok(change.after.clone()),
            None => self.below.get(key).inspect_err(|error| self.note(error)),
        }
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        let above = self.changes.changes().iter().filter(|change| change.key.starts_with(prefix));
        let above = above.map(|change| (change.key.clone(), change.after.clone())).collect();
        crate::state::scan_layered(self.below, above, prefix, visit)
            .inspect_err(|error| self.note(error))
    }
}
