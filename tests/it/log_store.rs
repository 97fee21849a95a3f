//! The log and the data directory by themselves, and what looking at them costs.

use std::sync::Arc;

use rewake::codec::CodecError;
use rewake::event::{EventBody, Kind};
use rewake::exec::{Intake, NewEvent, PAYLOAD_BYTES_MAX, SystemClock};
use rewake::machine::StateMachine as _;
use rewake::recovery::Label;
use rewake::store::{DataDir, Problem};
use rewake::types::{Bytes, Height, Seq, TxId, UnixMillis};

use crate::faulty::Faulty;
use crate::nodes::Node;
use crate::scripted::{faulty_node, id, options, ordered, script, seq, sql, tx_body};

#[test]
fn a_directory_without_a_node_and_one_that_is_taken_are_told_apart() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let machine = Faulty::default().version();
    let empty = DataDir::new(scratch.path());
    let problem = |result: Result<(), rewake::store::StoreError>| result.map_err(|e| e.problem);
    assert_eq!(problem(empty.open().map(drop)), Err(Problem::NotInitialized));
    let nested = DataDir::new(scratch.path().join("a/b"));
    assert_eq!(problem(nested.create(&machine)), Ok(()));
    assert_eq!(problem(nested.create(&machine)), Err(Problem::NotEmpty));
    assert_eq!(problem(nested.open().map(drop)), Ok(()));
    // Nobody may make a directory there, whoever runs the test.
    let unwritable = DataDir::new("/sys/rewake-node");
    assert_eq!(problem(unwritable.create(&machine)), Err(Problem::ReadOnly));
    assert!(!unwritable.path().exists());
}

#[test]
fn a_received_transaction_keeps_its_first_position() {
    let node = faulty_node(&Faulty::default());
    let first = node.append(vec![script(1, "put a 1"), script(2, "put a 1"), script(1, "put a 1")]);
    let places: Vec<_> = first.iter().map(|one| (one.seq.get(), one.is_new)).collect();
    assert_eq!(places, [(1, true), (2, true), (1, false)]);
    let before = node.dir.open().expect("a node").log().head();
    let again = node.append(vec![script(2, "put a 1")]);
    assert_eq!((again[0].seq, again[0].is_new), (seq(2), false));
    assert_eq!(
        before,
        node.dir.open().expect("a node").log().head(),
        "a transaction that is known is not logged"
    );
}

#[test]
fn a_call_is_logged_as_a_whole_or_not_at_all() {
    let node = faulty_node(&Faulty::default());
    node.append(vec![script(1, "put a 1"), script(2, "put a 2"), ordered(3, "", &[1])]);
    let huge = Bytes::from(vec![0; PAYLOAD_BYTES_MAX + 1]);
    let refused: [(NewEvent, &str); 8] = [
        (ordered(3, "", &[2]), "order of block 3 follows block 3"),
        (ordered(4, "", &[9]), "was never received"),
        (ordered(4, "", &[1]), "at 1, which is not waiting"),
        (ordered(4, "", &[2, 2]), "at 2, which is not waiting"),
        (ordered(u64::MAX, "", &[]), "order of block 18446744073709551615"),
        (NewEvent::Tx { id: id(8), payload: huge }, "more than 16777216"),
        (
            NewEvent::Settle { tx: seq(1), settlement: rewake::exec::Settlement::Release },
            "transaction at 1 is not in quarantine",
        ),
        (
            NewEvent::Settle { tx: seq(2), settlement: rewake::exec::Settlement::Discard },
            "transaction at 2 is not in quarantine",
        ),
    ];
    let before = node.dir.open().expect("a node").log().head();
    let examined = node.examine().expect("a sound node");
    let mut intake = Intake::new(&examined, Arc::new(SystemClock));
    let backlog = intake.backlog().clone();
    for (event, says) in refused {
        let error = intake.append(vec![script(7, "put a 1"), event]).expect_err(says);
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(*intake.backlog(), backlog, "{says}");
    }
    drop((intake, examined));
    assert_eq!(
        before,
        node.dir.open().expect("a node").log().head(),
        "nothing of a refused call is logged"
    );
}

#[test]
fn a_transaction_is_found_in_and_between_the_lots_of_the_index() {
    const LOT: u64 = 65_536;
    let node = faulty_node(&Faulty::default());
    let store = node.dir.open().expect("a node");
    // Every second identity shares its first eight bytes with the one before.
    let id = |number: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number / 2).wrapping_mul(0x9e37_79b9).to_be_bytes());
        bytes[24..].copy_from_slice(&number.to_be_bytes());
        TxId(bytes)
    };
    let body =
        |number| EventBody::Tx(rewake::event::Tx { id: id(number), payload: Bytes::default() });
    let log = |store: &rewake::store::Store, part: std::ops::Range<u64>| {
        let bodies: Vec<_> = part.map(body).collect();
        store.log().append(UnixMillis(1), &bodies).expect("an append");
    };
    let check = |store: &rewake::store::Store, last: u64, indexed: u64| {
        for number in [1, 2, 3, LOT - 1, LOT, LOT + 1, LOT + 2, last - 1, last] {
            let found = store.log().find_tx(&id(number)).expect("an index");
            assert_eq!(found.map(Seq::get), Some(number));
        }
        assert_eq!(store.log().find_tx(&id(last + 1)).expect("an index"), None);
        assert_eq!(store.log().indexed().expect("a position"), indexed);
        let strays = store.log().strays(0, |_| true).expect("an index");
        assert_eq!(strays, 0, "each row is that of its event");
    };
    for part in [1..LOT, LOT..LOT + 1, LOT + 1..LOT + 2, LOT + 2..LOT + 10] {
        log(&store, part);
    }
    check(&store, LOT + 9, 0);
    log(&store, LOT + 10..LOT + 20_010);
    check(&store, LOT + 20_009, 0);
    drop(store);
    // The lot had been written in part: it is written anew, and then all of it.
    let store = node.dir.open().expect("a node");
    check(&store, LOT + 20_009, 0);
    log(&store, LOT + 20_010..LOT + 60_010);
    check(&store, LOT + 60_009, 0);
    log(&store, LOT + 60_010..LOT + 70_010);
    check(&store, LOT + 70_009, LOT + 20_009);
    drop(store);
    check(&node.dir.open().expect("a node"), LOT + 70_009, LOT + 20_009);
}

#[test]
fn events_are_read_in_order_and_within_a_budget() {
    let node = faulty_node(&Faulty::default());
    let store = node.dir.open().expect("a node");
    let bodies: Vec<_> = (1..=9).map(|number| EventBody::Tx(tx_body(number, "x"))).collect();
    store.log().append(UnixMillis(1), &bodies).expect("an append");
    let count = |from, bytes| store.log().read(seq(from), bytes).expect("events").len();
    // A body has 33 bytes.
    assert_eq!([count(1, 0), count(1, 33), count(1, 34), count(1, 1 << 20)], [1, 1, 2, 9]);
    assert_eq!([count(9, 1 << 20), count(10, 1 << 20)], [1, 0]);
    let missing = store.log().event(seq(10)).expect_err("no such event").problem;
    assert_eq!(missing, Problem::Damaged("event 10 is missing".to_owned()));
}

#[test]
fn stored_bytes_that_are_never_written_are_named() {
    let node = faulty_node(&Faulty::default());
    node.append(vec![script(1, "put a 1"), ordered(0, "", &[1])]);
    let tool = sql(&node.dir, "log.db");
    tool.execute("UPDATE event SET body = x'00' WHERE seq = 2", []).expect("an update");
    tool.execute_batch("PRAGMA ignore_check_constraints = ON").expect("a pragma");
    tool.execute("UPDATE event SET chain = x'00' WHERE seq = 1", []).expect("an update");
    drop(tool);
    let store = node.dir.open().expect("a node");
    let error = CodecError::Truncated { field: "height", at: 0 };
    let problem = store.log().body(seq(2)).expect_err("no order").problem;
    assert_eq!(problem, Problem::Codec { place: "event 2".to_owned(), error });
    let problem = store.log().event(seq(1)).expect_err("no digest").problem;
    assert!(matches!(problem, Problem::Damaged(_)), "{problem:?}");
    // A number that no column can hold.
    let problem = store.main().body(Height(u64::MAX)).expect_err("no height").problem;
    assert!(matches!(problem, Problem::Sql(_)), "{problem:?}");
    drop(store);
    assert_eq!(node.examine().err().expect("damage").label, Label::ChainBrokenAfter);
}

#[test]
fn an_event_without_a_time_is_read_and_chained() {
    let node = faulty_node(&Faulty::default());
    node.append(vec![script(1, "put a 1")]);
    let head = node.examine().expect("a sound node").log_head;
    let body = EventBody::Order(crate::scripted::order_body(4, &[1])).encode();
    let chain = rewake::event::chain_digest(head.chain, seq(2), Kind::Order, None, &body);
    let insert = "INSERT INTO event (seq, format, kind, created, body, chain) VALUES (2, 0, 3, NULL, ?1, ?2)";
    let tool = sql(&node.dir, "log.db");
    tool.execute(insert, rusqlite::params![body, chain.0]).expect("an event of format 0");
    drop(tool);
    let report = node.recover_with(options());
    assert_eq!((report.blocks, report.log_head_seq), (1, 2));
}

#[test]
fn looking_at_a_node_costs_what_is_unconfirmed() {
    let read = |confirmed: u64| {
        let node = Node::ledger();
        let order = |height| NewEvent::Order {
            height: Height(height),
            header: Bytes::default(),
            txs: Vec::new(),
        };
        node.append((0..confirmed).map(order).collect());
        node.recover();
        let waiting = |number| script(number, "waits");
        node.append((0..10).map(waiting).chain([order(confirmed)]).collect());
        let (said, _) = crate::kill::run(&[], "examine restore all 1 0", node.dir.path());
        let bytes = said[0].strip_prefix("Behind ").expect("a backlog");
        bytes.parse::<u64>().expect("a number")
    };
    let (short, long) = (read(100), read(50_000));
    // Trees grow by a page a level.
    assert!(long <= short + 16 * 4096, "{long} bytes against {short}");
}
