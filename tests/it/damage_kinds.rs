//! Kinds of damage: every way in which the files of a golden directory are changed.

use std::fmt;

use rewake_simdisk::Numbers;

use crate::damage_golden::{Files, Golden};
use crate::suite::Suite;

const SEED: u64 = 0x6461_6d61_6765;
const PAGE: usize = 4096;

/// A change of the files of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One byte is another.
    Flip { file: String, at: usize, mask: u8 },
    /// A file ends earlier.
    Cut { file: String, bytes: usize },
    /// A page, or a frame of a write-ahead log, is zero.
    Zero { file: String, at: usize, bytes: usize },
    /// Two pages or frames have changed places.
    Swap { file: String, one: usize, other: usize, bytes: usize },
    /// Files are those of earlier in the node's life.
    Older { files: Vec<String> },
    /// A file is that of another node.
    Foreign { file: String },
    /// A file is gone.
    Missing { file: String },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flip { file, at, mask } => write!(f, "{file} flip {at} {mask:#04x}"),
            Self::Cut { file, bytes } => write!(f, "{file} cut {bytes}"),
            Self::Zero { file, at, bytes } => write!(f, "{file} zero {at} {bytes}"),
            Self::Swap { file, one, other, bytes } => {
                write!(f, "{file} swap {one} {other} {bytes}")
            }
            Self::Older { files } => write!(f, "{} older", files.join("+")),
            Self::Foreign { file } => write!(f, "{file} foreign"),
            Self::Missing { file } => write!(f, "{file} missing"),
        }
    }
}

impl Damage {
    /// Names the file, or the first of several.
    pub fn file(&self) -> &str {
        match self {
            Self::Flip { file, .. }
            | Self::Cut { file, .. }
            | Self::Zero { file, .. }
            | Self::Swap { file, .. }
            | Self::Foreign { file }
            | Self::Missing { file } => file,
            Self::Older { files } => files.first().map_or("", String::as_str),
        }
    }

    /// Names the kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Flip { .. } => "flip",
            Self::Cut { .. } => "cut",
            Self::Zero { .. } => "zero",
            Self::Swap { .. } => "swap",
            Self::Older { .. } => "older",
            Self::Foreign { .. } => "foreign",
            Self::Missing { .. } => "missing",
        }
    }

    /// Says whether a file is as it was earlier.
    pub fn turns_back(&self, name: &str) -> bool {
        matches!(self, Self::Older { files } if files.iter().any(|file| file == name))
    }

    /// Returns the damaged files; `None` where nothing changes.
    pub fn of(&self, golden: &Golden) -> Option<Files> {
        let mut files = golden.files.clone();
        let bytes_of = |files: &mut Files, file: &String| files.remove(file).expect("a file");
        match self {
            Self::Flip { file, at, mask } => {
                files.get_mut(file).expect("a file")[*at] ^= mask;
            }
            Self::Cut { file, bytes } => files.get_mut(file).expect("a file").truncate(*bytes),
            Self::Zero { file, at, bytes } => {
                let whole = files.get_mut(file).expect("a file");
                let end = (at + bytes).min(whole.len());
                whole[*at..end].fill(0);
            }
            Self::Swap { file, one, other, bytes } => {
                let mut whole = bytes_of(&mut files, file);
                for offset in 0..*bytes {
                    whole.swap(one + offset, other + offset);
                }
                files.insert(file.clone(), whole);
            }
            Self::Older { files: names } => {
                for name in names {
                    replace(&mut files, &golden.older, name);
                }
            }
            Self::Foreign { file } => replace(&mut files, &golden.foreign, file),
            Self::Missing { file } => drop(bytes_of(&mut files, file)),
        }
        (files != golden.files).then_some(files)
    }
}

fn replace(files: &mut Files, by: &Files, name: &str) {
    match by.get(name) {
        Some(bytes) => drop(files.insert(name.to_owned(), bytes.clone())),
        None => drop(files.remove(name)),
    }
}

/// How much of the damage is done.
#[derive(Clone, Copy)]
pub struct Amount {
    /// One byte of so many, among those that are not zero or stand near one that is not.
    pub bytes: u64,
    /// One byte of so many among the others.
    pub zeros: u64,
    /// A single bit of one byte of so many is flipped as well; with 1, all eight of each.
    pub bits: u64,
    /// One of so many other changes.
    pub others: u64,
}

impl Amount {
    pub const FULL: Self = Self { bytes: 1, zeros: 1, bits: 1, others: 1 };

    pub fn chosen() -> Self {
        match Suite::chosen() {
            Suite::Every => Self { bytes: 40, zeros: 1_200, bits: 12, others: 31 },
            Suite::Quick | Suite::Long => Self { bytes: 3, zeros: 96, bits: 12, others: 4 },
            Suite::Full => Self::FULL,
        }
    }
}

/// Returns the damage that is done to a golden directory.
pub fn damages(golden: &Golden, amount: Amount) -> Vec<Damage> {
    let mut list = Vec::new();
    let mut numbers = Numbers(SEED ^ golden.files.len() as u64);
    let mut once_in = |number: u64| {
        let number = usize::try_from(number).expect("a small number");
        numbers.below(number) == 0
    };
    for (file, bytes) in &golden.files {
        for at in 0..bytes.len() {
            let near = &bytes[at.saturating_sub(4)..bytes.len().min(at + 5)];
            let lives = near.iter().any(|byte| *byte != 0);
            if !once_in(if lives { amount.bytes } else { amount.zeros }) {
                continue;
            }
            let file = || file.clone();
            list.push(Damage::Flip { file: file(), at, mask: 0xff });
            if amount.bits == 1 {
                list.extend((0..8).map(|bit| Damage::Flip { file: file(), at, mask: 1 << bit }));
            } else if once_in(amount.bits) {
                list.push(Damage::Flip { file: file(), at, mask: 1 << (at * 5 % 8) });
            }
        }
        let others = cuts(file, bytes.len()).chain(pages(file, bytes.len()));
        list.extend(others.filter(|_| once_in(amount.others)));
        list.push(Damage::Missing { file: file.clone() });
        list.push(Damage::Foreign { file: file.clone() });
        list.push(Damage::Older { files: vec![file.clone()] });
    }
    let older = |names: &[&str]| Damage::Older {
        files: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    list.push(older(&["log.db", "log.db-wal"]));
    list.push(older(&["main.db", "main.db-wal"]));
    list.push(older(&["log.db", "log.db-wal", "main.db", "main.db-wal"]));
    list.push(older(&["log.db", "log.db-wal", "WITNESS"]));
    list
}

fn cuts(file: &str, length: usize) -> impl Iterator<Item = Damage> {
    let sectors = (0..length).step_by(512);
    let odd = [1, 31, 33, 99, 101, 4_095, 4_097, 4_127, length.saturating_sub(1)];
    let odd = odd.into_iter().filter(move |bytes| *bytes > 0 && *bytes < length);
    sectors.chain(odd).map(|bytes| Damage::Cut { file: file.to_owned(), bytes })
}

/// Pages or frames zeroed, and every pair of them swapped.
fn pages(file: &str, length: usize) -> impl Iterator<Item = Damage> {
    let (start, bytes) = if file.ends_with("-wal") {
        (32, PAGE + 24)
    } else if file == "WITNESS" {
        (0, 64)
    } else {
        (0, PAGE)
    };
    let whole = length.saturating_sub(start) / bytes;
    let place = move |number: usize| start + number * bytes;
    let file = file.to_owned();
    (0..whole).flat_map(move |one| {
        let zero = Damage::Zero { file: file.clone(), at: place(one), bytes };
        let file = file.clone();
        let swaps = (one + 1..whole).map(move |other| {
            let (one, other) = (place(one), place(other));
            Damage::Swap { file: file.clone(), one, other, bytes }
        });
        std::iter::once(zero).chain(swaps)
    })
}
