//! What `Executor::execute` makes of every fault.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rewake::block::Status;
use rewake::event::Patch;
use rewake::exec::{
    BlockFailure, Clock, Executed, Executor, ExecutorSettings, RetryPolicy, Rulings,
};
use rewake::machine::{BlockInput, Limits, TxInput};
use rewake::state::{MemoryState, StateError, StateRead, Writer};
use rewake::types::{Bytes, Height, Seq, TxId, UnixMillis};

use crate::faulty::{Faulty, Probes};

const HEIGHT: Height = Height(7);
const LIMITS: Limits = Limits { operations_max: 1_000, written_bytes_max: 1 << 20 };

/// A clock that stands still and writes down the pauses that it is asked for.
#[derive(Default)]
struct PausesOnly(Mutex<Vec<Duration>>);

impl Clock for PausesOnly {
    fn now(&self) -> UnixMillis {
        UnixMillis(0)
    }

    fn sleep(&self, time: Duration) {
        self.0.lock().expect("no holder panics").push(time);
    }
}

/// An executor of the faulty machine, with what a test wants to look at.
struct Bench {
    executor: Executor,
    probes: Arc<Probes>,
    clock: Arc<PausesOnly>,
    below: MemoryState,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let (machine, clock) = (Faulty::default(), Arc::new(PausesOnly::default()));
        let probes = machine.probes.clone();
        let settings =
            ExecutorSettings { limits, clock: clock.clone(), ..ExecutorSettings::default() };
        let mut below = MemoryState::default();
        below.set(Bytes::from(*b"old"), Some(Bytes::from(*b"0")));
        Self { executor: Executor::new(Arc::new(machine), settings), probes, clock, below }
    }

    fn execute(&self, input: &BlockInput, rulings: &Rulings) -> Result<Executed, BlockFailure> {
        let before = self.below.clone();
        let executed = self.executor.execute(input, rulings, &self.below);
        assert_eq!(self.below, before, "the state below stays as it is");
        executed
    }

    fn run(&self, scripts: &[&str]) -> Result<Executed, BlockFailure> {
        self.execute(&block("", scripts), &Rulings::new())
    }

    fn pauses(&self) -> Vec<Duration> {
        self.clock.0.lock().expect("no holder panics").clone()
    }
}

fn bench() -> Bench {
    Bench::new(LIMITS)
}

fn seq(number: u64) -> Seq {
    Seq::new(number).expect("it is not zero")
}

/// Makes a block whose first transaction stands at position 11.
fn block(header: &str, scripts: &[&str]) -> BlockInput {
    let txs = (11..).zip(scripts).map(|(number, script)| TxInput {
        seq: seq(number),
        id: TxId([0; 32]),
        payload: script.as_bytes().to_vec().into(),
        created: None,
    });
    let txs = txs.collect();
    BlockInput { height: HEIGHT, header: Bytes::from(header.as_bytes()), patches: vec![], txs }
}

fn statuses(executed: &Executed) -> Vec<Status> {
    executed.receipts.0.iter().map(|receipt| receipt.status.clone()).collect()
}

/// Returns the values after the block by key; those that the machine itself writes are left out.
fn values(executed: &Executed) -> BTreeMap<String, Option<String>> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let changes = executed.changes.changes().iter();
    let values = changes.map(|change| (text(&change.key), change.after.as_ref().map(text)));
    values.filter(|(key, _)| key != "blocks").collect()
}

fn poison(executed: Result<Executed, BlockFailure>) -> (Writer, Option<Seq>, String, u32) {
    match executed {
        Err(BlockFailure::Poison { height: HEIGHT, step, seq, reason, attempts }) => {
            (step, seq, reason, attempts)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn effects_and_receipts_come_out_in_order() {
    let bench = bench();
    let scripts =
        ["put a 1; put b 2", "refuse too late", "delete old; add n 5; put a 3", "add n 2"];
    let executed = bench.run(&scripts).expect("nothing fails");
    let rejected = Status::Rejected("too late".to_owned());
    let applied = Status::Applied;
    assert_eq!(statuses(&executed), [applied.clone(), rejected, applied.clone(), applied]);
    let some = |text: &str| Some(text.to_owned());
    let seven = String::from_utf8(7u128.to_le_bytes().to_vec()).ok();
    let expected = [("a", some("3")), ("b", some("2")), ("n", seven), ("old", None)];
    assert_eq!(values(&executed), expected.map(|(key, value)| (key.to_owned(), value)).into());
    let writers = [Writer::Tx(2), Writer::Tx(0), Writer::End, Writer::Tx(3), Writer::Tx(2)];
    assert_eq!(executed.writers, writers, "a, b, blocks, n, old");
    assert_eq!((executed.retries, bench.pauses().len()), (0, 0));
}

#[test]
fn a_patch_comes_before_the_transactions() {
    let bench = bench();
    let mut input = block("", &["add n 1"]);
    let entry = (Bytes::from(*b"n"), Some(Bytes::from(4u128.to_le_bytes())));
    input.patches = vec![Patch::new("irregular", false, [entry])];
    let executed = bench.execute(&input, &Rulings::new()).expect("nothing fails");
    let change = executed.changes.find(b"n").expect("it is written");
    assert_eq!(change.after.as_deref(), Some(&5u128.to_le_bytes()[..]));
    assert_eq!(change.before, None);
}

#[test]
fn a_transient_failure_is_tried_again_after_growing_pauses() {
    let bench = bench();
    let executed = bench.run(&["put a 1", "put b 1; transient 3; put c 1"]).expect("it passes");
    assert_eq!(statuses(&executed), [Status::Applied, Status::Applied]);
    assert_eq!((executed.retries, bench.probes.attempts(seq(12))), (3, 4));
    let policy = RetryPolicy::default();
    let expected = [1, 2, 3].map(|attempt| policy.pause(attempt, HEIGHT, 12));
    assert_eq!(bench.pauses(), expected);
    assert!(expected.is_sorted(), "{expected:?}");
}

#[test]
fn a_transient_failure_that_stays_is_poison_after_the_last_attempt() {
    let bench = bench();
    let (step, at, reason, attempts) = poison(bench.run(&["put a 1", "put b 1; stuck"]));
    assert_eq!((step, at), (Writer::Tx(1), Some(seq(12))));
    assert_eq!((reason.as_str(), attempts), ("transient failure: stuck", 5));
    assert_eq!(bench.probes.attempts(seq(12)), 5);
    assert_eq!(bench.pauses().len(), 4, "none follows the last attempt");
}

#[test]
fn what_an_attempt_wrote_before_it_failed_is_gone() {
    let bench = bench();
    let executed = bench.run(&["add n 1; transient 2"]).expect("it passes");
    let change = executed.changes.find(b"n").expect("it is written");
    assert_eq!(change.after.as_deref(), Some(&1u128.to_le_bytes()[..]), "added once");
}

#[test]
fn poison_is_attributed_to_its_transaction_and_not_tried_again() {
    let operations = "more than 1000 reads and writes";
    let bytes = "more than 1048576 bytes written";
    let cases = [
        ("poison it is bad", "it is bad"),
        ("panic out of cheese", "panicked: out of cheese"),
        ("spin", operations),
        ("bomb", bytes),
        ("put n 1; add n 1", "key n holds no counter"),
    ];
    for (script, expected) in cases {
        let bench = bench();
        let (step, at, reason, attempts) = poison(bench.run(&["put a 1", script, "put b 1"]));
        assert_eq!((step, at), (Writer::Tx(1), Some(seq(12))), "{script}");
        assert_eq!((reason.as_str(), attempts), (expected, 1), "{script}");
        let tried = [11, 12, 13].map(|number| bench.probes.attempts(seq(number)));
        assert_eq!(tried, [1, 1, 0], "{script}: the third is not reached");
        assert_eq!(bench.pauses(), [], "{script}");
    }
}

#[test]
fn a_counter_does_not_wrap() {
    let mut bench = bench();
    bench.below.set(Bytes::from(*b"n"), Some(Bytes::from(u128::MAX.to_le_bytes())));
    let (_, at, reason, _) = poison(bench.run(&["add n 1"]));
    assert_eq!((at, reason.as_str()), (Some(seq(11)), "a counter overflows 128 bits"));
}

#[test]
fn limits_count_each_step_by_itself() {
    let bench = Bench::new(Limits { operations_max: 2, written_bytes_max: 24 });
    let executed =
        bench.run(&["put a 1; put b 1", "put c 1; put d 1", "put e twenty-four-bytes-long!!"]);
    let (_, _, reason, _) = poison(executed);
    assert_eq!(reason, "more than 24 bytes written");
    let executed =
        bench.run(&["put a 1; put b 1", "put c 1; put d 1", "put e twenty-three-bytes-long"]);
    assert_eq!(values(&executed.expect("no step uses more than its limit")).len(), 5);
    let (step, ..) = poison(bench.run(&["put a 1", "put a 1; put b 1; put c 1"]));
    assert_eq!(step, Writer::Tx(1));
}

#[test]
fn the_watch_stops_a_step_that_reads_without_end() {
    let bench = Bench::new(Limits { operations_max: u64::MAX, written_bytes_max: u64::MAX });
    let watch = bench.executor.watch().clone();
    assert_eq!(watch.running(), None);
    let failed = std::thread::scope(|scope| {
        let running = scope.spawn(|| bench.run(&["put a 1", "spin"]));
        bench.probes.await_endless(&running);
        let seen = watch.running().expect("the watch sees the step");
        watch.stop(seen.step);
        running.join().expect("the executor does not panic")
    });
    let (step, _, reason, attempts) = poison(failed);
    let expected = (Writer::Tx(1), "ran longer than the time limit", 1);
    assert_eq!((step, reason.as_str(), attempts), expected);
    assert_eq!(watch.running(), None);
    bench.run(&["put a 1"]).expect("the stop does not outlive its step");
}

#[test]
fn a_runaway_that_touches_nothing_is_seen_but_cannot_be_stopped() {
    let bench = bench();
    let watch = bench.executor.watch().clone();
    let executed = std::thread::scope(|scope| {
        let running = scope.spawn(|| bench.run(&["runaway"]));
        bench.probes.await_endless(&running);
        let seen = watch.running().expect("the watch sees the step");
        watch.stop(seen.step);
        let has_ended = running.is_finished();
        bench.probes.release();
        let executed = running.join().expect("the executor does not panic");
        assert!(!has_ended);
        executed
    });
    let executed = executed.expect("a stop that comes too late stops nothing");
    assert_eq!(statuses(&executed), [Status::Applied]);
}

#[test]
fn a_slow_transaction_waits_for_what_the_test_says() {
    let bench = bench();
    let waited = Arc::new(AtomicU32::new(0));
    let counter = waited.clone();
    bench.probes.on_wait(move |at| {
        assert_eq!(at, seq(12));
        counter.fetch_add(1, Ordering::Relaxed);
    });
    bench.run(&["put a 1", "wait; put b 1"]).expect("nothing fails");
    assert_eq!(waited.load(Ordering::Relaxed), 1);
}

#[test]
fn a_machine_that_is_not_deterministic_gives_two_results() {
    let bench = bench();
    let run = || bench.run(&["differ a"]).expect("nothing fails").changes;
    let (first, second) = (run(), run());
    assert_eq!(first.first_difference(&second).map(|key| key.to_vec()), Some(b"a".to_vec()));
}

#[test]
fn a_ruling_keeps_a_transaction_out_of_execution() {
    let bench = bench();
    let input = block("", &["put a 1", "panic now", "put b 1"]);
    let rulings = Rulings::from([(seq(12), "panicked before".to_owned())]);
    let executed = bench.execute(&input, &rulings).expect("the bad one is kept out");
    let quarantined = Status::Quarantined("panicked before".to_owned());
    assert_eq!(statuses(&executed), [Status::Applied, quarantined, Status::Applied]);
    assert_eq!(bench.probes.attempts(seq(12)), 0);
    assert_eq!(values(&executed).into_keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn a_fault_of_the_block_is_attributed_to_the_block() {
    let cases = [
        ("open-poison", Writer::Begin, "the header is poison", 0),
        ("begin-panic", Writer::Begin, "panicked: the opening panics", 0),
        ("end-panic", Writer::End, "panicked: the closing panics", 1),
        ("end-poison", Writer::End, "the closing is poison", 1),
        ("check-panic", Writer::End, "panicked: the check panics", 1),
    ];
    for (header, step, reason, executions) in cases {
        let bench = bench();
        let failed = bench.execute(&block(header, &["put a 1"]), &Rulings::new());
        assert_eq!(poison(failed), (step, None, reason.to_owned(), 1), "{header}");
        assert_eq!(bench.probes.attempts(seq(11)), executions, "{header}");
    }
}

#[test]
fn a_failed_check_says_what_differs() {
    let failed = bench().execute(&block("check-fail", &["put a 1"]), &Rulings::new());
    let error = failed.expect_err("the check fails").to_string();
    assert_eq!(error, "block 7: the header is check-fail, expected well");
}

#[test]
fn a_state_that_cannot_be_read_is_no_fault_of_the_transaction() {
    struct Broken;
    impl StateRead for Broken {
        fn get(&self, _: &[u8]) -> Result<Option<Bytes>, StateError> {
            Err(StateError(Arc::new(std::io::Error::other("page 7 is torn"))))
        }
        fn scan(&self, _: &[u8], _: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
            Err(StateError(Arc::new(std::io::Error::other("page 7 is torn"))))
        }
    }
    let bench = bench();
    let failed = bench.executor.execute(&block("", &["put a 1"]), &Rulings::new(), &Broken);
    assert!(matches!(failed, Err(BlockFailure::State(_))), "{failed:?}");
    assert_eq!(bench.pauses(), [], "it is not tried again here");
}

#[test]
fn the_keys_of_each_step_are_kept_where_they_are_asked_for() {
    let settings = ExecutorSettings { records_access: true, ..ExecutorSettings::default() };
    let executor = Executor::new(Arc::new(Faulty::default()), settings);
    let input = block("", &["put a 1", "add n 1; put a 2"]);
    let executed = executor.execute(&input, &Rulings::new(), &MemoryState::default());
    let access = executed.expect("nothing fails").access;
    let keys = |keys: &std::collections::BTreeSet<Bytes>| {
        keys.iter()
            .map(|key| String::from_utf8_lossy(key).into_owned())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let seen: Vec<_> =
        access.iter().map(|one| (one.step, keys(&one.reads), keys(&one.writes))).collect();
    let expected = [
        (Writer::Begin, "", ""),
        (Writer::Tx(0), "", "a"),
        (Writer::Tx(1), "n", "a n"),
        (Writer::End, "blocks", "blocks"),
    ];
    assert_eq!(seen, expected.map(|(step, reads, writes)| (step, reads.into(), writes.into())));
}

/// Run by the next test in a process of its own, whose standard error that test reads.
#[test]
fn a_panic_within_and_one_without() {
    poison(bench().run(&["panic within the machine"]));
    let without = std::panic::catch_unwind(|| panic!("without a machine"));
    assert!(without.is_err());
}

#[test]
fn a_panic_of_the_machine_prints_nothing() {
    let itself = std::env::current_exe().expect("the test runs from a file");
    let test = "executor::a_panic_within_and_one_without";
    let output = std::process::Command::new(itself).args([test, "--exact", "--nocapture"]).output();
    let output = output.expect("the test can be run again");
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(stdout.contains("1 passed"), "{stdout}");
    assert!(stderr.contains("without a machine"), "other panics are printed: {stderr}");
    assert!(!stderr.contains("within the machine"), "{stderr}");
}
