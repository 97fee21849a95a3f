//! The witness: whatever the file holds, start-up decides as its layout says.

use rewake::exec::examine;
use rewake::machine::Registry;
use rewake::recovery::Label;
use rewake::store::{Problem, Repairs};
use rewake::types::{Digest, Seq};
use rewake_simdisk::{Disk, disk_of};

use super::Target;
use super::input::Input;
use super::reached::reach;
use super::reference;
use super::template::{self, CLOSED};

pub const TARGET: Target = Target { name: "witness", run, seeds, smoke_runs: 900, places: PLACES };
const PLACES: &[&str] = &["no witness", "agrees", "ahead", "another"];

const STRIDE: usize = 4096;
const SLOT: usize = 64;

/// Builds a file of two slots from choices, alters it, and compares the decision with what the layout says.
fn run(bytes: &[u8]) {
    let disk = template::disk(&CLOSED);
    let mut input = Input(bytes);
    let mut file = read(&disk);
    for slot in 0..2 {
        if let Some(made) = slot_of(&mut input) {
            file[slot * STRIDE..slot * STRIDE + SLOT].copy_from_slice(&made);
        }
    }
    while !input.is_empty() {
        let at = input.u32() as usize % (STRIDE + SLOT + 8);
        match input.u8() {
            0 => file.truncate(at),
            1 => file.resize(at.max(file.len()), 0),
            value if at < file.len() => file[at] ^= value,
            _ => {}
        }
    }
    write(&disk, &file);
    check(&disk, &file);
}

/// Returns a whole slot, or nothing where the slot stays as it is.
fn slot_of(input: &mut Input<'_>) -> Option<Vec<u8>> {
    let choice = input.u8();
    let log = template::open_sound().store.log();
    let (turn, seq) = (input.u64(), u64::from(input.u8()));
    let head = log.head();
    let (seq, chain) = match choice % 5 {
        0 => return None,
        1 => (head.seq, head.chain),
        2 => (seq, Seq::new(seq).and_then(|seq| log.event(seq).ok())?.chain),
        3 => (head.seq + seq, Digest([choice; 32])),
        _ => (input.u64(), Digest::of(input.take(4))),
    };
    let mut slot = b"rwkWIT01".to_vec();
    slot.extend_from_slice(&turn.to_le_bytes());
    slot.extend_from_slice(&seq.to_le_bytes());
    slot.extend_from_slice(&chain.0);
    let checksum = Digest::of(&slot);
    slot.extend_from_slice(&checksum.0[..8]);
    Some(slot)
}

/// Reads a slot by its layout, without the product's reader.
fn read_slot(file: &[u8], slot: usize) -> Option<(u64, u64, [u8; 32])> {
    let slot = file.get(slot * STRIDE..slot * STRIDE + SLOT)?;
    let number = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().expect("8 bytes"));
    let is_whole = &slot[..8] == b"rwkWIT01" && slot[56..] == Digest::of(&slot[..56]).0[..8];
    is_whole.then(|| (number(8), number(16), slot[24..56].try_into().expect("32 bytes")))
}

fn check(disk: &Disk, file: &[u8]) {
    let decided = examine(&template::dir(disk), &Registry::built_in(), Repairs::default());
    let slots = [0, 1].map(|slot| read_slot(file, slot));
    let newest = slots.into_iter().flatten().max_by_key(|(turn, ..)| *turn);
    let Some((_, seq, chain)) = newest.filter(|_| file.len() == STRIDE + SLOT) else {
        let refusal = decided.err().expect("a witness that is none is refused");
        let problem = refusal.source.expect("the file is to blame").problem;
        assert!(matches!(problem, Problem::Foreign(_)), "{problem}");
        reach(TARGET.name, "no witness");
        return;
    };
    let sound = template::open_sound();
    let head = sound.log_head.seq;
    let event = Seq::new(seq).filter(|seq| seq.get() <= head);
    let expected = match event.map(|seq| sound.store.log().event(seq).expect("an event").chain.0) {
        None if seq == 0 => Label::Behind,
        None => Label::LogCut,
        Some(there) if there == chain => Label::Behind,
        Some(_) => Label::LogReplaced,
    };
    let found = decided.as_ref().map_or_else(|refusal| refusal.label, |node| node.label);
    assert_eq!(found, expected);
    let place = match expected {
        Label::LogCut => "ahead",
        Label::LogReplaced => "another",
        _ => "agrees",
    };
    reach(TARGET.name, place);
    if let Ok(node) = decided {
        reference::check(TARGET.name, node);
        assert!(read_slot(&read(disk), 0).or(read_slot(&read(disk), 1)).is_some());
    }
}

fn place(disk: &Disk) -> rewake_simdisk::OpenFile {
    let place = disk_of(&template::dir(disk).file("WITNESS")).expect("the disk is there");
    place.open(false).expect("a witness")
}

fn read(disk: &Disk) -> Vec<u8> {
    let file = place(disk);
    let mut bytes = vec![0; file.length()];
    file.read(&mut bytes, 0);
    bytes
}

fn write(disk: &Disk, bytes: &[u8]) {
    let file = place(disk);
    file.truncate(0).expect("a disk without faults");
    file.write(bytes, 0).expect("a disk without faults");
}

fn seeds() -> Vec<Vec<u8>> {
    let slot = |choice: u8, turn: u8, seq: u8| vec![choice, turn, 0, 0, 0, 0, 0, 0, 0, seq];
    let pairs = [
        (slot(0, 0, 0), slot(0, 0, 0)),
        (slot(1, 9, 0), slot(2, 10, 5)),
        (slot(3, 9, 0), slot(1, 8, 0)),
        (slot(3, 9, 1), slot(2, 7, 3)),
        (slot(4, 9, 1), slot(4, 10, 0)),
    ];
    let mut seeds: Vec<_> = pairs.into_iter().map(|(one, two)| [one, two].concat()).collect();
    seeds.push([slot(0, 0, 0), slot(0, 0, 0), vec![9, 0, 0, 0, 7, 9, 16, 0, 0, 7]].concat());
    seeds
}
