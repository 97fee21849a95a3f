//! Inserts events: they are encoded and chained on a thread of their own while SQLite takes the rows before.

use std::sync::mpsc::sync_channel;
use std::thread;

use rusqlite::Connection;

use crate::codec::Writer;
use crate::event::{EventBody, chain_digest};
use crate::store::events::{LogHead, StoredEvent};
use crate::store::many_rows::ManyRows;
use crate::store::tail::Tail;
use crate::types::{Slice, UnixMillis};

/// Events whose bodies share a buffer.
const BATCH: usize = 512;
/// Batches that are sealed ahead of the insertion.
const BATCHES_AHEAD: usize = 4;
/// Events from which on a second thread pays: starting it takes as long as sealing a hundred of them.
const EVENTS_APART: usize = 2 * BATCH;

/// Inserts events after a head; returns the new head, and the last of the rows.
pub(crate) fn insert(
    sql: &Connection,
    mut head: LogHead,
    now: UnixMillis,
    events: &[EventBody],
) -> rusqlite::Result<(LogHead, Tail)> {
    let mut rows = Rows::after(sql, head)?;
    if events.len() < EVENTS_APART {
        for batch in events.chunks(BATCH) {
            rows.take(seal(&mut head, now, batch))?;
        }
        return Ok((rows.head, rows.tail));
    }
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(BATCHES_AHEAD);
        let sealing = move || {
            for batch in events.chunks(BATCH) {
                // Whoever inserts may have failed.
                if sender.send(seal(&mut head, now, batch)).is_err() {
                    break;
                }
            }
        };
        let sealing = thread::Builder::new().name("seal".to_owned()).spawn_scoped(scope, sealing);
        if sealing.is_ok() {
            receiver.into_iter().try_for_each(|batch| rows.take(batch))
        } else {
            // A process that may have no more threads logs all the same.
            events.chunks(BATCH).try_for_each(|batch| rows.take(seal(&mut head, now, batch)))
        }
    })?;
    Ok((rows.head, rows.tail))
}

/// Gives events their positions, canonical bytes and chain digests, and moves the head behind them.
fn seal(head: &mut LogHead, now: UnixMillis, events: &[EventBody]) -> Vec<StoredEvent> {
    let bytes = events.iter().map(EventBody::bytes_about).sum();
    let mut writer = Writer::with_capacity(bytes);
    let mut sealed: Vec<StoredEvent> = Vec::with_capacity(events.len());
    let mut ends = Vec::with_capacity(events.len());
    for event in events {
        let (start, seq, kind, created) = (writer.len(), head.next(), event.kind(), Some(now));
        event.write(&mut writer);
        let chain = chain_digest(head.chain, seq, kind, created, writer.since(start));
        *head = LogHead { seq: seq.get(), chain };
        sealed.push(StoredEvent { seq, kind, created, body: Slice::new(), chain });
        ends.push(writer.len());
    }
    let buffer = Slice::from(writer.finish());
    let mut start = 0;
    for (event, end) in sealed.iter_mut().zip(ends) {
        event.body = buffer.slice(start..end);
        start = end;
    }
    sealed
}

/// The rows of one insertion.
struct Rows<'a> {
    insertion: ManyRows<'a, 5>,
    head: LogHead,
    tail: Tail,
}

impl<'a> Rows<'a> {
    fn after(sql: &'a Connection, head: LogHead) -> rusqlite::Result<Self> {
        // The transaction is given up where a row fails, so SQLite need not be able to take back one statement of it.
        let insert = "INSERT OR FAIL INTO event (seq, format, kind, created, body, chain)";
        let insertion = ManyRows::new(sql, [insert, "(?, 1, ?, ?, ?, ?)"])?;
        Ok(Self { insertion, head, tail: Tail::default() })
    }

    fn take(&mut self, batch: Vec<StoredEvent>) -> rusqlite::Result<()> {
        self.insertion.insert(&batch, |statement, [seq, kind, created, body, chain], event| {
            statement.raw_bind_parameter(seq, event.seq.get())?;
            statement.raw_bind_parameter(kind, event.kind.code())?;
            statement.raw_bind_parameter(created, event.created.map(|time| time.0))?;
            statement.raw_bind_parameter(body, &*event.body)?;
            statement.raw_bind_parameter(chain, event.chain.0)
        })?;
        for event in batch {
            self.head = event.head();
            self.tail.push(event);
        }
        Ok(())
    }
}
