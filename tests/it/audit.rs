//! The audit: clean on sound nodes, and every damage found where it is, without consequences elsewhere.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rewake::audit::{AuditError, AuditRange, AuditReport, FINDINGS_MAX, Finding, What, audit};
use rewake::cli::{Exit, Output, run_with};
use rewake::exec::{Dependencies, NewEvent, Outcome, RecoveryOptions};
use rewake::generate::Workload;
use rewake::machine::{MachineVersion, PoisonPolicy, Registry, StateMachine};
use rewake::plan::BatchLimits;
use rewake::store::DataDir;
use rewake::types::{Digest, Height, Seq};
use rusqlite::Connection;

use crate::nodes::{Node, fill, order};
use crate::probe::{Probe, probe};

const LAST: u64 = 20;

/// A ledger with 20 confirmed blocks in several batches, a mempool, and a block that is not confirmed.
fn ledger() -> Node {
    let node = Node::ledger();
    let workload = Workload {
        accounts: 30,
        transfers: 205,
        block_txs: 10,
        mempool: 5,
        unconfirmed_blocks: 0,
        refusals_percent: 10,
        ..Workload::default()
    };
    fill(&node, &workload);
    let batch = BatchLimits { txs_max: 35, ..BatchLimits::default() };
    node.recover_with(RecoveryOptions { batch, ..RecoveryOptions::default() });
    node.append(vec![order(LAST + 1, &[])]);
    node
}

fn run(dir: &DataDir, machine: &Arc<dyn StateMachine>, range: AuditRange) -> AuditReport {
    let store = Arc::new(dir.open().expect("it opens"));
    audit(&store, machine, range, &mut |_| {}).expect("blocks are there")
}

fn machine(node: &Node, id: &str) -> Arc<dyn StateMachine> {
    node.registry.find(id).expect("it is registered")
}

fn range(from: Option<u64>, to: Option<u64>) -> AuditRange {
    AuditRange { from: from.map(Height), to: to.map(Height) }
}

/// Every file of a directory with the digest of its bytes; that SQLite makes an empty write-ahead log beside a database
/// that lacks one does not count.
fn digests(dir: &Path) -> BTreeMap<String, Digest> {
    let files = files(dir).into_iter().filter(|(_, bytes)| !bytes.is_empty());
    files.map(|(name, bytes)| (name, Digest::of(&bytes))).collect()
}

/// Every file of a directory with its bytes.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).expect("a file"))
        })
        .collect()
}

#[test]
fn a_sound_node_is_clean_from_everywhere_and_stays_as_it_is() {
    let node = ledger();
    let before = digests(node.dir.path());
    let ledger = machine(&node, "ledger");
    let ranges = [
        (None, None),
        (None, Some(7)),
        (Some(0), None),
        (Some(1), None),
        (Some(13), Some(16)),
        (Some(LAST), None),
        (Some(5), Some(900)),
    ];
    for (from, to) in ranges {
        let report = run(&node.dir, &ledger, range(from, to));
        assert_eq!(report.findings, [], "{from:?} {to:?}");
        let (first, last) = (from.unwrap_or(0), to.unwrap_or(LAST).min(LAST));
        assert_eq!(
            (report.blocks_executed, report.blocks_compared),
            (last - first + 1, last - first + 1)
        );
        assert_eq!(report.txs_executed, 10 * (last - first.max(1) + 1));
        assert_eq!(report.reached_head, last == LAST);
        assert_eq!(report.from_genesis, from.is_none());
        let whole_log = node.examine().expect("a sound node").log_head.seq;
        assert_eq!(report.events_verified == whole_log, from.unwrap_or(0) == 0 && last == LAST);
    }
    assert_eq!(digests(node.dir.path()), before);
}

#[test]
fn a_node_without_blocks_is_audited_by_its_log() {
    let node = Node::ledger();
    let ledger = machine(&node, "ledger");
    node.append(vec![order(0, &[])]);
    let report = run(&node.dir, &ledger, AuditRange::default());
    assert_eq!((report.finding_count, report.blocks_unconfirmed), (0, 1));
    let store = Arc::new(node.dir.open().expect("it opens"));
    let nothing = audit(&store, &ledger, range(Some(3), None), &mut |_| {});
    assert_eq!(nothing, Err(AuditError::NothingThere { head: None }));
}

/// What is damaged: a column of the row that a condition names, or the row itself.
enum Damage {
    Flip { file: &'static str, column: &'static str, table: &'static str, row: String, at: usize },
    Sql { file: &'static str, statement: String },
}

fn flip(
    file: &'static str,
    table: &'static str,
    column: &'static str,
    row: &str,
    at: usize,
) -> Damage {
    Damage::Flip { file, column, table, row: row.to_owned(), at }
}

fn sql(file: &'static str, statement: impl Into<String>) -> Damage {
    Damage::Sql { file, statement: statement.into() }
}

impl Damage {
    /// Does it; `at` counts from the last byte.
    fn apply(&self, dir: &DataDir) {
        let open = |file: &str| Connection::open(dir.file(file)).expect("a database");
        match self {
            Self::Flip { file, column, table, row, at } => {
                let sql = open(file);
                let query = format!("SELECT {column} FROM {table} WHERE {row}");
                let mut bytes: Vec<u8> =
                    sql.query_row(&query, [], |row| row.get(0)).expect("a row");
                *bytes.iter_mut().nth_back(*at).expect("a byte there") ^= 1;
                let update = format!("UPDATE {table} SET {column} = ?1 WHERE {row}");
                assert_eq!(sql.execute(&update, [bytes]).expect("an update"), 1);
            }
            Self::Sql { file, statement } => {
                let sql = open(file);
                sql.pragma_update(None, "foreign_keys", false).expect("a setting");
                assert_ne!(sql.execute(statement, []).expect("a statement"), 0, "{statement}");
            }
        }
    }
}

/// Damages a copy of a node and returns what an audit from genesis and one from block 5 find.
fn findings_after(damage: &Damage) -> (Vec<Finding>, Vec<Finding>) {
    let node = ledger();
    damage.apply(&node.dir);
    let before = digests(node.dir.path());
    let ledger = machine(&node, "ledger");
    let genesis = run(&node.dir, &ledger, AuditRange::default());
    let later = run(&node.dir, &ledger, range(Some(5), None));
    assert_eq!(digests(node.dir.path()), before);
    (genesis.findings, later.findings)
}

/// Checks that damage is found as these kinds of findings, all in this block where one is given.
fn check(damage: &Damage, height: Option<u64>, expected: &[What]) -> Vec<Finding> {
    let (genesis, later) = findings_after(damage);
    for findings in [&genesis, &later] {
        let mut kinds: Vec<_> = findings.iter().map(|finding| finding.what).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(kinds, expected, "{findings:#?}");
        assert!(findings.len() <= 8, "{findings:#?}");
        for finding in findings.iter().filter(|finding| finding.height.is_some()) {
            assert_eq!(finding.height.map(Height::get), height, "{finding:?}");
        }
    }
    genesis
}

fn row(height: u64) -> String {
    format!("height = {height}")
}

#[test]
fn a_flipped_byte_in_the_state_table_is_named_by_its_key() {
    let damage = flip("main.db", "state", "value", "key = (SELECT min(key) FROM state)", 9);
    let found = check(&damage, None, &[What::StateEntry, What::StateLanes]);
    assert_eq!(found[0].key.as_deref(), Some("610000000000000001"));
}

#[test]
fn of_very_many_damaged_tags_the_first_are_named_and_all_are_counted() {
    let node = Node::ledger();
    fill(&node, &Workload { accounts: 1_200, transfers: 20, block_txs: 10, ..Workload::default() });
    node.recover();
    let main = Connection::open(node.dir.file("main.db")).expect("a database");
    let damaged = main.execute("UPDATE state SET tag = tag + 1", []).expect("an update");
    drop(main);
    assert!(damaged > FINDINGS_MAX, "{damaged} entries");
    let report = run(&node.dir, &machine(&node, "ledger"), AuditRange::default());
    assert_eq!((report.finding_count, report.findings.len()), (damaged as u64, FINDINGS_MAX));
    let is_tag = |finding: &Finding| finding.expected == "the tag of its value";
    assert!(report.findings.iter().all(is_tag), "{:?}", report.findings);
    let keys: Vec<_> = report.findings.iter().map(|finding| &finding.key).collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "each is named once, from the first on");
}

#[test]
fn a_missing_and_an_extra_entry_of_the_state_are_named_by_their_keys() {
    let gone = sql("main.db", "DELETE FROM state WHERE key = (SELECT max(key) FROM state)");
    let found = check(&gone, None, &[What::StateEntry, What::StateLanes]);
    assert_eq!((found[0].key.as_deref(), found[0].found.as_str()), (Some("74"), "no value"));
    let extra = sql("main.db", "INSERT INTO state (key, value) VALUES (x'7a', x'01')");
    let (genesis, later) = findings_after(&extra);
    assert_eq!((genesis[0].key.as_deref(), genesis[0].what), (Some("7a"), What::StateEntry));
    // From a height, a key that no block of the range touches is seen by the scan only.
    let kinds: Vec<_> = later.iter().map(|finding| finding.what).collect();
    assert_eq!(kinds, [What::StateEntry, What::StateLanes, What::StateLanes], "{later:?}");
    assert_eq!(later[0].expected, "the tag of its value");
}

#[test]
fn a_flipped_byte_in_receipts_is_named_by_its_transaction() {
    let damage = flip("main.db", "block_body", "receipts", &row(7), 0);
    let (genesis, _) = findings_after(&damage);
    assert!(genesis.iter().all(|finding| finding.height == Some(Height(7))), "{genesis:?}");
    assert_eq!(genesis[0].what, What::ReceiptsDigest);
    // The text of a reason: still a receipt, with another reason.
    let rejected = "height = (SELECT min(height) FROM block WHERE rejected > 0 AND height > 5)";
    let mut named = false;
    for at in 2..20 {
        let (genesis, _) = findings_after(&flip("main.db", "block_body", "receipts", rejected, at));
        named |= genesis.iter().any(|f| f.what == What::Receipt && f.tx.is_some());
        assert!(genesis.len() <= 3, "{genesis:?}");
    }
    assert!(named);
}

#[test]
fn a_flipped_byte_in_a_change_set_is_named_by_its_key() {
    let damage = flip("main.db", "block_body", "changes", &row(7), 0);
    let found = check(&damage, Some(7), &[What::ChangesDigest, What::Change]);
    assert_eq!(found[1].key.as_deref(), Some("74"));
    // A byte that makes it unreadable: the block is executed from genesis, and out of reach from block 5.
    let length = flip("main.db", "block_body", "changes", &row(7), 17);
    let (genesis, later) = findings_after(&length);
    let kinds: Vec<_> = genesis.iter().map(|finding| finding.what).collect();
    assert_eq!(kinds, [What::ChangesDigest, What::Body], "{genesis:?}");
    assert_eq!(genesis, later);
}

#[test]
fn a_flipped_byte_in_a_block_row_is_named_by_its_column() {
    let cases = [
        ("header", vec![What::RowDigest, What::Header]),
        ("order_chain", vec![What::RowDigest, What::OrderLink]),
        ("parent", vec![What::RowDigest, What::ParentLink]),
        ("receipts_digest", vec![What::RowDigest, What::ReceiptsDigest]),
        ("changes_digest", vec![What::RowDigest, What::ChangesDigest]),
        ("digest", vec![What::RowDigest]),
    ];
    for (column, expected) in cases {
        check(&flip("main.db", "block", column, &row(7), 3), Some(7), &expected);
    }
    let with_digest = "SELECT min(height) FROM block WHERE state_digest IS NOT NULL AND height > 6";
    let damage = flip("main.db", "block", "state_digest", &format!("height = ({with_digest})"), 3);
    let (genesis, later) = findings_after(&damage);
    let kinds: Vec<_> = genesis.iter().map(|finding| finding.what).collect();
    assert_eq!(kinds, [What::RowDigest, What::StateDigest], "{genesis:?}");
    assert_eq!(genesis, later);
    let time = sql("main.db", "UPDATE block SET committed = committed + 1 WHERE height = 7");
    check(&time, Some(7), &[What::RowDigest]);
}

#[test]
fn altered_numbers_and_lists_of_a_block_are_found() {
    let seq = sql("main.db", "UPDATE block SET order_seq = order_seq + 1 WHERE height = 7");
    check(&seq, Some(7), &[What::RowDigest, What::OrderLink]);
    let counts = "UPDATE block SET applied = applied - 1, rejected = rejected + 1 WHERE height = 7";
    check(&sql("main.db", counts), Some(7), &[What::RowDigest, What::Counts]);
    let list = flip("main.db", "block_body", "txs", &row(7), 0);
    check(&list, Some(7), &[What::TxList]);
    let lanes = flip("main.db", "main", "lanes", "id = 1", 100);
    check(&lanes, None, &[What::StateLanes]);
}

#[test]
fn missing_rows_are_found_and_passed() {
    let body = sql("main.db", "DELETE FROM block_body WHERE height = 7");
    check(&body, Some(7), &[What::Body]);
    let (genesis, _) = findings_after(&sql("main.db", "DELETE FROM block WHERE height = 7"));
    let found: Vec<_> = genesis.iter().map(|f| (f.what, f.height.map(Height::get))).collect();
    assert_eq!(found, [(What::ParentLink, Some(8)), (What::BlockMissing, Some(7))]);
}

#[test]
fn findings_come_in_the_order_of_blocks_however_far_reading_is_ahead() {
    let node = Node::ledger();
    // Some 5 MiB of cases: more than what is read and waits to be executed at any time.
    let (transfers, block_txs) = (12_000, 500);
    let workload = Workload { accounts: 2_000, transfers, block_txs, ..Workload::default() };
    fill(&node, &Workload { mempool: 0, unconfirmed_blocks: 0, ..workload });
    node.recover();
    let events_by_block = block_txs + 1;
    let event_in_20 = format!("seq = {}", 2 + 19 * events_by_block + 3);
    flip("log.db", "event", "body", &event_in_20, 0).apply(&node.dir);
    for height in [24, 2, 13] {
        flip("main.db", "block_body", "receipts", &row(height), 0).apply(&node.dir);
    }
    let report = run(&node.dir, &machine(&node, "ledger"), AuditRange::default());
    let block_of = |seq: Seq| (seq.get() - 2).div_ceil(events_by_block);
    let place = |found: &Finding| found.height.map(Height::get).or(found.seq.map(block_of));
    let mut places: Vec<_> = report.findings.iter().filter_map(place).collect();
    places.dedup();
    assert_eq!(places, [2, 13, 20, 24], "{:#?}", report.findings);
    assert_eq!((report.blocks_executed, report.txs_executed), (25, 12_000));
    let link = report.findings.iter().find(|finding| finding.what == What::ChainLink);
    assert!(link.is_some_and(|link| link.height.is_none()), "{:#?}", report.findings);
}

/// Position of the `Tx` event that is third in block 7: genesis takes two events, each block ten and its order.
const TX_IN_7: u64 = 2 + 6 * 11 + 3;

#[test]
fn a_flipped_byte_in_an_event_names_the_event_and_what_it_did() {
    let body = flip("log.db", "event", "body", &format!("seq = {TX_IN_7}"), 16);
    let (genesis, later) = findings_after(&body);
    assert_eq!((genesis[0].what, genesis[0].seq), (What::ChainLink, Seq::new(TX_IN_7)));
    let rest = &genesis[1..];
    assert!(!rest.is_empty(), "{genesis:?}");
    for finding in rest {
        assert_eq!(finding.height, Some(Height(7)), "{finding:?}");
        assert!(matches!(finding.what, What::Receipt | What::Change), "{finding:?}");
    }
    assert!(rest.iter().any(|f| f.tx.is_some_and(|tx| tx.index == 2)), "{genesis:#?}");
    assert!(rest.iter().any(|f| f.key.is_some()), "{genesis:#?}");
    assert_eq!(genesis, later);
    let chain = flip("log.db", "event", "chain", &format!("seq = {TX_IN_7}"), 5);
    check(&chain, None, &[What::ChainLink]);
    let order = format!("seq = {}", 2 + 7 * 11);
    let found = check(
        &flip("log.db", "event", "chain", &order, 5),
        Some(7),
        &[What::ChainLink, What::OrderLink],
    );
    assert_eq!(found.len(), 2, "{found:?}");
    let found = check(
        &flip("log.db", "event", "body", &order, 0),
        Some(7),
        &[What::ChainLink, What::TxList],
    );
    assert!(found.iter().all(|finding| finding.seq.is_some()), "{found:?}");
}

#[test]
fn events_that_cannot_be_read_are_passed() {
    let gone = sql("log.db", format!("DELETE FROM event WHERE seq = {TX_IN_7}"));
    check(&gone, Some(7), &[What::EventLost, What::Execution]);
    let order = 2 + 7 * 11;
    let gone = sql("log.db", format!("DELETE FROM event WHERE seq = {order}"));
    check(&gone, Some(7), &[What::EventLost]);
    let several =
        sql("log.db", format!("DELETE FROM event WHERE seq BETWEEN {} AND {order}", order - 3));
    check(&several, Some(7), &[What::EventLost, What::Execution]);
    let short = sql("log.db", format!("UPDATE event SET body = x'0102' WHERE seq = {order}"));
    check(&short, Some(7), &[What::ChainLink, What::EventBytes]);
}

#[test]
fn the_transaction_index_is_held_against_the_log() {
    let ahead = sql("log.db", "UPDATE log SET indexed = 9999999");
    check(&ahead, None, &[What::TxIndex]);
    let lost = sql("log.db", "UPDATE log SET indexed = (SELECT max(seq) FROM event)");
    check(&lost, None, &[What::TxIndex]);
    let extra = sql("log.db", "INSERT INTO tx_index SELECT 7, max(seq) FROM event");
    check(&extra, None, &[What::TxIndex]);
}

/// Covers the whole log with an index, as a node does after each lot of transactions.
fn cover_with_index(dir: &DataDir) {
    let mut sql = Connection::open(dir.file("log.db")).expect("a database");
    let transaction = sql.transaction().expect("a transaction");
    let mut statement =
        transaction.prepare("SELECT seq, body FROM event WHERE kind = 2").expect("a query");
    let txs = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    let txs: Vec<(u64, Vec<u8>)> = txs.collect::<Result<_, _>>().expect("rows");
    drop(statement);
    for (seq, body) in txs {
        let prefix = i64::from_be_bytes(*body.first_chunk().expect("an identity"));
        transaction.execute("INSERT INTO tx_index VALUES (?1, ?2)", (prefix, seq)).expect("a row");
    }
    let covered = "UPDATE log SET indexed = (SELECT max(seq) FROM event)";
    transaction.execute(covered, []).expect("an update");
    transaction.commit().expect("a commit");
}

/// What the findings of an audit from genesis and of one from block 5 are about.
fn kinds_after(node: &Node, damage: &[Damage]) -> [Vec<What>; 2] {
    let node = node.copy();
    for damage in damage {
        damage.apply(&node.dir);
    }
    [None, Some(5)].map(|from| {
        let report = run(&node.dir, &machine(&node, "ledger"), range(from, None));
        let mut kinds: Vec<_> = report.findings.iter().map(|finding| finding.what).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    })
}

/// Damage to the event of a transaction: it is gone, cannot be decoded, or bears another identity.
fn damaged_txs(tx: u64) -> [Damage; 3] {
    let other = format!("CAST(x'0102030405060708' || substr(body, 9) AS BLOB) WHERE seq = {tx}");
    [
        sql("log.db", format!("DELETE FROM event WHERE seq = {tx}")),
        sql("log.db", format!("UPDATE event SET body = x'0102' WHERE seq = {tx}")),
        sql("log.db", format!("UPDATE event SET body = {other}")),
    ]
}

#[test]
fn a_damaged_transaction_is_no_fault_of_the_index() {
    let node = ledger();
    cover_with_index(&node.dir);
    assert_eq!(kinds_after(&node, &[]), [[], []]);
    let first_findings = [What::EventLost, What::ChainLink, What::ChainLink];
    for (damage, expected) in damaged_txs(TX_IN_7).into_iter().zip(first_findings) {
        for kinds in kinds_after(&node, &[damage]) {
            assert!(kinds.contains(&expected) && !kinds.contains(&What::TxIndex), "{kinds:?}");
        }
    }
}

#[test]
fn a_damaged_transaction_does_not_hide_a_fault_of_the_index() {
    let node = ledger();
    cover_with_index(&node.dir);
    let next = TX_IN_7 + 1;
    let faults = [
        format!("DELETE FROM tx_index WHERE seq = {next}"),
        format!("UPDATE tx_index SET prefix = prefix - 1 WHERE seq = {next}"),
        "INSERT INTO tx_index SELECT 7, max(seq) + 1 FROM event".to_owned(),
    ];
    for fault in faults {
        for damage in damaged_txs(TX_IN_7) {
            for kinds in kinds_after(&node, &[sql("log.db", &*fault), damage]) {
                assert!(kinds.contains(&What::TxIndex), "{fault}: {kinds:?}");
            }
        }
    }
}

/// Changes a byte of the first page of a table, counted from the beginning of the page.
fn write_into_page(dir: &DataDir, file: &str, table: &str, at: usize, byte: u8) {
    let sql = Connection::open(dir.file(file)).expect("a database");
    let root: usize = sql
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [table], |row| row.get(0))
        .expect("a table");
    let page_bytes: usize =
        sql.query_row("PRAGMA page_size", [], |row| row.get(0)).expect("a size");
    sql.close().expect("a checkpoint");
    let mut bytes = std::fs::read(dir.file(file)).expect("a file");
    let place = bytes.get_mut((root - 1) * page_bytes + at).expect("a byte there");
    assert_ne!(*place, byte);
    *place = byte;
    std::fs::write(dir.file(file), bytes).expect("a file");
}

/// Where the head of a page says of what kind it is.
const KIND_OF_PAGE: usize = 0;
/// Where it says how many bytes between its cells are lost; no reading looks at that.
const FRAGMENTS_OF_PAGE: usize = 7;

#[test]
fn an_index_that_cannot_be_read_is_said() {
    let node = ledger();
    write_into_page(&node.dir, "log.db", "tx_index", KIND_OF_PAGE, 0xff);
    let report = run(&node.dir, &machine(&node, "ledger"), AuditRange::default());
    let index: Vec<_> = report.findings.iter().filter(|f| f.what == What::TxIndex).collect();
    assert_eq!(index.len(), 1, "{:?}", report.findings);
    assert!(index[0].found.contains("malformed"), "{index:?}");
}

#[test]
fn a_damaged_entry_does_not_hide_a_damaged_page() {
    let damaged = ledger();
    let entry = flip("main.db", "state", "value", "key = (SELECT min(key) FROM state)", 9);
    entry.apply(&damaged.dir);
    for (file, table) in [("log.db", "tx_index"), ("main.db", "quarantine")] {
        let node = damaged.copy();
        write_into_page(&node.dir, file, table, FRAGMENTS_OF_PAGE, 1);
        let report = run(&node.dir, &machine(&node, "ledger"), AuditRange::default());
        let kinds: Vec<_> = report.findings.iter().map(|finding| finding.what).collect();
        assert!(kinds.contains(&What::StateEntry), "{kinds:?}");
        let pages = report.findings.iter().filter(|finding| finding.what == What::Structure);
        let pages: Vec<_> = pages.map(|finding| finding.expected.as_str()).collect();
        assert_eq!(pages, [format!("{file} without a flaw")], "{:?}", report.findings);
    }
}

#[test]
fn a_log_that_was_cut_is_found_by_its_witness() {
    let cut = sql("log.db", format!("DELETE FROM event WHERE seq > {}", 2 + 20 * 11 + 2));
    let found = check(&cut, None, &[What::Witness]);
    assert_eq!(found.len(), 1);
    let lost = sql("log.db", format!("DELETE FROM event WHERE seq > {}", 2 + 18 * 11));
    let (genesis, _) = findings_after(&lost);
    let orders = genesis.iter().filter(|f| f.what == What::OrderMissing).count();
    assert_eq!(orders, 2, "{genesis:?}");
}

#[test]
fn the_confirmed_mempool_is_held_against_the_log() {
    let extra = sql("main.db", format!("INSERT INTO unordered (seq) VALUES ({})", 2 + 18 * 11));
    let found = check(&extra, None, &[What::Mempool]);
    assert_eq!(found[0].seq, Seq::new(2 + 18 * 11));
    let sum = sql("main.db", "UPDATE main SET unordered_tag = unordered_tag + 1");
    check(&sum, None, &[What::Table]);
    let held = sql("main.db", "UPDATE main SET held_tag = held_tag + 1");
    check(&held, None, &[What::Quarantine]);
}

/// All rows of the tables that an audit vouches for, as text.
fn content(dir: &DataDir) -> Vec<String> {
    let tables = [
        ("log.db", "SELECT seq, kind, created, hex(body), hex(chain) FROM event ORDER BY seq"),
        (
            "main.db",
            "SELECT height, order_seq, hex(order_chain), hex(parent), hex(header), txs, applied, rejected, quarantined, \
             hex(receipts_digest), hex(changes_digest), hex(digest), hex(state_digest) FROM block ORDER BY height",
        ),
        (
            "main.db",
            "SELECT height, hex(txs), hex(receipts), hex(changes) FROM block_body ORDER BY height",
        ),
        ("main.db", "SELECT hex(key), hex(value) FROM state ORDER BY key"),
        ("main.db", "SELECT seq FROM unordered ORDER BY seq"),
        ("main.db", "SELECT hex(lanes) FROM main"),
    ];
    let mut rows = Vec::new();
    for (file, query) in tables {
        let sql = Connection::open(dir.file(file)).expect("a database");
        let Ok(mut statement) = sql.prepare(query) else { return vec!["unreadable".to_owned()] };
        let columns = statement.column_count();
        let mut found = statement.query([]).expect("a query");
        loop {
            match found.next() {
                Ok(Some(row)) => {
                    let values = (0..columns).map(|column| row.get_ref(column).expect("a column"));
                    rows.push(format!("{:?}", values.collect::<Vec<_>>()));
                }
                Ok(None) => break,
                Err(error) => rows.push(error.to_string()),
            }
            if rows.len() > 10_000 {
                break;
            }
        }
    }
    rows
}

#[test]
fn a_flipped_byte_anywhere_in_the_files_is_found_or_means_nothing() {
    let node = ledger();
    node.examine().expect("a sound node").store.settle().expect("a checkpoint");
    let ledger = machine(&node, "ledger");
    let sound = files(node.dir.path());
    let expected = content(&node.dir);
    let (mut refused, mut found, mut without_meaning) = (0, 0, 0);
    for file in ["main.db", "log.db"] {
        for at in (0..sound[file].len()).step_by(251) {
            let copy = tempfile::tempdir().expect("a scratch directory");
            let dir = DataDir::new(copy.path());
            for (name, bytes) in &sound {
                let mut bytes = bytes.clone();
                if name == file {
                    bytes[at] ^= 0x04;
                }
                std::fs::write(dir.file(name), bytes).expect("a copy");
            }
            let Ok(store) = dir.open().map(Arc::new) else {
                refused += 1;
                continue;
            };
            let later = audit(&store, &ledger, range(Some(9), None), &mut |_| {});
            drop(later);
            match audit(&store, &ledger, AuditRange::default(), &mut |_| {}) {
                Ok(report) if report.is_clean() => {
                    drop(store);
                    assert_eq!(content(&dir), expected, "{file} at {at}");
                    without_meaning += 1;
                }
                _ => found += 1,
            }
        }
    }
    assert!(
        refused > 0 && found > 50 && without_meaning > 0,
        "{refused} {found} {without_meaning}"
    );
}

fn probe_node(machine: Probe) -> Node {
    let registry = Registry::built_in().with(machine);
    Node::new(registry, &MachineVersion { id: "probe".to_owned(), version: 1 })
}

fn block(node: &Node, height: u64, payloads: &[&[u8]]) {
    let (mut events, ids): (Vec<_>, Vec<_>) = payloads.iter().map(|payload| probe(payload)).unzip();
    events.push(order(height, &ids));
    node.append(events);
}

#[test]
fn another_machine_of_that_name_is_found_at_its_block_transaction_and_key() {
    let node = probe_node(Probe::SOUND);
    for height in 0..10u8 {
        let value: &[u8] = if height == 4 { b"twist" } else { b"plain" };
        let first = [b"sa".as_slice(), &[height]].concat();
        let second = [b"sb".as_slice(), value].concat();
        let second = if height == 4 { second } else { [second, vec![height]].concat() };
        block(&node, height.into(), &[&first, &second]);
    }
    node.recover();
    let twisted: Arc<dyn StateMachine> = Arc::new(Probe { twisted: true, ..Probe::SOUND });
    for from in [None, Some(0), Some(3)] {
        let report = run(&node.dir, &twisted, range(from, None));
        let [finding] = &*report.findings else { panic!("{:?}", report.findings) };
        assert_eq!((finding.what, finding.height), (What::Change, Some(Height(4))));
        assert_eq!(finding.tx.map(|tx| (tx.index, tx.id)), Some((1, probe(b"sbtwist").1)));
        assert_eq!(finding.key.as_deref(), Some("62"));
    }
}

#[test]
fn quarantined_transactions_are_kept_out_again_and_their_rows_are_held_against_the_log() {
    let node = probe_node(Probe::SOUND);
    block(&node, 1, &[b"sa1", b"pa", b"sa2"]);
    assert_eq!(node.recover().outcome, Outcome::RecoveredWithQuarantine);
    let poison = Seq::new(2).expect("a position");
    node.append(vec![NewEvent::Settle {
        tx: poison,
        settlement: rewake::exec::Settlement::Release,
    }]);
    let (_, id) = probe(b"pa");
    node.append(vec![order(2, &[id])]);
    node.recover();
    // The later verdict holds it: the release came before.
    let held = node.examine().expect("a sound node").store.main().held().expect("rows");
    assert_eq!(held.iter().map(|row| row.entry.height.get()).collect::<Vec<_>>(), [2]);
    let sound = machine(&node, "probe");
    let report = run(&node.dir, &sound, AuditRange::default());
    assert_eq!((report.findings, report.txs_executed), (vec![], 2));
    let cases = [
        "DELETE FROM quarantine WHERE height = 1",
        "UPDATE quarantine SET settled_seq = NULL WHERE height = 1",
        "UPDATE quarantine SET settled_seq = 6 WHERE height = 2",
        "UPDATE quarantine SET verdict_seq = 1 WHERE height = 1",
    ];
    for statement in cases {
        let copy = tempfile::tempdir().expect("a scratch directory");
        for (name, bytes) in files(node.dir.path()) {
            std::fs::write(copy.path().join(name), bytes).expect("a copy");
        }
        let dir = DataDir::new(copy.path());
        sql("main.db", statement).apply(&dir);
        let report = run(&dir, &sound, AuditRange::default());
        assert!(!report.is_clean(), "{statement}");
        let about = |finding: &Finding| finding.what == What::Quarantine;
        assert!(report.findings.iter().all(about), "{statement}: {:?}", report.findings);
    }
}

#[test]
fn what_an_execution_recorded_is_stored_and_a_wrong_record_changes_no_result() {
    let node = probe_node(Probe::SOUND);
    block(&node, 1, &[b"sa1", b"sa2", b"sb1", b"sa3"]);
    node.recover();
    let sound = machine(&node, "probe");
    let stored = || node.dir.open().expect("a node").main().body(Height(1)).expect("a body");
    let recorded = Dependencies::decode(&stored().dependencies.expect("a record")).expect("bytes");
    assert_eq!(recorded.txs(), 4);
    let none = Dependencies::new(vec![Vec::new(); 4]);
    let all = Dependencies::new(vec![vec![], vec![0], vec![0, 1], vec![0, 1, 2]]);
    for record in [none, all, Dependencies::new(Vec::new())] {
        let bytes = rewake::types::encode_hex(&record.encode());
        sql("main.db", format!("UPDATE block_body SET dependencies = x'{bytes}'")).apply(&node.dir);
        assert_eq!(run(&node.dir, &sound, AuditRange::default()).findings, []);
    }
    sql("main.db", "UPDATE block_body SET dependencies = x'04ff'").apply(&node.dir);
    let findings = run(&node.dir, &sound, AuditRange::default()).findings;
    let kinds: Vec<_> = findings.iter().map(|finding| finding.what).collect();
    assert_eq!(kinds, [What::Body], "{findings:?}");
}

#[test]
fn a_block_that_breaks_its_header_under_another_machine_is_found_with_its_transactions() {
    let node = probe_node(Probe { policy: PoisonPolicy::Halt, ..Probe::SOUND });
    let (mut events, ids): (Vec<_>, Vec<_>) =
        [b"sa1", b"sb1"].map(|payload| probe(payload)).into_iter().unzip();
    events.push(NewEvent::Order { height: Height(1), header: [2u8].as_slice().into(), txs: ids });
    node.append(events);
    node.recover();
    let panicking = Arc::new(Deaf);
    let machine: Arc<dyn StateMachine> = panicking;
    let report = run(&node.dir, &machine, AuditRange::default());
    let kinds: Vec<_> = report.findings.iter().map(|finding| finding.what).collect();
    assert_eq!(kinds, [What::HeaderCheck, What::Receipt, What::Change], "{:?}", report.findings);
    assert_eq!(report.findings[1].tx.map(|tx| tx.index), Some(1));
}

/// The probe, but every second transaction is refused.
struct Deaf;

impl StateMachine for Deaf {
    fn version(&self) -> MachineVersion {
        Probe::SOUND.version()
    }

    fn poison_policy(&self) -> PoisonPolicy {
        PoisonPolicy::Halt
    }

    fn open_block<'a>(
        &'a self,
        block: &'a rewake::machine::BlockInput,
    ) -> Result<Box<dyn rewake::machine::OpenBlock + 'a>, rewake::machine::ExecError> {
        Ok(Box::new(DeafBlock(Probe::SOUND.open(block))))
    }
}

struct DeafBlock<'a>(crate::probe::Open<'a>);

impl rewake::machine::OpenBlock for DeafBlock<'_> {
    fn begin(
        &self,
        context: &mut rewake::machine::Context<'_>,
    ) -> Result<(), rewake::machine::ExecError> {
        self.0.begin(context)
    }

    fn execute(
        &self,
        index: usize,
        context: &mut rewake::machine::Context<'_>,
    ) -> Result<rewake::block::Receipt, rewake::machine::ExecError> {
        if index % 2 == 1 {
            return Ok(rewake::block::Receipt::rejected("not heard"));
        }
        self.0.execute(index, context)
    }

    fn end(
        &self,
        receipts: &rewake::block::Receipts,
        context: &mut rewake::machine::Context<'_>,
    ) -> Result<(), rewake::machine::ExecError> {
        self.0.end(receipts, context)
    }

    fn check(
        &self,
        outcome: &rewake::machine::BlockOutcome<'_>,
    ) -> Result<(), rewake::machine::CheckFailure> {
        self.0.check(outcome)
    }
}

#[test]
fn the_command_exits_with_0_and_5() {
    let node = ledger();
    let data = node.dir.path().to_string_lossy().into_owned();
    let command = |arguments: &[&str]| {
        let (output, out, err) = Output::captured();
        let arguments = [&["rewake", "audit", "--data", data.as_str()], arguments].concat();
        let exit = run_with(Registry::built_in(), arguments, output);
        (exit, out.text(), err.text())
    };
    assert_eq!(command(&[]).0, Exit::Done);
    assert_eq!(command(&["--from", "900"]).0, Exit::Usage);
    flip("main.db", "block_body", "changes", &row(7), 0).apply(&node.dir);
    let (exit, out, err) = command(&["--from", "3"]);
    assert_eq!((exit, err.as_str()), (Exit::Diverged, ""));
    assert!(out.contains("block 7") && out.contains("key 74"), "{out}");
    let (exit, out, _) = command(&["--json"]);
    let report: AuditReport = serde_json::from_str(&out).expect("one JSON object");
    assert_eq!((exit, report.finding_count), (Exit::Diverged, 2));
}
