//! The steps of one block, each executed on the state that the steps before it left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use crate::block::{Receipt, Receipts};
use crate::exec::dependencies::Learned;
use crate::exec::parallel::Versions;
use crate::exec::{Access, BlockFailure, Dependencies, Executed, Executor, Rulings, panic_guard};
use crate::machine::{BlockInput, Context, ExecError, OpenBlock};
use crate::state::{
    BlockOverlay, Effect, KeyMap, Layer, Slot, StateError, StateRead, Touched, TouchedKey, Writer,
};
use crate::types::Seq;

/// A block that is to be executed.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) executor: &'a Executor,
    pub(super) input: &'a BlockInput,
    pub(super) rulings: &'a Rulings,
    /// What an earlier execution recorded.
    pub(super) known: Option<&'a Dependencies>,
    /// Threads that may take part.
    pub(super) threads: usize,
}

/// A block as far as it was executed.
pub(super) struct Run<'a> {
    pub(super) job: Job<'a>,
    pub(super) overlay: BlockOverlay<'a>,
    /// Receipts of the transactions so far, from the first one of this run on.
    pub(super) receipts: Vec<Receipt>,
    pub(super) access: Vec<Access>,
    pub(super) retries: u64,
    /// Index of the first transaction of this run.
    first: usize,
    /// Who depends on whom, where that is looked at.
    learned: Option<Learned>,
    /// Where this run goes on above another one.
    beneath: Option<Beneath<'a>>,
}

/// What a run above another one knows of it and of those who run beside it.
#[derive(Clone, Copy)]
struct Beneath<'a> {
    overlay: &'a BlockOverlay<'a>,
    /// Where threads that execute later transactions look for what this run writes, if they do.
    versions: Option<&'a Versions>,
}

/// What a run above another one leaves.
pub(super) struct Above {
    slots: KeyMap<Slot>,
    receipts: Vec<Receipt>,
    learned: Option<Learned>,
    retries: u64,
}

impl<'a> Run<'a> {
    pub(super) fn new(job: Job<'a>, below: &'a (dyn StateRead + Sync)) -> Self {
        Self {
            job,
            overlay: BlockOverlay::new(below),
            receipts: Vec::with_capacity(job.input.txs.len()),
            access: Vec::new(),
            retries: 0,
            first: 0,
            learned: None,
            beneath: None,
        }
    }

    /// Returns the index of the next transaction.
    pub(super) fn next(&self) -> usize {
        self.first.saturating_add(self.receipts.len())
    }

    /// Looks from now on who depends on whom.
    pub(super) fn learn(&mut self) {
        self.learned = Some(Learned::default());
    }

    /// Goes on above this run, which stays as it is meanwhile; what is written is told to `versions`.
    pub(super) fn above<'b>(&'b self, versions: Option<&'b Versions>) -> Run<'b> {
        Run {
            first: self.next(),
            learned: self.learned.clone(),
            beneath: Some(Beneath { overlay: &self.overlay, versions }),
            ..Run::new(self.job, &self.overlay)
        }
    }

    /// Ends a run above another one.
    pub(super) fn into_above(self) -> Above {
        let Self { overlay, receipts, learned, retries, .. } = self;
        Above { slots: overlay.into_slots(), receipts, learned, retries }
    }

    /// Takes over what a run above this one did.
    pub(super) fn adopt(&mut self, above: Above) {
        self.overlay.put_slots(above.slots);
        self.receipts.extend(above.receipts);
        self.learned = above.learned;
        self.retries = self.retries.saturating_add(above.retries);
    }

    /// Takes over all transactions that are left, in any order.
    pub(super) fn adopt_all(&mut self, layer: Layer, mut receipts: Vec<(usize, Receipt)>) {
        self.overlay.put_layer(layer);
        receipts.sort_unstable_by_key(|(index, _)| *index);
        let mut receipts = receipts.into_iter();
        while let Some(tx) = self.job.input.txs.get(self.next()) {
            let ruled =
                self.job.rulings.get(&tx.seq).map(|reason| Receipt::quarantined(reason.clone()));
            let Some(receipt) = ruled.or_else(|| receipts.next().map(|(_, receipt)| receipt))
            else {
                return;
            };
            self.receipts.push(receipt);
        }
    }

    /// Ends the block: its net changes with their writers, and what was learned.
    pub(super) fn finish(self) -> Executed {
        let (changes, writers) = self.overlay.finish();
        let dependencies = self.learned.map(|learned| learned.finish(self.job.input.txs.len()));
        let Self { access, retries, .. } = self;
        Executed {
            receipts: Receipts(self.receipts),
            changes,
            writers,
            access,
            dependencies,
            retries,
        }
    }

    /// Executes the next transaction, or keeps it out where a verdict says so.
    pub(super) fn tx(&mut self, block: &dyn OpenBlock) -> Result<(), BlockFailure> {
        let index = self.next();
        let Some(tx) = self.job.input.txs.get(index) else { return Ok(()) };
        let receipt = if let Some(reason) = self.job.rulings.get(&tx.seq) {
            Receipt::quarantined(reason.clone())
        } else {
            let writer = Writer::Tx(number(index));
            self.step(writer, Some(tx.seq), |context| block.execute(index, context))?
        };
        self.receipts.push(receipt);
        Ok(())
    }

    /// Takes over the effects of the next transaction, which was executed on the same state, its additions settled.
    pub(super) fn take_over(
        &mut self,
        receipt: Receipt,
        touched: Touched,
    ) -> Result<(), StateError> {
        let writer = Writer::Tx(number(self.next()));
        self.note(writer, &touched);
        self.overlay.take_over(writer, touched)?;
        self.receipts.push(receipt);
        Ok(())
    }

    /// Runs one step and takes over its writes.
    pub(super) fn step<R>(
        &mut self,
        writer: Writer,
        seq: Option<Seq>,
        body: impl Fn(&mut Context<'_>) -> Result<R, ExecError>,
    ) -> Result<R, BlockFailure> {
        let ((result, touched), attempts) = self.attempts(writer, seq, || {
            let Executor { settings, .. } = self.job.executor;
            let must_stop = || self.job.executor.watch().must_stop();
            let mut context = Context::new(&self.overlay, settings.limits, &must_stop);
            if settings.records_access {
                context = context.recording_reads();
            }
            let result = body(&mut context)?;
            Ok((result, context.finish()))
        })?;
        self.retries = self.retries.saturating_add(u64::from(attempts) - 1);
        if self.job.executor.settings.records_access {
            self.access.push(access(writer, &touched));
        }
        self.note(writer, &touched);
        let versions = self.beneath.and_then(|beneath| beneath.versions);
        if let (Some(versions), Writer::Tx(index)) = (versions, writer) {
            versions.publish(index, &touched);
        }
        self.overlay.take_over(writer, touched)?;
        Ok(result)
    }

    fn note(&mut self, writer: Writer, touched: &Touched) {
        let (Some(learned), Writer::Tx(index)) = (&mut self.learned, writer) else { return };
        let (own, beneath) = (&self.overlay, self.beneath.map(|beneath| beneath.overlay));
        learned.note(index, touched, |key| {
            let slot = own.slot(key).or_else(|| beneath?.slot(key));
            slot.map(|slot| &slot.writer)
        });
    }

    /// Runs what touches no state under the same guards as a step.
    pub(super) fn guarded<R>(
        &self,
        body: impl Fn() -> Result<R, ExecError>,
    ) -> Result<R, BlockFailure> {
        self.attempts(Writer::Begin, None, body).map(|(result, _)| result)
    }

    fn attempts<R>(
        &self,
        step: Writer,
        seq: Option<Seq>,
        body: impl Fn() -> Result<R, ExecError>,
    ) -> Result<(R, u32), BlockFailure> {
        let (executor, height) = (self.job.executor, self.job.input.height);
        let (settings, watch) = (&executor.settings, executor.watch());
        let mut attempts = 0u32;
        loop {
            attempts = attempts.saturating_add(1);
            watch.begin(height, seq);
            let result = panic_guard::run(|| catch_unwind(AssertUnwindSafe(&body)));
            watch.end();
            let reason = match result {
                Ok(Ok(result)) => return Ok((result, attempts)),
                Ok(Err(ExecError::State(error))) => return Err(error.into()),
                Ok(Err(ExecError::Transient(_)))
                    if attempts < settings.retry.attempts_max && !watch.is_closed() =>
                {
                    let number = seq.map_or(0, Seq::get);
                    settings.clock.sleep(settings.retry.pause(attempts, height, number));
                    executor.retries.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                Ok(Err(error @ ExecError::Transient(_))) => error.to_string(),
                Ok(Err(ExecError::Poison(reason))) => reason,
                Err(panic) => panic_guard::reason(panic.as_ref()),
            };
            return Err(BlockFailure::Poison { height, step, seq, reason, attempts });
        }
    }
}

/// Returns the index of a transaction as it is written.
pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn access(step: Writer, touched: &Touched) -> Access {
    let keys = |wanted: fn(&TouchedKey) -> bool| {
        touched.keys().iter().filter(|key| wanted(key)).map(|key| key.key.clone()).collect()
    };
    Access {
        step,
        reads: keys(|key| key.read.is_some()),
        writes: keys(|key| key.effect != Effect::None),
    }
}
