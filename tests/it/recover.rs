//! Recovery of a ledger backlog: every mode, gate and memory budget gives one result.

use std::sync::Arc;

use rewake::exec::{
    CommitMode, Gate, Intake, NewEvent, Outcome, Recovery, RecoveryOptions, SystemClock,
};
use rewake::generate::Workload;
use rewake::machine::ledger::{Account, Ledger, Transfer};
use rewake::plan::BatchLimits;
use rewake::types::{Bytes, TxId};

use crate::nodes::{Node, fill, order};
use crate::scripted::sql;

fn workload() -> Workload {
    Workload { accounts: 50, transfers: 2_000, block_txs: 20, mempool: 30, ..Workload::default() }
}

#[test]
fn every_way_of_recovering_gives_one_state() {
    let mut digests = Vec::new();
    for commit in [CommitMode::Restore, CommitMode::Reexecute] {
        for gate in [Gate::All, Gate::Batch] {
            for (memory_bytes, txs_max) in [(0, 7), (100_000, 500), (64 << 20, 1_000_000)] {
                let node = Node::ledger();
                fill(&node, &workload());
                let batch = BatchLimits { txs_max, ..BatchLimits::default() };
                // Batches of the size that is said, however long the rehearsal takes.
                let options = RecoveryOptions {
                    commit,
                    gate,
                    batch,
                    memory_bytes,
                    pace: None,
                    ..RecoveryOptions::default()
                };
                let report = node.recover_with(options);
                assert_eq!(report.outcome, Outcome::Recovered, "{report:?}");
                assert_eq!((report.counts.txs, report.mempool), (1_970, 30));
                assert_eq!(report.batches == 1, txs_max == 1_000_000, "{report:?}");
                let again = node.recover();
                assert_eq!(again.outcome, Outcome::InSync);
                assert_eq!(again.state_digest, report.state_digest);
                digests.push(report.state_digest);
            }
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
}

/// A node whose one transfer waits since before the checkpoint, and its identity.
fn waiting() -> (Node, TxId) {
    let node = Node::ledger();
    let transfer = Transfer { from: Account(1), to: Account(2), amount: 5, nonce: 0 };
    let genesis = Ledger::genesis_patch([(Account(1), 100), (Account(2), 0)]);
    let payload = Bytes::from(transfer.encode().as_slice());
    let id = transfer.id();
    node.append(vec![NewEvent::Patch(genesis), NewEvent::Tx { id, payload }, order(0, &[])]);
    node.recover();
    (node, id)
}

#[test]
fn a_transaction_that_was_damaged_while_it_waited_is_not_executed() {
    let (node, id) = waiting();
    node.append(vec![order(1, &[id])]);
    let damage = "UPDATE event SET body = CAST(substr(body, 1, 50) || x'7f' || substr(body, 52) AS BLOB) WHERE seq = 2";
    sql(&node.dir, "log.db").execute_batch(damage).expect("a damage");
    let examined = node.examine().expect("the tail is sound");
    let stopped = Recovery::new(examined, RecoveryOptions::default()).run();
    let error =
        stopped.map(|(_, report)| report).expect_err("the transfer is not the one received");
    assert!(error.to_string().contains("event 2 does not follow"), "{error}");
}

#[test]
fn two_intakes_of_one_node_see_each_other() {
    let (node, id) = waiting();
    let examined = node.examine().expect("a sound node");
    let clock = || Arc::new(SystemClock);
    let (mut one, mut two) = (Intake::new(&examined, clock()), Intake::new(&examined, clock()));
    one.append(vec![order(1, &[id])]).expect("it waits");
    let refused = two.append(vec![order(2, &[id])]).expect_err("it was ordered");
    assert!(refused.to_string().contains("not waiting"), "{refused}");
    drop((one, two, examined));
    assert_eq!(node.recover().outcome, Outcome::Recovered);
}

#[test]
fn a_patch_need_not_be_sorted_by_whoever_makes_it() {
    let node = Node::ledger();
    let mut patch = Ledger::genesis_patch([(Account(1), 100), (Account(2), 0)]);
    patch.entries.reverse();
    node.append(vec![NewEvent::Patch(patch), order(0, &[])]);
    assert_eq!(node.recover().outcome, Outcome::Recovered);
}

#[test]
fn a_damaged_accumulator_of_the_state_digest_is_not_answered_from() {
    let (node, _) = waiting();
    sql(&node.dir, "main.db")
        .execute_batch("UPDATE main SET lanes = zeroblob(2048)")
        .expect("a damage");
    let examined = node.examine().expect("the tables are sound");
    let stopped = Recovery::new(examined, RecoveryOptions::default()).run();
    let error = stopped.map(|(_, report)| report).expect_err("the lanes are not those of the head");
    assert!(error.to_string().contains("lanes"), "{error}");
}
