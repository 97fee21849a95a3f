//! Sequences of operations on a simulated disk that loses power and fails, held against a model that shares no code.
//!
//! The model is a list of what was logged, and the plain ledger of the generator over what of it was ordered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rewake::event::EventBody;
use rewake::exec::{Examined, Intake, NewEvent, NextTxs, Outcome, Recovery};
use rewake::generate::Model;
use rewake::machine::ledger::{
    Account, AccountState, Ledger, Transfer, account_key, applied_key, supply_key,
};
use rewake::recovery::Label;
use rewake::state::{StateDigest, StateRead as _};
use rewake::store::Store;
use rewake::types::{Digest, Height, Seq, TxId};
use rewake_simdisk::{Crash, Disk, Image, Numbers, Settings, Share, plans};

use super::Target;
use super::input::Input;
use super::operation::{Cut, Operation};
use super::reached::reach;
use super::template::{self, EMPTY};

pub const TARGET: Target =
    Target { name: "operations", run, seeds, smoke_runs: 120, places: PLACES };
const PLACES: &[&str] = &[
    "power was lost",
    "a call failed",
    "a lot was refused",
    "a lot was kept without an answer",
    "a lot was lost without an answer",
    "blocks were rolled forward",
];

const OPERATIONS_MAX: usize = 16;
const ACCOUNTS: [(Account, u64); 4] = [
    (Account(1), 1_000_000_000),
    (Account(2), 1_000_000_000),
    (Account(3), 5),
    (Account(4), u64::MAX - 1_000),
];

/// What the model knows of an event.
#[derive(Clone)]
enum Logged {
    Genesis,
    Tx(TxId, Vec<u8>),
    Order(Vec<u64>),
}

/// A node on a disk, and what somebody outside knows of it.
struct Life {
    disk: Disk,
    /// What the disk was made from.
    base: Image,
    node: Option<Examined>,
    log: Vec<Logged>,
    /// Blocks that an orderly end of a recovery had confirmed.
    settled: usize,
}

fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut life = Life::begin();
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        let operation = Operation::take(&mut input, &life.after(life.blocks().len()));
        let cut = Cut::take(&mut input);
        life.live(operation, cut);
    }
    life.end();
}

impl Life {
    fn begin() -> Self {
        let disk = template::disk(&EMPTY);
        let mut life = Self { disk, base: EMPTY.clone(), node: None, log: Vec::new(), settled: 0 };
        let genesis = Ledger::genesis_patch(ACCOUNTS);
        let order = NewEvent::Order { height: Height(0), header: [].into(), txs: Vec::new() };
        life.live(Operation::Append(vec![NewEvent::Patch(genesis), order]), Cut::None);
        life
    }

    /// Returns the orders of the log, as positions of transactions.
    fn blocks(&self) -> Vec<&Vec<u64>> {
        let orders = self.log.iter().filter_map(|logged| match logged {
            Logged::Order(txs) => Some(txs),
            Logged::Genesis | Logged::Tx(..) => None,
        });
        orders.collect()
    }

    /// Returns the ledger after so many blocks.
    fn after(&self, blocks: usize) -> Model {
        let mut model = Model::default();
        for (height, txs) in self.blocks().into_iter().take(blocks).enumerate() {
            if height == 0 {
                model = Model::new(ACCOUNTS);
            }
            for seq in txs {
                if let Some(transfer) = self.transfer(*seq) {
                    model.apply(&transfer);
                }
            }
        }
        model
    }

    fn transfer(&self, seq: u64) -> Option<Transfer> {
        match &self.log[usize::try_from(seq - 1).expect("few")] {
            Logged::Tx(_, payload) => Transfer::decode(payload).ok(),
            _ => panic!("event {seq} is no transaction"),
        }
    }

    fn waiting(&self) -> BTreeSet<u64> {
        let mut waiting = BTreeSet::new();
        for (seq, logged) in (1..).zip(&self.log) {
            match logged {
                Logged::Genesis => {}
                Logged::Tx(..) => drop(waiting.insert(seq)),
                Logged::Order(txs) => waiting.retain(|seq| !txs.contains(seq)),
            }
        }
        waiting
    }

    /// Returns what a lot adds to the log; nothing where it has to be refused.
    fn foresee(&self, lot: &[NewEvent]) -> Option<Vec<Logged>> {
        let mut known: BTreeSet<TxId> = BTreeSet::new();
        known.extend(self.log.iter().filter_map(|logged| match logged {
            Logged::Tx(id, _) => Some(*id),
            _ => None,
        }));
        let mut added = Vec::new();
        for event in lot {
            match event {
                NewEvent::Patch(_) => added.push(Logged::Genesis),
                NewEvent::Tx { id, payload } => {
                    if known.insert(*id) {
                        added.push(Logged::Tx(*id, payload.to_vec()));
                    }
                }
                NewEvent::Next { txs: NextTxs::Waiting { txs_max }, .. } => {
                    let txs: Vec<_> = self.waiting().into_iter().take(*txs_max).collect();
                    if txs.is_empty() {
                        return None;
                    }
                    added.push(Logged::Order(txs));
                }
                _ => added.push(Logged::Order(Vec::new())),
            }
        }
        Some(added)
    }

    fn live(&mut self, operation: Operation, cut: Cut) {
        if let Cut::Fault(fault) = &cut {
            self.disk.arm(Some(*fault));
        }
        let began = self.disk.operations();
        let submitted = match &operation {
            Operation::Append(lot) => self.foresee(lot),
            _ => Some(Vec::new()),
        };
        let settled = self.settled;
        let answered = self.attempt(operation, submitted.is_none());
        if self.disk.faults().1 > 0 {
            reach(TARGET.name, "a call failed");
        }
        self.disk.arm(None);
        let mut unknown = submitted.unwrap_or_default();
        match cut {
            Cut::Power { at, drawn } => {
                let count = self.disk.operations() - began;
                let point = began + count * at / 255;
                if answered && point == self.disk.operations() {
                    self.log.append(&mut unknown);
                } else {
                    self.settled = settled;
                }
                self.lose_power(point, drawn);
            }
            _ if answered => self.log.append(&mut unknown),
            // After a failure only the next opening tells what holds.
            _ => self.node = None,
        }
        self.open(unknown);
    }

    /// Does something; says whether it was answered.
    fn attempt(&mut self, operation: Operation, is_refused: bool) -> bool {
        let Some(node) = self.node.take().or_else(|| template::open(&self.disk).ok()) else {
            return false;
        };
        match operation {
            Operation::Append(lot) => {
                let appended = Intake::new(&node, Arc::new(template::Still)).append(lot);
                assert!(!is_refused || appended.is_err(), "what has to be refused was logged");
                if is_refused {
                    reach(TARGET.name, "a lot was refused");
                }
                appended.is_ok() || is_refused
            }
            Operation::Recover { options, until } => {
                let stop = options.stop.clone();
                if until == Some(0) {
                    stop.request();
                }
                let left = AtomicU64::new(until.unwrap_or(0));
                options.committed.subscribe(move |_| {
                    if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                        stop.request();
                    }
                });
                let Ok((node, report)) = Recovery::new(node, *options).run() else { return false };
                let halted = report.halt.as_ref().is_some_and(|halt| !halt.cause.goes_on());
                assert!(!halted, "{report:?}");
                self.settled = head(&node);
                true
            }
            Operation::Reopen => {
                drop(node);
                // It may fail; what it left is looked at afterwards.
                drop(template::open(&self.disk));
                true
            }
        }
    }

    fn lose_power(&mut self, point: usize, drawn: u64) {
        reach(TARGET.name, "power was lost");
        self.node = None;
        let mut crash = Crash::new(self.base.clone());
        self.disk.trace().iter().take(point).for_each(|op| crash.advance(op));
        let settings = Settings::default();
        let share = Share { plans_max: 12, drawn: 12, sector_bytes: settings.sector_bytes };
        let plans = plans(crash.pending(), share, &mut Numbers(drawn));
        let plan = &plans[usize::try_from(drawn >> 32).expect("32 bits") % plans.len()];
        self.base = crash.image(plan);
        self.disk = Disk::new(self.base.clone(), settings);
    }

    /// Opens the node: what was answered is there, what was not is there as a whole or not at all.
    fn open(&mut self, unknown: Vec<Logged>) {
        self.node = None;
        let node = template::open(&self.disk).unwrap_or_else(|refusal| panic!("{refusal}"));
        let length = usize::try_from(node.log_head.seq).expect("few");
        if length > self.log.len() {
            assert_eq!(length, self.log.len() + unknown.len(), "a part of a lot is there");
            self.log.extend(unknown);
            reach(TARGET.name, "a lot was kept without an answer");
        } else if !unknown.is_empty() {
            reach(TARGET.name, "a lot was lost without an answer");
        }
        assert_eq!(length, self.log.len(), "what was acknowledged is gone");
        let confirmed = head(&node);
        assert!(confirmed >= self.settled, "{confirmed} blocks are left of {}", self.settled);
        self.check_log(&node.store);
        self.check_main(&node.store, confirmed);
        let found: BTreeSet<_> = node.backlog.mempool.iter().map(Seq::get).collect();
        assert_eq!(found, self.waiting());
        self.node = Some(node);
    }

    fn check_log(&self, store: &Store) {
        let events = store.log().read(Seq::FIRST, usize::MAX).expect("a readable log");
        let mut chain = Digest::ZERO;
        for (event, logged) in events.iter().zip(&self.log) {
            assert_eq!(event.chain_after(chain), event.chain);
            chain = event.chain;
            match (event.decode().expect("an event"), logged) {
                (EventBody::Patch(_), Logged::Genesis) => {}
                (EventBody::Tx(tx), Logged::Tx(id, payload)) => {
                    assert_eq!((tx.id, tx.payload.to_vec()), (*id, payload.clone()));
                }
                (EventBody::Order(order), Logged::Order(txs)) => {
                    assert!(order.txs.iter().map(|tx| tx.get()).eq(txs.iter().copied()));
                }
                (found, _) => panic!("{found:?} is another event than was logged"),
            }
        }
    }

    fn check_main(&self, store: &Store, confirmed: usize) {
        let main = store.main();
        let model = self.after(confirmed);
        let mut expected = StateDigest::default();
        if confirmed > 0 {
            for (account, balance) in model.balances() {
                let state = AccountState { balance, nonce: model.sent(account) };
                expected.add(&account_key(account), &state.encode());
            }
            expected.add(&supply_key(), &model.supply().to_le_bytes());
        }
        if model.applied() > 0 {
            expected.add(&applied_key(), &u128::from(model.applied()).to_le_bytes());
        }
        let mut scanned = StateDigest::default();
        main.scan(&[], &mut |key, value| scanned.add(key, value)).expect("a state");
        assert_eq!(scanned, expected, "the state after {confirmed} blocks");
        assert_eq!(main.lanes().expect("lanes"), expected);
        for (height, txs) in (0..).zip(self.blocks().into_iter().take(confirmed)) {
            let body = main.body(Height(height)).expect("a body");
            let found = body.tx_seqs().expect("positions");
            assert!(found.iter().map(|seq| seq.get()).eq(txs.iter().copied()));
        }
    }

    /// Recovers what is left: everything ordered is confirmed, and a second recovery has nothing to do.
    fn end(mut self) {
        let node = self.node.take().expect("it is open");
        let (node, report) = Recovery::new(node, template::options()).run().expect("a recovery");
        assert!(matches!(report.outcome, Outcome::Recovered | Outcome::InSync), "{report:?}");
        assert_eq!(head(&node), self.blocks().len());
        if report.blocks > 1 {
            reach(TARGET.name, "blocks were rolled forward");
        }
        drop(node);
        self.open(Vec::new());
        assert_eq!(self.node.expect("it is open").label, Label::InSync);
    }
}

/// Returns how many blocks are confirmed; heights are dense here.
fn head(node: &Examined) -> usize {
    let row = node.checkpoint.as_ref();
    row.map_or(0, |row| usize::try_from(row.order.height.get()).expect("few") + 1)
}

fn seeds() -> Vec<Vec<u8>> {
    let mut numbers = Numbers(7);
    let mut drawn = |length: usize| -> Vec<u8> {
        (0..length).map(|_| u8::try_from(numbers.below(256)).expect("a byte")).collect()
    };
    let apply = |nonce: u8| [vec![0, 0, 1, 2, 1, 0, nonce, 1], vec![0]].concat();
    let order = vec![3, 9, 1, 4, 0];
    let recover = |how: [u8; 5]| [vec![5], how.into(), vec![0]].concat();
    let mut seeds = vec![
        [apply(0), apply(1), order.clone(), recover([0, 0, 0, 2, 1])].concat(),
        [apply(0), order.clone(), apply(0), order, recover([1, 1, 1, 0, 1])].concat(),
    ];
    seeds.extend((0..12).map(|_| drawn(120)));
    seeds
}
