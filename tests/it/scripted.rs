//! Nodes of the faulty machine, and what tests read of any node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rewake::block::{BlockRow, Status};
use rewake::event::{Order, Tx};
use rewake::exec::{Clock, ExecutorSettings, NewEvent, RecoveryOptions};
use rewake::machine::{Registry, StateMachine as _};
use rewake::state::StateRead as _;
use rewake::store::{DataDir, Store};
use rewake::types::{Bytes, Height, Seq, TxId, UnixMillis};

use crate::faulty::Faulty;
use crate::nodes::Node;

/// A clock that stands still and writes down the pauses that it is asked for.
#[derive(Default)]
pub struct StillClock(Mutex<Vec<Duration>>);

impl StillClock {
    /// Returns the pauses so far.
    pub fn pauses(&self) -> Vec<Duration> {
        self.0.lock().expect("no holder panics").clone()
    }
}

impl Clock for StillClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_000)
    }

    fn sleep(&self, time: Duration) {
        self.0.lock().expect("no holder panics").push(time);
    }
}

/// Returns options whose retries take no time.
pub fn options() -> RecoveryOptions {
    let clock = Arc::new(StillClock::default());
    let executor = ExecutorSettings { clock, ..ExecutorSettings::default() };
    // Batches of the size that a test says, however long they take.
    RecoveryOptions { executor, pace: None, ..RecoveryOptions::default() }
}

/// Makes an empty node of a faulty machine.
pub fn faulty_node(machine: &Faulty) -> Node {
    Node::new(Registry::default().with(machine.clone()), &machine.version())
}

/// Returns the position with a number.
pub fn seq(number: u64) -> Seq {
    Seq::new(number).expect("it is not zero")
}

/// Returns the identity of a test's transaction.
pub const fn id(number: u8) -> TxId {
    TxId([number; 32])
}

/// Returns a received script.
pub fn script(number: u8, text: &str) -> NewEvent {
    NewEvent::Tx { id: id(number), payload: Bytes::from(text.as_bytes()) }
}

/// Returns an ordered block of scripts.
pub fn ordered(height: u64, header: &str, txs: &[u8]) -> NewEvent {
    let txs = txs.iter().copied().map(id).collect();
    NewEvent::Order { height: Height(height), header: Bytes::from(header.as_bytes()), txs }
}

/// Returns three blocks of one script each, the second of which is poisonous and gets a verdict.
pub fn with_a_poisonous_one() -> Vec<NewEvent> {
    vec![
        script(1, "add n 1"),
        script(2, "put n 9; poison no"),
        ordered(0, "", &[1]),
        ordered(1, "", &[2]),
        script(3, "add n 1"),
        ordered(2, "", &[3]),
    ]
}

/// Returns the body of a received script, for logs that are written by hand.
pub fn tx_body(number: u8, text: &str) -> Tx {
    Tx { id: id(number), payload: Bytes::from(text.as_bytes()) }
}

/// Returns the body of an order, for logs that are written by hand.
pub fn order_body(height: u64, txs: &[u64]) -> Order {
    let txs = txs.iter().copied().map(seq).collect();
    Order { height: Height(height), header: Bytes::default(), txs }
}

/// Returns the files of a directory with their bytes. Empty ones are left out: SQLite makes an empty `-wal` when it
/// opens a database and takes none for the same.
pub fn files(dir: &DataDir) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir.path()).expect("a directory");
    let entries = entries.map(|entry| entry.expect("an entry"));
    let files = entries.filter(|entry| entry.path().is_file()).map(|entry| {
        let bytes = std::fs::read(entry.path()).expect("a file");
        (entry.file_name().to_string_lossy().into_owned(), bytes)
    });
    files.filter(|(_, bytes)| !bytes.is_empty()).collect()
}

/// Asserts that two listings of files are equal, and names the file otherwise.
pub fn assert_same_files(
    before: &BTreeMap<String, Vec<u8>>,
    after: &BTreeMap<String, Vec<u8>>,
    why: &str,
) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(after), "{why}");
    for (name, bytes) in before {
        assert!(bytes == &after[name], "{why}: {name} changed");
    }
}

/// Copies the files of a directory, the lock file as well, in place of those of another.
pub fn copy_files(from: &DataDir, to: &DataDir) {
    let _ = std::fs::remove_dir_all(to.path());
    std::fs::create_dir_all(to.path()).expect("a directory");
    for (name, bytes) in files(from) {
        std::fs::write(to.file(&name), bytes).expect("a copy");
    }
}

/// Returns the state as text; a value of 16 bytes is a counter.
pub fn state(store: &Store) -> BTreeMap<String, String> {
    let mut state = BTreeMap::new();
    let text = |bytes: &Bytes| match <[u8; 16]>::try_from(&**bytes) {
        Ok(counter) => u128::from_le_bytes(counter).to_string(),
        Err(_) => String::from_utf8_lossy(bytes).into_owned(),
    };
    let main = store.main();
    main.scan(&[], &mut |key, value| {
        state.insert(String::from_utf8_lossy(key).into_owned(), text(value));
    })
    .expect("a readable state");
    state
}

/// Returns the confirmed blocks, each verified against its own digest.
pub fn blocks(store: &Store) -> Vec<BlockRow> {
    let mut rows = Vec::new();
    let mut next = Height::GENESIS;
    while let Some(row) = store.main().block_from(next).expect("a readable row") {
        next = Height(row.order.height.get() + 1);
        rows.push(row);
    }
    rows
}

/// Returns the receipts of a block as text.
pub fn receipts(store: &Store, height: Height) -> Vec<String> {
    let body = store.main().body(height).expect("a body");
    let text = |status: &Status| match status {
        Status::Applied => "applied".to_owned(),
        Status::Rejected(reason) => format!("rejected: {reason}"),
        Status::Quarantined(reason) => format!("quarantined: {reason}"),
    };
    let receipts = body.receipts().expect("canonical receipts");
    receipts.0.iter().map(|receipt| text(&receipt.status)).collect()
}

/// Returns the waiting transactions in order of arrival.
pub fn mempool(node: &Node) -> Vec<u64> {
    let node = node.examine().expect("a sound node");
    node.backlog.mempool.iter().map(Seq::get).collect()
}

/// Opens a database of a node as an operator's tool would.
pub fn sql(dir: &DataDir, file: &str) -> rusqlite::Connection {
    rusqlite::Connection::open(dir.file(file)).expect("a database")
}

/// Numbers from a seed (`SplitMix64`), the same on every platform.
pub struct Numbers(pub u64);

impl Numbers {
    /// Returns a number below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Returns once a thread or a process that is about to end has let go of a node.
pub fn await_unlocked(node: &Node) {
    let started = Instant::now();
    while node.dir.open().is_err() {
        assert!(started.elapsed() < Duration::from_mins(1), "it does not end");
        std::thread::yield_now();
    }
}
