//! The state table: entries that are read with their tags, and written in the order of their keys.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::state::Change;
use crate::store::tag;
use crate::types::{Bytes, encode_hex};

/// Returns the value of a key. Where it is absent, its neighbours must be sound: a damaged key stands near its old place.
pub(super) fn read(sql: &Connection, key: &[u8]) -> rusqlite::Result<Option<Bytes>> {
    let found = sql
        .prepare_cached("SELECT key, value, tag FROM state WHERE key = ?1")?
        .query_row([key], verified)
        .optional()?;
    if let Some((_, value)) = found {
        return Ok(Some(value));
    }
    let mut is_alone = true;
    for neighbour in [
        "SELECT key, value, tag FROM state WHERE key < ?1 ORDER BY key DESC LIMIT 1",
        "SELECT key, value, tag FROM state WHERE key > ?1 ORDER BY key LIMIT 1",
    ] {
        let found = sql.prepare_cached(neighbour)?.query_row([key], verified).optional()?;
        is_alone &= found.is_none();
    }
    if is_alone {
        is_rightly_empty(sql)?;
    }
    Ok(None)
}

/// Where the table is empty, its digest must be that of an empty state: another table's page may have taken the place of its
/// root. Amid a commit the two need not agree.
fn is_rightly_empty(sql: &Connection) -> rusqlite::Result<()> {
    let has_entries = sql.prepare_cached("SELECT 1 FROM state LIMIT 1")?.exists([])?;
    if has_entries || !sql.is_autocommit() {
        return Ok(());
    }
    let is_zero = |row: &Row<'_>| match row.get_ref(0)?.as_blob() {
        // All of them at once: this is asked for each key of the first block.
        Ok(lanes) => Ok(lanes.iter().fold(0, |all, byte| all | byte) == 0),
        // Asked for so, it fails with the name of the column.
        Err(_) => row.get::<_, Vec<u8>>(0).map(|_| false),
    };
    let is_zero = sql.prepare_cached("SELECT lanes FROM main")?.query_row([], is_zero)?;
    if is_zero || planted!("entry_tags_not_checked") {
        return Ok(());
    }
    Err(tag::corrupt("the state is empty, and its digest is that of another".to_owned()))
}

/// Visits every entry whose key starts with `prefix`, ascending.
pub(super) fn visit(
    sql: &Connection,
    prefix: &[u8],
    each: &mut dyn FnMut(&Bytes, &Bytes),
) -> rusqlite::Result<()> {
    let mut is_empty = true;
    visit_from(sql, prefix, |key, value, is_vouched_for| {
        is_empty = false;
        if !key.starts_with(prefix) {
            return Ok(false);
        }
        if !is_vouched_for {
            return Err(unvouched(key));
        }
        each(key, value);
        Ok(true)
    })?;
    if is_empty { is_rightly_empty(sql) } else { Ok(()) }
}

/// Visits entries from a key on, ascending, until it is told to end; says of each whether its tag vouches for it.
pub(super) fn visit_from(
    sql: &Connection,
    from: &[u8],
    mut each: impl FnMut(&Bytes, &Bytes, bool) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let mut statement =
        sql.prepare_cached("SELECT key, value, tag FROM state WHERE key >= ?1 ORDER BY key")?;
    let mut rows = statement.query([from])?;
    while let Some(row) = rows.next()? {
        let (key, value, is_vouched_for) = stored(row)?;
        if !each(&key, &value, is_vouched_for)? {
            break;
        }
    }
    Ok(())
}

/// Writes and deletes entries, as they are after changes.
pub(super) fn write(sql: &Connection, changes: &[Change]) -> rusqlite::Result<()> {
    let mut put = sql.prepare_cached(
        "INSERT INTO state (key, value, tag) VALUES (?1, ?2, ?3) \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, tag = excluded.tag",
    )?;
    let mut delete = sql.prepare_cached("DELETE FROM state WHERE key = ?1")?;
    for Change { key, after, .. } in changes {
        match after {
            Some(value) => put.execute(params![&**key, &**value, tag::of_entry(key, value)])?,
            None if planted!("deletions_dropped") => 0,
            None => delete.execute(params![&**key])?,
        };
    }
    Ok(())
}

/// Names an entry that its tag does not vouch for.
fn unvouched(key: &[u8]) -> rusqlite::Error {
    tag::corrupt(format!(
        "the entry of the state at key {} is not what was written",
        encode_hex(key)
    ))
}

fn verified(row: &Row<'_>) -> rusqlite::Result<(Bytes, Bytes)> {
    match stored(row)? {
        (key, value, true) => Ok((key, value)),
        (key, ..) => Err(unvouched(&key)),
    }
}

fn stored(row: &Row<'_>) -> rusqlite::Result<(Bytes, Bytes, bool)> {
    let (key, value) = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
    let is_vouched_for =
        row.get::<_, i64>(2)? == tag::of_entry(key, value) || planted!("entry_tags_not_checked");
    Ok((key.into(), value.into(), is_vouched_for))
}
