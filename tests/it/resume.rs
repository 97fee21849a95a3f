//! What an earlier process left in the sandbox: gone on with where it fits, and thrown away where it does not.

use std::fs;
use std::time::Duration;

use rewake::event::{EventBody, Ruling, Verdict};
use rewake::exec::{Gate, Outcome, RecoveryOptions, Report};
use rewake::machine::PoisonPolicy;
use rewake::pace::PaceLimits;
use rewake::types::{Height, UnixMillis};

use crate::faulty::Faulty;
use crate::nodes::Node;
use crate::scripted::{blocks, faulty_node, options, ordered, receipts, script, seq, sql, state};

/// A node that halted at block 3 of 4 and whose commits of the blocks before were lost since, with its sandbox.
fn halted() -> (Node, Faulty, Report) {
    let machine = Faulty { policy: PoisonPolicy::Halt, ..Faulty::default() };
    let node = faulty_node(&machine);
    let block = |number: u8| {
        let header = if number == 3 { "check-fail" } else { "" };
        [script(number + 1, "add n 1"), ordered(number.into(), header, &[number + 1])]
    };
    node.append((0..4).flat_map(block).collect());
    let uncommitted = node.copy();
    let report = spilling(&node);
    assert_eq!((report.outcome, report.blocks), (Outcome::Halted, 3));
    assert!(node.dir.file("sandbox.db").exists(), "memory was too small");
    for name in ["main.db", "main.db-wal"] {
        let _ = fs::remove_file(node.dir.file(name));
    }
    fs::copy(uncommitted.dir.file("main.db"), node.dir.file("main.db")).expect("a copy");
    (node, machine, report)
}

fn spilling(node: &Node) -> Report {
    node.recover_with(RecoveryOptions { memory_bytes: 0, ..options() })
}

#[test]
fn a_rehearsal_is_set_aside_before_a_crash_would_cost_more_of_it_than_it_may() {
    let sandbox = |gate, repeat_max: Option<Duration>| {
        let node = faulty_node(&Faulty { policy: PoisonPolicy::Halt, ..Faulty::default() });
        let header = |number| if number == 2 { "check-fail" } else { "" };
        let block = |number: u8| {
            [script(number + 1, "add n 1"), ordered(number.into(), header(number), &[number + 1])]
        };
        node.append((0..3).flat_map(block).collect());
        let pace = repeat_max.map(|repeat_max| PaceLimits { repeat_max, ..PaceLimits::default() });
        let report = node.recover_with(RecoveryOptions { gate, pace, ..options() });
        assert_eq!((report.outcome, report.blocks), (Outcome::Halted, 2));
        node.dir.file("sandbox.db").exists()
    };
    assert!(sandbox(Gate::All, Some(Duration::ZERO)));
    assert!(!sandbox(Gate::All, Some(Duration::from_hours(1))));
    assert!(!sandbox(Gate::All, None), "nothing was said of crashes");
    assert!(!sandbox(Gate::Batch, Some(Duration::ZERO)), "a batch is all that it would cost");
}

/// Damages the sandbox and recovers; `executed` says how often the first block's transaction ran in all.
fn check(name: &str, damage: impl FnOnce(&Node), resumed: u64, executed: u32) {
    let (node, machine, before) = halted();
    damage(&node);
    let report = spilling(&node);
    assert_eq!((report.outcome, report.resumed_blocks), (Outcome::Halted, resumed), "{name}");
    assert_eq!(report.state_digest, before.state_digest, "{name}");
    assert_eq!(machine.probes.attempts(seq(1)), executed, "{name}");
    let store = node.dir.open().expect("a node");
    let heights: Vec<_> = blocks(&store).iter().map(|row| row.order.height.get()).collect();
    assert_eq!(heights, [0, 1, 2], "{name}");
}

fn alter(statement: &'static str) -> impl FnOnce(&Node) {
    move |node| sql(&node.dir, "sandbox.db").execute_batch(statement).expect(statement)
}

#[test]
fn a_rehearsal_is_gone_on_with_where_it_still_fits() {
    check("untouched", |_| {}, 3, 1);
    check("a shorter one", alter("DELETE FROM rehearsed WHERE height = 2"), 2, 1);
}

#[test]
fn a_sandbox_that_does_not_fit_is_thrown_away() {
    let half_made = |node: &Node| {
        let _ = fs::remove_file(node.dir.file("sandbox.db-wal"));
        fs::remove_file(node.dir.file("sandbox.db")).expect("a sandbox");
        fs::write(node.dir.file("sandbox.db.new"), b"").expect("a file");
    };
    check("half made", half_made, 0, 2);
    check("of another version", alter("UPDATE base SET machine_version = 7"), 0, 2);
    check("of another base", alter("UPDATE base SET parent = randomblob(32)"), 0, 2);
    check("without a base", alter("DELETE FROM base"), 0, 2);
    let flip = "UPDATE rehearsed SET body = zeroblob(9) WHERE height = 1";
    check("with a changed block", alter(flip), 0, 2);
    let zeros = "UPDATE rehearsed SET digest = zeroblob(32) WHERE height = 0";
    check("with a changed digest", alter(zeros), 0, 2);
    check("with a gap", alter("DELETE FROM rehearsed WHERE height = 1"), 0, 2);
    check("without its first block", alter("DELETE FROM rehearsed WHERE height = 0"), 0, 2);
    check("empty", alter("DELETE FROM rehearsed"), 0, 2);
}

#[test]
fn the_overlay_of_an_earlier_process_is_not_read() {
    let stale =
        "INSERT OR REPLACE INTO overlay (key, value) VALUES (CAST('n' AS BLOB), zeroblob(16))";
    check("a stale overlay", alter(stale), 3, 1);
}

#[test]
fn the_overlay_of_an_earlier_process_answers_for_no_key() {
    let node = faulty_node(&Faulty::default());
    let block = |number: u8, text: &str| {
        [script(number + 1, text), ordered(number.into(), "", &[number + 1])]
    };
    let blocks = [block(0, "put a 1"), block(1, "put b 1"), block(2, "add m 1")];
    node.append(blocks.into_iter().flatten().collect());
    let options = RecoveryOptions { memory_bytes: 0, ..options() };
    let stop = options.stop.clone();
    options.rehearsed.subscribe(move |block| {
        if block.height.get() == 1 {
            stop.request();
        }
    });
    assert_eq!(node.recover_with(options).outcome, Outcome::Halted);
    let stale =
        "INSERT INTO overlay (key, value) VALUES (x'6d', x'07000000000000000000000000000000')";
    alter(stale)(&node);
    let report = spilling(&node);
    assert_eq!((report.outcome, report.resumed_blocks), (Outcome::Recovered, 2));
    let store = node.dir.open().expect("a node");
    assert_eq!(state(&store)["m"], "1");
}

#[test]
fn a_rehearsal_from_before_a_verdict_is_not_gone_on_with() {
    let (node, _, _) = halted();
    let ruling = Ruling::Quarantine { reason: "it took too long".to_owned(), attempts: 1 };
    let verdict = EventBody::Verdict(Verdict { tx: seq(3), ruling });
    let store = node.dir.open().expect("a node");
    store.log().append(UnixMillis(1), &[verdict]).expect("an append");
    drop(store);
    let report = spilling(&node);
    assert_eq!((report.outcome, report.resumed_blocks), (Outcome::Halted, 0));
    let store = node.dir.open().expect("a node");
    assert_eq!(receipts(&store, Height(1)), ["quarantined: it took too long"]);
}
