//! Losses of power that the engine did not survive once.

use std::sync::Arc;

use rewake::exec::{Intake, IntakeError, examine};
use rewake::machine::{Registry, StateMachine as _};
use rewake::store::{DataDir, Problem, Repairs};
use rewake_simdisk::{Call, Crash, Disk, Fault, FaultKind, Image, Lasting, Plan, Settings};

use crate::faulty::Faulty;
use crate::scripted::{StillClock, script};
use crate::simulated::Simulated;

#[test]
fn a_new_node_survives_although_the_directories_above_it_are_new() {
    let disk = Disk::new(Image::default(), Settings::default());
    let dir = |disk: &Disk| DataDir::on(&Simulated, disk.path().join("a/b/node"));
    let machine = Faulty::default().version();
    dir(&disk).create(&machine).expect("a new node");
    let mut crash = Crash::new(Image::default());
    disk.trace().iter().for_each(|op| crash.advance(op));
    let left = crash.image(&Plan::none(crash.pending().len()));
    let disk = Disk::new(left, Settings::default());
    dir(&disk).open().expect("it was made durable");
}

#[test]
fn a_log_that_failed_does_not_acknowledge_what_it_finds_in_itself() {
    let disk = Disk::new(Image::default(), Settings::default());
    let dir = DataDir::on(&Simulated, disk.path().join("node"));
    dir.create(&Faulty::default().version()).expect("a new node");
    let mut intake = intake(&dir);
    intake.append(vec![script(1, "put a 1")]).expect("an append");
    let event = || vec![script(2, "put a 2")];
    // The last write of an append is that of the witness, after the commit.
    let counting = |number| Fault {
        call: Call::Write,
        number,
        kind: FaultKind::IoDropping,
        lasting: Lasting::Once,
    };
    disk.arm(Some(counting(usize::MAX)));
    intake.append(vec![script(3, "put a 3")]).expect("an append");
    disk.arm(Some(counting(disk.faults().0)));
    let is_unknown = |answer| match answer {
        Err(IntakeError::Store(error)) => matches!(error.problem, Problem::OutcomeUnknown(_)),
        _ => false,
    };
    assert!(is_unknown(intake.append(event())), "the witness cannot be written");
    assert_eq!(disk.faults().1, 1, "the fault fired");
    assert_eq!(intake.head().seq, 2, "nothing was acknowledged");
    assert!(is_unknown(intake.append(event())), "the same once more");
    assert!(is_unknown(intake.append(vec![script(1, "put a 1")])), "one of before");
}

/// A node whose second event was refused because its sync failed, and that is started again: the event is read, and is
/// on no disk.
fn refused_and_started_again() -> (Disk, DataDir) {
    let disk = Disk::new(Image::default(), Settings::default());
    let dir = DataDir::on(&Simulated, disk.path().join("node"));
    dir.create(&Faulty::default().version()).expect("a new node");
    let mut intake = intake(&dir);
    intake.append(vec![script(1, "put a 1")]).expect("an append");
    let (call, kind, lasting) = (Call::Sync, FaultKind::IoDropping, Lasting::Once);
    disk.arm(Some(Fault { call, number: 1, kind, lasting }));
    intake.append(vec![script(2, "put a 2")]).expect_err("the sync fails");
    assert_eq!(disk.faults().1, 1, "the fault fired");
    disk.arm(None);
    drop(intake);
    assert_eq!(dir.open().expect("a sound node").log().head().seq, 2, "the kernel shows it");
    (disk, dir)
}

fn intake(dir: &DataDir) -> Intake {
    let registry = Registry::default().with(Faulty::default());
    let node = examine(dir, &registry, Repairs::default()).expect("a sound node");
    Intake::new(&node, Arc::new(StillClock::default()))
}

/// Returns how far the log goes after everything that was not synced was lost.
fn head_after_loss(disk: &Disk) -> u64 {
    let mut crash = Crash::new(Image::default());
    disk.trace().iter().for_each(|op| crash.advance(op));
    let left = crash.image(&Plan::none(crash.pending().len()));
    let disk = Disk::new(left, Settings::default());
    let dir = DataDir::on(&Simulated, disk.path().join("node"));
    let registry = Registry::default().with(Faulty::default());
    examine(&dir, &registry, Repairs::default()).expect("a sound node").log_head.seq
}

#[test]
fn an_event_that_is_found_in_the_log_is_acknowledged_only_when_it_is_on_the_disk() {
    let (disk, dir) = refused_and_started_again();
    let answers = intake(&dir).append(vec![script(2, "put a 2")]).expect("it is known");
    assert!(!answers[0].is_new);
    assert_eq!(head_after_loss(&disk), 2, "it was acknowledged");
}

#[test]
fn a_checkpoint_is_not_hidden_by_the_log_that_it_emptied() {
    let (disk, dir) = refused_and_started_again();
    let store = dir.open().expect("a sound node");
    store.log().arm().expect("a checkpoint");
    assert_eq!(head_after_loss(&disk), 2, "the witness has it");
}

#[test]
fn a_node_whose_creation_was_cut_short_is_made_durable_before_it_is_used() {
    let disk = Disk::new(Image::default(), Settings::default());
    let dir = DataDir::on(&Simulated, disk.path().join("node"));
    // The last sync of a creation is that of the directories above the node, after it took its name.
    let (call, kind, lasting) = (Call::Sync, FaultKind::IoKeeping, Lasting::Once);
    let elsewhere = Disk::new(Image::default(), Settings::default());
    elsewhere.arm(Some(Fault { call, number: usize::MAX, kind, lasting }));
    let machine = Faulty::default().version();
    DataDir::on(&Simulated, elsewhere.path().join("node")).create(&machine).expect("a new node");
    disk.arm(Some(Fault { call, number: elsewhere.faults().0, kind, lasting }));
    dir.create(&machine).expect_err("the sync fails");
    intake(&dir).append(vec![script(1, "put a 1")]).expect("the node is there");
    assert_eq!(head_after_loss(&disk), 1, "it was acknowledged");
}
