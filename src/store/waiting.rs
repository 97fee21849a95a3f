//! The table of the confirmed mempool: transactions that were received before the checkpoint and are in no block.

use rusqlite::Connection;

use crate::store::tag;
use crate::types::Seq;

/// Returns the transactions, ascending; all of them, as their tags add up to say.
pub(super) fn read(sql: &Connection) -> rusqlite::Result<Vec<Seq>> {
    let waiting = stored(sql)?;
    if sum(&waiting) == said(sql)? || planted!("mempool_not_summed") {
        return Ok(waiting);
    }
    Err(tag::corrupt("the confirmed mempool is not what was written"))
}

/// Takes transactions out and adds others.
pub(super) fn write(sql: &Connection, leaving: &[Seq], joining: &[Seq]) -> rusqlite::Result<()> {
    let mut sum = said(sql)?;
    let mut leave = sql.prepare_cached("DELETE FROM unordered WHERE seq = ?1")?;
    for seq in leaving.iter().filter(|_| !planted!("mempool_keeps_what_was_ordered")) {
        if leave.execute([seq.get()])? > 0 {
            sum = sum.wrapping_sub(tag::of_waiting(*seq));
        }
    }
    let mut join = sql.prepare_cached("INSERT INTO unordered (seq) VALUES (?1)")?;
    for seq in joining {
        join.execute([seq.get()])?;
        sum = sum.wrapping_add(tag::of_waiting(*seq));
    }
    say(sql, sum)
}

/// Gives the block table the sum of the tags; for rows that have none yet.
pub(super) fn tag_all(sql: &Connection) -> rusqlite::Result<()> {
    say(sql, sum(&stored(sql)?))
}

/// Returns the transactions as they are stored, whether or not their tags add up.
pub(super) fn stored(sql: &Connection) -> rusqlite::Result<Vec<Seq>> {
    let mut statement = sql.prepare("SELECT seq FROM unordered ORDER BY seq")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    let seq = |number: rusqlite::Result<u64>| {
        Seq::new(number?).ok_or_else(|| tag::corrupt("the confirmed mempool names event 0"))
    };
    rows.map(seq).collect()
}

fn sum(waiting: &[Seq]) -> i64 {
    waiting.iter().fold(0, |sum, seq| sum.wrapping_add(tag::of_waiting(*seq)))
}

fn said(sql: &Connection) -> rusqlite::Result<i64> {
    sql.prepare_cached("SELECT unordered_tag FROM main")?.query_row([], |row| row.get(0))
}

fn say(sql: &Connection, sum: i64) -> rusqlite::Result<()> {
    sql.prepare_cached("UPDATE main SET unordered_tag = ?1")?.execute([sum]).map(drop)
}
