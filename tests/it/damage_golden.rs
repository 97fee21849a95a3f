//! Small data directories to be damaged, made by nodes on simulated disks.

use std::collections::BTreeMap;
use std::sync::Arc;

use rewake::event::Patch;
use rewake::exec::{
    Examined, HaltCause, Intake, NewEvent, Recovery, RecoveryOptions, Settlement, examine,
};
use rewake::generate::Workload;
use rewake::machine::{MachineVersion, Registry, StateMachine as _};
use rewake::plan::BatchLimits;
use rewake::store::{DataDir, Repairs};
use rewake::types::{Bytes, Height};
use rewake_simdisk::{Disk, Image, Op, Settings};

use crate::damage_answers::Answers;
use crate::faulty::Faulty;
use crate::scripted::{StillClock, options, ordered, script, seq};
use crate::simulated::Simulated;

/// The files of a directory with their bytes; empty ones are left out.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A sound data directory, and what it has to answer.
pub struct Golden {
    pub name: &'static str,
    pub registry: fn() -> Registry,
    pub files: Files,
    /// The same directory earlier in its life.
    pub older: Files,
    /// A directory of another node of the same machine, as far along.
    pub foreign: Files,
    pub expected: Answers,
    /// What the node has to answer as it was earlier.
    pub older_expected: Answers,
}

/// A node while its directory is made.
struct Making {
    disk: Disk,
    node: Option<Examined>,
}

impl Making {
    fn new(registry: &Registry, machine: &MachineVersion) -> Self {
        let disk = Disk::new(Image::default(), Settings::default());
        data_dir(&disk).create(machine).expect("a new node");
        let node = Some(open(&disk, registry));
        Self { disk, node }
    }

    fn append(&mut self, events: Vec<NewEvent>) {
        let node = self.node.as_mut().expect("an open node");
        let mut intake = Intake::new(node, Arc::new(StillClock::default()));
        intake.append(events).expect("an append");
        node.catch_up().expect("a sound log");
    }

    fn recover(&mut self, options: RecoveryOptions) -> Option<HaltCause> {
        let recovery = Recovery::new(self.node.take().expect("an open node"), options);
        let (node, report) = recovery.advance().expect("a recovery");
        self.node = Some(node);
        report.halt.map(|halt| halt.cause)
    }

    /// Puts everything into its final place.
    fn settle(&self) {
        self.node.as_ref().expect("an open node").store.settle().expect("a checkpoint");
    }

    fn files(&self) -> Files {
        files(&self.disk)
    }
}

pub fn data_dir(disk: &Disk) -> DataDir {
    DataDir::on(&Simulated, disk.path().join("node"))
}

fn open(disk: &Disk, registry: &Registry) -> Examined {
    examine(&data_dir(disk), registry, Repairs::default()).expect("a sound node")
}

/// Returns the files of the node on a disk.
pub fn files(disk: &Disk) -> Files {
    let files = disk.live().files();
    let files = files.iter().filter(|(_, bytes)| !bytes.is_empty());
    let named = files.filter_map(|(path, bytes)| Some((path.strip_prefix("/node/")?, bytes)));
    named.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect()
}

/// Returns the image of a disk that holds a node with these files.
pub fn image(files: &Files) -> Image {
    let mut image = Image::default();
    image.apply(&Op::New { is_dir: true });
    image.apply(&Op::Link { entries: vec![(0, "node".to_owned(), Some(1))] });
    for (number, (name, bytes)) in files.iter().enumerate() {
        image.apply(&Op::New { is_dir: false });
        image.apply(&Op::Write { node: number + 2, at: 0, bytes: bytes.as_slice().into() });
        image.apply(&Op::Link { entries: vec![(1, name.clone(), Some(number + 2))] });
    }
    image
}

/// One block a batch, so that each row carries the digest of its state; and a sandbox of one block in memory.
pub fn singly() -> RecoveryOptions {
    RecoveryOptions {
        batch: BatchLimits { txs_max: 0, ..BatchLimits::default() },
        pace: None,
        memory_bytes: 0,
        ..options()
    }
}

fn faulty() -> Registry {
    Registry::default().with(Faulty::default())
}

/// The first half of the life of a node of scripts; `salt` makes it another node.
fn first_half(salt: u8) -> Vec<NewEvent> {
    let genesis = [(Bytes::from(*b"g"), Some(Bytes::from([salt; 40])))];
    vec![
        NewEvent::Patch(Patch::new("genesis", false, genesis)),
        script(1, &format!("add n 1; put a {salt}")),
        script(2, "put b 2"),
        ordered(0, "", &[1, 2]),
        script(3, "refuse it is too late"),
        script(4, "put n 9; poison it is bad"),
        script(60, "put w 1"),
        ordered(1, "", &[3, 4]),
        script(5, &format!("delete b; put c {}", "c".repeat(300))),
        script(6, "poison it is worse"),
        ordered(2, "", &[5, 6]),
    ]
}

/// What follows: a quarantined transaction is settled, another one stays; more blocks; and what waits.
fn second_half() -> Vec<NewEvent> {
    vec![
        NewEvent::Settle { tx: seq(6), settlement: Settlement::Discard },
        script(7, "add n 5"),
        ordered(3, "", &[7]),
        script(8, "add n 7; put d 4"),
        script(61, "put w 2"),
        ordered(4, "", &[8]),
        script(9, "delete a; add n 11"),
        ordered(5, "", &[9]),
        script(62, "put w 3"),
    ]
}

fn scripted(salt: u8, end: fn(&mut Making)) -> (Making, Files) {
    let mut making = Making::new(&faulty(), &Faulty::default().version());
    making.append(first_half(salt));
    assert_eq!(making.recover(singly()), None);
    making.settle();
    let older = making.files();
    end(&mut making);
    (making, older)
}

fn scripted_golden(name: &'static str, end: fn(&mut Making)) -> Golden {
    let (making, older) = scripted(1, end);
    let foreign = scripted(2, end).0.files();
    golden(name, faulty, making, older, foreign)
}

fn golden(
    name: &'static str,
    registry: fn() -> Registry,
    making: Making,
    older: Files,
    foreign: Files,
) -> Golden {
    let files = making.files();
    drop(making);
    let expected = answers(&files, &registry());
    let older_expected = answers(&older, &registry());
    Golden { name, registry, files, older, foreign, expected, older_expected }
}

fn answers(files: &Files, registry: &Registry) -> Answers {
    let disk = Disk::new(image(files), Settings::default());
    let recovery = Recovery::new(open(&disk, registry), singly());
    let (node, report) = recovery.run().expect("a recovery");
    assert_eq!(report.halt, None);
    let answers = Answers::read(&node, None);
    assert_eq!(answers.unreadable(), 0);
    answers
}

fn end_in_sync(making: &mut Making) {
    making.append(second_half());
    assert_eq!(making.recover(singly()), None);
    making.settle();
}

/// Both write-ahead logs hold something, and blocks wait to be confirmed.
fn end_behind(making: &mut Making) {
    let mut lot = second_half();
    let rest = lot.split_off(3);
    making.append(lot);
    assert_eq!(making.recover(singly()), None);
    making.append(rest);
}

/// Phase 1 was stopped after two blocks, which are in the sandbox.
fn end_interrupted(making: &mut Making) {
    making.append(second_half());
    let options = singly();
    let stop = options.stop.clone();
    options.rehearsed.subscribe(move |block| {
        if block.height.get() == 4 {
            stop.request();
        }
    });
    assert_eq!(making.recover(options), Some(HaltCause::Stopped));
    assert!(making.files().contains_key("sandbox.db"));
}

fn fresh() -> Golden {
    let making = || Making::new(&faulty(), &Faulty::default().version());
    let (one, other) = (making(), making());
    let files = other.files();
    golden("fresh", faulty, one, files.clone(), files)
}

/// A block whose change set is kept compressed.
fn packed() -> Golden {
    let making = |salt: u8| {
        let mut making = Making::new(&faulty(), &Faulty::default().version());
        let large = [(Bytes::from(*b"g"), Some(Bytes::from([salt; 4_200])))];
        making.append(vec![
            NewEvent::Patch(Patch::new("genesis", false, large)),
            ordered(0, "", &[]),
        ]);
        assert_eq!(making.recover(singly()), None);
        making.settle();
        let older = making.files();
        making.append(vec![script(1, "delete g; put a 1"), ordered(1, "", &[1])]);
        assert_eq!(making.recover(singly()), None);
        making.settle();
        let body = making.node.as_ref().expect("a node").store.main().body(Height(1));
        assert!(body.expect("a body").changes.length().is_some(), "it is compressed");
        (making, older)
    };
    let (making_one, older) = making(1);
    let foreign = making(2).0.files();
    golden("packed", faulty, making_one, older, foreign)
}

/// A ledger whose balances the blocks that wait will read.
fn ledger() -> Golden {
    let making = |seed| {
        let workload = Workload {
            accounts: 6,
            transfers: 16,
            block_txs: 4,
            mempool: 2,
            seed,
            ..Workload::default()
        };
        let registry = Registry::built_in();
        let machine = registry.find("ledger").expect("it is built in").version();
        let mut making = Making::new(&registry, &machine);
        let mut events: Vec<_> = workload.events().collect();
        let orders = |event: &NewEvent| matches!(event, NewEvent::Order { .. });
        let half = events.iter().position(orders).expect("an order") + 1;
        let rest = events.split_off(half);
        making.append(events);
        assert_eq!(making.recover(singly()), None);
        making.settle();
        let older = making.files();
        making.append(rest);
        making.settle();
        (making, older)
    };
    let (making_one, older) = making(1);
    let foreign = making(2).0.files();
    golden("ledger", Registry::built_in, making_one, older, foreign)
}

/// Returns every golden directory.
pub fn all() -> Vec<Golden> {
    vec![
        fresh(),
        scripted_golden("in sync", end_in_sync),
        scripted_golden("behind", end_behind),
        scripted_golden("interrupted", end_interrupted),
        packed(),
        ledger(),
    ]
}
