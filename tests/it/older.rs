//! Block tables of the first schema version, as the program of then left them.

use std::path::Path;

use rusqlite::Connection;

use crate::nodes::Node;

/// Brings a block table back to the first version. Its write-ahead log must be empty.
pub fn bring_back(main: &Path) {
    let older = main.with_extension("older");
    let sql = Connection::open(&older).expect("a database");
    sql.pragma_update(None, "page_size", 4096).expect("a pragma");
    sql.execute_batch(include_str!("../../migrations/main/0001_block_table.sql")).expect("tables");
    sql.execute("ATTACH ?1 AS newer", [main.to_str().expect("a name")]).expect("a database");
    let packed = "SELECT count(*) FROM newer.block_body WHERE changes_length IS NOT NULL";
    let packed: i64 = sql.query_row(packed, [], |row| row.get(0)).expect("a number");
    assert_eq!(packed, 0, "the first version keeps no part compressed");
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table'";
    for table in texts(&sql, names, []) {
        let columns = texts(&sql, "SELECT name FROM pragma_table_info(?1)", [&*table]).join(", ");
        let copy = format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM newer.{table}");
        sql.execute(&copy, []).expect("rows");
    }
    sql.execute_batch("DETACH newer").expect("a database");
    sql.pragma_update(None, "application_id", 0x7277_6b4d).expect("a pragma");
    sql.pragma_update(None, "user_version", 1).expect("a pragma");
    sql.pragma_update(None, "journal_mode", "wal").expect("a pragma");
    sql.close().expect("an end");
    std::fs::rename(older, main).expect("it takes its place");
    let wal = main.with_extension("db-wal");
    assert_eq!(wal.metadata().map_or(0, |wal| wal.len()), 0, "it was settled");
    let _ = std::fs::remove_file(wal);
}

/// Returns a copy of a node with a block table of the first version.
pub fn older(node: &Node) -> Node {
    let node = node.copy();
    bring_back(&node.dir.file("main.db"));
    node
}

fn texts(sql: &Connection, query: &str, of: impl rusqlite::Params) -> Vec<String> {
    let mut statement = sql.prepare(query).expect("a query");
    let rows = statement.query_map(of, |row| row.get(0)).expect("rows");
    rows.collect::<rusqlite::Result<_>>().expect("texts")
}
