//! Every decision from real files: damaged, replaced, swapped and taken back, and never changed by looking.

use std::fs;

use rewake::exec::{NewEvent, Refusal, examine};
use rewake::machine::Registry;
use rewake::recovery::Label;
use rewake::store::{Problem, Repairs};
use rewake::types::Bytes;

use crate::faulty::Faulty;
use crate::nodes::Node;
use crate::scripted::{assert_same_files, faulty_node, files, id, options, ordered, script, sql};

/// A node with three confirmed blocks, a mempool, and nothing to do.
fn confirmed() -> Node {
    let node = faulty_node(&Faulty::default());
    let block = |number: u8| {
        [
            script(number, "put a 1"),
            ordered(number.into(), "", &[number]),
            script(number + 100, "add n 1"),
        ]
    };
    node.append((0..3).flat_map(block).collect());
    node.recover_with(options());
    node
}

/// Puts one database of another directory in place of a node's own.
fn replace(node: &Node, name: &str, with: &Node) {
    for suffix in ["", "-wal"] {
        let _ = fs::remove_file(node.dir.file(&format!("{name}{suffix}")));
        let from = with.dir.file(&format!("{name}{suffix}"));
        if from.exists() {
            fs::copy(from, node.dir.file(&format!("{name}{suffix}"))).expect("a copy");
        }
    }
}

fn label(node: &Node) -> Label {
    let before = files(&node.dir);
    let label = node.examine().expect("a sound node").label;
    assert_same_files(&before, &files(&node.dir), "looking changes nothing");
    label
}

fn refusal(name: &str, node: &Node, registry: &Registry) -> Box<Refusal> {
    let before = files(&node.dir);
    let refused = examine(&node.dir, registry, Repairs::default());
    let Err(refusal) = refused else { panic!("{name}: not refused") };
    assert_same_files(&before, &files(&node.dir), name);
    assert!(!refusal.advice.is_empty() && refusal.advice != "see the message", "{name}");
    refusal
}

fn check(name: &str, node: &Node, label: Label, says: &[&str]) {
    check_with(name, node, &node.registry, label, says);
}

fn check_with(name: &str, node: &Node, registry: &Registry, label: Label, says: &[&str]) {
    let refusal = refusal(name, node, registry);
    assert_eq!(refusal.label, label, "{name}: {refusal:?}");
    for part in says {
        assert!(refusal.detail.contains(part), "{name}: {:?} lacks {part:?}", refusal.detail);
    }
}

#[test]
fn a_sound_node_is_in_sync_behind_or_never_committed() {
    let node = faulty_node(&Faulty::default());
    assert_eq!(label(&node), Label::InSync);
    node.append(vec![script(1, "put a 1")]);
    assert_eq!(label(&node), Label::InSync);
    node.append(vec![ordered(1, "", &[1])]);
    assert_eq!(label(&node), Label::NeverCommitted);
    node.recover_with(options());
    assert_eq!(label(&node), Label::InSync);
    node.append(vec![ordered(2, "", &[])]);
    assert_eq!(label(&node), Label::Behind);
}

#[test]
fn an_older_log_is_noticed_by_the_blocks_that_rest_on_it() {
    let node = confirmed();
    let older = node.copy();
    node.append(vec![script(50, "put b 1"), ordered(9, "", &[50])]);
    node.recover_with(options());
    replace(&node, "log.db", &older);
    check("log lost", &node, Label::LogLost, &["block 9", "event 11", "ends at event 9"]);
}

#[test]
fn an_older_log_is_noticed_by_the_witness_where_no_block_rests_on_it() {
    let node = confirmed();
    let older = node.copy();
    node.append(vec![script(50, "put b 1")]);
    replace(&node, "log.db", &older);
    check("log cut", &node, Label::LogCut, &["event 10 was acknowledged", "ends at event 9"]);
}

#[test]
fn another_event_than_the_acknowledged_one_is_noticed() {
    let node = confirmed();
    let other = node.copy();
    node.append(vec![script(50, "put b 1")]);
    other.append(vec![script(50, "put b 2")]);
    replace(&node, "log.db", &other);
    check("log replaced", &node, Label::LogReplaced, &["another event 10"]);
}

#[test]
fn a_block_table_of_another_history_is_noticed_and_the_height_is_named() {
    let node = confirmed();
    let other = node.copy();
    for (at, value) in [(&node, "1"), (&other, "2")] {
        at.append(vec![script(50, &format!("put b {value}")), ordered(5, "", &[50])]);
        at.append(vec![ordered(6, "", &[])]);
        at.recover_with(options());
    }
    replace(&node, "main.db", &other);
    // Heights are sparse: the last block that both histories have is 2, so they part at any height above it.
    check("diverged", &node, Label::Diverged, &["block 5", "head is block 6"]);
}

#[test]
fn a_flipped_event_is_noticed_and_named() {
    let node = confirmed();
    flip(&node, 8);
    check("before", &node, Label::ChainBrokenBefore, &["log.db", "event 8"]);

    let node = confirmed();
    node.append(vec![script(50, "put b 1"), ordered(5, "", &[50]), script(51, "put b 1")]);
    flip(&node, 10);
    check("after", &node, Label::ChainBrokenAfter, &["log.db", "event 10"]);

    let node = confirmed();
    node.append(vec![script(50, "put b 1"), script(51, "put b 1"), script(52, "put b 1")]);
    alter(&node, "log.db", "DELETE FROM event WHERE seq = 11");
    check("missing", &node, Label::ChainBrokenAfter, &["log.db", "event 11 is missing"]);

    let node = confirmed();
    node.append(vec![script(50, "put b 1"), script(51, "put b 1")]);
    alter(&node, "log.db", "UPDATE event SET kind = 3 WHERE seq = 10");
    check("other kind", &node, Label::ChainBrokenAfter, &["log.db", "event 10"]);
}

/// Events of 64 KiB: each eight of them are read at once.
const LARGE_BYTES: usize = 64 << 10;

#[test]
fn a_long_tail_is_verified_to_its_end_and_its_first_fault_is_named() {
    let whole = faulty_node(&Faulty::default());
    let large =
        |number| NewEvent::Tx { id: id(number), payload: Bytes::from(vec![7; LARGE_BYTES]) };
    whole.append((1..=60).map(large).collect());
    let node = whole.examine().expect("a sound node");
    assert_eq!((node.log_head.seq, node.backlog.mempool.len()), (60, 60));
    assert_eq!(node.event_bytes, 60 * (32 + LARGE_BYTES as u64));
    drop(node);
    let named = |what: &str, says: &str, damage: &dyn Fn(&Node)| {
        let node = whole.copy();
        damage(&node);
        check(what, &node, Label::ChainBrokenAfter, &["log.db", says]);
    };
    for seq in [1, 9, 30, 59] {
        let expected = format!("event {seq} does not follow");
        named("flipped", &expected, &|node| flip(node, seq));
    }
    let lost = "DELETE FROM event WHERE seq BETWEEN 40 AND 50";
    named("missing", "event 40 is missing", &|node| alter(node, "log.db", lost));
    named("flipped before what is missing", "event 30 does not follow", &|node| {
        flip(node, 30);
        alter(node, "log.db", lost);
    });
    named("missing before what is flipped", "event 40 is missing", &|node| {
        flip(node, 55);
        alter(node, "log.db", lost);
    });
    let order = "UPDATE event SET kind = 3 WHERE seq = 33";
    named("other kind", "event 33", &|node| alter(node, "log.db", order));
}

/// Flips the last byte of an event's body.
fn flip(node: &Node, seq: u64) {
    let sql = sql(&node.dir, "log.db");
    let read = "SELECT body FROM event WHERE seq = ?1";
    let mut body: Vec<u8> = sql.query_row(read, [seq], |row| row.get(0)).expect("an event");
    *body.last_mut().expect("a body") ^= 1;
    let write = "UPDATE event SET body = ?2 WHERE seq = ?1";
    assert_eq!(sql.execute(write, rusqlite::params![seq, body]).expect("an update"), 1);
}

fn alter(node: &Node, file: &str, statement: &str) {
    sql(&node.dir, file).execute_batch(statement).expect(statement);
}

#[test]
fn another_machine_is_noticed() {
    let node = confirmed();
    let newer = Registry::default().with(Faulty { version: 2, ..Faulty::default() });
    let says = ["faulty version 1", "faulty version 2"];
    check_with("version", &node, &newer, Label::MachineChanged, &says);
    let none = Registry::default();
    check_with("name", &node, &none, Label::MachineUnknown, &["\"faulty\""]);
    node.append(vec![script(50, "put b 1")]);
    flip(&node, 10);
    check_with("name and damage", &node, &none, Label::MachineUnknown, &["\"faulty\""]);
}

#[test]
fn before_the_first_block_another_version_contradicts_nothing() {
    let node = faulty_node(&Faulty::default());
    node.append(vec![ordered(0, "", &[])]);
    let newer = Faulty { version: 2, ..Faulty::default() };
    let node = node.with(Registry::default().with(newer));
    assert_eq!(node.recover_with(options()).decision, Label::NeverCommitted);
    assert_eq!(label(&node), Label::InSync);
}

#[test]
fn a_newer_schema_is_refused() {
    for file in ["log.db", "main.db"] {
        let node = confirmed();
        alter(&node, file, "PRAGMA user_version = 9");
        check(file, &node, Label::SchemaTooNew, &[file, "schema version 9"]);
    }
}

#[test]
fn a_second_opener_is_refused() {
    let node = confirmed();
    let held = node.examine().expect("a sound node");
    check("by us", &node, Label::Locked, &["LOCK", "another process"]);
    drop(held);
    assert_eq!(label(&node), Label::InSync);

    let tool = sql(&node.dir, "main.db");
    tool.execute_batch("BEGIN IMMEDIATE").expect("a transaction");
    let refusal = node.examine().err().expect("a tool holds main.db");
    assert_eq!(refusal.label, Label::Locked, "{refusal:?}");
    assert!(refusal.detail.contains("main.db"), "{refusal:?}");
}

/// What is done to one file.
type Damage = fn(&Node, &str);
/// What was done, to which files, and the problem that each gives.
type Damages = (&'static str, Damage, &'static [(&'static str, &'static str)]);

fn cut_to(node: &Node, file: &str, bytes: u64) {
    let open = fs::OpenOptions::new().write(true).open(node.dir.file(file)).expect("a file");
    open.set_len(bytes).expect("a shorter file");
}

const MISSING: Damage = |node, file| fs::remove_file(node.dir.file(file)).expect("a file");
const EMPTY: Damage = |node, file| cut_to(node, file, 0);
const HALF: Damage = |node, file| {
    let length = fs::metadata(node.dir.file(file)).expect("a file").len();
    cut_to(node, file, length / 2);
};
const TEXT: Damage =
    |node, file| fs::write(node.dir.file(file), [b'x'; 8192]).expect("another file");
const DIRECTORY: Damage = |node, file| {
    MISSING(node, file);
    fs::create_dir(node.dir.file(file)).expect("a directory");
};
/// A database of another program, in the mode in which SQLite makes one.
const OTHER_PROGRAM: Damage = |node, file| {
    MISSING(node, file);
    let _ = fs::remove_file(node.dir.file(&format!("{file}-wal")));
    alter(node, file, "CREATE TABLE other (id INTEGER PRIMARY KEY)");
};
const OTHER_TABLE: Damage = |node, file| alter(node, file, "CREATE TABLE other (id INTEGER)");
const OTHER_ID: Damage = |node, file| alter(node, file, "PRAGMA application_id = 7");
const LOST_INDEX: Damage = |node, file| alter(node, file, "DROP INDEX quarantine_held");
const NO_IDENTITY: Damage = |node, file| match file {
    "log.db" => alter(node, file, "DELETE FROM log"),
    _ => alter(node, file, "DELETE FROM main"),
};
const OTHER_PAGES: Damage = |node, file| {
    alter(node, file, "PRAGMA journal_mode = DELETE; PRAGMA page_size = 8192; VACUUM");
    alter(node, file, "PRAGMA journal_mode = WAL");
};
/// One byte of the last page, where the rows are.
const FLIPPED_HEAD: Damage = |node, file| {
    alter(node, file, "UPDATE block SET parent = zeroblob(32) WHERE height = 2");
};
const OTHER_MACHINE: Damage = |node, file| alter(node, file, "UPDATE main SET machine = 'other'");

fn name(problem: &Problem) -> String {
    let text = format!("{problem:?}");
    text.chars().take_while(|c| c.is_alphanumeric()).collect()
}

#[test]
fn a_file_that_is_not_as_it_was_written_is_refused() {
    let cases: &[Damages] = &[
        (
            "missing",
            MISSING,
            &[
                ("log.db", "Missing"),
                ("main.db", "Missing"),
                ("WITNESS", "Missing"),
                ("LOCK", "Missing"),
            ],
        ),
        (
            "empty",
            EMPTY,
            &[
                ("log.db", "Foreign"),
                ("main.db", "Foreign"),
                ("WITNESS", "Foreign"),
                ("LOCK", "Foreign"),
            ],
        ),
        ("half", HALF, &[("log.db", "Damaged"), ("main.db", "Damaged"), ("WITNESS", "Foreign")]),
        (
            "text",
            TEXT,
            &[
                ("log.db", "Foreign"),
                ("main.db", "Foreign"),
                ("WITNESS", "Foreign"),
                ("LOCK", "Foreign"),
            ],
        ),
        (
            "a directory",
            DIRECTORY,
            &[("log.db", "Foreign"), ("main.db", "Foreign"), ("WITNESS", "Io"), ("LOCK", "Io")],
        ),
        (
            "a database of another program",
            OTHER_PROGRAM,
            &[("log.db", "Foreign"), ("main.db", "Foreign")],
        ),
        ("another id", OTHER_ID, &[("log.db", "Foreign"), ("main.db", "Foreign")]),
        (
            "another table",
            OTHER_TABLE,
            &[("log.db", "SchemaAltered"), ("main.db", "SchemaAltered")],
        ),
        ("a lost index", LOST_INDEX, &[("main.db", "SchemaAltered")]),
        ("no identity", NO_IDENTITY, &[("log.db", "Damaged"), ("main.db", "Damaged")]),
        ("other pages", OTHER_PAGES, &[("log.db", "Setting"), ("main.db", "Setting")]),
        ("a changed head", FLIPPED_HEAD, &[("main.db", "Damaged")]),
        ("the block table of another machine", OTHER_MACHINE, &[("main.db", "Foreign")]),
    ];
    for (what, damage, files) in cases {
        for (file, problem) in *files {
            let node = confirmed();
            damage(&node, file);
            let case = format!("{what}: {file}");
            let refusal = refusal(&case, &node, &node.registry);
            assert_eq!(refusal.label, Label::Unusable, "{case}: {refusal:?}");
            assert!(refusal.detail.contains(file), "{case}: {refusal:?}");
            let source = refusal.source.expect("the failure of a file");
            assert_eq!(name(&source.problem), *problem, "{case}: {source:?}");
        }
    }
}

#[test]
fn the_log_and_the_block_table_are_not_taken_for_each_other() {
    let node = confirmed();
    fs::copy(node.dir.file("main.db"), node.dir.file("log.db")).expect("a copy");
    check("main for log", &node, Label::Unusable, &["log.db", "0x72776b4d"]);
}

#[test]
fn one_torn_slot_of_the_witness_is_survived_and_two_are_not() {
    let node = confirmed();
    let whole = fs::read(node.dir.file("WITNESS")).expect("a witness");
    for slot in [0, 1] {
        let mut torn = whole.clone();
        torn[slot * 4096 + 20] ^= 1;
        fs::write(node.dir.file("WITNESS"), &torn).expect("a torn witness");
        assert_eq!(label(&node), Label::InSync, "slot {slot}");
    }
    let mut torn = whole;
    torn[20] ^= 1;
    torn[4096 + 20] ^= 1;
    fs::write(node.dir.file("WITNESS"), &torn).expect("a torn witness");
    check("both", &node, Label::Unusable, &["WITNESS", "neither of its slots"]);
}

#[test]
fn repairs_are_made_where_they_are_needed_and_only_there() {
    let node = confirmed();
    let digest = node.recover_with(options()).state_digest;
    let repairs = Repairs { rebuild_main: true, accept_log: true };
    let before = files(&node.dir);
    drop(examine(&node.dir, &node.registry, repairs).expect("nothing to repair"));
    assert_same_files(&before, &files(&node.dir), "a sound node is left alone");

    fs::remove_file(node.dir.file("WITNESS")).expect("a witness");
    drop(examine(&node.dir, &node.registry, repairs).expect("a new witness"));
    assert_eq!(label(&node), Label::InSync);

    // What a crash left in the write-ahead log of the old block table must not get into the new one.
    let tool = sql(&node.dir, "main.db");
    tool.execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE state SET value = x'00'")
        .expect("an update");
    let stale = fs::read(node.dir.file("main.db-wal")).expect("a write-ahead log");
    drop(tool);
    fs::remove_file(node.dir.file("main.db")).expect("a block table");
    fs::write(node.dir.file("main.db-wal"), stale).expect("a stale write-ahead log");
    check("without", &node, Label::Unusable, &["main.db", "missing"]);
    let examined = examine(&node.dir, &node.registry, repairs).expect("a new block table");
    assert_eq!(examined.label, Label::NeverCommitted);
    drop(examined);
    assert_eq!(node.recover_with(options()).state_digest, digest);
}
