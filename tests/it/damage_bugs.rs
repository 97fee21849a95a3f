//! Damage that was answered from once.

use std::sync::Arc;

use rewake::exec::{Intake, IntakeError, NewEvent};
use rewake::generate::Workload;
use rewake::node::{Node as Running, NodeOptions, Place};
use rewake::state::StateRead as _;
use rewake::store::Problem;
use rewake::types::{Height, TxId};

use crate::faulty::Faulty;
use crate::nodes::{Node, fill};
use crate::scripted::{StillClock, faulty_node, options, ordered, script, sql};

/// A ledger whose blocks are confirmed, and the transactions of its second block with their payloads.
fn confirmed() -> (Node, Vec<(TxId, Vec<u8>)>) {
    let node = Node::ledger();
    let workload = Workload {
        accounts: 6,
        transfers: 12,
        block_txs: 4,
        mempool: 1,
        unconfirmed_blocks: 0,
        ..Workload::default()
    };
    fill(&node, &workload);
    node.recover();
    let mut txs = Vec::new();
    let mut blocks = 0;
    for event in workload.events() {
        match event {
            NewEvent::Tx { id, payload } if blocks == 1 => txs.push((id, payload.to_vec())),
            NewEvent::Order { .. } => blocks += 1,
            _ => {}
        }
    }
    assert!(txs.len() >= 4, "the second block has transactions");
    (node, txs)
}

fn damage(node: &Node, file: &str, statement: &str) {
    let changed = sql(&node.dir, file).execute(statement, []).expect(statement);
    assert_eq!(changed, 1, "{statement}");
}

/// Flips the last byte of a value.
fn flipped(table: &str, column: &str, row: &str) -> String {
    format!(
        "UPDATE {table} SET {column} = CAST(substr({column}, 1, length({column}) - 1) || \
         CASE WHEN substr({column}, -1) = x'00' THEN x'01' ELSE x'00' END AS BLOB) WHERE {row}"
    )
}

/// The row of the event that holds a transaction.
fn event_of(id: &TxId) -> String {
    format!("kind = 2 AND substr(body, 1, 32) = x'{}'", rewake::types::encode_hex(&id.0))
}

/// What a running node says about a block and a transaction.
fn ask(node: &Node, id: TxId) -> (Result<(), String>, Result<Place, String>) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let options = NodeOptions::default();
        let opened = Running::open(node.dir.clone(), node.registry.clone(), options).await;
        let (running, ..) = opened.expect("the node comes up");
        let block = running.block(Some(Height(1))).await;
        let tx = running.transaction(id).await;
        running.shutdown().await.expect("an orderly end");
        let tx = tx.map(|tx| tx.expect("it is known").place);
        (block.map(drop).map_err(|e| e.to_string()), tx.map_err(|e| e.to_string()))
    })
}

#[test]
fn damaged_receipts_of_a_confirmed_block_are_not_answered() {
    let (node, txs) = confirmed();
    // Four refusals for the reason `x`, in canonical bytes.
    let others =
        "UPDATE block_body SET receipts = x'0401017800010178000101780001017800' WHERE height = 1";
    damage(&node, "main.db", others);
    let (block, tx) = ask(&node, txs[0].0);
    let names = |error: Option<String>| error.is_some_and(|text| text.contains("main.db"));
    assert!(names(block.clone().err()), "{block:?}");
    assert!(names(tx.clone().err()), "{tx:?}");
}

#[test]
fn a_block_row_that_says_another_time_is_not_answered() {
    let (node, txs) = confirmed();
    damage(&node, "main.db", "UPDATE block SET committed = committed + 1 WHERE height = 1");
    let (block, _) = ask(&node, txs[0].0);
    assert!(block.clone().is_err_and(|text| text.contains("block 1")), "{block:?}");
}

/// What a value of the state became: damaged, gone with its key moved, or gone to another place.
#[test]
fn a_damaged_entry_of_the_state_is_neither_answered_nor_executed_upon() {
    let (node, _) = confirmed();
    let account = "(SELECT key FROM state ORDER BY key LIMIT 1 OFFSET 2)";
    let key: Vec<u8> = sql(&node.dir, "main.db")
        .query_row(&format!("SELECT {account}"), [], |row| row.get(0))
        .expect("an account");
    for change in ["value = zeroblob(16)", "key = CAST(key || x'00' AS BLOB)", "tag = tag + 1"] {
        let node = node.copy();
        damage(&node, "main.db", &format!("UPDATE state SET {change} WHERE key = {account}"));
        let store = node.dir.open().expect("it is not looked at");
        let read = store.main().get(&key);
        assert!(
            read.as_ref().is_err_and(|error| error.to_string().contains("main.db")),
            "{read:?}"
        );
        let whole = store.main().scan(&[], &mut |_, _| {});
        assert!(whole.is_err(), "{change}");
    }
}

/// Another table's empty page may have taken the place of the root, so that nothing is damaged where one looks.
#[test]
fn a_state_that_is_empty_and_should_not_be_is_not_answered() {
    let (node, _) = confirmed();
    sql(&node.dir, "main.db").execute("DELETE FROM state", []).expect("all is gone");
    let store = node.dir.open().expect("it is not looked at");
    let read = store.main().get(b"a");
    let read = read.map(drop).expect_err("an entry").to_string();
    let whole = store.main().scan(&[], &mut |_, _| {}).expect_err("all of it").to_string();
    let part = store.main().scan(b"x", &mut |_, _| {}).expect_err("a part of it").to_string();
    for text in [read, whole, part] {
        assert!(text.contains("main.db") && text.contains("the state is empty"), "{text}");
    }
    let empty = faulty_node(&Faulty::default()).dir.open().expect("a new node");
    assert!(empty.main().get(b"a").expect("it is rightly empty").is_none());
}

#[test]
fn a_damaged_mempool_is_not_gone_on_with() {
    for change in ["DELETE FROM unordered", "UPDATE unordered SET seq = seq + 1"] {
        let node = faulty_node(&Faulty::default());
        node.append(vec![script(1, "put a 1"), script(2, "put b 1"), ordered(0, "", &[2])]);
        node.recover_with(options());
        damage(&node, "main.db", change);
        let refusal = node.examine().err().expect("its rows are not those that were written");
        assert!(refusal.detail.contains("confirmed mempool"), "{refusal}");
    }
}

#[test]
fn a_damaged_row_of_quarantine_is_not_gone_on_with() {
    let (node, block) = crate::quarantine::with_one_held();
    for change in [
        "DELETE FROM quarantine",
        "UPDATE quarantine SET verdict_seq = verdict_seq - 1",
        "UPDATE quarantine SET settled_seq = verdict_seq",
    ] {
        let node = node.copy();
        damage(&node, "main.db", change);
        let store = node.dir.open().expect("it is not looked at");
        assert!(store.main().held().is_err(), "{change}");
        let row = store.main().block_from(block).expect("a sound row").expect("a block");
        assert!(store.main().quarantine(&row).is_err(), "{change}");
    }
}

#[test]
fn a_damaged_payload_of_a_confirmed_transaction_is_not_answered() {
    let (node, txs) = confirmed();
    damage(&node, "log.db", &flipped("event", "body", &event_of(&txs[0].0)));
    let (block, tx) = ask(&node, txs[0].0);
    let names = |error: Option<String>| error.is_some_and(|text| text.contains("log.db"));
    assert!(names(block.clone().err()), "{block:?}");
    assert!(names(tx.clone().err()), "{tx:?}");
}

#[test]
fn a_damaged_list_of_transactions_does_not_move_them() {
    let (node, txs) = confirmed();
    let (_, before) = ask(&node, txs[1].0);
    assert!(matches!(before, Ok(Place::Confirmed { height: Height(1), .. })), "{before:?}");
    let other = "UPDATE block_body SET txs = (SELECT txs FROM block_body WHERE height = 2) WHERE height = 1";
    damage(&node, "main.db", other);
    assert_eq!(ask(&node, txs[1].0).1, before);
}

#[test]
fn a_transaction_whose_event_was_damaged_is_not_logged_twice() {
    let identity = |row: &str| {
        format!(
            "UPDATE event SET body = CAST(zeroblob(32) || substr(body, 33) AS BLOB) WHERE {row}"
        )
    };
    let payload = |row: &str| flipped("event", "body", row);
    for damaged in [&identity as &dyn Fn(&str) -> String, &payload] {
        let (node, txs) = confirmed();
        let (id, payload) = txs[0].clone();
        damage(&node, "log.db", &damaged(&event_of(&id)));
        let node = node.examine().expect("what is confirmed is not looked at");
        let mut intake = Intake::new(&node, Arc::new(StillClock::default()));
        let again = intake.append(vec![NewEvent::Tx { id, payload: payload.as_slice().into() }]);
        let Err(IntakeError::Store(error)) = again else { panic!("it was answered: {again:?}") };
        assert!(matches!(error.problem, Problem::Damaged(_)), "{error}");
    }
}

#[test]
fn an_empty_database_is_refused_and_its_log_is_kept() {
    let (node, _) = confirmed();
    node.append(vec![crate::scripted::script(200, "more than what is settled")]);
    let (log, wal) = (node.dir.file("log.db"), node.dir.file("log.db-wal"));
    let before = std::fs::read(&wal).expect("a write-ahead log");
    assert!(!before.is_empty(), "the append is in it");
    std::fs::write(&log, b"").expect("a file");
    let refusal = node.examine().err().expect("it is empty");
    assert!(refusal.detail.contains("log.db"), "{refusal}");
    assert_eq!(std::fs::read(&wal).expect("it is still there"), before);
}
