//! What a recovery may cost, said before it begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rewake::exec::{Clock, CommitMode, Estimate, ExecutorSettings, Gate, RecoveryOptions};
use rewake::generate::Workload;
use rewake::plan::{BatchLimits, Work};
use rewake::types::UnixMillis;

use crate::cli::{generated, rewake};
use crate::faulty::Faulty;
use crate::nodes::{Node, fill};
use crate::scripted::{faulty_node, files, options, ordered, script};

/// A clock on which half a second passes each time that it is looked at.
#[derive(Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_000 + 500 * self.0.fetch_add(1, Ordering::Relaxed))
    }

    fn sleep(&self, _: Duration) {}
}

fn estimate(node: &Node, options: &RecoveryOptions) -> Estimate {
    Estimate::of(&node.examine().expect("a sound node"), options).expect("readable rows")
}

fn blocks(from: u8, to: u8) -> Vec<rewake::exec::NewEvent> {
    let block = |number: u8| {
        [script(2 * number + 1, "add n 1"), script(2 * number + 2, "add n 1")]
            .into_iter()
            .chain([ordered(number.into(), "", &[2 * number + 1, 2 * number + 2])])
    };
    (from..to).flat_map(block).collect()
}

#[test]
fn an_empty_node_costs_nothing() {
    let estimate = estimate(&faulty_node(&Faulty::default()), &options());
    let free = estimate.disk_free_bytes.expect("the system tells");
    assert!(free > 0);
    let (work, pace, time_ms) = (Work::default(), None, None);
    let disk_free_bytes = Some(free);
    let (event_bytes, memory_bytes, disk_bytes) = (0, 0, 0);
    let nothing =
        Estimate { work, event_bytes, memory_bytes, disk_bytes, disk_free_bytes, pace, time_ms };
    assert_eq!(estimate, nothing);
    assert_eq!(estimate.disk_missing_bytes(), None);
}

#[test]
fn a_node_that_never_committed_has_no_pace() {
    let node = faulty_node(&Faulty::default());
    node.append(blocks(0, 6));
    let restore = estimate(&node, &options());
    assert_eq!(restore.work, Work { blocks: 6, txs: 12 });
    // 12 transactions of 32 and 7 bytes, and orders of a few bytes.
    assert!((12 * 39..12 * 39 + 6 * 64).contains(&restore.event_bytes), "{restore:?}");
    assert!(restore.disk_bytes > restore.event_bytes, "{restore:?}");
    assert_eq!((restore.pace, restore.time_ms), (None, None));
    let again = RecoveryOptions { commit: CommitMode::Reexecute, ..options() };
    assert!(estimate(&node, &again).memory_bytes > restore.memory_bytes);
}

#[test]
fn a_node_that_is_half_confirmed_has_the_pace_of_its_fastest_commit() {
    let node = faulty_node(&Faulty::default());
    node.append(blocks(0, 6));
    let clock = Arc::new(Ticking::default());
    let executor = ExecutorSettings { clock, ..ExecutorSettings::default() };
    let batch = BatchLimits { txs_max: 4, ..BatchLimits::default() };
    let ticking = RecoveryOptions { executor, batch, ..RecoveryOptions::default() };
    node.recover_with(ticking.clone());
    let nothing = estimate(&node, &ticking);
    assert_eq!((nothing.work, nothing.event_bytes), (Work::default(), 0));
    node.append(blocks(6, 30));
    // Two blocks with two transactions each in half a second.
    let half = estimate(&node, &ticking);
    assert_eq!((half.work, half.pace), (Work { blocks: 24, txs: 48 }, Some(8)));
    assert_eq!(half.time_ms, Some(6_000));
}

/// Bytes of the files of a node.
fn size(node: &Node) -> u64 {
    files(&node.dir).values().map(|bytes| bytes.len() as u64).sum()
}

#[test]
fn the_disk_space_that_is_foreseen_is_enough() {
    let workload = Workload {
        accounts: 500,
        transfers: 3_000,
        block_txs: 10,
        mempool: 0,
        ..Workload::default()
    };
    for (gate, memory_bytes) in [(Gate::All, 0), (Gate::All, 64 << 20), (Gate::Batch, 0)] {
        let node = Node::ledger();
        fill(&node, &workload);
        let options = RecoveryOptions { gate, memory_bytes, ..RecoveryOptions::default() };
        let (before, foreseen) = (size(&node), estimate(&node, &options).disk_bytes);
        let most = Arc::new(AtomicU64::new(0));
        let (seen, dir) = (Arc::clone(&most), node.dir.clone());
        let look = move || {
            let sizes = std::fs::read_dir(dir.path())
                .expect("a directory")
                .map(|entry| entry.expect("an entry").metadata().map_or(0, |data| data.len()));
            seen.fetch_max(sizes.sum(), Ordering::Relaxed);
        };
        let (one, other) = (look.clone(), look);
        options.rehearsed.subscribe(move |_| one());
        options.committed.subscribe(move |_| other());
        node.recover_with(options);
        let taken = most.load(Ordering::Relaxed).saturating_sub(before);
        assert!(taken > 0 && taken <= foreseen, "{gate:?} {memory_bytes}: {taken} of {foreseen}");
    }
}

#[test]
fn a_plan_and_a_recovery_say_what_they_may_cost() {
    let (_scratch, data) = generated();
    let plan = rewake("plan --json", &data).expect(0).json();
    let estimate: Estimate =
        serde_json::from_value(plan["estimate"].clone()).expect("the object of the library");
    assert_eq!(estimate.work, Work { blocks: 5, txs: 100 });
    for field in ["event_bytes", "memory_bytes", "disk_bytes", "disk_free_bytes"] {
        assert!(plan["estimate"][field].as_u64() > Some(0), "{field}: {plan}");
    }
    let plan = rewake("plan", &data).expect(0);
    for row in ["events  ", "memory  ", "disk  ", "time  "] {
        assert!(plan.out.lines().any(|line| line.starts_with(row)), "{row}: {plan:?}");
    }
    let recovered = rewake("recover", &data).expect(0);
    assert!(recovered.err.starts_with("5 blocks with 100 transactions are"), "{recovered:?}");
    let again = rewake("recover", &data).expect(0);
    assert_eq!(again.err, "", "there is nothing to do");
}
