//! The fold of the log beyond the checkpoint: events are verified and folded while the next ones are read.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::mpsc::sync_channel;
use std::thread;

use crate::codec::CodecError;
use crate::diff::{Backlog, OrderError};
use crate::event::Kind;
use crate::exec::READ_BYTES;
use crate::store::{Log, LogHead, StoreError, StoredEvent};
use crate::types::Seq;

/// Stretches that are read ahead of the verification.
const STRETCHES_AHEAD: usize = 2;

/// Reads the events after a head up to the end of the log as it is now, verifies that each follows from the one before,
/// and folds them; returns the bytes of their bodies, and the head that it came to.
///
/// The log is borrowed for each stretch of reading and not while it is verified.
pub(crate) fn fold_from<L: Deref<Target = Log>>(
    lend: impl Fn() -> L,
    head: LogHead,
    backlog: &mut Backlog,
) -> Result<(u64, LogHead), StoreError> {
    let mut reading = Reading { next: head, end: lend().head().seq, lend: &lend };
    let mut fold = Fold { head, bytes: 0, backlog };
    let first: VecDeque<Stretch> = reading.by_ref().take(2).collect();
    let is_short = first.len() < 2;
    let mut stretches = first.into_iter().chain(reading);
    let folded = if is_short { None } else { fold_apart(&mut fold, &mut stretches) };
    let folded = folded.unwrap_or_else(|| fold.take_all(stretches));
    folded.map_err(|fault| fault.told_by(&lend()))?;
    Ok((fold.bytes, fold.head))
}

/// Events that were read at once, or why they could not be.
type Stretch = Result<Vec<StoredEvent>, StoreError>;

/// Folds on a thread of its own while this one reads on; `None` where the system has no thread, and nothing is taken.
fn fold_apart(
    fold: &mut Fold<'_>,
    stretches: &mut impl Iterator<Item = Stretch>,
) -> Option<Result<(), Fault>> {
    let (sender, receiver) = sync_channel(STRETCHES_AHEAD);
    thread::scope(|scope| {
        let folding = thread::Builder::new().name("verify".to_owned());
        let folding = folding.spawn_scoped(scope, move || fold.take_all(receiver)).ok()?;
        for stretch in stretches {
            // It ends where it finds a fault.
            if sender.send(stretch).is_err() {
                break;
            }
        }
        drop(sender);
        Some(folding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Reads a log, stretch by stretch, up to its end or the first that cannot be read.
struct Reading<'a, F> {
    lend: &'a F,
    /// The last event that was read.
    next: LogHead,
    end: u64,
}

impl<L: Deref<Target = Log>, F: Fn() -> L> Iterator for Reading<'_, F> {
    type Item = Stretch;

    fn next(&mut self) -> Option<Stretch> {
        if self.next.seq >= self.end {
            return None;
        }
        let log = (self.lend)();
        let stretch = log.read(self.next.next(), READ_BYTES).and_then(|events| {
            let last = events.last().map(StoredEvent::head);
            self.next = last.ok_or_else(|| log.damaged(self.next.next(), "is missing"))?;
            Ok(events)
        });
        if stretch.is_err() {
            self.end = 0;
        }
        Some(stretch)
    }
}

/// What is wrong with an event.
enum Fault {
    Unreadable(StoreError),
    Unlinked(Seq),
    Codec(Seq, CodecError),
    Order(Seq, OrderError),
}

impl Fault {
    fn told_by(self, log: &Log) -> StoreError {
        match self {
            Self::Unreadable(error) => error,
            Self::Unlinked(seq) => log.unlinked(seq),
            Self::Codec(seq, error) => log.codec(seq, error),
            Self::Order(seq, error) => log.damaged(seq, &format!("cannot be: {error}")),
        }
    }
}

struct Fold<'a> {
    head: LogHead,
    bytes: u64,
    backlog: &'a mut Backlog,
}

impl Fold<'_> {
    fn take_all(&mut self, stretches: impl IntoIterator<Item = Stretch>) -> Result<(), Fault> {
        for stretch in stretches {
            for event in stretch.map_err(Fault::Unreadable)? {
                self.take(&event)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &StoredEvent) -> Result<(), Fault> {
        let seq = event.seq;
        if event.chain_after(self.head.chain) != event.chain && !planted!("chain_not_verified") {
            return Err(Fault::Unlinked(seq));
        }
        // Most events are transactions, whose bytes nobody needs to look at here.
        if event.kind == Kind::Tx && event.body.len() >= 32 {
            self.backlog.receive(seq);
        } else {
            let body = event.decode().map_err(|error| Fault::Codec(seq, error))?;
            self.backlog.fold(seq, &body).map_err(|error| Fault::Order(seq, error))?;
        }
        self.head = event.head();
        self.bytes = self.bytes.saturating_add(crate::codec::count(event.body.len()));
        Ok(())
    }
}
