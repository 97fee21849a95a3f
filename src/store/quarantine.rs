//! The quarantine table: transactions that verdicts kept out of confirmed blocks, and what became of them.

use rusqlite::{Connection, Row, params};

use crate::store::blocks::QuarantineWrite;
use crate::store::tag;
use crate::types::{Height, Seq};

/// A quarantined transaction of a confirmed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuarantineRow {
    /// The transaction, its block and the verdict.
    pub entry: QuarantineWrite,
    /// Position of the verdict that released or discarded it.
    pub settled: Option<Seq>,
}

const SELECT: &str = "SELECT tx_seq, height, verdict_seq, settled_seq, tag FROM quarantine WHERE";

/// Returns the rows of one block as they are stored, ascending by position; and of each whether its tag vouches for it.
pub(super) fn of_block(
    sql: &Connection,
    height: Height,
) -> rusqlite::Result<Vec<(QuarantineRow, bool)>> {
    let filter = "height = ?1 ORDER BY tx_seq";
    let mut statement = sql.prepare_cached(&format!("{SELECT} {filter}"))?;
    let rows = statement.query_map([height.get()], |row| {
        stored(row).map(|(row, tag)| (row, tag == tag::of_quarantine(&row)))
    })?;
    rows.collect()
}

/// Returns the rows that are not settled, ascending by height and position; all of them, as their tags add up to say.
pub(super) fn held(sql: &Connection) -> rusqlite::Result<Vec<QuarantineRow>> {
    // SQLite uses the index of held rows for this form alone.
    let filter = "settled_seq IS NULL AND height >= 0 ORDER BY height, tx_seq";
    let mut statement = sql.prepare_cached(&format!("{SELECT} {filter}"))?;
    let (mut held, mut sum) = (Vec::new(), 0i64);
    for row in statement.query_map([], verified)? {
        let (row, tag) = row?;
        sum = sum.wrapping_add(tag);
        held.push(row);
    }
    if sum == said(sql)? || planted!("held_not_summed") {
        return Ok(held);
    }
    Err(tag::corrupt("a row of quarantine was lost"))
}

/// Writes rows that are held, and settles others.
pub(super) fn write(
    sql: &Connection,
    held: &[QuarantineWrite],
    settled: &[(Seq, Seq)],
) -> rusqlite::Result<()> {
    let mut sum = said(sql)?;
    let mut hold = sql.prepare_cached(
        "INSERT INTO quarantine (tx_seq, height, verdict_seq, tag) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for entry in held {
        let tag = tag::of_quarantine(&QuarantineRow { entry: *entry, settled: None });
        hold.execute(params![entry.tx.get(), entry.height.get(), entry.verdict.get(), tag])?;
        sum = sum.wrapping_add(tag);
    }
    let mut settle = sql.prepare_cached(
        "UPDATE quarantine SET settled_seq = ?3, tag = ?4 WHERE tx_seq = ?1 AND height = ?2",
    )?;
    for (tx, verdict) in settled.iter().filter(|_| !planted!("settlements_dropped")) {
        for (row, tag) in held_before(sql, *tx, *verdict)? {
            let settled = QuarantineRow { settled: Some(*verdict), ..row };
            let (height, new) = (row.entry.height.get(), tag::of_quarantine(&settled));
            settle.execute(params![tx.get(), height, verdict.get(), new])?;
            sum = sum.wrapping_sub(tag);
        }
    }
    sql.prepare_cached("UPDATE main SET held_tag = ?1")?.execute([sum]).map(drop)
}

/// Gives every row its tag, and the block table the sum of those that are held; for rows that have none yet.
pub(super) fn tag_all(sql: &Connection) -> rusqlite::Result<()> {
    let rows: Vec<_> = sql
        .prepare(&format!("{SELECT} TRUE"))?
        .query_map([], |row| stored(row).map(|(row, _)| row))?
        .collect::<rusqlite::Result<_>>()?;
    let mut set =
        sql.prepare("UPDATE quarantine SET tag = ?3 WHERE tx_seq = ?1 AND height = ?2")?;
    let mut sum = 0i64;
    for row in rows {
        let tag = tag::of_quarantine(&row);
        set.execute(params![row.entry.tx.get(), row.entry.height.get(), tag])?;
        if row.settled.is_none() {
            sum = sum.wrapping_add(tag);
        }
    }
    sql.execute("UPDATE main SET held_tag = ?1", [sum]).map(drop)
}

/// Returns what a verdict on a transaction settles: a transaction that was released and is quarantined once more is held
/// by the later verdict.
fn held_before(
    sql: &Connection,
    tx: Seq,
    verdict: Seq,
) -> rusqlite::Result<Vec<(QuarantineRow, i64)>> {
    let filter = "tx_seq = ?1 AND verdict_seq < ?2 AND settled_seq IS NULL";
    let mut statement = sql.prepare_cached(&format!("{SELECT} {filter}"))?;
    let rows = statement.query_map([tx.get(), verdict.get()], verified)?;
    rows.collect()
}

fn said(sql: &Connection) -> rusqlite::Result<i64> {
    sql.prepare_cached("SELECT held_tag FROM main")?.query_row([], |row| row.get(0))
}

fn verified(row: &Row<'_>) -> rusqlite::Result<(QuarantineRow, i64)> {
    let (row, tag) = stored(row)?;
    if tag == tag::of_quarantine(&row) || planted!("held_not_summed") {
        return Ok((row, tag));
    }
    let (tx, height) = (row.entry.tx.get(), row.entry.height.get());
    let text =
        format!("the row of quarantine of event {tx} in block {height} is not what was written");
    Err(tag::corrupt(text))
}

fn stored(row: &Row<'_>) -> rusqlite::Result<(QuarantineRow, i64)> {
    let seq = |column| {
        let number: u64 = row.get(column)?;
        Seq::new(number).ok_or_else(|| tag::corrupt("a row of quarantine names event 0"))
    };
    let entry = QuarantineWrite { tx: seq(0)?, height: Height(row.get(1)?), verdict: seq(2)? };
    let settled = row.get::<_, Option<u64>>(3)?.and_then(Seq::new);
    Ok((QuarantineRow { entry, settled }, row.get(4)?))
}
