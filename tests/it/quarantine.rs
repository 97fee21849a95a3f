//! Faults through a full recovery: what is isolated, what halts, and that a replay from scratch repeats both.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rewake::event::{EventBody, Ruling};
use rewake::exec::{
    CommitMode, ExecutorSettings, Gate, HaltCause, NewEvent, Outcome, Recovery, RecoveryOptions,
    Report, RetryPolicy, examine,
};
use rewake::machine::{Limits, PoisonPolicy};
use rewake::plan::BatchLimits;
use rewake::store::Repairs;
use rewake::types::Height;

use crate::faulty::Faulty;
use crate::nodes::Node;
use crate::scripted::{
    StillClock, assert_same_files, await_unlocked, blocks, faulty_node, files, id, mempool,
    options, ordered, receipts, script, seq, state,
};

/// Position of the transaction that fails.
const CULPRIT: u64 = 4;
const LIMITS: Limits = Limits { operations_max: 10_000, written_bytes_max: 1 << 20 };

/// Three blocks and a mempool; the second block holds a transaction that may fail.
fn fill(node: &Node, culprit: Option<&str>, header: &str) {
    let mut events =
        vec![script(1, "put a 1"), ordered(0, "", &[1]), script(2, "put b 2; add n 5")];
    events.extend(culprit.map(|text| script(3, text)));
    events.push(script(4, "put c 3; add n 7"));
    let txs: &[u8] = if culprit.is_some() { &[2, 3, 4] } else { &[2, 4] };
    events.push(ordered(1, header, txs));
    events.extend([script(5, "put d 4"), script(6, "put e 5"), ordered(2, "", &[5])]);
    node.append(events);
}

fn limited(attempts_max: u32) -> RecoveryOptions {
    let clock = Arc::new(StillClock::default());
    let retry = RetryPolicy { attempts_max, ..RetryPolicy::default() };
    let executor = ExecutorSettings { limits: LIMITS, retry, clock, ..ExecutorSettings::default() };
    RecoveryOptions { executor, ..RecoveryOptions::default() }
}

/// Long enough that no innocent step takes as long on a busy machine.
const STEP_TIME_MAX: Duration = Duration::from_millis(600);

struct Fault {
    script: &'static str,
    /// What the verdict says.
    reason: &'static str,
    attempts: u32,
}

const FAULTS: &[Fault] = &[
    Fault { script: "put b 9; put z 9; poison no", reason: "no", attempts: 1 },
    Fault { script: "add n 100; panic no", reason: "panicked: no", attempts: 1 },
    Fault { script: "put z 9; stuck", reason: "transient failure: stuck", attempts: 3 },
    Fault { script: "put z 9; spin", reason: "more than 10000 reads and writes", attempts: 1 },
    Fault { script: "put z 9; bomb", reason: "more than 1048576 bytes written", attempts: 1 },
];

#[test]
fn a_transaction_that_cannot_be_executed_leaves_the_others_alone() {
    let twin = faulty_node(&Faulty::default());
    fill(&twin, None, "");
    let without = twin.recover_with(limited(3));
    for fault in FAULTS {
        for commit in [CommitMode::Restore, CommitMode::Reexecute] {
            for (gate, memory_bytes) in [(Gate::All, 64 << 20), (Gate::Batch, 0)] {
                let batch = BatchLimits { txs_max: 1, ..BatchLimits::default() };
                let options = RecoveryOptions { commit, gate, memory_bytes, batch, ..limited(3) };
                check(fault, options, &without);
            }
        }
    }
}

/// A node that holds a transaction which panicked, and the block that it was kept out of.
pub fn with_one_held() -> (Node, Height) {
    let node = faulty_node(&Faulty::default());
    fill(&node, Some(FAULTS[0].script), "");
    node.recover_with(limited(3));
    (node, Height(1))
}

fn check(fault: &Fault, options: RecoveryOptions, without: &Report) {
    let name = fault.script;
    let machine = Faulty::default();
    let node = faulty_node(&machine);
    fill(&node, Some(fault.script), "");
    let examined = node.examine().expect("a sound node");
    let heads = Arc::new(Mutex::new(Vec::new()));
    let (store, seen) = (Arc::clone(&examined.store), Arc::clone(&heads));
    options.committed.subscribe(move |committed| {
        let head = store.log().head().seq;
        seen.lock().expect("no holder panics").push((committed.height.get(), head));
    });
    let (examined, report) = Recovery::new(examined, options).run().expect("a recovery");
    assert_eq!(report.outcome, Outcome::RecoveredWithQuarantine, "{name}: {report:?}");
    assert_eq!((report.counts.applied, report.counts.quarantined), (4, 1), "{name}");
    assert_eq!(report.state_digest, without.state_digest, "{name}: as if it had not been there");

    let verdict = report.log_head_seq;
    let EventBody::Verdict(found) = examined.store.log().body(seq(verdict)).expect("an event")
    else {
        panic!("{name}: the last event is no verdict")
    };
    let Ruling::Quarantine { reason, attempts } = found.ruling else { panic!("{name}: {found:?}") };
    assert_eq!((found.tx, &*reason, attempts), (seq(CULPRIT), fault.reason, fault.attempts));
    let heads = heads.lock().expect("no holder panics").clone();
    assert!(heads.contains(&(1, verdict)), "{name}: the verdict is logged before {heads:?}");
    drop(examined);
    check_tables(name, &node, verdict);
    check_rebuilt(name, &node, &machine, &report);
}

fn check_tables(name: &str, node: &Node, verdict: u64) {
    let store = node.dir.open().expect("a node");
    let held = store.main().held().expect("a table");
    let held: Vec<_> =
        held.iter().map(|row| (row.entry.tx, row.entry.height, row.entry.verdict)).collect();
    assert_eq!(held, [(seq(CULPRIT), Height(1), seq(verdict))], "{name}");
    let statuses = receipts(&store, Height(1));
    assert!(statuses[1].starts_with("quarantined: "), "{name}: {statuses:?}");
    assert_eq!((&*statuses[0], &*statuses[2]), ("applied", "applied"), "{name}");
    let state = state(&store);
    assert_eq!((&*state["b"], &*state["n"], state.get("z")), ("2", "12", None), "{name}");
}

/// Replays all of history into a new block table. The logged verdict decides, not a new execution.
fn check_rebuilt(name: &str, node: &Node, machine: &Faulty, report: &Report) {
    let before = files(&node.dir);
    let again = node.recover_with(options());
    assert_eq!(again.outcome, Outcome::InSync, "{name}");
    assert_same_files(&before, &files(&node.dir), name);
    let rows = |node: &Node| {
        let rows = blocks(&node.dir.open().expect("a node"));
        rows.iter().map(rewake::block::BlockRow::digest).collect::<Vec<_>>()
    };
    let (digests, tries) = (rows(node), machine.probes.attempts(seq(CULPRIT)));
    let rebuilt = rebuild(node);
    assert_eq!(rebuilt.outcome, Outcome::RecoveredWithQuarantine, "{name}");
    assert_eq!(rebuilt.state_digest, report.state_digest, "{name}");
    assert_eq!(rows(node), digests, "{name}");
    assert_eq!(machine.probes.attempts(seq(CULPRIT)), tries, "{name}: it is not tried again");
}

fn rebuild(node: &Node) -> Report {
    for file in ["main.db", "main.db-wal"] {
        let _ = fs::remove_file(node.dir.file(file));
    }
    let repairs = Repairs { rebuild_main: true, accept_log: false };
    let examined = examine(&node.dir, &node.registry, repairs).expect("a new block table");
    Recovery::new(examined, options()).run().expect("a recovery").1
}

#[test]
fn a_failure_that_passes_is_tried_again_and_counted() {
    let machine = Faulty::default();
    let node = faulty_node(&machine);
    fill(&node, Some("put z 9; transient 2"), "");
    let clock = Arc::new(StillClock::default());
    let mut options = limited(3);
    options.executor.clock = clock.clone();
    let report = node.recover_with(options);
    assert_eq!((report.outcome, report.retries), (Outcome::Recovered, 2), "{report:?}");
    assert_eq!(machine.probes.attempts(seq(CULPRIT)), 3);
    let pauses = clock.pauses();
    assert_eq!(pauses.len(), 2, "time passes on the injected clock only");
    assert!(pauses[0] < pauses[1], "{pauses:?}");
}

#[test]
fn retries_of_a_block_that_fails_later_are_counted_too() {
    let node = faulty_node(&Faulty::default());
    let txs = [script(1, "transient 2"), script(2, "poison no"), ordered(0, "", &[1, 2])];
    node.append(txs.into());
    let report = node.recover_with(limited(3));
    assert_eq!((report.outcome, report.retries), (Outcome::RecoveredWithQuarantine, 2));
}

#[test]
fn a_runaway_that_honours_the_context_is_stopped_by_time() {
    let node = faulty_node(&Faulty::default());
    fill(&node, Some("put z 9; spin"), "");
    let endless = Limits { operations_max: u64::MAX, ..LIMITS };
    let mut options = RecoveryOptions { step_time_max: STEP_TIME_MAX, ..limited(3) };
    options.executor.limits = endless;
    let report = node.recover_with(options);
    assert_eq!(report.outcome, Outcome::RecoveredWithQuarantine, "{report:?}");
    let store = node.dir.open().expect("a node");
    assert_eq!(receipts(&store, Height(1))[1], "quarantined: ran longer than the time limit");
}

#[test]
fn a_failed_block_is_handed_to_the_hook_even_where_it_ran_away() {
    let node = faulty_node(&Faulty::default());
    fill(&node, Some("put z 9; spin"), "");
    let mut options = RecoveryOptions { step_time_max: STEP_TIME_MAX, ..limited(3) };
    options.executor.limits = Limits { operations_max: u64::MAX, ..LIMITS };
    options.on_failure = Some(Arc::new(|failed| Some(failed.failure.to_string().into())));
    let report = node.recover_with(options);
    assert_eq!(report.outcome, Outcome::RecoveredWithQuarantine, "{report:?}");
    assert!(report.bundles[0].to_string_lossy().contains("transaction 1 of block 1"));
}

#[test]
fn a_runaway_that_touches_nothing_is_given_up_on() {
    for memory_bytes in [0, 64 << 20] {
        let machine = Faulty::default();
        let node = faulty_node(&machine);
        fill(&node, Some("put z 9; runaway"), "");
        let twin = faulty_node(&Faulty::default());
        fill(&twin, None, "");
        let without = twin.recover_with(options());
        let options = RecoveryOptions { step_time_max: STEP_TIME_MAX, memory_bytes, ..limited(3) };
        let report = node.recover_with(options);
        assert_eq!(report.outcome, Outcome::RecoveredWithQuarantine, "{report:?}");
        assert_eq!((report.state_digest, report.resumed_blocks), (without.state_digest, 0));
        // The thread goes on with the block where it was left, and must not touch what the next one wrote.
        machine.probes.release();
        await_unlocked(&node);
        assert!(!node.dir.file("sandbox.db").exists(), "nobody would ever delete it");
        assert_eq!(node.recover_with(limited(3)).state_digest, without.state_digest);
        check_rebuilt("runaway", &node, &machine, &report);
    }
}

#[test]
fn a_machine_that_halts_commits_the_verified_prefix_and_nothing_beyond() {
    for fault in FAULTS {
        let text = format!("transaction 1 of block 1 cannot be executed after {}", fault.attempts);
        check_halt(fault.script, "", PoisonPolicy::Halt, HaltCause::Poison, &[&text, fault.reason]);
    }
    check_halt("runaway", "", PoisonPolicy::Halt, HaltCause::Poison, &["event 4", "did not stop"]);
}

#[test]
fn a_block_whose_hooks_or_checks_fail_halts_every_machine() {
    for policy in [PoisonPolicy::Quarantine, PoisonPolicy::Halt] {
        for (header, cause, says) in [
            ("open-poison", HaltCause::Poison, "the header is poison"),
            ("begin-panic", HaltCause::Poison, "panicked: the opening panics"),
            ("end-panic", HaltCause::Poison, "panicked: the closing panics"),
            ("end-poison", HaltCause::Poison, "the closing is poison"),
            ("check-fail", HaltCause::Check, "the header is check-fail, expected well"),
            ("check-panic", HaltCause::Poison, "panicked: the check panics"),
        ] {
            check_halt("put z 9", header, policy, cause, &["block 1", says]);
        }
    }
}

fn check_halt(text: &str, header: &str, policy: PoisonPolicy, cause: HaltCause, says: &[&str]) {
    for gate in [Gate::All, Gate::Batch] {
        let machine = Faulty { policy, ..Faulty::default() };
        let node = faulty_node(&machine);
        fill(&node, Some(text), header);
        let limited = || RecoveryOptions { gate, step_time_max: STEP_TIME_MAX, ..limited(3) };
        let report = node.recover_with(limited());
        assert_eq!(report.outcome, Outcome::Halted, "{text} {header}: {report:?}");
        let halt = report.halt.expect("a reason");
        assert_eq!((halt.cause, halt.height), (cause, Some(Height(1))), "{text} {header}");
        for part in says {
            assert!(halt.reason.contains(part), "{:?} lacks {part:?}", halt.reason);
        }
        machine.probes.release();
        await_unlocked(&node);
        let store = node.dir.open().expect("a node");
        let heights: Vec<_> = blocks(&store).iter().map(|row| row.order.height.get()).collect();
        assert_eq!(heights, [0], "{text} {header}: the prefix and nothing beyond");
        assert_eq!(store.log().head().seq, 9, "{text} {header}: no verdict");
        drop(store);
        if text != "runaway" {
            assert_eq!(node.recover_with(limited()).outcome, Outcome::Halted, "{text} {header}");
        }
    }
}

#[test]
fn a_released_transaction_is_ordered_again_and_succeeds() {
    let machine = Faulty::default();
    let node = faulty_node(&machine);
    fill(&node, Some("put z 9; transient 2"), "");
    assert_eq!(node.recover_with(limited(2)).outcome, Outcome::RecoveredWithQuarantine);
    assert_eq!(mempool(&node), [8], "a held transaction does not wait");
    settle(&node, rewake::exec::Settlement::Release);
    assert_eq!(mempool(&node), [CULPRIT, 8], "it waits at its old place");
    node.append(vec![ordered(3, "", &[6])]);
    let report = node.recover_with(limited(2));
    assert_eq!((report.outcome, report.mempool), (Outcome::Recovered, 1));
    assert_eq!(mempool(&node), [CULPRIT]);
    check_history(&node, &[CULPRIT], &[(1, true)]);
    node.append(vec![ordered(4, "", &[3])]);
    let report = node.recover_with(limited(2));
    assert_eq!((report.outcome, report.counts.applied), (Outcome::Recovered, 1));
    assert_eq!(state(&node.dir.open().expect("a node"))["z"], "9");
    check_history(&node, &[], &[(1, true)]);
}

#[test]
fn a_transaction_may_be_quarantined_twice() {
    let node = faulty_node(&Faulty::default());
    fill(&node, Some("stuck"), "");
    node.recover_with(limited(2));
    settle(&node, rewake::exec::Settlement::Release);
    node.append(vec![ordered(3, "", &[3])]);
    node.recover_with(limited(2));
    check_history(&node, &[8], &[(1, true), (3, false)]);
    settle(&node, rewake::exec::Settlement::Discard);
    node.append(vec![ordered(4, "", &[])]);
    node.recover_with(limited(2));
    check_history(&node, &[8], &[(1, true), (3, true)]);
    let examined = node.examine().expect("a sound node");
    let mut intake = rewake::exec::Intake::new(&examined, Arc::new(StillClock::default()));
    let refused = intake.append(vec![ordered(5, "", &[3])]).expect_err("it was discarded");
    assert!(refused.to_string().contains("not waiting"), "{refused}");
}

fn settle(node: &Node, settlement: rewake::exec::Settlement) {
    node.append(vec![NewEvent::Settle { tx: seq(CULPRIT), settlement }]);
}

/// Asserts the mempool and the quarantine table, and that a replay of all of history in one batch gives both again.
fn check_history(node: &Node, waiting: &[u64], quarantine: &[(u64, bool)]) {
    let read = || {
        let store = node.dir.open().expect("a node");
        let rows: Vec<_> = [1, 3, 4]
            .into_iter()
            .flat_map(|height| store.main().stored_quarantine(Height(height)).expect("a table"))
            .collect();
        let unordered = store.main().unordered().expect("a table");
        let digests: Vec<_> = blocks(&store).iter().map(rewake::block::BlockRow::digest).collect();
        (rows, unordered, digests)
    };
    let before = read();
    assert_eq!(mempool(node), waiting);
    let settled: Vec<_> =
        before.0.iter().map(|(row, _)| (row.entry.height.get(), row.settled.is_some())).collect();
    assert_eq!(settled, quarantine);
    rebuild(node);
    assert_eq!(mempool(node), waiting);
    assert_eq!(read(), before, "a replay of all of history in one batch");
}

#[test]
fn a_machine_that_gives_another_result_is_caught_by_executing_again() {
    let node = faulty_node(&Faulty::default());
    fill(&node, Some("differ k"), "");
    let batch = BatchLimits { txs_max: 1, ..BatchLimits::default() };
    let options = RecoveryOptions { commit: CommitMode::Reexecute, batch, ..limited(3) };
    let report = node.recover_with(options);
    assert_eq!(report.outcome, Outcome::Halted, "{report:?}");
    let halt = report.halt.expect("a reason");
    assert_eq!((halt.cause, halt.height), (HaltCause::Difference, Some(Height(1))));
    for part in ["block 1", "transaction 1", &id(3).to_string(), "key 6b"] {
        assert!(halt.reason.contains(part), "{:?} lacks {part:?}", halt.reason);
    }
    let store = node.dir.open().expect("a node");
    assert_eq!(blocks(&store).len(), 1, "the batch before stays");
    drop(store);
    // Taking the rehearsal's word for it hides such a machine.
    assert_eq!(node.recover_with(limited(3)).outcome, Outcome::Recovered);
}
