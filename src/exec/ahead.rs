//! Reads blocks before they are asked for, on a thread of its own where there are many.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use crate::exec::above::AboveCheckpoint;
use crate::exec::fetch::Fetch;
use crate::exec::{BlockReader, Executor, PendingBlock};
use crate::store::StoreError;

/// What reading a block gave; `None` at the end.
pub(super) type NextBlock = Result<Option<PendingBlock>, StoreError>;

/// Bytes of transactions that are handed over at once, about: handing over each block would cost more than reading it.
const LOT_BYTES: usize = 256 << 10;
/// Lots that wait at most: so many that nobody waits while a stretch of the log is read.
const LOTS_MAX: usize = 4;

/// Blocks of the log, in order.
pub(super) struct Ahead {
    /// Blocks that were read and not asked for.
    ready: VecDeque<NextBlock>,
    reading: Reading,
}

enum Reading {
    /// By whoever asks for a block.
    Here(Box<BlockReader>),
    /// By a thread, once the first block is asked for.
    Due(Box<BlockReader>, Box<Fetch>),
    Apart(Apart),
    /// Nobody reads; only while one of these becomes another.
    Between,
}

/// A thread that reads until the end of the log or a failure, and then hands its reader back.
struct Apart {
    lots: Option<Receiver<Vec<NextBlock>>>,
    thread: Option<JoinHandle<Option<Box<BlockReader>>>>,
}

impl Ahead {
    /// Starts with a reader. On a thread of its own, it has the state keep as well what the machine says that they will read.
    pub(super) fn of(
        reader: BlockReader,
        executor: &Executor,
        state: &AboveCheckpoint,
        works_apart: bool,
    ) -> Self {
        let reader = Box::new(reader);
        let reading = if works_apart {
            let fetch = Fetch::new(Arc::clone(executor.machine()), Arc::clone(state.below()));
            Reading::Due(reader, Box::new(fetch))
        } else {
            Reading::Here(reader)
        };
        Self { ready: VecDeque::new(), reading }
    }

    /// Returns the next block; `None` at the end of the log.
    pub(super) fn next_block(&mut self) -> NextBlock {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return next;
            }
            self.reading = match std::mem::replace(&mut self.reading, Reading::Between) {
                Reading::Due(reader, fetch) => Apart::start(reader, fetch),
                Reading::Apart(apart) => match apart.receive() {
                    Some(lot) => {
                        self.ready.extend(lot);
                        Reading::Apart(apart)
                    }
                    None => apart.end().map_or(Reading::Between, Reading::Here),
                },
                Reading::Here(mut reader) => {
                    let next = reader.next_block();
                    self.reading = Reading::Here(reader);
                    return next;
                }
                Reading::Between => return Ok(None),
            };
        }
    }
}

impl Apart {
    /// Starts a thread; without one, whoever asks for a block reads it.
    fn start(reader: Box<BlockReader>, mut fetch: Box<Fetch>) -> Reading {
        let (hand, readers) = channel();
        let (sender, lots) = sync_channel(LOTS_MAX);
        let body = move || readers.recv().ok().map(|reader| read(reader, &mut fetch, &sender));
        let Ok(thread) = std::thread::Builder::new().name("read".to_owned()).spawn(body) else {
            return Reading::Here(reader);
        };
        match hand.send(reader) {
            Ok(()) => Reading::Apart(Self { lots: Some(lots), thread: Some(thread) }),
            Err(refused) => Reading::Here(refused.0),
        }
    }

    fn receive(&self) -> Option<Vec<NextBlock>> {
        self.lots.as_ref()?.recv().ok()
    }

    /// Returns the reader of a thread that has ended.
    fn end(mut self) -> Option<Box<BlockReader>> {
        self.lots = None;
        let joined = self.thread.take()?.join();
        joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Apart {
    /// Waits for the thread, which holds the store: it ends when it finds that nobody receives.
    fn drop(&mut self) {
        self.lots = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(
    mut reader: Box<BlockReader>,
    fetch: &mut Fetch,
    lots: &SyncSender<Vec<NextBlock>>,
) -> Box<BlockReader> {
    loop {
        let (mut lot, mut bytes, mut has_ended) = (Vec::new(), 0usize, false);
        while bytes < LOT_BYTES && !has_ended {
            let next = reader.next_block();
            match &next {
                Ok(Some(block)) => {
                    let sizes = block.input.txs.iter().map(|tx| size_of_val(tx) + tx.payload.len());
                    bytes = bytes.saturating_add(sizes.sum::<usize>() + size_of_val(block));
                }
                Ok(None) | Err(_) => has_ended = true,
            }
            lot.push(next);
        }
        fetch.read_for(lot.iter().filter_map(|next| next.as_ref().ok()?.as_ref()));
        if lots.send(lot).is_err() || has_ended {
            return reader;
        }
    }
}
