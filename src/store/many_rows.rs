//! Statements that insert many rows at once: SQLite then looks for the place of the first, and goes on from there.

use rusqlite::{CachedStatement, Connection};

/// Rows of one statement.
const ROWS: usize = 32;

/// An insertion of rows of `COLUMNS` bound columns.
pub(crate) struct ManyRows<'a, const COLUMNS: usize> {
    one: CachedStatement<'a>,
    many: CachedStatement<'a>,
}

impl<'a, const COLUMNS: usize> ManyRows<'a, COLUMNS> {
    /// Prepares an insertion: what comes before `VALUES` and after, and the values of a row.
    pub(crate) fn new(
        sql: &'a Connection,
        [insert, row]: [&'static str; 2],
    ) -> rusqlite::Result<Self> {
        let one = sql.prepare_cached(&format!("{insert} VALUES {row}"))?;
        let rows = [row; ROWS].join(", ");
        let many = sql.prepare_cached(&format!("{insert} VALUES {rows}"))?;
        Ok(Self { one, many })
    }

    /// Inserts rows; `bind` binds the columns of one from a parameter on.
    pub(crate) fn insert<T>(
        &mut self,
        rows: &[T],
        bind: impl Fn(&mut CachedStatement<'a>, [usize; COLUMNS], &T) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let columns = |row: usize| std::array::from_fn(|column| row * COLUMNS + column + 1);
        for chunk in rows.chunks(ROWS) {
            if chunk.len() == ROWS {
                for (at, row) in chunk.iter().enumerate() {
                    bind(&mut self.many, columns(at), row)?;
                }
                self.many.raw_execute()?;
                continue;
            }
            for row in chunk {
                bind(&mut self.one, columns(0), row)?;
                self.one.raw_execute()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_rows_is_inserted_in_order() {
        for length in [0, 1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 5] {
            let sql = Connection::open_in_memory().expect("a database");
            sql.execute_batch("CREATE TABLE t (a INTEGER, b TEXT, c INTEGER)").expect("a table");
            let rows: Vec<_> =
                (0..length).map(|number| (number, format!("row {number}"))).collect();
            let insertion = ["INSERT INTO t (a, b, c)", "(?, ?, 7)"];
            let mut insertion = ManyRows::<2>::new(&sql, insertion).expect("a statement");
            let inserted = insertion.insert(&rows, |statement, [a, b], (number, text)| {
                statement.raw_bind_parameter(a, *number)?;
                statement.raw_bind_parameter(b, text)
            });
            assert_eq!(inserted, Ok(()));
            let mut found =
                sql.prepare("SELECT a, b FROM t WHERE c = 7 ORDER BY rowid").expect("SQL");
            let found = found.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
            assert_eq!(found.collect::<Result<Vec<(usize, String)>, _>>(), Ok(rows));
        }
    }
}
