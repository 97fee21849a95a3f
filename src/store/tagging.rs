//! Brings the rows of a block table of version 1 forward: each gets its tag, once the state is what its digest says.

use rusqlite::{Connection, OptionalExtension, params};

use crate::state::StateDigest;
use crate::store::blocks::{self, Find, StoredRow};
use crate::store::{entries, quarantine, tag, waiting};
use crate::types::{Bytes, Height};

/// Entries of the state that are in memory at once.
const LOT: usize = 8_192;

/// Gives every row its tag; inside the transaction that adds the columns.
pub(super) fn fill(sql: &Connection) -> rusqlite::Result<()> {
    let lanes: Option<Vec<u8>> =
        sql.query_row("SELECT lanes FROM main", [], |row| row.get(0)).optional()?;
    // A new block table has no rows at all.
    let Some(lanes) = lanes else { return Ok(()) };
    if tag_entries(sql)?.to_bytes() != lanes {
        let text = "the state is not what its digest says, so that it cannot be brought forward";
        return Err(tag::corrupt(text));
    }
    tag_blocks(sql)?;
    waiting::tag_all(sql)?;
    quarantine::tag_all(sql)
}

/// Returns the accumulator under the digest of the state that was found.
fn tag_entries(sql: &Connection) -> rusqlite::Result<StateDigest> {
    let mut set = sql.prepare("UPDATE state SET tag = ?2 WHERE key = ?1")?;
    let mut found = StateDigest::default();
    let mut last: Option<Bytes> = None;
    loop {
        let lot = lot_after(sql, last.as_deref())?;
        let Some((key, _)) = lot.last() else { return Ok(found) };
        last = Some(key.clone());
        found.add_all(&lot);
        for (key, value) in &lot {
            set.execute(params![&**key, tag::of_entry(key, value)])?;
        }
    }
}

fn lot_after(sql: &Connection, last: Option<&[u8]>) -> rusqlite::Result<Vec<(Bytes, Bytes)>> {
    let mut lot = Vec::with_capacity(LOT);
    entries::visit_from(sql, last.unwrap_or_default(), |key, value, _| {
        if last != Some(key) {
            lot.push((key.clone(), value.clone()));
        }
        Ok(lot.len() < LOT)
    })?;
    Ok(lot)
}

fn tag_blocks(sql: &Connection) -> rusqlite::Result<()> {
    let mut set = sql.prepare("UPDATE block SET tag = ?2 WHERE height = ?1")?;
    let mut next = Height::GENESIS;
    while let Some(StoredRow { row, digest, .. }) = blocks::find(sql, Find::AtOrAbove(next))? {
        let height = row.order.height;
        set.execute(params![height.get(), tag::of_row(&row, &digest)])?;
        next = Height(height.get().saturating_add(1));
    }
    Ok(())
}
