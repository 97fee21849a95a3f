//! Nodes on simulated disks, from which inputs start.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rewake::exec::{
    Clock, Examined, ExecutorSettings, Intake, NewEvent, Recovery, RecoveryOptions, Refusal,
    StopSignal, examine,
};
use rewake::generate::Workload;
use rewake::machine::{MachineVersion, Registry};
use rewake::plan::BatchLimits;
use rewake::store::{DataDir, Repairs};
use rewake::types::UnixMillis;
use rewake_simdisk::{Disk, Image, Settings};

use crate::simulated::Simulated;

/// A clock that stands still.
pub struct Still;

impl Clock for Still {
    fn now(&self) -> UnixMillis {
        UnixMillis(1_000)
    }

    fn sleep(&self, _: Duration) {}
}

/// Returns options that take no time and commit each block by itself.
pub fn options() -> RecoveryOptions {
    let executor = ExecutorSettings { clock: Arc::new(Still), ..ExecutorSettings::default() };
    let batch = BatchLimits { txs_max: 0, ..BatchLimits::default() };
    RecoveryOptions { executor, batch, ..RecoveryOptions::default() }
}

/// Returns the machine of the ledger.
pub fn ledger() -> MachineVersion {
    Registry::built_in().find("ledger").expect("it is built in").version()
}

/// Makes a disk with these bytes.
pub fn disk(image: &Image) -> Disk {
    Disk::new(image.clone(), Settings::default())
}

/// Names the node of a disk.
pub fn dir(disk: &Disk) -> DataDir {
    DataDir::on(&Simulated, disk.path().join("node"))
}

/// Opens the node of a disk and decides.
pub fn open(disk: &Disk) -> Result<Examined, Box<Refusal>> {
    examine(&dir(disk), &Registry::built_in(), Repairs::default())
}

/// An empty node.
pub static EMPTY: LazyLock<Image> = LazyLock::new(|| {
    let disk = disk(&Image::default());
    dir(&disk).create(&ledger()).expect("a new node");
    disk.live()
});

/// What the nodes below have logged: genesis, six blocks of three transfers, two that wait.
fn events() -> Vec<NewEvent> {
    let workload = Workload {
        accounts: 4,
        transfers: 20,
        block_txs: 3,
        mempool: 2,
        refusals_percent: 20,
        ..Workload::default()
    };
    workload.events().collect()
}

/// A node that has confirmed four blocks of seven in an orderly way, and was closed.
pub static CLOSED: LazyLock<Image> = LazyLock::new(|| {
    let disk = disk(&EMPTY);
    let node = open(&disk).expect("a sound node");
    let events = events();
    let (first, rest) = events.split_at(events.len() - 11);
    let intake = |node: &Examined| Intake::new(node, Arc::new(Still));
    intake(&node).append(first.to_vec()).expect("an append");
    drop(node);
    let node = open(&disk).expect("a sound node");
    let (node, _) = Recovery::new(node, options()).run().expect("a recovery");
    intake(&node).append(rest.to_vec()).expect("an append");
    node.store.settle().expect("a checkpoint");
    disk.live()
});

/// The same node after it was killed in its next recovery: write-ahead logs, and a sandbox with what was rehearsed.
pub static KILLED: LazyLock<Image> = LazyLock::new(|| {
    let disk = disk(&CLOSED);
    let node = open(&disk).expect("a sound node");
    let stop = StopSignal::default();
    let options = RecoveryOptions { memory_bytes: 0, stop: stop.clone(), ..options() };
    options.committed.subscribe(move |_| stop.request());
    let (node, _) = Recovery::new(node, options).advance().expect("a recovery");
    let image = disk.live();
    drop(node);
    image
});

/// Opens an undisturbed copy of the closed node, on a disk that stays for as long as the process.
pub fn open_sound() -> &'static Examined {
    static DISK: LazyLock<Disk> = LazyLock::new(|| disk(&CLOSED));
    static NODE: LazyLock<Examined> = LazyLock::new(|| open(&DISK).expect("a sound node"));
    &NODE
}
