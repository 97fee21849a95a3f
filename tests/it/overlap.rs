//! The next batch is rehearsed while the last one is committed: that it happens, and that nothing shows it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{current, scope, yield_now};
use std::time::{Duration, Instant};

use rewake::exec::{
    Clock, CommitMode, ExecutorSettings, Gate, HaltCause, Intake, NewEvent, Outcome, Recovery,
    RecoveryLimits, RecoveryOptions, Report, Scheduling, examine,
};
use rewake::generate::Workload;
use rewake::machine::{Registry, StateMachine as _};
use rewake::plan::BatchLimits;
use rewake::state::{Change, ChangeSet, StateDigest, StateRead as _};
use rewake::store::{Batch, DataDir, Repairs};
use rewake::types::{Bytes, Seq, UnixMillis};
use rewake_simdisk::{Call, Disk, Fault, FaultKind, Image, Lasting, Settings};

use crate::determinism::Whole;
use crate::faulty::Faulty;
use crate::nodes::{Node, fill};
use crate::scripted::{
    Numbers, StillClock, await_unlocked, blocks, faulty_node, options, ordered, receipts, script,
    seq, state,
};
use crate::simulated::Simulated;
use crate::steered::Steered;

const PLENTY: usize = 64 << 20;
const WAYS: [(CommitMode, usize); 4] = [
    (CommitMode::Restore, 0),
    (CommitMode::Restore, PLENTY),
    (CommitMode::Reexecute, 0),
    (CommitMode::Reexecute, PLENTY),
];
/// Time after which what is waited for does not come.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Long enough that no innocent step takes as long on a busy machine.
const STEP_TIME_MAX: Duration = Duration::from_millis(600);
const BLOCKS: u8 = 9;

/// What is seen of a recovery from outside.
#[derive(Default)]
struct Seen {
    /// The height after the last block that was told to be rehearsed.
    rehearsed: AtomicU64,
    /// The same of committed blocks.
    committed: AtomicU64,
    /// How often a commit on a thread of its own was held.
    held: AtomicU64,
    in_vain: Mutex<Vec<String>>,
}

impl Seen {
    fn rehearsed(&self) -> u64 {
        self.rehearsed.load(Ordering::Acquire)
    }

    fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// Waits; not for ever, so that what does not come fails a test rather than halting it.
    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            if began.elapsed() > WAIT_MAX {
                self.in_vain.lock().expect("no holder panics").push(what.to_owned());
                return;
            }
            yield_now();
        }
    }

    fn listen(self: &Arc<Self>, options: &RecoveryOptions) {
        let (one, other) = (Arc::clone(self), Arc::clone(self));
        let tell = |after: &AtomicU64, height: u64| {
            after.fetch_max(height + 1, Ordering::AcqRel);
        };
        options.rehearsed.subscribe(move |it| tell(&one.rehearsed, it.height.get()));
        options.committed.subscribe(move |it| tell(&other.committed, it.height.get()));
    }

    /// Asserts that so many commits were held at least, and nobody waited in vain.
    fn check(&self, held_min: u64, name: &str) {
        let in_vain = self.in_vain.lock().expect("no holder panics");
        assert!(in_vain.is_empty(), "{name}: in vain: {in_vain:?}");
        let held = self.held.load(Ordering::Acquire);
        assert!(held >= held_min, "{name}: {held} commits on a thread of their own");
    }
}

/// Says whether this is the thread on which a batch is committed while the next is rehearsed.
fn is_committing() -> bool {
    current().name() == Some("commit")
}

type Hold = Box<dyn Fn(&Seen) + Send + Sync>;

/// A clock that stands still. It is asked for the time of a batch just before that is written, and lets whoever commits
/// it on a thread of its own wait there.
struct Holding {
    seen: Arc<Seen>,
    hold: Hold,
}

impl Clock for Holding {
    fn now(&self) -> UnixMillis {
        if is_committing() {
            self.seen.held.fetch_add(1, Ordering::AcqRel);
            (self.hold)(&self.seen);
        }
        StillClock::default().now()
    }

    fn sleep(&self, _: Duration) {}
}

/// Batches of so many transactions, of which the next is rehearsed while one is committed; nothing is executed ahead of
/// its turn. Each such commit is held.
fn overlapped(
    txs_max: u64,
    (commit, memory_bytes): (CommitMode, usize),
    hold: impl Fn(&Seen) + Send + Sync + 'static,
) -> (RecoveryOptions, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let clock = Arc::new(Holding { seen: Arc::clone(&seen), hold: Box::new(hold) });
    let executor = ExecutorSettings {
        clock,
        workers: 2,
        scheduling: Scheduling::Parallel,
        records_access: true,
        ..options().executor
    };
    let batch = BatchLimits { txs_max, ..BatchLimits::default() };
    let gate = Gate::Batch;
    let options = RecoveryOptions { commit, memory_bytes, gate, batch, executor, ..options() };
    seen.listen(&options);
    (options, seen)
}

/// Holds the first batch, of two blocks, until the next is being rehearsed.
fn hold_first(seen: &Seen) {
    if seen.committed() == 0 {
        seen.until("a block of the second batch", || seen.rehearsed() > 2);
    }
}

/// Blocks of one transaction each, of which some may be others.
fn backlog(usual: &str, odd: &[(u8, &str)]) -> Vec<NewEvent> {
    let text =
        |number: u8| odd.iter().find(|(at, _)| *at == number).map_or(usual, |(_, text)| text);
    let block =
        |number| [script(number + 1, text(number)), ordered(number.into(), "", &[number + 1])];
    (0..BLOCKS).flat_map(block).collect()
}

fn faulty(usual: &str, odd: &[(u8, &str)]) -> (Node, Faulty) {
    let machine = Faulty::default();
    let node = faulty_node(&machine);
    node.append(backlog(usual, odd));
    (node, machine)
}

/// Position of the transaction of a block.
fn tx(number: u8) -> Seq {
    seq(2 * u64::from(number) + 1)
}

/// The block of a transaction.
fn block_of(seq: Seq) -> u64 {
    (seq.get() - 1) / 2
}

fn whole(node: &Node) -> Whole {
    Whole::of(&node.examine().expect("a sound node"))
}

/// Recovers on one thread, with everything rehearsed first.
fn plainly(node: &Node) -> (Report, Whole) {
    let executor = ExecutorSettings { workers: 1, ..options().executor };
    let report = node.recover_with(RecoveryOptions { executor, ..options() });
    (report, whole(node))
}

fn halted(report: &Report) -> (HaltCause, &str) {
    assert_eq!(report.outcome, Outcome::Halted, "{report:?}");
    let halt = report.halt.as_ref().expect("a reason");
    (halt.cause, &halt.reason)
}

#[test]
fn a_batch_is_rehearsed_while_the_one_before_it_is_committed() {
    for way in WAYS {
        let (node, _) = faulty("add n 1", &[]);
        let expected = plainly(&node.copy()).1;
        let total = u64::from(BLOCKS);
        // A commit goes on only when a block of the next batch is rehearsed.
        let (options, seen) = overlapped(2, way, move |seen| {
            let next = (seen.committed() + 3).min(total);
            seen.until("a block of the next batch", || seen.rehearsed() >= next);
        });
        // The second block of a batch is gone on from only when the batch before is committed.
        let other = Arc::clone(&seen);
        options.rehearsed.subscribe(move |it| {
            let before = it.height.get() / 2 * 2;
            if it.height.get() % 2 == 1 {
                other.until("the batch before", || other.committed() >= before);
            }
        });
        let report = node.recover_with(options);
        assert_eq!((report.outcome, report.batches), (Outcome::Recovered, 5), "{report:?}");
        seen.check(4, &format!("{way:?}"));
        assert_eq!(whole(&node), expected, "{way:?}");
    }
}

/// Blocks that write, delete and read few keys again and again, and how many transactions each has.
fn history(seed: u64) -> (Vec<NewEvent>, Vec<u64>) {
    let mut numbers = Numbers(seed);
    let mut events = Vec::new();
    let (mut sizes, mut number) = (Vec::new(), 0);
    for height in 0..30 {
        let mut txs = Vec::new();
        for _ in 0..numbers.below(4) {
            number += 1;
            txs.push(number);
            events.push(script(number, &commands(&mut numbers)));
        }
        sizes.push(txs.len() as u64);
        events.push(ordered(height, "", &txs));
    }
    (events, sizes)
}

fn commands(numbers: &mut Numbers) -> String {
    let mut commands = Vec::new();
    for _ in 0..=numbers.below(3) {
        let [a, b, c] = [4, 4, 2].map(|bound| numbers.below(bound));
        commands.push(match numbers.below(12) {
            0..3 => format!("put k{a} k{b}"),
            3..5 => format!("delete k{a}"),
            5..7 => format!("copy k{a} k{b}"),
            7 => format!("chase k{a} 3 k{b}"),
            8 => format!("add c{c} {b}"),
            9 => format!("copy c{c} seen{b}; delete c{c}"),
            10 => format!("put k{a} k{b}; refuse-if k{a} k{b}"),
            _ => {
                let verb = match numbers.below(3) {
                    0 => "poison-if",
                    1 => "panic-if",
                    _ => "stuck-if",
                };
                format!("put k{a} bad; {verb} k{a} bad")
            }
        });
    }
    commands.join("; ")
}

/// The height after the last block of the batch that begins at a height.
fn batch_end(sizes: &[u64], from: u64, txs_max: u64) -> u64 {
    let (mut end, mut txs) = (usize::try_from(from).expect("64 bits"), 0);
    while end < sizes.len() && (end as u64 == from || txs < txs_max) {
        txs += sizes[end];
        end += 1;
    }
    end as u64
}

#[test]
fn overlapped_batches_give_the_history_of_one_thread() {
    for seed in [7, 8] {
        let (events, sizes) = history(seed);
        let template =
            Node::new(Registry::default().with(Steered::default()), &Steered::default().version());
        template.append(events);
        let (report, expected) = plainly(&template.copy());
        assert_eq!(report.outcome, Outcome::RecoveredWithQuarantine, "{report:?}");
        assert!(report.counts.quarantined > 2 && report.counts.rejected > 0, "{report:?}");
        // Room for all that a batch writes, for a part of it, for nothing.
        let ways = [CommitMode::Restore, CommitMode::Reexecute]
            .into_iter()
            .flat_map(|commit| [0, 300, 600, 1_200, PLENTY].map(|memory| (commit, memory)));
        for way in ways {
            for txs_max in [1, 2, 3, 7] {
                for records_access in [true, false] {
                    let name = format!("{seed} {way:?} {txs_max} {records_access}");
                    let (node, sizes) = (template.copy(), sizes.clone());
                    let (mut options, seen) = overlapped(txs_max, way, move |seen| {
                        let next = batch_end(&sizes, seen.committed(), txs_max) + 1;
                        let next = next.min(sizes.len() as u64);
                        seen.until("a block of the next batch", || seen.rehearsed() >= next);
                    });
                    options.executor.records_access = records_access;
                    let report = node.recover_with(options);
                    assert_eq!(report.outcome, Outcome::RecoveredWithQuarantine, "{name}");
                    assert_eq!(whole(&node), expected, "{name}");
                    seen.check(4, &name);
                    assert!(!node.dir.file("sandbox.db").exists(), "{name}");
                }
            }
        }
    }
}

#[test]
fn batches_of_many_stretches_are_read_above_while_they_are_written() {
    let workload = Workload {
        accounts: 5_000,
        transfers: 9_000,
        block_txs: 300,
        skew_percent: 20,
        ..Workload::default()
    };
    let template = Node::ledger();
    fill(&template, &workload);
    let (report, expected) = plainly(&template.copy());
    assert_eq!(report.outcome, Outcome::Recovered, "{report:?}");
    for way in WAYS {
        for memory_bytes in [way.1, 400_000] {
            let name = format!("{way:?} {memory_bytes}");
            let node = template.copy();
            let (mut options, seen) = overlapped(1_500, (way.0, memory_bytes), |seen| {
                let next = seen.committed() + 7;
                seen.until("the next batch", || seen.rehearsed() >= next.min(30));
            });
            options.executor.records_access = false;
            let report = node.recover_with(options);
            assert_eq!(report.outcome, Outcome::Recovered, "{name}: {report:?}");
            seen.check(3, &name);
            assert_eq!(whole(&node), expected, "{name}");
        }
    }
}

#[test]
fn a_step_that_hangs_while_the_batch_before_is_committed_gets_its_verdict() {
    for (verb, commit, memory_bytes, records_access) in [
        ("spin", CommitMode::Restore, 0, true),
        ("spin", CommitMode::Reexecute, PLENTY, true),
        ("runaway", CommitMode::Restore, PLENTY, true),
        ("runaway", CommitMode::Reexecute, 0, true),
        // It hangs ahead of its turn first.
        ("runaway", CommitMode::Restore, 0, false),
    ] {
        let name = format!("{verb} {commit:?} {memory_bytes} {records_access}");
        let (node, machine) = faulty("add n 1; put last 1", &[(3, &format!("put z 9; {verb}"))]);
        let twin = faulty("add n 1; put last 1", &[(3, "poison no")]).0;
        let without = plainly(&twin).0;
        let probes = Arc::clone(&machine.probes);
        let (mut options, seen) = overlapped(2, (commit, memory_bytes), move |seen| {
            seen.until("the culprit", || probes.attempts(tx(3)) > 0);
        });
        options.step_time_max = STEP_TIME_MAX;
        options.executor.limits.operations_max = u64::MAX;
        options.executor.records_access = records_access;
        let report = node.recover_with(options);
        assert_eq!(report.outcome, Outcome::RecoveredWithQuarantine, "{name}: {report:?}");
        assert_eq!((report.counts.quarantined, report.blocks), (1, BLOCKS.into()), "{name}");
        assert_eq!(report.state_digest, without.state_digest, "{name}");
        seen.check(1, &name);
        machine.probes.release();
        await_unlocked(&node);
        assert!(!node.dir.file("sandbox.db").exists(), "{name}: nobody would ever delete it");
        let store = node.dir.open().expect("a node");
        assert_eq!(blocks(&store).len(), usize::from(BLOCKS), "{name}");
        let receipt = receipts(&store, rewake::types::Height(3));
        assert!(receipt[0].starts_with("quarantined: ran longer than"), "{name}: {receipt:?}");
        assert_eq!(state(&store)["n"], "8", "{name}");
    }
}

/// Goes on from a recovery that was stopped, and checks that nothing is lost, repeated or left.
fn check_gone_on(
    name: &str,
    (node, machine): &(Node, Faulty),
    (stopped, rehearsed): (&Report, u64),
    way: (CommitMode, usize),
) {
    let (options, _) = overlapped(2, way, |_| {});
    let report = node.recover_with(options);
    let total = u64::from(BLOCKS);
    assert_eq!(report.resumed_blocks, rehearsed - stopped.blocks, "{name}: {stopped:?}");
    assert_eq!(stopped.blocks + report.blocks, total, "{name}");
    let executions = if way.0 == CommitMode::Restore { 1 } else { 2 };
    for number in 0..BLOCKS {
        assert_eq!(machine.probes.attempts(tx(number)), executions, "{name}: block {number}");
    }
    let expected = plainly(&faulty("add n 1", &[]).0).0;
    assert_eq!(report.state_digest, expected.state_digest, "{name}");
    assert!(!node.dir.file("sandbox.db").exists(), "{name}");
}

#[test]
fn a_stop_while_both_go_on_leaves_everything_rehearsed_to_the_next_recovery() {
    for way in WAYS {
        for time_max in [None, Some(Duration::from_millis(300))] {
            let name = format!("{way:?} {time_max:?}");
            let case = faulty("add n 1", &[]);
            let stop = rewake::exec::StopSignal::default();
            let signal = stop.clone();
            let (mut options, seen) = overlapped(2, way, move |seen| {
                hold_first(seen);
                // The limit counts from before.
                let began = Instant::now();
                match time_max {
                    None => signal.request(),
                    Some(limit) => seen.until("the limit", || began.elapsed() > limit * 2),
                }
            });
            options.stop = stop;
            options.limits = RecoveryLimits { time_max, stall_max: None };
            let stopped = case.0.recover_with(options);
            let rehearsed = seen.rehearsed();
            let (cause, reason) = halted(&stopped);
            if time_max.is_none() {
                assert_eq!((cause, stopped.blocks), (HaltCause::Stopped, 2), "{name}");
                assert!(rehearsed > 2, "{name}");
                seen.check(1, &name);
            }
            let says = format!("of 9 blocks {rehearsed} are rehearsed and {} ", stopped.blocks);
            assert!(reason.contains(&says), "{name}: {says:?} against {reason:?}");
            check_gone_on(&name, &case, (&stopped, rehearsed), way);
        }
    }
}

#[test]
fn a_stop_amid_a_second_execution_leaves_two_batches_to_the_next_recovery() {
    for memory_bytes in [0, PLENTY] {
        let way = (CommitMode::Reexecute, memory_bytes);
        let (node, machine) = faulty("wait; add n 1", &[]);
        let (options, seen) = overlapped(2, way, |_| {});
        let (stop, other) = (options.stop.clone(), Arc::clone(&seen));
        machine.probes.on_wait(move |seq| {
            // Once its rehearsal was told of, it is executed the second time.
            if block_of(seq) < other.rehearsed() && !stop.is_requested() {
                other.until("a block of the second batch", || other.rehearsed() > 2);
                stop.request();
            }
        });
        let stopped = node.recover_with(options);
        let rehearsed = seen.rehearsed();
        seen.check(0, "stopped");
        assert_eq!((halted(&stopped).0, stopped.blocks), (HaltCause::Stopped, 1), "{stopped:?}");
        assert!(rehearsed > 2);
        let name = format!("{memory_bytes}");
        check_gone_on(&name, &(node, machine), (&stopped, rehearsed), way);
    }
}

#[test]
fn a_stop_at_any_notice_of_two_threads_is_gone_on_from() {
    for way in WAYS {
        for notice in 1..=2 * u64::from(BLOCKS) {
            let name = format!("{way:?} {notice}");
            let case = faulty("add n 1", &[]);
            let (options, seen) = overlapped(2, way, |_| {});
            let told = Arc::new(AtomicU64::new(0));
            let (one, other) = (Arc::clone(&told), told);
            let tell = move |stop: &rewake::exec::StopSignal, told: &AtomicU64| {
                if told.fetch_add(1, Ordering::Relaxed) + 1 == notice {
                    stop.request();
                }
            };
            let stop = options.stop.clone();
            options.rehearsed.subscribe(move |_| tell(&stop, &one));
            let stop = options.stop.clone();
            options.committed.subscribe(move |_| tell(&stop, &other));
            let stopped = case.0.recover_with(options);
            assert_eq!(stopped.blocks, seen.committed(), "{name}");
            check_gone_on(&name, &case, (&stopped, seen.rehearsed()), way);
        }
    }
}

#[test]
fn a_stop_gives_up_on_a_hanging_step_and_the_batch_before_it_is_committed() {
    for way in [WAYS[0], WAYS[3]] {
        let name = format!("{way:?}");
        let (node, machine) = faulty("add n 1", &[(3, "runaway; add n 1")]);
        let expected = plainly(&faulty("add n 1", &[]).0).0;
        let (probes, stop) = (Arc::clone(&machine.probes), rewake::exec::StopSignal::default());
        let signal = stop.clone();
        let (mut options, seen) = overlapped(2, way, move |seen| {
            seen.until("the culprit", || probes.attempts(tx(3)) > 0);
            signal.request();
        });
        options.stop = stop;
        let stopped = node.recover_with(options);
        seen.check(1, &name);
        assert_eq!((halted(&stopped).0, stopped.blocks), (HaltCause::Stopped, 2), "{stopped:?}");
        machine.probes.release();
        await_unlocked(&node);
        let report = node.recover_with(overlapped(2, way, |_| {}).0);
        assert_eq!((report.outcome, report.blocks), (Outcome::Recovered, 7), "{name}: {report:?}");
        assert_eq!(report.state_digest, expected.state_digest, "{name}");
    }
}

#[test]
fn a_difference_ends_both_and_leaves_nothing_to_be_gone_on_with() {
    for memory_bytes in [0, PLENTY] {
        let way = (CommitMode::Reexecute, memory_bytes);
        let (node, machine) = faulty("add n 1", &[(2, "wait; differ k")]);
        let (options, seen) = overlapped(2, way, |_| {});
        let other = Arc::clone(&seen);
        machine.probes.on_wait(move |_| {
            if other.rehearsed() > 2 {
                other.until("a block of the third batch", || other.rehearsed() > 4);
            }
        });
        let report = node.recover_with(options);
        seen.check(0, "differs");
        let (cause, reason) = halted(&report);
        assert_eq!((cause, report.blocks), (HaltCause::Difference, 2), "{memory_bytes}: {reason}");
        assert!(reason.starts_with("block 2: a change differs"), "{reason}");
        assert!(seen.rehearsed() > 4, "{memory_bytes}");
        assert!(!node.dir.file("sandbox.db").exists(), "{memory_bytes}: it would be gone on with");
        assert_eq!(blocks(&node.dir.open().expect("a node")).len(), 2, "{memory_bytes}");
        machine.probes.on_wait(|_| {});
        let restored = node.recover_with(overlapped(2, WAYS[0], |_| {}).0);
        let found = (restored.outcome, restored.resumed_blocks, restored.blocks);
        assert_eq!(found, (Outcome::Recovered, 0, 7), "{memory_bytes}");
    }
}

#[test]
fn a_difference_is_told_although_a_later_step_hangs() {
    for memory_bytes in [0, PLENTY] {
        let way = (CommitMode::Reexecute, memory_bytes);
        let odd = [(2, "wait; differ k"), (5, "runaway")];
        let (node, machine) = faulty("add n 1", &odd);
        let (mut options, seen) = overlapped(2, way, |_| {});
        options.step_time_max = STEP_TIME_MAX;
        let (other, probes) = (Arc::clone(&seen), Arc::clone(&machine.probes));
        machine.probes.on_wait(move |_| {
            if other.rehearsed() > 2 {
                other.until("the step that hangs", || probes.attempts(tx(5)) > 0);
            }
        });
        let report = node.recover_with(options);
        seen.check(1, "differs");
        let found = (halted(&report).0, report.blocks, report.log_head_seq);
        assert_eq!(found, (HaltCause::Difference, 2, 18), "{memory_bytes}: no verdict: {report:?}");
        machine.probes.release();
        await_unlocked(&node);
        assert!(!node.dir.file("sandbox.db").exists(), "{memory_bytes}: it would be gone on with");
        assert_eq!(blocks(&node.dir.open().expect("a node")).len(), 2, "{memory_bytes}");
    }
}

/// A node of the backlog on a simulated disk.
fn on_disk(machine: &Faulty, events: Vec<NewEvent>) -> (Arc<Disk>, DataDir, Registry) {
    let disk = Disk::new(Image::default(), Settings::default());
    let dir = DataDir::on(&Simulated, disk.path().join("node"));
    dir.create(&machine.version()).expect("a new node");
    let registry = Registry::default().with(machine.clone());
    let node = examine(&dir, &registry, Repairs::default()).expect("a sound node");
    let mut intake = Intake::new(&node, Arc::new(StillClock::default()));
    intake.append(events).expect("an append");
    (Arc::new(disk), dir, registry)
}

#[test]
fn a_commit_that_fails_while_the_next_batch_is_rehearsed_is_recovered_from() {
    for way in WAYS {
        for kind in [FaultKind::Full, FaultKind::IoDropping] {
            let name = format!("{way:?} {kind:?}");
            let (disk, dir, registry) = on_disk(&Faulty::default(), backlog("add n 1", &[]));
            let recover = |options| {
                let node = examine(&dir, &registry, Repairs::default()).expect("a sound node");
                Recovery::new(node, options).run()
            };
            let full = Arc::clone(&disk);
            // The second batch fails.
            let (options, seen) = overlapped(2, way, move |seen| {
                if seen.committed() == 2 {
                    seen.until("a block of the third batch", || seen.rehearsed() > 4);
                    let (call, lasting) = (Call::Write, Lasting::ForEver);
                    full.arm(Some(Fault { call, number: 1, kind, lasting }));
                }
            });
            let error = recover(options).map(|(_, report)| report).expect_err("it cannot write");
            assert!(error.to_string().contains(".db"), "{name}: it names the file: {error}");
            assert!(disk.faults().1 > 0, "{name}: the fault fired");
            seen.check(2, &name);
            disk.arm(None);
            let (options, _) = overlapped(2, way, |_| {});
            let (node, report) = recover(options).expect("a recovery");
            assert_eq!(report.outcome, Outcome::Recovered, "{name}: {report:?}");
            assert_eq!(Whole::of(&node).state, plainly_on_disk(), "{name}");
            assert!([7, 5].contains(&report.blocks), "{name}: {report:?}");
        }
    }
}

/// The state after the backlog, undisturbed.
fn plainly_on_disk() -> [rewake::types::Digest; 2] {
    plainly(&faulty("add n 1", &[]).0).1.state
}

#[test]
fn what_a_batch_wrote_is_read_while_its_commit_is_written_to_the_disk() {
    for way in WAYS {
        let name = format!("{way:?}");
        let (disk, dir, registry) = on_disk(&Faulty::default(), backlog("add n 1; get n", &[]));
        let (options, seen) = overlapped(2, way, |_| {});
        let (other, writes) = (Arc::clone(&seen), AtomicU64::new(0));
        disk.before_writes(move || {
            if is_committing() && writes.fetch_add(1, Ordering::Relaxed) == 0 {
                other.until("blocks that read", || other.rehearsed() > 3);
            }
        });
        let node = examine(&dir, &registry, Repairs::default()).expect("a sound node");
        let (node, report) = Recovery::new(node, options).run().expect("a recovery");
        assert_eq!((report.outcome, report.batches), (Outcome::Recovered, 5), "{name}: {report:?}");
        seen.check(4, &name);
        assert_eq!(state(&node.store)["n"], "9", "{name}");
    }
}

#[test]
fn a_step_that_has_to_wait_for_a_commit_is_not_taken_for_one_that_hangs() {
    let machine = Faulty::default();
    let events = backlog("add n 1", &[(3, "wait; get fresh; add n 1")]);
    let (disk, dir, registry) = on_disk(&machine, events);
    let (mut options, seen) = overlapped(2, WAYS[1], hold_first);
    options.step_time_max = STEP_TIME_MAX;
    let (is_writing, is_reading) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
    let is_reading = Arc::new(is_reading);
    let (other, writing, reading) =
        (Arc::clone(&seen), Arc::clone(&is_writing), Arc::clone(&is_reading));
    disk.before_writes(move || {
        if !is_committing() || writing.swap(true, Ordering::AcqRel) {
            return;
        }
        other.until("the step reads", || reading.load(Ordering::Acquire));
        // The table is locked: the step waits for as long as one would be given up on after.
        let began = Instant::now();
        other.until("time passes", || began.elapsed() > STEP_TIME_MAX * 5 / 2);
    });
    let other = Arc::clone(&seen);
    machine.probes.on_wait(move |_| {
        other.until("the commit", || is_writing.load(Ordering::Acquire));
        is_reading.store(true, Ordering::Release);
    });
    let node = examine(&dir, &registry, Repairs::default()).expect("a sound node");
    let (node, report) = Recovery::new(node, options).run().expect("a recovery");
    seen.check(4, "waits");
    assert_eq!(report.outcome, Outcome::Recovered, "{report:?}");
    assert_eq!(machine.probes.attempts(tx(3)), 1);
    assert_eq!(state(&node.store)["n"], "9");
}

#[test]
fn a_batch_that_is_not_committed_is_shown_to_nobody_else() {
    let node = faulty_node(&Faulty::default());
    let store = node.dir.open().expect("a node");
    let change = |number: u32| Change {
        key: Bytes::from(number.to_be_bytes().as_slice()),
        before: None,
        after: Some(Bytes::default()),
    };
    let net = ChangeSet::new((0..3_000).map(change).collect());
    let batch = Batch { net, machine_version: 1, ..Batch::default() };
    let rows = || {
        let mut rows = 0;
        store.main().scan(&[], &mut |_, _| rows += 1).expect("a readable state");
        rows
    };
    for (is_committed, expected) in [(false, 0), (true, 3_000)] {
        let staged = store.stage(&batch).expect("rows");
        let asks = AtomicBool::new(false);
        scope(|scope| {
            let other = scope.spawn(|| {
                asks.store(true, Ordering::Release);
                rows()
            });
            while !asks.load(Ordering::Acquire) {
                yield_now();
            }
            for _ in 0..100_000 {
                assert!(!other.is_finished(), "it was answered amid the batch");
                yield_now();
            }
            if is_committed {
                staged.commit(&StateDigest::default()).expect("a commit");
            } else {
                drop(staged);
            }
            assert_eq!(other.join().expect("an answer"), expected, "{is_committed}");
        });
    }
}
