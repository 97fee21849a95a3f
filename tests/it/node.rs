//! The node as its owner uses it: what is acknowledged, what is refused, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use rewake::exec::{IntakeError, Logged, Settlement};
use rewake::generate::Workload;
use rewake::machine::PoisonPolicy;
use rewake::machine::ledger::{Account, AccountState, Ledger, Transfer, account_key};
use rewake::node::{
    Down, NewTx, Node as Service, NodeOptions, Notice, OnFull, Phase, Place, QueryError, Sequencer,
    StartError, SubmitError, Subscription,
};
use rewake::recovery::Label;
use rewake::telemetry::Exposition;
use rewake::types::{Bytes, Height, TxId};

use crate::faulty::Faulty;
use crate::nodes::{Node, order};
use crate::scripted::{faulty_node, id, seq};

/// Longest time that anything here may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

async fn open(node: &Node, options: NodeOptions) -> Service {
    let started = Service::open(node.dir.clone(), node.registry.clone(), options).await;
    started.expect("it comes up").0
}

/// Waits for an answer, but not for ever.
async fn patiently<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, answer).await.expect("an answer in time")
}

/// Makes a ledger whose genesis block opens accounts.
fn ledger(accounts: u64) -> Node {
    let node = Node::ledger();
    let patch = Ledger::genesis_patch((1..=accounts).map(|number| (Account(number), 1_000)));
    node.append(vec![rewake::exec::NewEvent::Patch(patch), order(0, &[])]);
    node
}

fn transfer(from: u64, nonce: u64) -> NewTx {
    let transfer = Transfer { from: Account(from), to: Account(from % 9 + 1), amount: 1, nonce };
    NewTx { id: transfer.id(), payload: Bytes::from(transfer.encode().as_slice()) }
}

fn script(number: u8, text: &str) -> NewTx {
    NewTx { id: id(number), payload: Bytes::from(text.as_bytes()) }
}

async fn next_block(subscription: &mut Subscription) -> rewake::node::BlockView {
    loop {
        match patiently(subscription.next()).await.expect("the node is up") {
            Notice::Block(block) => return *block,
            Notice::Phase(_) | Notice::MissedPhases(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_submitted_before_gets_its_first_answer_also_after_a_restart() {
    let node = ledger(9);
    let service = open(&node, NodeOptions::default()).await;
    let first = service.submit(transfer(1, 0)).await.expect("it is logged");
    assert!(first.is_new);
    let second = service.submit(transfer(2, 0)).await.expect("it is logged");
    assert_eq!(second.seq, first.seq.next());
    let known = Logged { is_new: false, ..first };
    assert_eq!(service.submit(transfer(1, 0)).await.expect("it is known"), known);
    service.shutdown().await.expect("an orderly end");

    let service = open(&node, NodeOptions::default()).await;
    assert_eq!(service.submit(transfer(1, 0)).await.expect("it is known"), known);
    let both = vec![transfer(3, 0), transfer(3, 0)];
    let twice = service.submit_all(both, OnFull::Wait).await.expect("they are logged");
    assert_eq!((twice[0].is_new, twice[1].is_new, twice[0].seq), (true, false, twice[1].seq));
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_come_at_once_share_a_durable_write() {
    let node = ledger(9);
    let (exposition, metrics) = Exposition::new();
    let service = open(&node, NodeOptions { metrics, ..NodeOptions::default() }).await;
    let mut callers = tokio::task::JoinSet::new();
    for from in 0..64u64 {
        let service = service.clone();
        callers.spawn(async move {
            for nonce in 0..20 {
                let logged = service.submit(transfer(from + 10, nonce)).await;
                assert!(logged.expect("it is logged").is_new);
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.expect("no caller fails");
    }
    let text = exposition.render();
    let writes = number(&text, "rewake_append_seconds_count");
    assert_eq!(number(&text, "rewake_submissions_total{outcome=\"new\"}"), 1_280);
    assert!(writes < 640, "{writes} durable writes for 1280 transactions");
    assert_eq!(service.mempool(None, 10_000).await.expect("a page").txs.len(), 1_280);
}

/// Finds a figure in the text that a scrape gets.
fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().expect("a whole number")
}

#[tokio::test(flavor = "multi_thread")]
async fn ordered_blocks_are_confirmed_and_told_in_order_from_any_height() {
    let node = ledger(9);
    let service = open(&node, NodeOptions::default()).await;
    let mut early = service.subscribe(Height::GENESIS);
    assert_eq!(next_block(&mut early).await.row.order.height, Height::GENESIS);
    for nonce in 0..5 {
        let txs: Vec<_> = (1..=9).map(|from| transfer(from, nonce)).collect();
        let ids: Vec<_> = txs.iter().map(|tx| tx.id).collect();
        service.submit_all(txs, OnFull::Refuse).await.expect("they are logged");
        let ordered = service.order(Bytes::default(), ids.clone()).await.expect("it is logged");
        assert_eq!((ordered.height, ordered.txs), (Height(nonce + 1), 9));
        let block = next_block(&mut early).await;
        assert_eq!((block.row.order.height, block.row.order.seq), (ordered.height, ordered.seq));
        assert_eq!(block.txs.iter().map(|tx| tx.id).collect::<Vec<_>>(), ids);
        assert_eq!(block.row.counts.applied, 9);
    }
    let mut late = service.subscribe(Height(3));
    for height in 3..=5 {
        assert_eq!(next_block(&mut late).await.row.order.height, Height(height));
    }
    assert_eq!((early.position(), late.position()), (Height(6), Height(6)));
    let account = service.state(Bytes::from(account_key(Account(1)).as_slice())).await;
    let account = AccountState::decode(&account.expect("an answer").expect("an account"));
    assert_eq!(account.expect("sixteen bytes"), AccountState { balance: 1_000, nonce: 5 });
    assert_eq!(service.block(None).await.expect("an answer").expect("a block").row.counts.txs, 9);
    assert_eq!(service.block(Some(Height(6))).await.expect("an answer"), None);
    service.shutdown().await.expect("an orderly end");
    let told = patiently(late.next()).await;
    assert!(matches!(told, Ok(Notice::Phase(ref to)) if to.phase == Phase::Stopping), "{told:?}");
    let told = patiently(late.next()).await;
    assert!(matches!(told, Err(QueryError::Down(Down::Stopped))), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_followed_from_the_mempool_into_its_block() {
    let node = ledger(9);
    let service = open(&node, NodeOptions::default()).await;
    assert_eq!(service.transaction(TxId([7; 32])).await.expect("an answer"), None);
    let (waits, goes) = (transfer(1, 0), transfer(2, 0));
    for tx in [&waits, &goes] {
        service.submit(tx.clone()).await.expect("it is logged");
    }
    let mut blocks = service.subscribe(Height(1));
    service.order(Bytes::default(), vec![goes.id]).await.expect("it is logged");
    next_block(&mut blocks).await;
    let place = |id| {
        let service = service.clone();
        async move { service.transaction(id).await.expect("an answer").expect("it is known").place }
    };
    assert_eq!(place(waits.id).await, Place::Waiting);
    let confirmed = place(goes.id).await;
    assert!(
        matches!(confirmed, Place::Confirmed { height: Height(1), index: 0, .. }),
        "{confirmed:?}"
    );
    // What waited for many blocks is found as well.
    for from in 3..=8 {
        service.submit(transfer(from, 0)).await.expect("it is logged");
        service.order(Bytes::default(), vec![transfer(from, 0).id]).await.expect("it is logged");
        next_block(&mut blocks).await;
    }
    service.order(Bytes::default(), vec![waits.id]).await.expect("it is logged");
    next_block(&mut blocks).await;
    let confirmed = place(waits.id).await;
    assert!(matches!(confirmed, Place::Confirmed { height: Height(8), .. }), "{confirmed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sequencer_orders_what_waits_after_a_time_or_a_number() {
    let node = ledger(9);
    let header = |_| Bytes::default();
    let by_number = Sequencer { interval: PATIENCE * 10, txs_max: 5, ..Sequencer::new(header) };
    let by_time = Sequencer { interval: Duration::from_millis(1), ..Sequencer::new(header) };
    for (sequencer, nonce, txs) in [(by_number, 0, 5), (by_time, 1, 1)] {
        let options = NodeOptions { sequencer: Some(sequencer), ..NodeOptions::default() };
        let service = open(&node, options).await;
        let mut blocks = service.subscribe(Height(nonce + 1));
        for from in 1..=txs {
            service.submit(transfer(from, nonce)).await.expect("it is logged");
        }
        assert_eq!(next_block(&mut blocks).await.row.counts.applied, txs);
        service.shutdown().await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_is_refused_and_a_full_node_says_so_or_lets_wait() {
    let node = ledger(9);
    let options = NodeOptions {
        batch_txs_max: 3,
        mempool_txs_max: 2,
        queue_kib: 4,
        ..NodeOptions::default()
    };
    let service = open(&node, options).await;
    let many = (1..=4).map(|from| transfer(from, 0)).collect();
    let refused = service.submit_all(many, OnFull::Wait).await;
    let most = |error: &SubmitError| match error {
        SubmitError::TooMuch { most, unit, .. } => Some((*most, *unit)),
        _ => None,
    };
    assert_eq!(most(&refused.expect_err("too many")), Some((3, "transactions")));
    let large = NewTx { id: id(1), payload: vec![0; 5_000].into() };
    let refused = service.submit(large).await.expect_err("too large for the queue");
    assert_eq!(most(&refused), Some((4, "KiB")));
    let largest = NewTx { id: id(1), payload: vec![0; (16 << 20) + 1].into() };
    let refused = service.submit(largest).await.expect_err("too large for the log");
    assert_eq!(most(&refused), Some((16 << 20, "bytes of a transaction")));

    for from in 1..=2 {
        service.submit(transfer(from, 0)).await.expect("there is room");
    }
    let refused = service.submit_all(vec![transfer(3, 0)], OnFull::Refuse).await;
    assert!(matches!(refused, Err(SubmitError::Full)), "{refused:?}");
    let waiting = tokio::spawn({
        let service = service.clone();
        async move { service.submit(transfer(3, 0)).await }
    });
    service.order(Bytes::default(), vec![transfer(1, 0).id]).await.expect("it is logged");
    assert!(patiently(waiting).await.expect("it ends").expect("there is room now").is_new);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_logged_is_refused_and_those_beside_it_are_not() {
    let node = ledger(9);
    let service = open(&node, NodeOptions::default()).await;
    let unknown = tokio::spawn({
        let service = service.clone();
        async move { service.order(Bytes::default(), vec![TxId([9; 32])]).await }
    });
    let beside = service.submit(transfer(1, 0)).await;
    assert!(beside.expect("it is logged").is_new);
    let refused = unknown.await.expect("it ends").expect_err("nobody submitted it");
    let SubmitError::Refused(error) = refused else { panic!("{refused:?}") };
    assert!(matches!(*error, IntakeError::UnknownTx { .. }), "{error}");
    let refused = service.settle(seq(1), Settlement::Release).await.expect_err("nothing is held");
    let SubmitError::Refused(error) = refused else { panic!("{refused:?}") };
    assert!(matches!(*error, IntakeError::NotHeld { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_transactions_in_quarantine_is_degraded_until_they_are_settled() {
    let machine = Faulty::default();
    let node = faulty_node(&machine);
    let service = open(&node, NodeOptions::default()).await;
    let mut phases = service.vitals().watch();
    let bad = service.submit(script(1, "poison spoiled")).await.expect("it is logged");
    service.submit(script(2, "put key value")).await.expect("it is logged");
    service.order(Bytes::default(), vec![id(1), id(2)]).await.expect("it is logged");
    let degraded = patiently(phases.wait_for(|now| now.phase == Phase::Degraded)).await;
    assert_eq!(degraded.expect("it is up").held, 1);
    assert_eq!(
        service.state(b"key".as_slice().into()).await.expect("an answer").as_deref(),
        Some(b"value".as_slice())
    );
    service.settle(bad.seq, Settlement::Discard).await.expect("it is held");
    service.submit(script(3, "put key other")).await.expect("it is logged");
    service.order(Bytes::default(), vec![id(3)]).await.expect("it is logged");
    let ready = patiently(phases.wait_for(|now| now.phase == Phase::Ready)).await;
    assert_eq!(ready.expect("it is up").held, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_halts_takes_nothing_more_and_still_answers() {
    let machine = Faulty { policy: PoisonPolicy::Halt, ..Faulty::default() };
    let node = faulty_node(&machine);
    let service = open(&node, NodeOptions::default()).await;
    service.submit(script(1, "put key value")).await.expect("it is logged");
    service.order(Bytes::default(), vec![id(1)]).await.expect("it is logged");
    service.submit(script(2, "panic at the disk")).await.expect("it is logged");
    service.submit(script(4, "put key third")).await.expect("it is logged");
    service.order(Bytes::default(), vec![id(2)]).await.expect("it is logged");
    let down = patiently(service.down()).await;
    assert!(matches!(down, Down::Halted(_)), "{down:?}");
    let refused = service.submit(script(3, "put key other")).await;
    assert!(matches!(refused, Err(SubmitError::Down(Down::Halted(_)))), "{refused:?}");
    assert_eq!(service.vitals().readiness().phase, Phase::Halted);
    let value = service.state(b"key".as_slice().into()).await.expect("an answer");
    assert_eq!(value.as_deref(), Some(b"value".as_slice()));
    let waits = service.transaction(id(4)).await.expect("an answer").expect("it is known");
    assert_eq!(waits.place, Place::Waiting);
    let ended = service.shutdown().await;
    assert!(matches!(ended, Err(Down::Halted(_))), "{ended:?}");

    let again = Service::open(node.dir.clone(), node.registry.clone(), NodeOptions::default());
    let halted = again.await.map(drop).expect_err("the block is as bad as before");
    assert!(matches!(halted, StartError::Halted(..)), "{halted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_dies_takes_the_node_down_with_its_name() {
    let node = ledger(9);
    let options = NodeOptions::default();
    options.recovery.committed.subscribe(|block| {
        assert!(block.height != Height(1), "a subscriber of the engine fails");
    });
    let service = open(&node, options).await;
    service.submit(transfer(1, 0)).await.expect("it is logged");
    service.order(Bytes::default(), vec![transfer(1, 0).id]).await.expect("it is logged");
    let down = patiently(service.down()).await;
    assert!(matches!(down, Down::Actor { actor: "confirm", .. }), "{down:?}");
    assert_eq!(service.vitals().readiness().phase, Phase::Failed);
    let refused = service.submit(transfer(2, 0)).await;
    assert!(matches!(refused, Err(SubmitError::Down(Down::Actor { .. }))), "{refused:?}");
    let ended = service.shutdown().await;
    assert!(matches!(ended, Err(Down::Actor { .. })), "{ended:?}");
    let service = open(&node, NodeOptions::default()).await;
    let head = service.block(None).await.expect("an answer").expect("a block");
    assert_eq!(
        head.row.order.height,
        Height(1),
        "the block was committed before the subscriber failed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_logs_and_confirms_what_was_taken() {
    let node = ledger(9);
    let service = open(&node, NodeOptions::default()).await;
    let mut callers = tokio::task::JoinSet::new();
    for from in 1..=9 {
        let service = service.clone();
        callers.spawn(async move { service.submit(transfer(from, 0)).await.is_ok() });
    }
    let first = patiently(callers.join_next()).await.expect("one").expect("it ends");
    assert!(first, "the first is acknowledged");
    service.submit(transfer(10, 0)).await.expect("it is logged");
    service.order(Bytes::default(), vec![transfer(10, 0).id]).await.expect("it is logged");
    let ending = service.clone();
    ending.shutdown().await.expect("an orderly end");
    let mut acknowledged = 1;
    while let Some(ended) = patiently(callers.join_next()).await {
        acknowledged += u64::from(ended.expect("it ends"));
    }
    let refused = service.submit(transfer(11, 0)).await;
    assert!(matches!(refused, Err(SubmitError::Down(Down::Stopped))), "{refused:?}");
    let examined = node.examine().expect("the lock is free");
    assert_eq!(examined.backlog.blocks, 0, "what was ordered is confirmed");
    assert_eq!(examined.backlog.mempool.len(), acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_who_never_reads_holds_nothing_up() {
    let node = ledger(9);
    let header = |_| Bytes::default();
    let sequencer = Sequencer { txs_max: 9, ..Sequencer::new(header) };
    let service =
        open(&node, NodeOptions { sequencer: Some(sequencer), ..NodeOptions::default() }).await;
    let idle: Vec<_> = (0..100).map(|_| service.subscribe(Height::GENESIS)).collect();
    assert_eq!(service.vitals().figures().subscribers, 100);
    let mut blocks = service.subscribe(Height(1));
    for nonce in 0..50 {
        let txs = (1..=9).map(|from| transfer(from, nonce)).collect();
        service.submit_all(txs, OnFull::Wait).await.expect("they are logged");
    }
    let mut told = 0;
    while told < 450 {
        told += next_block(&mut blocks).await.row.counts.txs;
    }
    // A late reader among them still gets every block.
    let mut late = idle.into_iter().next().expect("there are some");
    for height in 0..blocks.position().get() {
        assert_eq!(next_block(&mut late).await.row.order.height, Height(height));
    }
    drop(late);
    assert_eq!(service.vitals().figures().subscribers, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_goes_through_its_phases_and_counts() {
    let workload = Workload { transfers: 507, block_txs: 10, mempool: 7, ..Workload::default() };
    let source = Node::ledger();
    crate::nodes::fill(&source, &workload);
    let options = NodeOptions::default();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let starting = Service::start(source.dir.clone(), source.registry.clone(), options.clone());
    let vitals = starting.vitals();
    for (bus, name) in [(0, "rehearsing"), (1, "committing")] {
        let (vitals, seen) = (vitals.clone(), Arc::clone(&seen));
        let note = move || seen.lock().expect("no holder panics").push((name, vitals.readiness()));
        match bus {
            0 => options.recovery.rehearsed.subscribe(move |_| note()),
            _ => options.recovery.committed.subscribe(move |_| note()),
        }
    }
    let (service, report, mempool) = patiently(starting.ready()).await.expect("it comes up");
    assert_eq!((report.blocks, mempool.len()), (51, 7));
    assert_eq!(service.vitals().readiness().phase, Phase::Ready);
    assert_eq!(service.vitals().figures().pending_blocks, 0);
    let seen = seen.lock().expect("no holder panics");
    for (name, readiness) in seen.iter() {
        let expected = if *name == "rehearsing" { Phase::Rehearsing } else { Phase::Committing };
        assert!(readiness.phase == expected, "{name}: {readiness:?}");
        assert_eq!(readiness.total.blocks, 51);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_somebody_else_has_open_is_refused() {
    let node = ledger(9);
    let service = open(&node, NodeOptions::default()).await;
    let starting = Service::start(node.dir.clone(), node.registry.clone(), NodeOptions::default());
    let vitals = starting.vitals();
    let refused = patiently(starting.ready()).await.map(drop).expect_err("it is locked");
    assert!(matches!(refused, StartError::Refused(_)), "{refused:?}");
    assert_eq!(vitals.readiness().phase, Phase::Failed);
    service.shutdown().await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_given_up_gives_the_node_free() {
    let node = ledger(9);
    drop(Service::start(node.dir.clone(), node.registry.clone(), NodeOptions::default()));
    // The start that was given up may not have taken the lock yet: it is free for good once another start has it.
    let service = patiently(async {
        loop {
            match Service::open(node.dir.clone(), node.registry.clone(), NodeOptions::default())
                .await
            {
                Err(StartError::Refused(refusal)) if refusal.label == Label::Locked => {}
                opened => return opened.expect("it comes up").0,
            }
        }
    })
    .await;
    // A handle that is dropped without a word ends the node as well.
    drop(service);
    crate::scripted::await_unlocked(&node);
}

/// A clock that fails when the start asks it the second time.
#[derive(Default)]
struct BrokenClock(std::sync::atomic::AtomicU32);

impl rewake::exec::Clock for BrokenClock {
    fn now(&self) -> rewake::types::UnixMillis {
        let asked = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert!(asked == 0, "the clock is broken");
        rewake::types::UnixMillis(1)
    }

    fn sleep(&self, _: Duration) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_dies_says_so() {
    let node = ledger(9);
    let mut options = NodeOptions::default();
    options.recovery.executor.clock = Arc::new(BrokenClock::default());
    let started = Service::open(node.dir.clone(), node.registry.clone(), options);
    let died = patiently(started).await.map(drop).expect_err("its thread panics");
    assert!(matches!(died, StartError::Thread(_)), "{died:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_beyond_those_that_may_wait_are_refused() {
    let node = ledger(9);
    let service = open(&node, NodeOptions { questions_max: 1, ..NodeOptions::default() }).await;
    let refused = patiently(async {
        loop {
            let (one, two) = tokio::join!(service.block(None), service.block(None));
            if let Err(error) = one.and(two) {
                return error;
            }
        }
    });
    let refused = refused.await;
    assert!(matches!(refused, QueryError::Full), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_cannot_be_read_is_no_answer() {
    let node = ledger(9);
    node.recover();
    let damage = "UPDATE block_body SET receipts = x'0109'";
    crate::scripted::sql(&node.dir, "main.db").execute(damage, []).expect("an update");
    let service = open(&node, NodeOptions::default()).await;
    let unread = service.block(Some(Height::GENESIS)).await;
    assert!(matches!(unread, Err(QueryError::Store(_))), "{unread:?}");
}
