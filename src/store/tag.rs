//! Tags: eight bytes beside a row that no digest covers, so that damage to it is noticed when it is read.
//!
//! They find what a disk does, not what somebody does who can compute them as well.

use crate::block::BlockRow;
use crate::store::quarantine::QuarantineRow;
use crate::types::{Digest, Seq};

/// Returns the tag of an entry of the state.
pub(super) fn of_entry(key: &[u8], value: &[u8]) -> i64 {
    let length = crate::codec::count(key.len()).to_le_bytes();
    tag(b'e', &[&length, key, value])
}

/// Returns the tag of a block row: its digest as it is stored, and what that leaves out.
pub(super) fn of_row(row: &BlockRow, digest: &Digest) -> i64 {
    let state = row.state_digest.as_ref().map_or(&[][..], |digest| &digest.0);
    tag(b'b', &[&digest.0, &row.committed.0.to_le_bytes(), state])
}

/// Returns the tag of a transaction in the confirmed mempool.
pub(super) fn of_waiting(seq: Seq) -> i64 {
    tag(b'w', &[&seq.get().to_le_bytes()])
}

/// Returns the tag of a row about a quarantined transaction.
pub(super) fn of_quarantine(row: &QuarantineRow) -> i64 {
    let settled = row.settled.map_or(0, Seq::get);
    let numbers = [row.entry.tx.get(), row.entry.height.get(), row.entry.verdict.get(), settled];
    let [tx, height, verdict, settled] = numbers.map(u64::to_le_bytes);
    tag(b'q', &[&tx, &height, &verdict, &settled])
}

/// Reports content that this program never wrote, as SQLite reports what it finds itself.
pub(super) fn corrupt(text: impl Into<String>) -> rusqlite::Error {
    use rusqlite::ffi::{Error, SQLITE_CORRUPT};
    rusqlite::Error::SqliteFailure(Error::new(SQLITE_CORRUPT), Some(text.into()))
}

fn tag(kind: u8, parts: &[&[u8]]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind]);
    for part in parts {
        hasher.update(part);
    }
    let digest = hasher.finalize();
    i64::from_le_bytes(digest.as_bytes().first_chunk().copied().unwrap_or_default())
}
