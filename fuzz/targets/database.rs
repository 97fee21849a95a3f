//! The files of a node as hostile input: bytes and cells are altered, and no altered node is taken for sound.

use rewake_simdisk::{Disk, VFS, disk_of};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params};

use super::Target;
use super::input::Input;
use super::reached::reach;
use super::reference;
use super::template::{self, CLOSED, KILLED};

pub const TARGET: Target = Target { name: "database", run, seeds, smoke_runs: 500, places: PLACES };
const PLACES: &[&str] = &["refused", "not recovered", "a finding", "sound"];

const EDITS_MAX: usize = 12;
const FILES: [&str; 6] =
    ["log.db", "main.db", "log.db-wal", "main.db-wal", "sandbox.db", "sandbox.db-wal"];

/// Tables that SQL alters: the file, the table, a key, and the columns.
const TABLES: [(&str, &str, &str, &[&str]); 8] = [
    ("log.db", "event", "seq", &["seq", "format", "kind", "created", "body", "chain"]),
    ("log.db", "log", "id", &["machine", "indexed"]),
    (
        "main.db",
        "block",
        "height",
        &[
            "height",
            "order_seq",
            "order_chain",
            "parent",
            "header",
            "txs",
            "applied",
            "rejected",
            "receipts_digest",
            "changes_digest",
            "digest",
            "state_digest",
        ],
    ),
    (
        "main.db",
        "block_body",
        "height",
        &["height", "txs", "receipts", "receipts_length", "changes", "changes_length"],
    ),
    ("main.db", "state", "key", &["key", "value"]),
    ("main.db", "unordered", "seq", &["seq"]),
    ("main.db", "quarantine", "tx_seq", &["tx_seq", "height", "verdict_seq", "settled_seq"]),
    ("main.db", "main", "id", &["machine", "machine_version", "lanes"]),
];

fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let disk = template::disk(if input.u8().is_multiple_of(2) { &CLOSED } else { &KILLED });
    for _ in 0..EDITS_MAX {
        if input.is_empty() {
            break;
        }
        match input.u8() % 4 {
            0 => cell(&mut input, &disk),
            kind => bytes_of(&mut input, &disk, kind),
        }
    }
    match template::open(&disk) {
        Ok(node) => reference::check(TARGET.name, node),
        Err(refusal) => {
            reach(TARGET.name, "refused");
            let sentence = refusal.to_string();
            assert!(sentence.starts_with(refusal.label.name()), "{sentence}");
            assert!(!refusal.advice.is_empty(), "{sentence}");
        }
    }
}

/// Alters bytes of a file.
fn bytes_of(input: &mut Input<'_>, disk: &Disk, kind: u8) {
    let name = input.one_of(&FILES);
    let place = disk_of(&template::dir(disk).file(name)).expect("the disk is there");
    let Ok(file) = place.open(false) else { return };
    let length = file.length();
    if length == 0 {
        return;
    }
    let at = input.u32() as usize % length;
    let written = match kind {
        1 => {
            let mut byte = [0];
            file.read(&mut byte, at);
            file.write(&[byte[0] ^ input.u8().max(1)], at)
        }
        2 => {
            let count = input.place(8) + 1;
            file.write(input.take(count), at.min(length.saturating_sub(count)))
        }
        _ => match input.u8() % 4 {
            0 => file.truncate(at),
            // A page of the file takes the place of another.
            choice => {
                let mut page = [0; 4096];
                let read = file.read(&mut page, (at / 4096) * 4096);
                let to = if choice == 1 { 0 } else { input.u32() as usize % length };
                file.write(&page[..read.min(length - (to / 4096) * 4096)], (to / 4096) * 4096)
            }
        },
    };
    written.expect("a disk without faults");
}

/// Alters a cell of a table, as a program would that knows SQL and not the rules.
fn cell(input: &mut Input<'_>, disk: &Disk) {
    let (file, table, key, columns) = input.one_of(&TABLES);
    let (column, row) = (input.one_of(columns), input.u8());
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let path = template::dir(disk).file(file);
    let Ok(sql) = Connection::open_with_flags_and_vfs(path, flags, VFS) else { return };
    let prepared = sql.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA ignore_check_constraints = ON;
         PRAGMA foreign_keys = OFF; PRAGMA wal_autocheckpoint = 0",
    );
    let pick = format!("(SELECT {key} FROM {table} LIMIT 1 OFFSET ?1)");
    let statement = match input.u8() % 8 {
        0 => format!("DELETE FROM {table} WHERE {key} = {pick}"),
        1 => {
            let other = format!("(SELECT {column} FROM {table} LIMIT 1 OFFSET ?2)");
            format!("UPDATE {table} SET {column} = {other} WHERE {key} = {pick}")
        }
        2 => {
            let flipped = format!("CAST({column} || char(?2) AS BLOB)");
            format!("UPDATE {table} SET {column} = {flipped} WHERE {key} = {pick}")
        }
        _ => format!("UPDATE {table} SET {column} = ?2 WHERE {key} = {pick}"),
    };
    // What SQLite refuses changes nothing.
    let _ = prepared.and_then(|()| sql.execute(&statement, params![row, value(input)]));
}

fn value(input: &mut Input<'_>) -> Value {
    match input.u8() % 6 {
        0 => Value::Null,
        1 => Value::Integer(input.u8().into()),
        2 => Value::Integer(input.u64().cast_signed()),
        3 => Value::Text(String::from_utf8_lossy(input.take(8)).into_owned()),
        _ => {
            let length = usize::from(input.u8());
            Value::Blob(input.take(length).to_vec())
        }
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let byte = |file: u8, at: u32| [&[1, file][..], &at.to_le_bytes(), &[1]].concat();
    let cell = |table: u8, column: u8, row: u8, how: u8, value: &[u8]| {
        [&[0, table, column, row, how][..], value].concat()
    };
    let mut seeds = vec![vec![0], vec![1]];
    for template in [0, 1] {
        seeds.extend((0..6).map(|file| [vec![template], byte(file, 4096 * 3 + 77)].concat()));
        for table in 0..8 {
            seeds.push([vec![template], cell(table, 0, 1, 3, &[1, 9])].concat());
            seeds.push([vec![template], cell(table, 1, 2, 3, &[4, 4, 1, 2, 3, 4])].concat());
        }
        seeds.push(vec![template, 3, 0, 0, 32, 0, 0, 0]);
        seeds.push(vec![template, 3, 3, 0, 32, 0, 0, 0]);
        seeds.push(vec![template, 3, 1, 0, 32, 0, 0, 2, 0, 64, 0, 0]);
    }
    seeds
}
