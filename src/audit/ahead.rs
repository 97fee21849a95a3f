//! Has cases put together before they are asked for, on a thread of its own.

use std::any::Any;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::audit::cases::{Case, Cases, LogEnd};

/// Bytes of cases that are handed over at once, about: handing over each would cost more than putting it together.
const LOT_BYTES: usize = 256 << 10;
/// Lots that wait at most: so many that nobody waits while a stretch of the log is read.
const LOTS_MAX: usize = 16;

/// Cases in their order, and behind them what there is to say about the log as a whole.
pub(super) enum Ahead<'scope, 'a> {
    /// They are put together when they are asked for, where no thread can be had.
    Here(Box<Reading<'a>>),
    Apart(Apart<'scope, 'a>),
}

/// Cases that are put together by somebody.
pub(super) struct Reading<'a> {
    cases: Cases<'a>,
    reaches_end: bool,
}

/// A thread that puts cases together up to their end.
pub(super) struct Apart<'scope, 'a> {
    ready: std::vec::IntoIter<Case>,
    lots: Receiver<Vec<Case>>,
    thread: ScopedJoinHandle<'scope, Option<Read<'a>>>,
}

/// What was read to its end; of the log as a whole only where that end was to be reached.
pub(super) struct Read<'a> {
    pub(super) cases: Cases<'a>,
    pub(super) log_end: Option<LogEnd>,
}

impl<'scope, 'a: 'scope> Ahead<'scope, 'a> {
    /// Starts to put cases together; `reaches_end` says whether their end is that of the log.
    pub(super) fn start(
        scope: &'scope Scope<'scope, '_>,
        cases: Cases<'a>,
        reaches_end: bool,
    ) -> Self {
        let reading = Box::new(Reading { cases, reaches_end });
        let (hand, readings) = channel::<Box<Reading<'a>>>();
        let (sender, lots) = sync_channel(LOTS_MAX);
        let body = move || readings.recv().ok().map(|reading| reading.send(sender));
        let Ok(thread) = Builder::new().name("read".to_owned()).spawn_scoped(scope, body) else {
            return Self::Here(reading);
        };
        match hand.send(reading) {
            Ok(()) => Self::Apart(Apart { ready: Vec::new().into_iter(), lots, thread }),
            Err(refused) => Self::Here(refused.0),
        }
    }

    /// Returns the next case; `None` at their end.
    pub(super) fn next_case(&mut self) -> Option<Case> {
        match self {
            Self::Here(reading) => reading.cases.next_case(),
            Self::Apart(apart) => loop {
                if let Some(case) = apart.ready.next() {
                    return Some(case);
                }
                apart.ready = apart.lots.recv().ok()?.into_iter();
            },
        }
    }

    /// Waits for what is behind the last case.
    pub(super) fn end(self) -> Read<'a> {
        match self {
            Self::Here(reading) => reading.end(),
            Self::Apart(Apart { lots, thread, .. }) => {
                drop(lots);
                let nothing = || Box::new("no cases were handed over") as Box<dyn Any + Send>;
                let read = thread.join().and_then(|read| read.ok_or_else(nothing));
                read.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
        }
    }
}

impl<'a> Reading<'a> {
    fn send(mut self, lots: SyncSender<Vec<Case>>) -> Read<'a> {
        let (mut lot, mut bytes) = (Vec::new(), 0usize);
        while let Some(case) = self.cases.next_case() {
            bytes = bytes.saturating_add(case.memory());
            lot.push(case);
            if bytes >= LOT_BYTES {
                bytes = 0;
                if lots.send(std::mem::take(&mut lot)).is_err() {
                    break;
                }
            }
        }
        // Where nobody receives any more, nobody waits for the rest either.
        let _ = lots.send(lot);
        // The last case is the last for who receives, while the log as a whole is still being looked at.
        drop(lots);
        self.end()
    }

    fn end(self) -> Read<'a> {
        let log_end = self.reaches_end.then(|| self.cases.end_log());
        Read { cases: self.cases, log_end }
    }
}
