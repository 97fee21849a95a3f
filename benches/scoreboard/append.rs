//! Durable append: groups of many submitters' transactions, against raw bulk inserts of the same rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use rewake::exec::{Intake, NewEvent, SystemClock, examine};
use rewake::machine::Registry;
use rewake::store::{DataDir, Repairs};
use rewake::types::{Bytes, Digest, TxId};

use crate::raw::{self, EventRow};
use crate::row::{Goal, Row, in_turn};
use crate::{LOT, Settings, transfers};

/// Bytes of a payload.
const PAYLOAD: usize = 128;

/// Appends through the intake, in groups of so many transactions of one submitter each, and workloads with their orders.
pub(crate) fn rows(settings: &Settings) -> Result<Vec<Row>> {
    let mut rows = payloads(settings)?;
    rows.push(workload(settings)?);
    Ok(rows)
}

fn payloads(settings: &Settings) -> Result<Vec<Row>> {
    let count = settings.transfers;
    let events: Vec<NewEvent> = (0..count).map(event).collect();
    let rows: Vec<EventRow> = events.iter().filter_map(row).collect();
    let index = raw::index_of(rows.iter().map(|row| row.body.as_slice()));
    let [ours, both, alone] = in_turn(
        count,
        settings.repetitions.max(5),
        [
            &mut || {
                let scratch = tempfile::tempdir()?;
                append(&DataDir::new(scratch.path().join("node")), &events)
            },
            &mut || raw::insert(tempfile::tempdir()?.path(), &rows, &index, LOT),
            &mut || raw::insert(tempfile::tempdir()?.path(), &rows, &[], LOT),
        ],
    )?;
    let (name, unit) = ("durable append of 128 bytes, 10,000 submitters", "events/s");
    let goal = Some(Goal::AtLeast(0.8));
    Ok(vec![
        Row::new(format!("{name}, against raw inserts"), ours, both, unit, goal),
        Row::new("the same, against raw inserts without an index", ours, alone, unit, None),
    ])
}

/// Makes a transaction of random bytes under their digest.
pub(crate) fn event(number: u64) -> NewEvent {
    let mut payload = [0; PAYLOAD];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut payload);
    NewEvent::Tx { id: TxId(Digest::of(&payload).0), payload: Bytes::from(payload.as_slice()) }
}

fn row(event: &NewEvent) -> Option<EventRow> {
    let NewEvent::Tx { id, payload } = event else { return None };
    Some(EventRow { body: [&id.0, &**payload].concat(), chain: Digest(id.0) })
}

/// Appends events in groups, each event of a submitter of its own, and each group durable.
pub(crate) fn append(dir: &DataDir, events: &[NewEvent]) -> Result<Duration> {
    let registry = Registry::built_in();
    dir.create(&registry.find("ledger")?.version())?;
    let node = examine(dir, &registry, Repairs::default())?;
    let mut intake = Intake::new(&node, Arc::new(SystemClock));
    let lots = |group: &[NewEvent]| group.iter().map(|event| vec![event.clone()]).collect();
    let groups: Vec<Vec<Vec<NewEvent>>> = events.chunks(LOT).map(lots).collect();
    let started = Instant::now();
    for group in groups {
        for answer in intake.append_lots(group)? {
            answer?;
        }
    }
    Ok(started.elapsed())
}

/// Appends transfers and the orders that name them, against inserting rows of the same size.
fn workload(settings: &Settings) -> Result<Row> {
    let events = transfers(settings);
    let rows: Vec<EventRow> = events
        .iter()
        .map(|event| {
            row(event)
                .unwrap_or_else(|| EventRow { body: vec![0; 2 * LOT / 10], chain: Digest::ZERO })
        })
        .collect();
    let index = raw::index_of(events.iter().filter_map(|event| match event {
        NewEvent::Tx { id, .. } => Some(id.0.as_slice()),
        _ => None,
    }));
    let [ours, theirs] = in_turn(
        settings.transfers,
        settings.repetitions,
        [
            &mut || {
                let scratch = tempfile::tempdir()?;
                crate::fill(&DataDir::new(scratch.path().join("node")), &events)
            },
            &mut || raw::insert(tempfile::tempdir()?.path(), &rows, &index, LOT),
        ],
    )?;
    let name = "durable append of transfers and orders, against raw inserts";
    Ok(Row::new(name, ours, theirs, "transfers/s", None))
}
