//! Turns executed blocks into bytes and puts them into the rehearsal, on a thread of its own where there are many.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::exec::RehearsedBlock;
use crate::exec::sandbox::rehearsal::{Rehearsal, RehearsalLimits, lock};
use crate::exec::sealed::SealedBlock;
use crate::store::StoreError;

/// Changes and receipts that are handed over at once, about: handing over each block would cost more than sealing it.
const LOT: usize = 4_096;

/// Takes executed blocks, in order.
pub(super) struct Sealing {
    target: Target,
    /// Blocks that were not handed over yet, and how many changes and receipts they have.
    lot: Vec<RehearsedBlock>,
    lot_size: usize,
    thread: Option<Thread>,
}

#[derive(Clone)]
struct Target {
    rehearsal: Arc<Mutex<Rehearsal>>,
    limits: RehearsalLimits,
    /// Whether a thread of its own has the time to join changes as well.
    works_apart: bool,
}

struct Thread {
    lots: SyncSender<Vec<RehearsedBlock>>,
    handle: JoinHandle<Result<(), StoreError>>,
}

impl Sealing {
    /// Prepares to fill a rehearsal within its limits, on a thread of its own or not.
    pub(super) const fn new(
        rehearsal: Arc<Mutex<Rehearsal>>,
        limits: RehearsalLimits,
        works_apart: bool,
    ) -> Self {
        let target = Target { rehearsal, limits, works_apart };
        Self { target, lot: Vec::new(), lot_size: 0, thread: None }
    }

    /// Takes up a block. A failure may belong to one that was taken up before.
    pub(super) fn keep(&mut self, block: RehearsedBlock) -> Result<(), StoreError> {
        if !self.target.works_apart {
            return self.target.seal(vec![block]);
        }
        let size = block.changes.changes().len().saturating_add(block.receipts.0.len());
        self.lot_size = self.lot_size.saturating_add(size).saturating_add(1);
        self.lot.push(block);
        if self.lot_size < LOT {
            return Ok(());
        }
        self.lot_size = 0;
        let lot = std::mem::take(&mut self.lot);
        if self.thread.is_none() {
            self.thread = Thread::start(&self.target);
        }
        let Some(thread) = &self.thread else { return self.target.seal(lot) };
        if thread.lots.send(lot).is_ok() { Ok(()) } else { self.finish() }
    }

    /// Waits until every block that was taken up is in the rehearsal.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        if let Some(Thread { lots, handle }) = self.thread.take() {
            drop(lots);
            handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        self.lot_size = 0;
        self.target.seal(std::mem::take(&mut self.lot))
    }
}

impl Thread {
    fn start(target: &Target) -> Option<Self> {
        let (lots, receiver): (_, Receiver<Vec<RehearsedBlock>>) = sync_channel(1);
        let target = target.clone();
        let body = move || receiver.into_iter().try_for_each(|lot| target.seal(lot));
        let handle = std::thread::Builder::new().name("seal".to_owned()).spawn(body).ok()?;
        Some(Self { lots, handle })
    }
}

impl Target {
    fn seal(&self, blocks: Vec<RehearsedBlock>) -> Result<(), StoreError> {
        let seal = |block: RehearsedBlock| {
            (SealedBlock::of(&block), self.works_apart.then_some(block.changes))
        };
        let sealed = blocks.into_iter().map(seal).collect();
        lock(&self.rehearsal).add(sealed, self.limits)
    }
}
