//! The scan: reading and verifying the tail of the log, against a raw `SELECT` of the same rows.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rewake::exec::{NewEvent, examine_opened};
use rewake::machine::Registry;
use rewake::store::DataDir;

use crate::row::{Goal, Row, in_turn};
use crate::{Settings, append, raw};

/// Reads events of 128-byte payloads that are all pending.
pub(crate) fn rows(settings: &Settings) -> Result<Vec<Row>> {
    let scratch = tempfile::tempdir()?;
    let dir = DataDir::new(scratch.path().join("node"));
    let events: Vec<NewEvent> = (0..settings.transfers).map(append::event).collect();
    append::append(&dir, &events)?;
    drop(events);
    let file = scratch.path().join("node/log.db");
    let count = settings.transfers;
    let [ours, theirs] = in_turn(
        count,
        settings.repetitions.max(5),
        [&mut || verify(&dir, count), &mut || select(&file, count)],
    )?;
    let name = "scan and verify the tail, against a raw SELECT of the rows";
    Ok(vec![Row::new(name, ours, theirs, "events/s", Some(Goal::AtLeast(0.6)))])
}

fn verify(dir: &DataDir, count: u64) -> Result<Duration> {
    let (store, registry) = (dir.open()?, Registry::built_in());
    let started = Instant::now();
    let node = examine_opened(store, &registry)?;
    let took = started.elapsed();
    ensure!(node.backlog.mempool.len() == count, "not every event was read");
    Ok(took)
}

fn select(file: &Path, count: u64) -> Result<Duration> {
    let (took, rows) = raw::select(file)?;
    ensure!(rows == count, "not every row was read");
    Ok(took)
}
