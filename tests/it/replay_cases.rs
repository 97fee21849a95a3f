//! The replay cases of the Anoma node as a table, on logs written by hand, and what that node does not do.

use std::collections::BTreeSet;

use rewake::block::BlockRow;
use rewake::event::EventBody;
use rewake::exec::Outcome;
use rewake::recovery::Label;
use rewake::state::StateDigest;
use rewake::store::Store;
use rewake::types::{Digest, UnixMillis};

use crate::faulty::Faulty;
use crate::scripted::{
    assert_same_files, blocks, faulty_node, files, mempool, options, order_body, receipts, seq,
    state, tx_body,
};

/// An event of a log that is written by hand. Positions count from 1 over both stretches of a case.
enum E {
    /// A transaction was received: its script.
    Tx(&'static str),
    /// A block was ordered: its height and the positions of its transactions.
    Order(u64, &'static [u64]),
}
use E::{Order, Tx};

struct Case {
    name: &'static str,
    /// Events that are recovered first.
    confirmed: &'static [E],
    /// Events that come after.
    waiting: &'static [E],
    label: Label,
    outcome: Outcome,
    /// Receipts of each block, those of the first stretch included.
    blocks: &'static [(u64, &'static [&'static str])],
    /// Positions of the mempool in order of arrival.
    mempool: &'static [u64],
    /// Positions that were executed exactly once over everything.
    once: &'static [u64],
    state: &'static [(&'static str, &'static str)],
}

const CASE: Case = Case {
    name: "",
    confirmed: &[],
    waiting: &[],
    label: Label::NeverCommitted,
    outcome: Outcome::Recovered,
    blocks: &[],
    mempool: &[],
    once: &[],
    state: &[],
};

const CASES: &[Case] = &[
    Case {
        name: "one transaction is logged",
        waiting: &[Tx("put a 1")],
        label: Label::InSync,
        outcome: Outcome::InSync,
        mempool: &[1],
        ..CASE
    },
    Case {
        name: "several transactions are logged",
        waiting: &[Tx("put a 1"), Tx("put b 1"), Tx("put c 1")],
        label: Label::InSync,
        outcome: Outcome::InSync,
        mempool: &[1, 2, 3],
        ..CASE
    },
    Case {
        name: "one transaction is ordered",
        waiting: &[Tx("put a 1"), Order(0, &[1])],
        blocks: &[(0, &["applied"])],
        once: &[1],
        state: &[("a", "1"), ("blocks", "1")],
        ..CASE
    },
    Case {
        name: "several orders of one transaction each",
        waiting: &[Tx("put a 1"), Tx("put a 2"), Order(0, &[2]), Order(1, &[1])],
        blocks: &[(0, &["applied"]), (1, &["applied"])],
        once: &[1, 2],
        state: &[("a", "1"), ("blocks", "2")],
        ..CASE
    },
    Case {
        name: "one order of several transactions, in its order and not that of arrival",
        waiting: &[Tx("put a 1"), Tx("refuse no"), Tx("put a 3"), Order(7, &[3, 1, 2])],
        blocks: &[(7, &["applied", "applied", "rejected: no"])],
        once: &[1, 2, 3],
        state: &[("a", "1"), ("blocks", "1")],
        ..CASE
    },
    Case {
        name: "a transaction that the order leaves out is the mempool",
        waiting: &[Tx("put a 1"), Tx("put b 1"), Tx("put c 1"), Order(0, &[3, 1]), Tx("put d 1")],
        blocks: &[(0, &["applied", "applied"])],
        mempool: &[2, 5],
        once: &[1, 3],
        state: &[("a", "1"), ("blocks", "1"), ("c", "1")],
        ..CASE
    },
    Case {
        name: "an order that is confirmed is not replayed, the rest is",
        confirmed: &[Tx("add n 1"), Tx("add n 10"), Order(0, &[1])],
        waiting: &[Tx("add n 100"), Order(1, &[4]), Order(2, &[2])],
        label: Label::Behind,
        blocks: &[(0, &["applied"]), (1, &["applied"]), (2, &["applied"])],
        once: &[1, 2, 4],
        state: &[("blocks", "3"), ("n", "111")],
        ..CASE
    },
    Case {
        name: "everything is confirmed",
        confirmed: &[Tx("add n 1"), Tx("add n 10"), Order(0, &[1]), Order(4, &[])],
        label: Label::InSync,
        outcome: Outcome::InSync,
        blocks: &[(0, &["applied"]), (4, &[])],
        mempool: &[2],
        once: &[1],
        state: &[("blocks", "2"), ("n", "1")],
        ..CASE
    },
    Case {
        name: "a panic does not take the others along",
        waiting: &[Tx("put a 1"), Tx("put a 2;panic no"), Tx("put c 1"), Order(0, &[1, 2, 3])],
        outcome: Outcome::RecoveredWithQuarantine,
        blocks: &[(0, &["applied", "quarantined: panicked: no", "applied"])],
        once: &[2],
        state: &[("a", "1"), ("blocks", "1"), ("c", "1")],
        ..CASE
    },
    Case {
        name: "poison does not take the others along, nor the mempool",
        waiting: &[
            Tx("put a 1"),
            Tx("poison bad"),
            Tx("put c 1"),
            Order(0, &[2, 1]),
            Order(1, &[3]),
            Tx("put d 1"),
        ],
        outcome: Outcome::RecoveredWithQuarantine,
        blocks: &[(0, &["quarantined: bad", "applied"]), (1, &["applied"])],
        mempool: &[6],
        once: &[1, 2, 3],
        state: &[("a", "1"), ("blocks", "2"), ("c", "1")],
        ..CASE
    },
    Case {
        name: "a refusal is a receipt",
        waiting: &[Tx("put a 1"), Tx("put x 1;refuse no"), Order(0, &[2, 1])],
        blocks: &[(0, &["rejected: no", "applied"])],
        once: &[1, 2],
        state: &[("a", "1"), ("blocks", "1"), ("x", "1")],
        ..CASE
    },
];

#[test]
fn the_log_against_the_block_table() {
    for case in CASES {
        check(case);
    }
}

fn check(case: &Case) {
    let name = case.name;
    let machine = Faulty::default();
    let node = faulty_node(&machine);
    append(&node.dir.open().expect("a node"), case.confirmed, 1);
    if !case.confirmed.is_empty() {
        node.recover_with(options());
    }
    append(&node.dir.open().expect("a node"), case.waiting, 1 + case.confirmed.len() as u64);
    assert_eq!(node.examine().expect(name).label, case.label, "{name}");
    let report = node.recover_with(options());
    assert_eq!(report.outcome, case.outcome, "{name}: {report:?}");

    let after = files(&node.dir);
    let again = node.recover_with(options());
    assert_eq!(again.outcome, Outcome::InSync, "{name}: {again:?}");
    assert_eq!(again.state_digest, report.state_digest, "{name}");
    assert_same_files(&after, &files(&node.dir), name);

    assert_eq!(mempool(&node), case.mempool, "{name}: the mempool in order of arrival");
    let tried = |number: &u64| (*number, machine.probes.attempts(seq(*number)));
    let tried: Vec<_> = case.once.iter().map(tried).collect();
    let once: Vec<_> = case.once.iter().map(|number| (*number, 1)).collect();
    // A block whose transaction is quarantined is executed once more without it.
    let again = case.outcome == Outcome::RecoveredWithQuarantine;
    assert!(tried == once || again, "{name}: executed {tried:?}");
    check_tables(case, &node.dir.open().expect("a node"), report.state_digest);
}

fn check_tables(case: &Case, store: &Store, digest: Digest) {
    let name = case.name;
    let rows = blocks(store);
    let heights: Vec<_> = rows.iter().map(|row| row.order.height.get()).collect();
    assert_eq!(
        heights,
        case.blocks.iter().map(|(height, _)| *height).collect::<Vec<_>>(),
        "{name}"
    );
    let mut parent = Digest::ZERO;
    for (row, (_, expected)) in rows.iter().zip(case.blocks) {
        assert_eq!(receipts(store, row.order.height), *expected, "{name}");
        assert_eq!(row.parent, parent, "{name}");
        check_body(name, store, row);
        parent = row.digest();
    }
    let expected: Vec<_> =
        case.state.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    assert_eq!(state(store).into_iter().collect::<Vec<_>>(), expected, "{name}");
    assert_eq!(digest, state_digest(case.state), "{name}: the digest is that of the state");
    let seen: BTreeSet<_> = rows.last().and_then(|row| row.state_digest).into_iter().collect();
    assert!(seen.iter().all(|last| *last == digest), "{name}");
}

fn check_body(name: &str, store: &Store, row: &BlockRow) {
    let body = store.main().body(row.order.height).expect("a body");
    assert_eq!(
        Digest::of(&body.receipts_bytes().expect("receipts")),
        row.receipts_digest,
        "{name}"
    );
    assert_eq!(Digest::of(&body.changes_bytes().expect("changes")), row.changes_digest, "{name}");
    let event = store.log().event(row.order.seq).expect("the order");
    assert_eq!(event.chain, row.order.chain, "{name}");
    let EventBody::Order(order) = event.decode().expect("an order") else {
        panic!("{name}: no order at {:?}", row.order)
    };
    assert_eq!(body.tx_seqs().expect("positions"), order.txs, "{name}");
}

/// Computes the digest of a state from its text; numbers beyond one digit and the machine's own are counters.
fn state_digest(entries: &[(&str, &str)]) -> Digest {
    let mut digest = StateDigest::default();
    for (key, value) in entries {
        match *key {
            "blocks" | "n" => {
                let counter: u128 = value.parse().expect("a counter");
                digest.add(key.as_bytes(), &counter.to_le_bytes());
            }
            _ => digest.add(key.as_bytes(), value.as_bytes()),
        }
    }
    digest.digest()
}

fn append(store: &Store, events: &[E], first: u64) {
    let body = |(number, event): (u64, &E)| match event {
        Tx(script) => EventBody::Tx(tx_body(u8::try_from(number).expect("a short log"), script)),
        Order(height, txs) => EventBody::Order(order_body(*height, txs)),
    };
    let bodies: Vec<_> = (first..).zip(events).map(body).collect();
    store.log().append(UnixMillis(5), &bodies).expect("an append");
}
