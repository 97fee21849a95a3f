//! Golden vectors: the bytes that were released are those that the code writes and reads, and no arbitrary bytes are
//! taken for them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use rewake::block::{BlockRow, Counts, OrderRef, Receipt, Receipts};
use rewake::event::{Event, EventBody, Kind, Order, Patch, Ruling, Tx, Verdict, chain_digest};
use rewake::exec::{Dependencies, Outcome, RehearsedBlock, examine};
use rewake::machine::Registry;
use rewake::machine::ledger::{Account, Ledger};
use rewake::recovery::Label;
use rewake::state::{Change, ChangeSet, StateDigest};
use rewake::store::{DataDir, Repairs};
use rewake::types::{Bytes, Digest, Height, Seq, TxId, UnixMillis, decode_hex, encode_hex};
use serde::{Deserialize, Serialize};

use crate::nodes::Node;
use crate::scripted::{blocks, seq};

const RELEASED: &str = "a released format changed: nodes that exist could no longer be read or verified; add a new format instead";

/// One vector: its bytes, and what they mean for people.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Vector {
    means: String,
    hex: String,
}

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn released() -> BTreeMap<String, Vector> {
    serde_json::from_str(&fixture("golden.json")).expect("fixtures/golden.json is a map of vectors")
}

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.as_bytes())
}

/// The events whose bytes are pinned: every kind, and every ruling.
fn bodies() -> Vec<(&'static str, EventBody)> {
    let entries =
        [(bytes("b"), None), (bytes("a"), Some(bytes("1"))), (bytes("c"), Some(bytes("")))];
    let payload = bytes("pay 5 to 7");
    let txs = vec![seq(2), seq(300), seq(1)];
    let quarantine = Ruling::Quarantine { reason: "panicked: ü".to_owned(), attempts: 5 };
    vec![
        ("patch", EventBody::Patch(Patch::new("genesis", true, entries))),
        ("tx", EventBody::Tx(Tx { id: TxId([0xab; 32]), payload })),
        ("order", EventBody::Order(Order { height: Height(258), header: bytes("head"), txs })),
        ("verdict_quarantine", EventBody::Verdict(Verdict { tx: seq(2), ruling: quarantine })),
        ("verdict_release", EventBody::Verdict(Verdict { tx: seq(2), ruling: Ruling::Release })),
        ("verdict_discard", EventBody::Verdict(Verdict { tx: seq(2), ruling: Ruling::Discard })),
    ]
}

fn events() -> Vec<(String, Event)> {
    let mut events = Vec::new();
    for (format, created) in [(1, Some(UnixMillis(1_700_000_000_123))), (0, None)] {
        for (number, (name, body)) in (1..).zip(bodies()) {
            let event = Event { seq: seq(number), created, body };
            events.push((format!("event_{name}_format_{format}"), event));
        }
    }
    events
}

fn receipts() -> Receipts {
    let refused = Receipt { output: bytes("gas 21000"), ..Receipt::rejected("overdraft") };
    Receipts(vec![Receipt::applied(*b"ok"), refused, Receipt::quarantined("panicked")])
}

fn changes() -> ChangeSet {
    let change = |key: &str, before: Option<&str>, after: Option<&str>| Change {
        key: bytes(key),
        before: before.map(bytes),
        after: after.map(bytes),
    };
    ChangeSet::new(vec![
        change("made", None, Some("1")),
        change("changed", Some("1"), Some("")),
        change("dropped", Some("1"), None),
    ])
}

fn block() -> BlockRow {
    BlockRow {
        order: OrderRef { height: Height(9), seq: seq(77), chain: Digest([1; 32]) },
        parent: Digest([2; 32]),
        header: bytes("head"),
        counts: Counts { txs: 3, applied: 1, rejected: 1, quarantined: 1 },
        receipts_digest: Digest::of(&receipts().encode()),
        changes_digest: Digest::of(&changes().encode()),
        committed: UnixMillis(5),
        state_digest: None,
    }
}

fn state() -> StateDigest {
    let mut state = StateDigest::default();
    for (key, value) in [("a", "1"), ("b", ""), ("", "empty key")] {
        state.add(key.as_bytes(), value.as_bytes());
    }
    state
}

/// Everything that is pinned, as the code writes it now.
fn written() -> BTreeMap<String, String> {
    let mut written = BTreeMap::new();
    let mut put =
        |name: &str, bytes: &[u8]| drop(written.insert(name.to_owned(), encode_hex(bytes)));
    let mut chain = Digest::ZERO;
    for (name, event) in events() {
        put(&name, &event.encode());
        let Event { seq, created, body } = event;
        chain = chain_digest(chain, seq, body.kind(), created, &body.encode());
        put(&format!("chain_after_{name}"), &chain.0);
    }
    put("receipts", &receipts().encode());
    put("changes", &changes().encode());
    put("block_digest", &block().digest().0);
    put("state_digest", &state().digest().0);
    put("state_lanes_blake3", &Digest::of(&state().to_bytes()).0);
    put("empty_state_digest", &StateDigest::default().digest().0);
    let genesis = EventBody::Patch(Ledger::genesis_patch([(Account(1), 5), (Account(2), 7)]));
    put("ledger_genesis_patch", &genesis.encode());
    let node = Node::ledger();
    put("witness_new", &fs::read(node.dir.file("WITNESS")).expect("a witness"));
    let store = node.dir.open().expect("a node");
    store.log().append(UnixMillis(1), &[genesis]).expect("an append");
    put("witness_after_one_event", &fs::read(node.dir.file("WITNESS")).expect("a witness"));
    put("lock", &fs::read(node.dir.file("LOCK")).expect("a lock"));
    written
}

/// Says what an event's bytes mean, in words that do not depend on how the types are printed.
fn meaning(event: &Event) -> String {
    let text = |bytes: &Bytes| bytes.escape_ascii().to_string();
    let body = match &event.body {
        EventBody::Patch(Patch { label, replaces_state, entries }) => {
            let entry = |(key, value): &(Bytes, Option<Bytes>)| match value {
                Some(value) => format!("{:?} = {:?}", text(key), text(value)),
                None => format!("{:?} is deleted", text(key)),
            };
            let entries: Vec<_> = entries.iter().map(entry).collect();
            let entries = entries.join(", ");
            format!("patch {label:?}, drops the state first: {replaces_state}, {entries}")
        }
        EventBody::Tx(tx) => format!("transaction {}, payload {:?}", tx.id, text(&tx.payload)),
        EventBody::Order(Order { height, header, txs }) => {
            let txs: Vec<_> = txs.iter().map(|tx| tx.get()).collect();
            format!(
                "order of block {}, header {:?}, transactions {txs:?}",
                height.get(),
                text(header)
            )
        }
        EventBody::Verdict(Verdict { tx, ruling }) => {
            let ruling = serde_json::to_string(ruling).expect("a ruling");
            format!("verdict on the transaction at {}: {ruling}", tx.get())
        }
    };
    let created = event.created.map_or("no time".to_owned(), |time| format!("{} ms", time.0));
    format!("event {}, {created}, {body}", event.seq.get())
}

#[test]
fn what_is_written_is_what_was_released() {
    let (released, written) = (released(), written());
    let names: Vec<_> = released.keys().collect();
    assert_eq!(names, written.keys().collect::<Vec<_>>(), "{RELEASED}");
    for (name, hex) in &written {
        assert_eq!(&released[name].hex, hex, "{name}: {RELEASED}");
    }
}

#[test]
fn what_was_released_is_read() {
    let released = released();
    let read = |name: &str| decode_hex(&released[name].hex).expect("hexadecimal digits");
    for (name, event) in events() {
        assert_eq!(released[&name].means, meaning(&event), "{name}");
        assert_eq!(Event::decode(&read(&name)), Ok(event), "{name}: {RELEASED}");
    }
    assert_eq!(Receipts::decode(&read("receipts")), Ok(receipts()), "{RELEASED}");
    assert_eq!(ChangeSet::decode(&read("changes")), Ok(changes()), "{RELEASED}");
}

/// Writes the node whose block table is of a schema version that was released into a directory.
fn released_node(dir: &DataDir, version: u32) {
    fs::create_dir_all(dir.path()).expect("a directory");
    for (file, version_of_file, id) in [("log", 1, 0x7277_6b4c), ("main", version, 0x7277_6b4d)] {
        let dump = format!("node-v{version}/{file}.sql");
        let file = format!("{file}.db");
        let sql = rusqlite::Connection::open(dir.file(&file)).expect("a database");
        sql.pragma_update(None, "application_id", id).expect("a pragma");
        sql.pragma_update(None, "user_version", version_of_file).expect("a pragma");
        sql.execute_batch(&fixture(&dump)).expect(&dump);
        sql.execute_batch("PRAGMA journal_mode = WAL").expect("a pragma");
    }
    let files = released_files(version);
    for (file, name) in [("WITNESS", "witness"), ("LOCK", "lock")] {
        let bytes = decode_hex(&files[name]);
        fs::write(dir.file(file), bytes.expect("hexadecimal digits")).expect("a file");
    }
}

fn released_files(version: u32) -> BTreeMap<String, String> {
    let files = fixture(&format!("node-v{version}/files.json"));
    serde_json::from_str(&files).expect("a map")
}

#[test]
fn a_node_of_each_schema_version_is_opened_verified_and_recovered() {
    for version in [1, 2, 3] {
        is_opened_verified_and_recovered(version);
    }
}

fn is_opened_verified_and_recovered(version: u32) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let dir = DataDir::new(scratch.path().join("node"));
    released_node(&dir, version);
    let registry = Registry::built_in();
    let examined = examine(&dir, &registry, Repairs::default()).expect(RELEASED);
    assert_eq!((examined.label, examined.backlog.blocks), (Label::Behind, 1));
    let packed = "SELECT count(*) FROM block_body WHERE changes_length IS NOT NULL";
    drop(examined);
    let packed: i64 = crate::scripted::sql(&dir, "main.db")
        .query_row(packed, [], |row| row.get(0))
        .expect("a number");
    assert_eq!(packed, i64::from(version >= 3));
    let examined = examine(&dir, &registry, Repairs::default()).expect(RELEASED);
    let waiting: Vec<_> = examined.backlog.mempool.iter().map(Seq::get).collect();
    let expected = released_files(version);
    let (examined, report) = rewake::exec::Recovery::new(examined, crate::scripted::options())
        .run()
        .expect("a recovery");
    assert_eq!(report.outcome, Outcome::Recovered);
    assert_eq!(format!("{waiting:?}"), expected["mempool"]);
    assert_eq!(report.state_digest.to_string(), expected["state_digest"], "{RELEASED}");
    let rows = blocks(&examined.store);
    let head = rows.last().expect("blocks").digest();
    // Everything that was there before has its tag, or reading it here and above would have failed.
    let audited = rewake::audit::audit(
        &examined.store,
        &examined.machine,
        rewake::audit::AuditRange::default(),
        &mut |_| {},
    );
    assert_eq!(audited.expect("an audit").findings, []);
    assert_eq!((rows.len(), head.to_string()), (3, expected["head_digest"].clone()), "{RELEASED}");
}

#[test]
fn a_state_of_version_1_that_is_not_what_its_digest_says_is_not_brought_forward() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let dir = DataDir::new(scratch.path().join("node"));
    released_node(&dir, 1);
    let sql = crate::scripted::sql(&dir, "main.db");
    sql.execute("UPDATE state SET value = zeroblob(16) WHERE key = x'73'", []).expect("an entry");
    drop(sql);
    let refusal = examine(&dir, &Registry::built_in(), Repairs::default()).err();
    let refusal = refusal.expect("its tags would vouch for what was never written");
    let text = refusal.to_string();
    assert!(text.contains("main.db") && text.contains("not what its digest says"), "{text}");
    let version: i64 = crate::scripted::sql(&dir, "main.db")
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("a version");
    assert_eq!(version, 1, "it is as it was");
    let whole = Repairs { rebuild_main: true, ..Repairs::default() };
    std::fs::rename(dir.file("main.db"), dir.file("main.db-aside")).expect("it is moved aside");
    let examined = examine(&dir, &Registry::built_in(), whole).expect("a new block table");
    let (_, report) = rewake::exec::Recovery::new(examined, crate::scripted::options())
        .run()
        .expect("a recovery");
    assert_eq!(report.state_digest.to_string(), released_files(1)["state_digest"]);
}

/// Makes `fixtures/` anew; run by hand when a format is added, never to make a failing test pass.
#[test]
fn fixtures_are_written_on_request_only() {
    let Ok(to) = std::env::var("REWAKE_WRITE_FIXTURES") else { return };
    let to = Path::new(&to);
    let meanings: BTreeMap<_, _> =
        events().iter().map(|(name, event)| (name.clone(), meaning(event))).collect();
    let means = |name: &str| match name {
        "receipts" => {
            r#"applied "ok"; rejected "overdraft", output "gas 21000"; quarantined "panicked""#
        }
        "changes" => r#""changed" "1" -> "", "dropped" "1" -> none, "made" none -> "1""#,
        "block_digest" => "the row of the test's block 9, ordered at 77",
        "state_digest" => r#"LtHash16 of { "": "empty key", "a": "1", "b": "" }"#,
        "state_lanes_blake3" => "BLAKE3 of the 2,048 bytes of the lanes of that state",
        "empty_state_digest" => "the state without entries",
        "ledger_genesis_patch" => "the body of the ledger's genesis { 1: 5, 2: 7 }",
        "witness_new" => "the witness of a new node",
        "witness_after_one_event" => "the witness after one append on a new node",
        "lock" => "the lock file",
        _ => {
            "the chain digest after the event, each on top of the one before in the order of the test"
        }
    };
    let vectors: BTreeMap<_, _> = written()
        .into_iter()
        .map(|(name, hex)| {
            let event = meanings.get(&name).cloned();
            let means = event.unwrap_or_else(|| means(&name).to_owned());
            (name, Vector { means, hex })
        })
        .collect();
    fs::create_dir_all(to.join("node-v3")).expect("a directory");
    let json = serde_json::to_string_pretty(&vectors).expect("a map");
    fs::write(to.join("golden.json"), json + "\n").expect("a file");
    write_node(&to.join("node-v3"));
}

/// Three blocks, the last one unconfirmed, and a waiting transfer; one event has no time.
fn write_node(to: &Path) {
    use rewake::machine::ledger::Transfer;
    let node = Node::ledger();
    let transfer = |from, to, amount, nonce| {
        let transfer = Transfer { from: Account(from), to: Account(to), amount, nonce };
        let payload = Bytes::from(transfer.encode().as_slice());
        EventBody::Tx(Tx { id: transfer.id(), payload })
    };
    let order = |height, txs: &[u64]| EventBody::Order(crate::scripted::order_body(height, txs));
    // So many that the changes of block 0 are kept compressed.
    let others = (10..200).map(|account| (Account(account), 9));
    let genesis =
        Ledger::genesis_patch([(Account(1), 50), (Account(2), 70)].into_iter().chain(others));
    let confirmed = vec![
        EventBody::Patch(genesis),
        order(0, &[]),
        transfer(1, 2, 5, 0),
        transfer(2, 3, 99, 0),
        order(1, &[3, 4]),
    ];
    node.dir
        .open()
        .expect("a node")
        .log()
        .append(UnixMillis(1_000), &confirmed)
        .expect("an append");
    node.recover_with(crate::scripted::options());
    let body = transfer(2, 1, 7, 0);
    let head = node.examine().expect("a sound node").log_head;
    let chain = chain_digest(head.chain, seq(6), Kind::Tx, None, &body.encode());
    let insert = "INSERT INTO event (seq, format, kind, created, body, chain) VALUES (6, 0, 2, NULL, ?1, ?2)";
    crate::scripted::sql(&node.dir, "log.db")
        .execute(insert, rusqlite::params![body.encode(), chain.0])
        .expect("an event");
    let waiting = vec![transfer(1, 3, 1, 1), order(2, &[6])];
    node.dir.open().expect("a node").log().append(UnixMillis(2_000), &waiting).expect("an append");
    for file in ["log", "main"] {
        let output = std::process::Command::new("sqlite3")
            .arg(node.dir.file(&format!("{file}.db")))
            .arg(".dump")
            .output();
        fs::write(to.join(format!("{file}.sql")), output.expect("the sqlite3 program").stdout)
            .expect("a file");
    }
    let witness = encode_hex(&fs::read(node.dir.file("WITNESS")).expect("a witness"));
    let report = node.recover_with(crate::scripted::options());
    let rows = blocks(&node.dir.open().expect("a node"));
    let files = BTreeMap::from([
        ("witness", witness),
        ("lock", encode_hex(&fs::read(node.dir.file("LOCK")).expect("a lock"))),
        ("state_digest", report.state_digest.to_string()),
        ("head_digest", rows.last().expect("blocks").digest().to_string()),
        ("mempool", "[7]".to_owned()),
    ]);
    fs::write(to.join("files.json"), serde_json::to_string_pretty(&files).expect("a map") + "\n")
        .expect("a file");
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn any_seq() -> impl Strategy<Value = Seq> {
    prop_oneof![1..100u64, 1..=u64::MAX].prop_map(seq)
}

fn any_seqs() -> impl Strategy<Value = Vec<Seq>> {
    prop::collection::vec(any_seq(), 0..20)
}

fn any_ruling() -> impl Strategy<Value = Ruling> {
    let quarantine = (".{0,20}", any::<u32>());
    prop_oneof![
        quarantine.prop_map(|(reason, attempts)| Ruling::Quarantine { reason, attempts }),
        Just(Ruling::Release),
        Just(Ruling::Discard),
    ]
}

fn any_body() -> impl Strategy<Value = EventBody> {
    let entries = prop::collection::btree_map(any_bytes(), prop::option::of(any_bytes()), 0..10);
    let patch = (".{0,20}", any::<bool>(), entries);
    let order = (any::<u64>(), any_bytes(), any_seqs());
    prop_oneof![
        patch.prop_map(|(label, drops, entries)| EventBody::Patch(Patch::new(
            label, drops, entries
        ))),
        (any::<[u8; 32]>(), any_bytes())
            .prop_map(|(id, payload)| EventBody::Tx(Tx { id: TxId(id), payload })),
        order.prop_map(|(height, header, txs)| {
            EventBody::Order(Order { height: Height(height), header, txs })
        }),
        (any_seq(), any_ruling())
            .prop_map(|(tx, ruling)| EventBody::Verdict(Verdict { tx, ruling })),
    ]
}

fn any_receipts() -> impl Strategy<Value = Receipts> {
    let receipt = (0..3u8, ".{0,12}", any_bytes()).prop_map(|(status, reason, output)| {
        let receipt = match status {
            0 => Receipt::applied(Bytes::default()),
            1 => Receipt::rejected(reason),
            _ => Receipt::quarantined(reason),
        };
        Receipt { output, ..receipt }
    });
    prop::collection::vec(receipt, 0..10).prop_map(Receipts)
}

fn any_changes() -> impl Strategy<Value = ChangeSet> {
    let values = (prop::option::of(any_bytes()), prop::option::of(any_bytes()));
    prop::collection::btree_map(any_bytes(), values, 0..10).prop_map(|changes| {
        let change = |(key, (before, after))| Change { key, before, after };
        ChangeSet::new(changes.into_iter().map(change).collect())
    })
}

/// Bytes that are mostly well formed: canonical ones with a few places changed, or anything.
fn nearly(canonical: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changed = (
        canonical,
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        0..3usize,
    );
    prop_oneof![
        changed.prop_map(|(mut bytes, places, cut)| {
            for (place, value) in
                places.into_iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>()
            {
                let at = place.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(bytes.len().saturating_sub(cut));
            bytes
        }),
        prop::collection::vec(any::<u8>(), 0..60),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        rng_seed: prop::test_runner::RngSeed::Fixed(7),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn events_are_read_as_they_were_written(number in any_seq(), time in prop::option::of(any::<u64>()), body in any_body()) {
        let event = Event { seq: number, created: time.map(UnixMillis), body };
        prop_assert_eq!(Event::decode(&event.encode()), Ok(event));
    }

    #[test]
    fn receipts_and_changes_are_read_as_they_were_written(receipts in any_receipts(), changes in any_changes()) {
        prop_assert_eq!(Receipts::decode(&receipts.encode()), Ok(receipts));
        prop_assert_eq!(ChangeSet::decode(&changes.encode()), Ok(changes));
    }

    #[test]
    fn an_event_that_is_accepted_has_no_other_bytes(
        bytes in nearly((any_seq(), any_body()).prop_map(|(seq, body)| Event { seq, created: None, body }.encode()))
    ) {
        if let Ok(event) = Event::decode(&bytes) {
            prop_assert_eq!(event.encode(), bytes);
        }
    }

    #[test]
    fn receipts_that_are_accepted_have_no_other_bytes(bytes in nearly(any_receipts().prop_map(|receipts| receipts.encode()))) {
        if let Ok(receipts) = Receipts::decode(&bytes) {
            prop_assert_eq!(receipts.encode(), bytes);
        }
    }

    #[test]
    fn changes_that_are_accepted_have_no_other_bytes(bytes in nearly(any_changes().prop_map(|changes| changes.encode()))) {
        if let Ok(changes) = ChangeSet::decode(&bytes) {
            prop_assert_eq!(changes.encode(), bytes);
        }
    }

    #[test]
    fn a_rehearsed_block_has_one_form(
        parts in (any_seq(), any_bytes(), any_seqs(), any_receipts(), any_changes(), any_seqs()),
        dependencies in prop::option::of(prop::collection::vec(prop::collection::vec(0u32..9, 0..3), 0..9)),
    ) {
        let (at, header, txs, receipts, changes, received) = parts;
        let writers = vec![rewake::state::Writer::Tx(3); changes.changes().len()];
        let settled = txs.iter().copied().zip(received.iter().copied()).collect();
        let order = OrderRef { height: Height(4), seq: at, chain: Digest([3; 32]) };
        let block = RehearsedBlock {
            order, header, txs, receipts, changes, writers, received, settled, quarantined: Vec::new(),
            dependencies: dependencies.map(Dependencies::new),
        };
        let bytes = block.encode();
        prop_assert_eq!(RehearsedBlock::decode(&bytes), Ok(block));
        for length in 0..bytes.len() {
            prop_assert!(RehearsedBlock::decode(&bytes[..length]).is_err());
        }
    }
}
