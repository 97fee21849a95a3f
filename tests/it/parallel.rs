//! Blocks on several threads give what they give on one, whatever transactions see ahead of their turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use rewake::block::Receipt;
use rewake::event::Patch;
use rewake::exec::{
    BlockFailure, Dependencies, Executed, Executor, ExecutorSettings, Foreseen, Rulings,
    Scheduling, Window,
};
use rewake::machine::ledger::{Account, AccountState, Ledger, Transfer, account_key};
use rewake::machine::{
    BlockInput, BlockOutcome, CheckFailure, Context, ExecError, Limits, MachineVersion, OpenBlock,
    StateMachine, TxInput,
};
use rewake::state::MemoryState;
use rewake::types::{Bytes, Height, TxId};

use crate::scripted::{StillClock, seq};
use crate::steered::Steered;

const LIMITS: Limits = Limits { operations_max: 1 << 40, written_bytes_max: 1 << 20 };
const THREADS: [usize; 3] = [2, 3, 8];
/// A block on which threads are forced is executed in sections at one, and ahead of turns at the other.
const HEIGHTS: [Height; 2] = [Height(1), Height(2)];

fn executor(machine: &Arc<dyn StateMachine>, workers: usize) -> Executor {
    let settings = ExecutorSettings {
        limits: LIMITS,
        clock: Arc::new(StillClock::default()),
        workers,
        scheduling: Scheduling::Parallel,
        ..ExecutorSettings::default()
    };
    Executor::new(Arc::clone(machine), settings)
}

/// One executor for each number of threads, the first of which is one.
fn executors(machine: impl StateMachine + 'static) -> Vec<Executor> {
    let machine: Arc<dyn StateMachine> = Arc::new(machine);
    std::iter::once(1).chain(THREADS).map(|workers| executor(&machine, workers)).collect()
}

fn block(patches: Vec<Patch>, payloads: Vec<Bytes>) -> BlockInput {
    block_at(1, patches, payloads)
}

fn block_at(height: u64, patches: Vec<Patch>, payloads: Vec<Bytes>) -> BlockInput {
    let txs = (1..).zip(payloads);
    let txs = txs.map(|(number, payload)| TxInput {
        seq: seq(number),
        id: TxId([0; 32]),
        payload: payload.to_vec().into(),
        created: None,
    });
    BlockInput { height: Height(height), header: Bytes::default(), patches, txs: txs.collect() }
}

fn scripts(height: u64, scripts: &[&str]) -> BlockInput {
    let payloads = scripts.iter().map(|script| Bytes::from(script.as_bytes()));
    block_at(height, vec![], payloads.collect())
}

/// Executes blocks one after the other, each with a look at the next; ends at the first that fails.
fn chain(
    executor: &Executor,
    blocks: &[BlockInput],
    mut state: MemoryState,
) -> Vec<Result<Executed, String>> {
    let (rulings, mut foreseen) = (Rulings::new(), Foreseen::default());
    let mut results = Vec::new();
    for (at, input) in blocks.iter().enumerate() {
        let next = blocks.get(at + 1).map(|next| (next, &rulings));
        let window = Window { known: None, foreseen, next };
        match executor.execute_window(input, &rulings, &state, window) {
            Ok((executed, seen)) => {
                state.apply(&executed.changes);
                results.push(Ok(executed));
                foreseen = seen;
            }
            Err(failure) => {
                results.push(Err(format!("{failure:?}")));
                break;
            }
        }
    }
    results
}

/// Executes blocks in a chain on each number of threads; says what all of them gave.
fn agree_on_chain(executors: &[Executor], blocks: &[BlockInput]) -> Vec<Result<Executed, String>> {
    let expected = chain(&executors[0], blocks, MemoryState::default());
    for (executor, workers) in executors[1..].iter().zip(THREADS) {
        let found = chain(executor, blocks, MemoryState::default());
        assert_eq!(found, expected, "{workers} threads");
    }
    expected
}

/// Executes a block in every way; says what all of them gave.
fn agree(
    executors: &[Executor],
    input: &BlockInput,
    rulings: &Rulings,
    below: &MemoryState,
    known: Option<&Dependencies>,
) -> Result<Executed, String> {
    let [agreed, _] = HEIGHTS.map(|height| {
        let input = BlockInput { height, ..input.clone() };
        agree_at_height(executors, &input, rulings, below, known)
    });
    agreed
}

fn agree_at_height(
    executors: &[Executor],
    input: &BlockInput,
    rulings: &Rulings,
    below: &MemoryState,
    known: Option<&Dependencies>,
) -> Result<Executed, String> {
    let run = |executor: &Executor, known: Option<&Dependencies>| {
        let executed = executor.execute_known(input, rulings, below, known);
        executed.map_err(|failure| format!("{failure:?}"))
    };
    let expected = run(&executors[0], None);
    let learned = expected.as_ref().ok().and_then(|executed| executed.dependencies.as_ref());
    for (executor, workers) in executors[1..].iter().zip(THREADS) {
        for known in [None, known, learned] {
            assert_eq!(run(executor, known), expected, "{workers} threads, {known:?}");
        }
    }
    expected
}

/// The ledger without what it declares, or with lies about it.
struct Secretive {
    declares: bool,
}

struct OpenSecretive<'a> {
    open: Box<dyn OpenBlock + 'a>,
    declares: bool,
}

impl StateMachine for Secretive {
    fn version(&self) -> MachineVersion {
        Ledger.version()
    }

    fn open_block<'a>(
        &'a self,
        block: &'a BlockInput,
    ) -> Result<Box<dyn OpenBlock + 'a>, ExecError> {
        let open = OpenSecretive { open: Ledger.open_block(block)?, declares: self.declares };
        Ok(Box::new(open))
    }
}

impl OpenBlock for OpenSecretive<'_> {
    fn execute(&self, index: usize, context: &mut Context<'_>) -> Result<Receipt, ExecError> {
        self.open.execute(index, context)
    }

    fn check(&self, outcome: &BlockOutcome<'_>) -> Result<(), CheckFailure> {
        self.open.check(outcome)
    }

    fn declared_access(&self, index: usize, touch: &mut dyn FnMut(&[u8])) -> bool {
        touch(&index.to_le_bytes());
        self.declares
    }
}

const ACCOUNTS: u64 = 6;

#[derive(Clone, Debug)]
struct History {
    transfers: Vec<(u64, u64, u64, u64)>,
    rulings: Vec<usize>,
    replaces_state: bool,
    poisoned: Option<u64>,
    known: Vec<Vec<u32>>,
}

fn histories() -> impl Strategy<Value = History> {
    let nonce = prop_oneof![9 => Just(0), 1 => 1u64..3];
    let transfer = (0..ACCOUNTS, 0..ACCOUNTS, 0u64..30, nonce);
    let parts = (
        prop::collection::vec(transfer, 0..40),
        prop::collection::vec(0usize..40, 0..3),
        any::<bool>(),
        prop::option::weighted(0.2, 0..ACCOUNTS),
        prop::collection::vec(prop::collection::vec(0u32..40, 0..4), 0..41),
    );
    parts.prop_map(|(transfers, rulings, replaces_state, poisoned, known)| History {
        transfers,
        rulings,
        replaces_state,
        poisoned,
        known,
    })
}

impl History {
    fn block(&self) -> BlockInput {
        let mut nonces = BTreeMap::new();
        let payloads = self.transfers.iter().map(|(from, to, amount, skipped)| {
            let nonce = nonces.entry(*from).or_insert(0);
            let (from, to) = (Account(*from), Account(*to));
            let transfer = Transfer { from, to, amount: *amount, nonce: *nonce + skipped };
            *nonce += u64::from(*skipped == 0);
            Bytes::from(transfer.encode())
        });
        let mut genesis = Ledger::genesis_patch((1..ACCOUNTS).map(|one| (Account(one), 100)));
        genesis.replaces_state = self.replaces_state;
        let poison = self.poisoned.map(|account| {
            let entry = (Bytes::from(account_key(Account(account))), Some(Bytes::from(*b"bad")));
            Patch::new("poison", false, [entry])
        });
        let payloads = payloads.collect();
        block(std::iter::once(genesis).chain(poison).collect(), payloads)
    }

    fn check(&self, executors: &[Executor]) -> Result<Executed, String> {
        let mut below = MemoryState::default();
        let old = AccountState { balance: 50, nonce: 0 }.encode();
        below.set(Bytes::from(account_key(Account(0))), Some(Bytes::from(old)));
        let input = self.block();
        let ruled = self.rulings.iter().filter_map(|index| input.txs.get(*index));
        let rulings = ruled.map(|tx| (tx.seq, "kept out".to_owned())).collect();
        let known = Dependencies::new(self.known.clone());
        agree(executors, &input, &rulings, &below, Some(&known))
    }
}

/// Checks what a strategy generates, with executors that are made once.
fn check_all<S: Strategy>(strategy: &S, cases: u32, check: impl Fn(S::Value)) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(config, rng);
    let ran = runner.run(strategy, |value| {
        check(value);
        Ok(())
    });
    ran.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn ledgers_with_conflicts_give_the_same_on_any_number_of_threads() {
    let kinds = [
        executors(Ledger),
        executors(Secretive { declares: false }),
        executors(Secretive { declares: true }),
    ];
    let (applied, failed) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    check_all(&histories(), 150, |history| {
        let results = kinds.each_ref().map(|executors| history.check(executors));
        match &results[0] {
            Ok(executed) => applied.set(applied.get() + executed.receipts.counts().applied),
            Err(_) => failed.set(failed.get() + 1),
        }
        for result in &results[1..] {
            let of = |result: &Result<Executed, String>| {
                result
                    .clone()
                    .map(|executed| (executed.receipts, executed.changes, executed.writers))
            };
            assert_eq!(of(result), of(&results[0]), "a hint changes no result");
        }
    });
    assert!(applied.get() > 500, "{} transfers were applied", applied.get());
    assert!(failed.get() > 5, "{} blocks failed", failed.get());
}

#[test]
fn transfers_that_do_not_meet_give_the_same_on_any_number_of_threads() {
    let executors = executors(Ledger);
    let accounts = (0..200).map(|one| (Account(one), 1_000));
    let payloads = (0..300u64).map(|number| {
        let (from, to) = (Account(number % 100), Account(100 + number % 100));
        Bytes::from(Transfer { from, to, amount: 1, nonce: number / 100 }.encode())
    });
    let input = block(vec![Ledger::genesis_patch(accounts)], payloads.collect());
    let executed = agree(&executors, &input, &Rulings::new(), &MemoryState::default(), None);
    assert_eq!(executed.expect("it is sound").receipts.counts().applied, 300);
}

fn commands() -> impl Strategy<Value = String> {
    let key = || prop::sample::select(vec!["a", "b", "c", "d", "n"]);
    let led = prop::sample::select(vec!["refuse-if", "panic-if", "poison-if", "stuck-if"]);
    let number = prop_oneof![
        9 => (0u128..100).prop_map(|number| number.to_string()),
        1 => Just(u128::MAX.to_string())
    ];
    prop_oneof![
        3 => (key(), key()).prop_map(|(key, value)| format!("put {key} {value}")),
        1 => key().prop_map(|key| format!("delete {key}")),
        4 => (prop_oneof![8 => Just("n"), 1 => key()], number)
            .prop_map(|(key, number)| format!("add {key} {number}")),
        3 => (key(), key()).prop_map(|(from, to)| format!("copy {from} {to}")),
        3 => (key(), 0..5, key()).prop_map(|(key, number, to)| format!("chase {key} {number} {to}")),
        1 => (led, key(), key()).prop_map(|(verb, key, value)| format!("{verb} {key} {value}")),
    ]
}

#[test]
fn transactions_that_are_led_by_what_they_read_give_the_same_on_any_number_of_threads() {
    let executors = executors(Steered::default());
    let scripts = prop::collection::vec(prop::collection::vec(commands(), 1..4), 0..25);
    let known = prop::collection::vec(prop::collection::vec(0u32..25, 0..4), 25);
    let (whole, failed) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    check_all(&(scripts, known), 400, |(scripts, mut known)| {
        let payloads = scripts.iter().map(|commands| Bytes::from(commands.join(";").as_bytes()));
        let input = block(vec![], payloads.collect());
        known.truncate(input.txs.len());
        let known = Dependencies::new(known);
        let below = MemoryState::default();
        let result = agree(&executors, &input, &Rulings::new(), &below, Some(&known));
        let counter = if result.is_ok() { &whole } else { &failed };
        counter.set(counter.get() + 1);
    });
    assert!(whole.get() > 100 && failed.get() > 100, "{} and {}", whole.get(), failed.get());
}

/// A block with a transaction that is led astray by a value that the first one replaces: on two threads or more, in each
/// way ahead of its turn.
fn misleading(verb: &str, height: Height, below: &mut MemoryState) -> BlockInput {
    below.set(Bytes::from(*b"k"), Some(Bytes::from(*b"old")));
    let astray = format!("{verb} k old; copy k seen; add n 2");
    let rest = "copy seen last; add n 4; chase k 1 end";
    scripts(height.get(), &["gate; put k new; add n 1", "add n 8", &astray, rest])
}

#[test]
fn what_goes_wrong_ahead_of_its_turn_is_not_seen() {
    let verbs = ["panic-if", "poison-if", "stuck-if", "spin-if"];
    for (verb, height) in verbs.into_iter().flat_map(|verb| HEIGHTS.map(|height| (verb, height))) {
        let machine = Steered::default();
        let steps = Arc::clone(&machine.0);
        let executors = executors(machine);
        let mut below = MemoryState::default();
        let input = misleading(verb, height, &mut below);
        let run = |executor: &Executor| {
            let executed = executor.execute(&input, &Rulings::new(), &below);
            executed.unwrap_or_else(|failure| panic!("{verb}: {failure}"))
        };
        let expected = run(&executors[0]);
        assert!(!steps.went_astray(), "{verb}: in order nothing goes wrong");
        steps.wait();
        for executor in &executors[1..] {
            assert_eq!(run(executor), expected, "{verb}");
            assert!(steps.went_astray(), "{verb}: it was executed ahead of its turn");
        }
        assert_eq!((expected.retries, executors[1].retries()), (0, 0), "{verb}");
    }
}

#[test]
fn what_was_in_vain_leaves_nothing_to_those_after_it() {
    let machine = Steered::default();
    let steps = Arc::clone(&machine.0);
    let executors = executors(machine);
    steps.wait();
    // The third writes `k` only where it does not see what the first writes; the fourth tells when it sees that.
    let astray = ["refuse-if a stop; put k 1", "copy k seen; tell-if k 1"];
    for height in HEIGHTS {
        let [third, fourth] = astray;
        let input = scripts(height.get(), &["gate; put a stop", "add n 1", third, fourth]);
        // On more threads than two, the last ones are in sections of their own.
        let executed = executors[1].execute(&input, &Rulings::new(), &MemoryState::default());
        let executed = executed.expect("it is sound");
        assert!(steps.went_astray(), "it was executed ahead of its turn");
        let keys = executed.changes.changes().iter().map(|change| &*change.key);
        assert_eq!(keys.collect::<Vec<_>>(), [&b"a"[..], b"applied", b"height", b"n"]);
    }
}

#[test]
fn what_a_block_teaches_does_not_depend_on_the_number_of_threads() {
    let executors = executors(Steered::default());
    let scripts = ["put a 1", "add n 1", "copy a b", "add n 2", "copy b c; add n 3", "copy n d"];
    let input = block(vec![], scripts.map(|script| Bytes::from(script.as_bytes())).to_vec());
    let executed = agree(&executors, &input, &Rulings::new(), &MemoryState::default(), None);
    let learned = executed.expect("it is sound").dependencies.expect("it was looked at");
    let expected: [&[u32]; 6] = [&[], &[], &[0], &[], &[2], &[4, 3, 1]];
    assert_eq!(expected.map(<[u32]>::to_vec), [0, 1, 2, 3, 4, 5].map(|tx| learned.of(tx).to_vec()));
}

#[test]
fn blocks_that_are_foreseen_give_the_same_on_any_number_of_threads() {
    let executors = executors(Steered::default());
    let scripts = prop::collection::vec(prop::collection::vec(commands(), 1..3), 0..6);
    let (whole, failed) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    check_all(&prop::collection::vec(scripts, 2..5), 200, |blocks| {
        let blocks: Vec<_> = (1..)
            .zip(&blocks)
            .map(|(height, scripts)| {
                let scripts = scripts.iter().map(|commands| commands.join(";"));
                let payloads = scripts.map(|script| Bytes::from(script.as_bytes()));
                let value = (Bytes::from(*b"c"), Some(Bytes::from(u64::to_le_bytes(height))));
                let patches = vec![Patch::new("patch", height % 3 == 0, [value])];
                block_at(height, patches, payloads.collect())
            })
            .collect();
        let results = agree_on_chain(&executors, &blocks);
        let counter = if results.iter().all(Result::is_ok) { &whole } else { &failed };
        counter.set(counter.get() + 1);
    });
    assert!(whole.get() > 30 && failed.get() > 30, "{} and {}", whole.get(), failed.get());
}

#[test]
fn what_the_block_before_changed_is_not_taken_over() {
    for verb in ["tell-if", "panic-if", "poison-if", "stuck-if", "spin-if"] {
        let machine = Steered::default();
        let steps = Arc::clone(&machine.0);
        let executors = executors(machine);
        let blocks = [
            scripts(1, &["put k old"]),
            scripts(2, &["gate; put k new"]),
            scripts(3, &[&format!("copy k seen; {verb} k old"), "add n 1; copy seen last"]),
        ];
        let expected = chain(&executors[0], &blocks, MemoryState::default());
        assert!(expected.iter().all(Result::is_ok) && !steps.went_astray(), "{verb}");
        steps.wait();
        for executor in &executors[1..] {
            assert_eq!(chain(executor, &blocks, MemoryState::default()), expected, "{verb}");
            assert!(steps.went_astray(), "{verb}: it was executed with the block before");
        }
    }
}

#[test]
fn what_the_block_before_left_alone_is_not_executed_again() {
    let machine = Steered::default();
    let steps = Arc::clone(&machine.0);
    let executors = executors(machine);
    let mut state = MemoryState::default();
    state.set(Bytes::from(*b"k"), Some(Bytes::from(*b"old")));
    let (present, next) =
        (scripts(2, &["gate; put z 1"]), scripts(3, &["add n 1; copy k seen; tell-if k old"]));
    steps.wait();
    for executor in &executors[1..] {
        let (rulings, mut state) = (Rulings::new(), state.clone());
        let window = Window { next: Some((&next, &rulings)), ..Window::default() };
        let done = executor.execute_window(&present, &rulings, &state, window);
        let (executed, foreseen) = done.expect("it is sound");
        state.apply(&executed.changes);
        assert!(steps.went_astray(), "it was executed with the block before");
        let window = Window { foreseen, ..Window::default() };
        let (executed, _) =
            executor.execute_window(&next, &rulings, &state, window).expect("it is sound");
        assert!(!steps.went_astray(), "it was executed once more");
        assert_eq!(executed, executors[0].execute(&next, &rulings, &state).expect("it is sound"));
        assert!(steps.went_astray(), "the other executor has nothing of it");
        // Results of another block are none.
        let window = Window { next: Some((&next, &rulings)), ..Window::default() };
        let (_, foreseen) =
            executor.execute_window(&present, &rulings, &state, window).expect("it is sound");
        let other = BlockInput { height: Height(4), ..next.clone() };
        assert!(steps.went_astray());
        let window = Window { foreseen, ..Window::default() };
        executor.execute_window(&other, &rulings, &state, window).expect("it is sound");
        assert!(steps.went_astray(), "it was taken for another block's");
    }
}

#[test]
fn ledgers_that_are_foreseen_give_the_same_on_any_number_of_threads() {
    let kinds = [executors(Ledger), executors(Secretive { declares: false })];
    let genesis = Ledger::genesis_patch((0..20).map(|one| (Account(one), 1_000)));
    let blocks = (1..6u64).map(|height| {
        let payloads = (0..60u64).map(|number| {
            let (from, to) = (Account(number % 15), Account(19 - number % 5));
            let nonce = (height - 1) * 4 + number / 15;
            Bytes::from(Transfer { from, to, amount: 1, nonce }.encode())
        });
        let patches = if height == 1 { vec![genesis.clone()] } else { Vec::new() };
        block_at(height, patches, payloads.collect())
    });
    let blocks: Vec<_> = blocks.collect();
    for executors in &kinds {
        let results = agree_on_chain(executors, &blocks);
        let counts = results.iter().map(|result| result.as_ref().map(|one| one.receipts.counts()));
        let applied: u64 = counts.map(|counts| counts.map_or(0, |counts| counts.applied)).sum();
        assert_eq!(applied, 300);
    }
}

/// A machine whose check counts the threads that share it, and panics on each but the first where it is told to.
struct Sharing {
    panics: bool,
}

impl StateMachine for Sharing {
    fn version(&self) -> MachineVersion {
        MachineVersion::new("sharing", 1)
    }

    fn open_block<'a>(&'a self, _: &'a BlockInput) -> Result<Box<dyn OpenBlock + 'a>, ExecError> {
        Ok(Box::new(OpenSharing { panics: self.panics }))
    }
}

struct OpenSharing {
    panics: bool,
}

impl OpenBlock for OpenSharing {
    fn execute(&self, _: usize, _: &mut Context<'_>) -> Result<Receipt, ExecError> {
        Ok(Receipt::applied(Bytes::default()))
    }

    fn check(&self, outcome: &BlockOutcome<'_>) -> Result<(), CheckFailure> {
        let (own, calls) = (std::thread::current().id(), AtomicUsize::new(0));
        outcome.threads.share(&|| {
            calls.fetch_add(1, Ordering::Relaxed);
            assert!(!self.panics || std::thread::current().id() == own, "shared in vain");
        });
        let (what, expected) = ("threads".to_owned(), String::new());
        let found = calls.into_inner().to_string();
        Err(CheckFailure { what, expected, found, tx: None })
    }
}

#[test]
fn a_check_is_shared_among_as_many_threads_as_there_are() {
    let run = |executor: &Executor| {
        let input = block(vec![], Vec::new());
        let failed = executor.execute(&input, &Rulings::new(), &MemoryState::default());
        failed.expect_err("it tells what it found")
    };
    for (executor, workers) in executors(Sharing { panics: false }).iter().zip([1, 2, 3, 8]) {
        let failure = run(executor);
        let BlockFailure::Check { failure, .. } = &failure else { panic!("{failure}") };
        assert_eq!(failure.found, workers.to_string());
    }
    for (executor, workers) in executors(Sharing { panics: true }).iter().zip([1, 2, 3, 8]) {
        let failure = run(executor);
        match &failure {
            BlockFailure::Check { failure, .. } => assert_eq!((&*failure.found, workers), ("1", 1)),
            BlockFailure::Poison { reason, .. } => assert!(reason.contains("shared in vain")),
            BlockFailure::State(_) => panic!("{failure}"),
        }
    }
}
