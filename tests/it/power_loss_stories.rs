//! What nodes do in their lives on simulated disks.

use rewake::exec::{CommitMode, Gate, NewEvent, RecoveryOptions, Scheduling};
use rewake::generate::Workload;
use rewake::machine::{MachineVersion, Registry, StateMachine as _};
use rewake::plan::BatchLimits;

use crate::faulty::Faulty;
use crate::power_loss_life::{Step, Story};
use crate::scripted::{options, ordered, script, with_a_poisonous_one};

fn faulty() -> Registry {
    Registry::default().with(Faulty::default())
}

fn faulty_version() -> MachineVersion {
    Faulty::default().version()
}

fn ledger_version() -> MachineVersion {
    Registry::built_in().find("ledger").expect("it is built in").version()
}

/// Two blocks a batch.
fn batches() -> RecoveryOptions {
    RecoveryOptions { batch: BatchLimits { txs_max: 4, ..BatchLimits::default() }, ..options() }
}

fn spilling() -> RecoveryOptions {
    RecoveryOptions { memory_bytes: 0, ..batches() }
}

fn spilling_by_batch() -> RecoveryOptions {
    RecoveryOptions { gate: Gate::Batch, ..spilling() }
}

/// One block a batch.
fn singly() -> RecoveryOptions {
    RecoveryOptions { batch: BatchLimits { txs_max: 0, ..BatchLimits::default() }, ..options() }
}

fn twice_by_batch() -> RecoveryOptions {
    RecoveryOptions { commit: CommitMode::Reexecute, gate: Gate::Batch, ..batches() }
}

fn twice_spilling() -> RecoveryOptions {
    RecoveryOptions { commit: CommitMode::Reexecute, ..spilling() }
}

/// One block a batch, each rehearsed while the one before it is committed. The rehearsal writes nothing, so that what
/// the disk is told comes in one order.
fn overlapped() -> RecoveryOptions {
    let mut options = RecoveryOptions { gate: Gate::Batch, ..singly() };
    options.executor.workers = 2;
    options.executor.scheduling = Scheduling::Parallel;
    options
}

fn twice_overlapped() -> RecoveryOptions {
    RecoveryOptions { commit: CommitMode::Reexecute, ..overlapped() }
}

/// A text of so many letters.
fn long(number: usize) -> String {
    format!("put long {}", "x".repeat(number))
}

fn story(name: &'static str, options: fn() -> RecoveryOptions, steps: Vec<Step>) -> Story {
    Story { name, dir: "node", registry: faulty, machine: faulty_version, options, steps }
}

/// Blocks of scripts, each logged with its order.
fn blocks(heights: std::ops::Range<u8>) -> Vec<NewEvent> {
    let block = |height: u8| {
        let txs = [2 * height + 1, 2 * height + 2];
        [
            script(txs[0], &format!("add n 1; put k{height} {height}")),
            script(txs[1], "add n 1; put last 1"),
            ordered(height.into(), "", &txs),
        ]
    };
    heights.flat_map(block).collect()
}

/// A node is made where no directory is, and used.
pub fn creation() -> Story {
    let steps = vec![Step::Append(vec![script(1, "put a 1")])];
    Story { dir: "a/b/node", ..story("creation", batches, steps) }
}

/// Lots of one event and of several, of a few bytes and of several pages.
pub fn appends() -> Story {
    let lot = |number: u8, text: &str| Step::Append(vec![script(number, text)]);
    let three = (5..8).map(|number| script(number, "put a 1")).collect();
    let steps = vec![
        lot(1, "put a 1"),
        lot(2, &long(9_000)),
        Step::Append(three),
        lot(8, "put b 2"),
        lot(9, &long(3_000)),
        lot(10, "add n 1"),
    ];
    story("appends", batches, steps)
}

/// A backlog is recovered, block by block.
pub fn recoveries() -> Vec<Story> {
    let steps = || {
        let last = Step::Append(vec![script(99, "put w 1")]);
        vec![Step::Append(blocks(0..4)), Step::Recover, last]
    };
    vec![
        story("restore", batches, steps()),
        story("restore singly", singly, steps()),
        story("restore with a sandbox", spilling, steps()),
        story("restore with a sandbox by batch", spilling_by_batch, steps()),
        story("reexecute by batch", twice_by_batch, steps()),
        story("reexecute with a sandbox", twice_spilling, steps()),
        beside(),
        story("reexecute beside the rehearsal", twice_overlapped, steps()),
    ]
}

/// A backlog is recovered, each block while the next is rehearsed.
pub fn beside() -> Story {
    let steps =
        vec![Step::Append(blocks(0..4)), Step::Recover, Step::Append(vec![script(99, "put w 1")])];
    story("restore beside the rehearsal", overlapped, steps)
}

/// A node logs, recovers, logs more and recovers again.
pub fn mixed() -> Story {
    let steps = vec![
        Step::Append(blocks(0..2)),
        Step::Recover,
        Step::Append(vec![script(50, "put w 1")]),
        Step::Append(blocks(2..4)),
        Step::Recover,
        Step::Append(vec![script(51, "put w 2")]),
    ];
    story("mixed", spilling, steps)
}

/// A block table of the first schema version is brought forward, and a backlog is recovered on it.
pub fn brought_forward() -> Story {
    Story { name: "brought forward", ..mixed() }
}

/// A transaction gets a verdict.
pub fn verdict() -> Story {
    let steps = vec![
        Step::Append(with_a_poisonous_one()),
        Step::Recover,
        Step::Append(vec![script(4, "add n 1")]),
    ];
    story("verdict", spilling, steps)
}

/// The ledger moves money.
pub fn ledger() -> Story {
    let workload =
        Workload { accounts: 6, transfers: 14, block_txs: 4, mempool: 2, ..Workload::default() };
    let steps = vec![Step::Append(workload.events().collect()), Step::Recover];
    Story {
        registry: Registry::built_in,
        machine: ledger_version,
        ..story("ledger", batches, steps)
    }
}
