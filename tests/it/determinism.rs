//! One log gives one result, whatever recovers it: batches, memory, gates, modes, workers, clocks, seeds of hash maps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rewake::exec::{
    Clock, CommitMode, Examined, ExecutorSettings, Gate, Intake, Outcome, Recovery,
    RecoveryOptions, Scheduling, examine,
};
use rewake::generate::Workload;
use rewake::machine::{MachineVersion, Registry};
use rewake::plan::BatchLimits;
use rewake::state::{StateDigest, StateRead as _};
use rewake::store::{DataDir, Repairs};
use rewake::types::{Digest, Height, Seq, UnixMillis};
use rewake_simdisk::{Disk, Image, Settings};

use crate::scripted::{StillClock, blocks};
use crate::simulated::Simulated;

const BLOCK_TXS: u64 = 20;

/// Blocks enough for several batches, accounts enough for a digest on a thread of its own.
const WORKLOAD: Workload = Workload {
    accounts: 400,
    transfers: 630,
    block_txs: BLOCK_TXS,
    unconfirmed_blocks: 0,
    mempool: 10,
    skew_percent: 80,
    refusals_percent: 10,
    seed: 7,
};

/// What the log of the workload and its recovery gave when they were released.
const CHAIN: &str = "aea24a5d6f4841fb051d8818a0e87e9b73bdd0bba74a9ec869b339b572aa4aa0";
const HEAD: &str = "46e5bcd19c3a271b75f2689d6874223f2c2e1915a355631f00935b6b24b6c4aa";
const STATE: &str = "8a61141ea13f8cf30e960b1567178ac995400c0b820eaafe9e06c5399aa8fdaf";

/// What must not depend on how a node was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Chain digest of the last event.
    chain: Digest,
    /// The digest kept beside the state, and that of a scan of it.
    pub state: [Digest; 2],
    /// Of each block: the digests of its row, its transactions, its receipts and its change set.
    blocks: Vec<(u64, [Digest; 4])>,
    /// What waits.
    mempool: Vec<u64>,
}

impl Whole {
    /// Reads a node.
    pub fn of(node: &Examined) -> Self {
        let store = &node.store;
        let rows = blocks(store);
        let main = store.main();
        let mut scanned = StateDigest::default();
        main.scan(&[], &mut |key, value| scanned.add(key, value)).expect("a state");
        let block = |height: Height, row: Digest| {
            let body = main.body(height).expect("a body");
            let (receipts, changes) = (body.receipts_bytes(), body.changes_bytes());
            let (receipts, changes) = (receipts.expect("receipts"), changes.expect("changes"));
            let parts = [&body.txs, &*receipts, &*changes].map(Digest::of);
            (height.get(), [row, parts[0], parts[1], parts[2]])
        };
        Self {
            chain: store.log().head().chain,
            state: [main.lanes().expect("lanes").digest(), scanned.digest()],
            blocks: rows.iter().map(|row| block(row.order.height, row.digest())).collect(),
            mempool: node.backlog.mempool.iter().map(Seq::get).collect(),
        }
    }

    /// Holds the log and the end of its recovery against what was released.
    pub fn check_released(&self, how: &str) {
        let head = self.blocks.last().expect("blocks").1[0];
        let found = [self.chain, head, self.state[0]].map(|digest| digest.to_string());
        assert_eq!(found, [CHAIN, HEAD, STATE], "{how}");
    }
}

/// A clock that runs backwards, or leaps, by a step.
struct Wrong {
    now: AtomicU64,
    step: u64,
}

impl Clock for Wrong {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.now.fetch_add(self.step, Ordering::Relaxed))
    }

    fn sleep(&self, _: Duration) {}
}

fn clocks() -> [(&'static str, Arc<dyn Clock>); 3] {
    let wrong = |now, step| Arc::new(Wrong { now: AtomicU64::new(now), step });
    [
        ("still", Arc::new(StillClock::default())),
        ("backwards", wrong(1 << 40, u64::MAX)),
        ("leaping", wrong(0, 1 << 33)),
    ]
}

fn ledger() -> MachineVersion {
    Registry::built_in().find("ledger").expect("it is built in").version()
}

/// Makes a node that has logged the workload and confirmed nothing.
pub fn logged(dir: &DataDir) {
    dir.create(&ledger()).expect("a new node");
    let node = examine(dir, &Registry::built_in(), Repairs::default()).expect("a sound node");
    let mut intake = Intake::new(&node, Arc::new(StillClock::default()));
    intake.append(WORKLOAD.events().collect()).expect("an append");
    node.store.settle().expect("a checkpoint");
}

fn on(disk: &Disk) -> DataDir {
    DataDir::on(&Simulated, disk.path().join("node"))
}

fn image() -> Image {
    let disk = Disk::new(Image::default(), Settings::default());
    logged(&on(&disk));
    disk.live()
}

fn recovered(dir: &DataDir, options: RecoveryOptions) -> Whole {
    let node = examine(dir, &Registry::built_in(), Repairs::default()).expect("a sound node");
    let (node, report) = Recovery::new(node, options).run().expect("a recovery");
    assert_eq!(report.outcome, Outcome::Recovered, "{report:?}");
    Whole::of(&node)
}

#[test]
fn batches_memory_gates_modes_and_clocks_give_what_was_released() {
    let image = image();
    let expected =
        recovered(&on(&Disk::new(image.clone(), Settings::default())), crate::scripted::options());
    expected.check_released("undisturbed");
    assert_eq!((expected.state[0], expected.mempool.len()), (expected.state[1], 10));
    let (clocks, mut next) = (clocks(), 0);
    for commit in [CommitMode::Restore, CommitMode::Reexecute] {
        for gate in [Gate::All, Gate::Batch] {
            for memory_bytes in [0, 40_000, RecoveryOptions::default().memory_bytes] {
                for txs_max in [1, 2 * BLOCK_TXS, 7 * BLOCK_TXS, 50_000, u64::MAX] {
                    let (name, clock) = &clocks[next % clocks.len()];
                    next += 1;
                    let batch = BatchLimits { txs_max, ..BatchLimits::default() };
                    let clock = Arc::clone(clock);
                    let workers = [1, 2, 8][next % 3];
                    let scheduling = [Scheduling::Parallel, Scheduling::Adaptive][next % 2];
                    let executor = ExecutorSettings {
                        clock,
                        workers,
                        scheduling,
                        ..ExecutorSettings::default()
                    };
                    let options = RecoveryOptions {
                        commit,
                        gate,
                        batch,
                        memory_bytes,
                        executor,
                        ..RecoveryOptions::default()
                    };
                    let disk = Disk::new(image.clone(), Settings::default());
                    let found = recovered(&on(&disk), options);
                    let how =
                        format!("{commit:?} {gate:?} {memory_bytes} {txs_max} {name} {workers}");
                    assert_eq!(found, expected, "{how}");
                }
            }
        }
    }
}
