//! Executes shares of a block side by side, and joins them where they had indeed no key in common.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::attempt::{Ahead, AtItsTurn, Attempt};
use crate::block::Receipt;
use crate::exec::steps::{Job, Run, number};
use crate::machine::OpenBlock;
use crate::state::{
    BlockOverlay, Effect, KeyMap, Layer, Slot, StateError, StateRead, Touched, Writer, add_to,
};
use crate::types::Bytes;

/// Executes shares, one on each thread; says whether that was faster than order. Where shares collide, the run is as it
/// was.
pub(super) fn execute(
    run: &mut Run<'_>,
    block: &dyn OpenBlock,
    shares: &[Vec<usize>],
) -> Result<bool, StateError> {
    let (job, began) = (run.job, Instant::now());
    let has_failed = AtomicBool::new(false);
    let done: Mutex<Vec<Done>> = Mutex::default();
    let execute = |thread: usize| {
        let share = shares.get(thread).map_or(&[][..], Vec::as_slice);
        let state = Share::new(&run.overlay, thread);
        match state.execute(job, block, share, &has_failed) {
            Some(share) => done.lock().unwrap_or_else(PoisonError::into_inner).push(share),
            None => has_failed.store(true, Ordering::Relaxed),
        }
    };
    job.executor.pool().run(job.threads, execute, || execute(0));
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    if done.len() < shares.len() {
        return Ok(false);
    }
    let Some(joined) = join(done, &run.overlay)? else { return Ok(false) };
    let txs = joined.receipts.len();
    run.adopt_all(joined.layer, joined.receipts);
    Ok(job.executor.costs().beats_order(began.elapsed(), txs))
}

/// Additions to one key: their sum, and the last transaction that made one.
type Added = KeyMap<(u128, Writer)>;

/// What one thread has executed so far, above a state that all of them share.
struct Share<'a> {
    thread: usize,
    overlay: BlockOverlay<'a>,
    added: Added,
    only_read: Vec<Bytes>,
    receipts: Vec<(usize, Receipt)>,
}

/// What one thread has executed.
struct Done {
    layer: Layer,
    added: Added,
    /// Keys that it read and did not write.
    only_read: Vec<Bytes>,
    receipts: Vec<(usize, Receipt)>,
}

impl<'a> Share<'a> {
    fn new(base: &'a BlockOverlay<'a>, thread: usize) -> Self {
        let (added, only_read, receipts) = (KeyMap::default(), Vec::new(), Vec::new());
        Self { thread, overlay: BlockOverlay::new(base), added, only_read, receipts }
    }

    /// Executes transactions in order; `None` where anything failed, here or on another thread.
    fn execute(
        mut self,
        job: Job<'_>,
        block: &dyn OpenBlock,
        share: &[usize],
        has_failed: &AtomicBool,
    ) -> Option<Done> {
        let must_stop = || has_failed.load(Ordering::Relaxed);
        // A transaction writes few keys, in the mean; growing step by step would cost more than the room.
        self.overlay.reserve(share.len().saturating_mul(2));
        self.receipts.reserve(share.len());
        for index in share {
            let attempt = Attempt { job, block, thread: self.thread, index: *index };
            let Ahead { receipt, touched, .. } = attempt.run(&self, &must_stop)?;
            self.take_over(Writer::Tx(number(*index)), touched)?;
            self.receipts.push((*index, receipt));
        }
        let Self { overlay, added, mut only_read, receipts, .. } = self;
        let slots = overlay.into_slots();
        only_read.retain(|key| !slots.contains_key(key));
        Some(Done { layer: Layer::of(slots), added, only_read, receipts })
    }

    fn take_over(&mut self, writer: Writer, mut touched: Touched) -> Option<()> {
        for key in touched.take_additions() {
            let Effect::Add(delta) = key.effect else { continue };
            if self.overlay.slot(&key.key).is_some() {
                return None;
            }
            let (sum, last) = self.added.entry(key.key).or_insert((0, writer));
            (*sum, *last) = (sum.checked_add(delta)?, writer);
        }
        for key in touched.keys() {
            if key.effect == Effect::None {
                self.only_read.push(Bytes::clone(&key.key));
            } else if self.added.contains_key(&key.key) {
                return None;
            }
        }
        self.overlay.take_over(writer, touched).ok()
    }
}

impl StateRead for Share<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        // Others may have added to it as well.
        if !self.added.is_empty() && self.added.contains_key(key) {
            return Err(AtItsTurn::error());
        }
        self.overlay.get(key)
    }

    fn scan(&self, _: &[u8], _: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        Err(AtItsTurn::error())
    }
}

/// What all shares gave together.
struct Joined {
    layer: Layer,
    receipts: Vec<(usize, Receipt)>,
}

/// Joins shares above `base`; `None` where one touched what another wrote, or a counter does not hold a sum.
fn join(mut shares: Vec<Done>, base: &BlockOverlay<'_>) -> Result<Option<Joined>, StateError> {
    let (mut layer, mut receipts) = (Layer::default(), Vec::new());
    let mut added = Added::default();
    for share in &mut shares {
        receipts.append(&mut share.receipts);
        for (key, (delta, writer)) in share.added.drain() {
            let (sum, last) = added.entry(key).or_insert((0, writer));
            let Some(both) = sum.checked_add(delta) else { return Ok(None) };
            (*sum, *last) = (both, writer.max(*last));
        }
        let (joined, twice) = layer.join(std::mem::take(&mut share.layer));
        if twice > 0 {
            return Ok(None);
        }
        layer = joined;
    }
    let mut read = shares.iter().flat_map(|share| &share.only_read);
    if read.any(|key| layer.find(key).is_some() || added.contains_key(key)) {
        return Ok(None);
    }
    let mut sums = KeyMap::default();
    for (key, (sum, writer)) in added {
        let before = base.get(&key)?;
        let Ok(after) = add_to(before.as_ref(), sum) else { return Ok(None) };
        sums.insert(key, Slot { before, after: Some(after), writer });
    }
    let (layer, twice) = layer.join(Layer::of(sums));
    Ok((twice == 0).then_some(Joined { layer, receipts }))
}
