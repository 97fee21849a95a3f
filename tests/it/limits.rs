//! A recovery that is stopped, or takes too long: what it keeps, what it says, and how the next one goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rewake::exec::{
    Clock, CommitMode, ExecutorSettings, Gate, Halt, HaltCause, Intake, Outcome, Recovery,
    RecoveryLimits, RecoveryOptions, Report, RetryPolicy, StopSignal, SystemClock,
};
use rewake::plan::BatchLimits;
use rewake::recovery::Label;
use rewake::types::{Digest, Height, UnixMillis};

use crate::faulty::Faulty;
use crate::nodes::Node;
use crate::scripted::{await_unlocked, blocks, faulty_node, options, ordered, script, seq, sql};

const BLOCKS: u8 = 9;

/// One transaction and its block; their events follow each other.
fn block(number: u8, text: &str) -> [rewake::exec::NewEvent; 2] {
    [script(number + 1, text), ordered(number.into(), "", &[number + 1])]
}

/// A node of a backlog whose block `odd` holds another transaction.
fn backlog(odd: Option<(u8, &str)>) -> (Node, Faulty) {
    let machine = Faulty::default();
    let node = faulty_node(&machine);
    let text = |number| match odd {
        Some((at, text)) if at == number => text,
        _ => "add n 1",
    };
    node.append((0..BLOCKS).flat_map(|number| block(number, text(number))).collect());
    (node, machine)
}

/// Position of the transaction of a block.
fn tx(number: u8) -> rewake::types::Seq {
    seq(2 * u64::from(number) + 1)
}

fn undisturbed() -> Digest {
    backlog(None).0.recover_with(options()).state_digest
}

fn batch(txs_max: u64) -> BatchLimits {
    BatchLimits { txs_max, ..BatchLimits::default() }
}

fn halted(report: &Report) -> &Halt {
    assert_eq!(report.outcome, Outcome::Halted, "{report:?}");
    report.halt.as_ref().expect("a reason")
}

/// Asks for a stop at a notice of either bus, and counts those of rehearsed blocks.
fn stop_at(notice: u64, options: &RecoveryOptions) -> Arc<AtomicU64> {
    let (told, rehearsed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tell = move |stop: &StopSignal, told: &AtomicU64| {
        if told.fetch_add(1, Ordering::Relaxed) + 1 == notice {
            stop.request();
        }
    };
    let (stop, count, one) = (options.stop.clone(), Arc::clone(&rehearsed), Arc::clone(&told));
    options.rehearsed.subscribe(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        tell(&stop, &one);
    });
    let stop = options.stop.clone();
    options.committed.subscribe(move |_| tell(&stop, &told));
    rehearsed
}

#[test]
fn a_stop_at_any_notice_is_gone_on_from_and_no_block_is_executed_twice() {
    let expected = undisturbed();
    let total = u64::from(BLOCKS);
    let mut kinds = BTreeSet::new();
    for (commit, executions) in [(CommitMode::Restore, 1), (CommitMode::Reexecute, 2)] {
        for gate in [Gate::All, Gate::Batch] {
            for memory_bytes in [0, 64 << 20] {
                for notice in 1..=2 * total {
                    let (node, machine) = backlog(None);
                    let how = || RecoveryOptions {
                        commit,
                        gate,
                        memory_bytes,
                        batch: batch(2),
                        ..options()
                    };
                    let name = format!("{commit:?} {gate:?} {memory_bytes} {notice}");
                    let first = how();
                    let rehearsed = stop_at(notice, &first);
                    let stopped = node.recover_with(first);
                    let rehearsed = rehearsed.load(Ordering::Relaxed);
                    check_stopped(&name, &stopped, rehearsed, &mut kinds);
                    if gate == Gate::All && rehearsed < total {
                        assert_eq!(stopped.blocks, 0, "{name}: a part of the backlog is committed");
                    }
                    let second = how();
                    let again = stop_at(u64::MAX, &second);
                    let report = node.recover_with(second);
                    assert_eq!(report.resumed_blocks, rehearsed - stopped.blocks, "{name}");
                    assert_eq!(rehearsed + again.load(Ordering::Relaxed), total, "{name}");
                    assert_eq!(stopped.blocks + report.blocks, total, "{name}");
                    assert_eq!(report.state_digest, expected, "{name}");
                    for number in 0..BLOCKS {
                        assert_eq!(machine.probes.attempts(tx(number)), executions, "{name}");
                    }
                    assert!(!node.dir.file("sandbox.db").exists(), "{name}");
                }
            }
        }
    }
    assert_eq!(kinds.len(), 3, "stops in both phases, and one too late: {kinds:?}");
}

fn check_stopped(name: &str, report: &Report, rehearsed: u64, kinds: &mut BTreeSet<&str>) {
    if report.blocks == u64::from(BLOCKS) {
        assert_eq!(report.outcome, Outcome::Recovered, "{name}: nothing was left to stop");
        kinds.insert("too late");
        return;
    }
    let halt = halted(report);
    assert_eq!((halt.cause, halt.height), (HaltCause::Stopped, None), "{name}");
    let says = format!(
        "a stop was requested: of {BLOCKS} blocks {rehearsed} are rehearsed and {} committed; ",
        report.blocks
    );
    assert!(halt.reason.starts_with(&says), "{name}: {says:?} against {:?}", halt.reason);
    kinds.insert(if report.blocks == 0 { "phase 1" } else { "phase 2" });
}

#[test]
fn a_stop_in_phase_2_ends_after_the_batch_that_is_written() {
    let (node, _) = backlog(None);
    let options = RecoveryOptions { batch: batch(4), ..options() };
    // The first of the four notices of the first batch.
    stop_at(u64::from(BLOCKS) + 1, &options);
    let examined = node.examine().expect("a sound node");
    let (examined, report) = Recovery::new(examined, options).run().expect("a report");
    assert_eq!((halted(&report).cause, report.blocks, report.batches), (HaltCause::Stopped, 4, 1));
    assert_eq!(examined.label, Label::Behind);
    let left = u64::from(BLOCKS) - 4;
    assert_eq!((examined.backlog.blocks, examined.backlog.txs), (left, left));
    assert_eq!(examined.backlog.first, Some(Height(4)));
    drop(examined);
    assert_eq!(node.examine().expect("a sound node").backlog.first, Some(Height(4)));
}

#[test]
fn a_verdict_from_before_a_stop_is_obeyed_after_it() {
    for gate in [Gate::All, Gate::Batch] {
        let (node, machine) = backlog(Some((2, "poison no")));
        let how = || RecoveryOptions { gate, ..options() };
        let options = how();
        stop_at(5, &options);
        let report = node.recover_with(options);
        assert_eq!((halted(&report).cause, report.blocks), (HaltCause::Stopped, 0));
        let report = node.recover_with(how());
        assert_eq!((report.outcome, report.resumed_blocks), (Outcome::RecoveredWithQuarantine, 5));
        assert_eq!(report.log_head_seq, 2 * u64::from(BLOCKS) + 1, "one verdict");
        assert_eq!(machine.probes.attempts(tx(2)), 1);
    }
}

#[test]
fn a_stop_that_came_before_the_beginning_leaves_the_node_alone() {
    for gate in [Gate::All, Gate::Batch] {
        let (node, machine) = backlog(None);
        let options = RecoveryOptions { gate, ..options() };
        options.stop.request();
        assert!(options.stop.is_requested());
        let report = node.recover_with(options);
        assert_eq!((halted(&report).cause, report.blocks), (HaltCause::Stopped, 0));
        assert_eq!(machine.probes.attempts(tx(0)), 0);
        assert!(!node.dir.file("sandbox.db").exists(), "there is nothing to be kept");
    }
}

#[test]
fn a_stopped_node_has_nothing_left_to_stop_once_it_is_in_sync() {
    let (node, _) = backlog(None);
    node.recover_with(options());
    let options = options();
    options.stop.request();
    assert_eq!(node.recover_with(options).outcome, Outcome::InSync);
}

fn limited(limits: RecoveryLimits) -> RecoveryOptions {
    RecoveryOptions { limits, ..options() }
}

const NONE: RecoveryLimits = RecoveryLimits { time_max: None, stall_max: None };

#[test]
fn a_limit_of_nothing_ends_a_recovery_before_its_first_block() {
    for (limits, cause, says) in [
        (
            RecoveryLimits { time_max: Some(Duration::ZERO), ..NONE },
            HaltCause::TimeLimit,
            "the time limit of 0ns was reached: of 9 blocks 0 are rehearsed and 0 committed",
        ),
        (
            RecoveryLimits { stall_max: Some(Duration::ZERO), ..NONE },
            HaltCause::Stalled,
            "no block was rehearsed or committed for 0ns: of 9 blocks 0 are rehearsed",
        ),
    ] {
        let (node, _) = backlog(None);
        let report = node.recover_with(limited(limits));
        let halt = halted(&report);
        assert_eq!((halt.cause, report.blocks), (cause, 0));
        assert!(halt.reason.starts_with(says), "{says:?} against {:?}", halt.reason);
        assert_eq!(node.recover_with(limited(NONE)).state_digest, undisturbed());
    }
}

#[test]
fn a_machine_that_hangs_runs_into_a_limit_and_gets_no_verdict() {
    let short = Some(Duration::from_millis(50));
    for (limits, cause) in [
        (RecoveryLimits { time_max: short, ..NONE }, HaltCause::TimeLimit),
        (RecoveryLimits { stall_max: short, ..NONE }, HaltCause::Stalled),
    ] {
        for (text, gate) in [("add n 1; spin", Gate::All), ("runaway; add n 1", Gate::Batch)] {
            let (node, machine) = backlog(Some((4, text)));
            let mut options = RecoveryOptions { gate, ..limited(limits) };
            options.executor.limits.operations_max = u64::MAX;
            options.on_failure = Some(Arc::new(|failed| panic!("judged: {failed:?}")));
            let report = node.recover_with(options);
            assert_eq!((halted(&report).cause, report.blocks), (cause, 0), "{text}: {report:?}");
            machine.probes.release();
            await_unlocked(&node);
            let head = node.dir.open().expect("a node").log().head().seq;
            assert_eq!(head, 2 * u64::from(BLOCKS), "{text}: a verdict");
            if text.starts_with("runaway") {
                let report = node.recover_with(limited(NONE));
                let found = (report.outcome, report.state_digest);
                assert_eq!(found, (Outcome::Recovered, undisturbed()));
            }
        }
    }
}

#[test]
fn a_stop_that_finds_a_hanging_step_gives_up_on_it_and_keeps_the_blocks_before() {
    for (text, memory_bytes) in
        [("runaway; add n 1", 0), ("runaway; add n 1", 64 << 20), ("spin", 64 << 20)]
    {
        let (node, machine) = backlog(Some((4, text)));
        let mut options = RecoveryOptions { memory_bytes, ..limited(NONE) };
        options.executor.limits.operations_max = u64::MAX;
        let stop = options.stop.clone();
        let report = std::thread::scope(|scope| {
            let recovery = scope.spawn(|| node.recover_with(options));
            machine.probes.await_endless(&recovery);
            stop.request();
            recovery.join().expect("a report")
        });
        assert_eq!((halted(&report).cause, report.blocks), (HaltCause::Stopped, 0), "{text}");
        let says = "of 9 blocks 4 are rehearsed and 0 committed";
        assert!(halted(&report).reason.contains(says), "{text}: {report:?}");
        machine.probes.release();
        await_unlocked(&node);
        let short = RecoveryOptions { step_time_max: Duration::from_millis(600), ..limited(NONE) };
        let report = node.recover_with(short);
        assert_eq!(report.resumed_blocks, 4, "{text}");
        assert_eq!(machine.probes.attempts(tx(0)), 1, "{text}: rehearsed twice");
        if text.starts_with("runaway") {
            assert_eq!(report.outcome, Outcome::Recovered);
            assert_eq!(report.state_digest, undisturbed());
        } else {
            assert_eq!(report.outcome, Outcome::RecoveredWithQuarantine, "now it is judged");
        }
    }
}

/// A clock whose pauses take no time.
struct NoTime;

impl Clock for NoTime {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_000)
    }

    fn sleep(&self, _: Duration) {}
}

#[test]
fn a_stop_ends_attempts_that_would_be_repeated_for_long() {
    let (node, machine) = backlog(Some((0, "stuck")));
    let retry = RetryPolicy { attempts_max: u32::MAX, ..RetryPolicy::default() };
    let executor = ExecutorSettings { retry, clock: Arc::new(NoTime), ..options().executor };
    let options = RecoveryOptions { executor, ..limited(NONE) };
    let stop = options.stop.clone();
    let report = std::thread::scope(|scope| {
        let recovery = scope.spawn(|| node.recover_with(options));
        while machine.probes.attempts(tx(0)) < 2 {
            assert!(!recovery.is_finished(), "it is tried again");
            std::thread::yield_now();
        }
        stop.request();
        recovery.join().expect("a report")
    });
    assert_eq!((halted(&report).cause, report.blocks), (HaltCause::Stopped, 0));
    assert!(report.retries > 0);
    await_unlocked(&node);
}

#[test]
fn a_second_execution_that_fails_because_of_a_stop_is_not_held_against_its_block() {
    for memory_bytes in [0, 64 << 20] {
        for at in [0, 4, BLOCKS - 1] {
            let (node, machine) = backlog(Some((at, "wait; add n 1")));
            let how =
                || RecoveryOptions { commit: CommitMode::Reexecute, memory_bytes, ..limited(NONE) };
            let options = how();
            let (stop, calls) = (options.stop.clone(), AtomicU64::new(0));
            machine.probes.on_wait(move |_| {
                if calls.fetch_add(1, Ordering::Relaxed) == 1 {
                    stop.request();
                    panic!("as a step does that must end");
                }
            });
            let report = node.recover_with(options);
            let found = (halted(&report).cause, report.blocks);
            assert_eq!(found, (HaltCause::Stopped, at.into()), "{report:?}");
            let report = node.recover_with(how());
            assert_eq!((report.outcome, report.state_digest), (Outcome::Recovered, undisturbed()));
            assert_eq!(report.resumed_blocks, u64::from(BLOCKS - at));
        }
    }
}

#[test]
fn a_node_that_goes_on_advances_block_by_block() {
    for (commit, gate) in [(CommitMode::Restore, Gate::All), (CommitMode::Reexecute, Gate::Batch)] {
        let node = faulty_node(&Faulty::default());
        let mut examined = node.examine().expect("a sound node");
        let mut intake = Intake::new(&examined, Arc::new(SystemClock));
        let options = || RecoveryOptions { commit, gate, ..options() };
        for number in 0..BLOCKS {
            intake.append(block(number, "add n 1").into()).expect("an append");
            examined.catch_up().expect("a sound log");
            assert!(examined.event_bytes > 0);
            let stopped = options();
            stopped.stop.request();
            let (back, report) = Recovery::new(examined, stopped).advance().expect("a report");
            assert_eq!(halted(&report).cause, HaltCause::Stopped);
            assert_eq!(back.backlog.first, Some(Height(number.into())));
            let (back, report) = Recovery::new(back, options()).advance().expect("a report");
            assert_eq!((report.outcome, report.blocks), (Outcome::Recovered, 1));
            assert_eq!((back.label, back.event_bytes), (Label::InSync, 0));
            let head = back.store.main().head().expect("a readable row");
            assert_eq!(back.checkpoint, head, "what it goes on from is what is stored");
            let digest = back.store.main().lanes().expect("readable lanes").digest();
            assert_eq!(report.state_digest, digest);
            examined = back;
        }
        let wal = |name| std::fs::metadata(node.dir.file(name)).map_or(0, |wal| wal.len());
        assert!(wal("main.db-wal") > 0, "it is left as it is");
        let (examined, report) = Recovery::new(examined, options()).run().expect("a report");
        assert_eq!((report.outcome, report.state_digest), (Outcome::InSync, undisturbed()));
        assert_eq!(wal("main.db-wal"), 0, "an end moves it into the database");
        assert_eq!(blocks(&examined.store).len(), usize::from(BLOCKS));
    }
}

#[test]
fn every_repeated_attempt_is_counted() {
    // Those of a thread that was given up on.
    let machine = Faulty::default();
    let node = faulty_node(&machine);
    node.append(vec![script(1, "transient 2"), script(2, "runaway"), ordered(0, "", &[1, 2])]);
    let step_time_max = Duration::from_millis(600);
    let report = node.recover_with(RecoveryOptions { step_time_max, ..options() });
    assert_eq!((report.counts.quarantined, report.retries), (1, 2), "{report:?}");
    machine.probes.release();
    await_unlocked(&node);
    // Those of a second execution.
    let node = faulty_node(&machine);
    node.append(vec![script(1, "transient 2"), ordered(0, "", &[1])]);
    machine.probes.forget_attempts();
    let options = RecoveryOptions { commit: CommitMode::Reexecute, ..options() };
    let probes = Arc::clone(&machine.probes);
    options.rehearsed.subscribe(move |_| probes.forget_attempts());
    let report = node.recover_with(options);
    assert_eq!((report.outcome, report.retries), (Outcome::Recovered, 4), "{report:?}");
}

#[test]
fn a_store_that_fails_in_phase_1_commits_nothing_before_the_gate_opens() {
    let node = faulty_node(&Faulty::default());
    node.append(vec![script(1, "put a 1"), ordered(0, "", &[])]);
    node.recover_with(options());
    node.append(vec![script(2, "put b 2"), ordered(1, "", &[2]), ordered(2, "", &[1])]);
    // Received before the checkpoint: only the block that names it looks at it.
    let damage = "UPDATE event SET body = CAST(substr(body, 1, 33) || x'7f' AS BLOB) WHERE seq = 1";
    sql(&node.dir, "log.db").execute_batch(damage).expect("a damage");
    let examined = node.examine().expect("the tail is sound");
    let failed = Recovery::new(examined, options()).run().map(|(_, report)| report);
    let error = failed.expect_err("the transaction is not the one received");
    assert!(error.to_string().contains("event 1 does not follow"), "{error}");
    let store = node.dir.open().expect("a node");
    assert_eq!(blocks(&store).len(), 1, "block 1 was verified, and the gate did not open");
}
