//! Damage to one file while nobody has it open.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::torture::Fault;
use crate::torture::hand::Hand;
use crate::torture::scratch;
use crate::types::Digest;

/// Size of the pieces that become zeros or change places, in bytes; half a file where it is smaller than two.
const PAGE_BYTES: u64 = 4096;
/// How often a place is drawn before a file counts as having none.
const DRAWS: u32 = 64;

/// A file that was damaged.
#[derive(Debug)]
pub(super) struct Damaged {
    file: PathBuf,
    mark: Mark,
    /// What was done, for people.
    pub(super) detail: String,
}

/// What tells that the damage is still there.
#[derive(Debug)]
enum Mark {
    Bytes { at: u64, bytes: Vec<u8> },
    Length(u64),
    Absent,
    Whole(Digest),
}

/// Damages a file; `None` where it offers no place for that.
pub(super) fn damage(
    fault: Fault,
    file: &Path,
    older: &Path,
    hand: &mut Hand,
) -> io::Result<Option<Damaged>> {
    let made = match fault {
        Fault::FlipBit => flip_bit(file, hand)?,
        Fault::Truncate => truncate(file, hand)?,
        Fault::ZeroPage => zero_page(file, hand)?,
        Fault::SwapPages => swap_pages(file, hand)?,
        Fault::OlderCopy => older_copy(file, older)?,
        Fault::TakeAway => {
            fs::remove_file(file)?;
            Some((Mark::Absent, "it was taken away".to_owned()))
        }
        // The others befall processes.
        _ => None,
    };
    Ok(made.map(|(mark, detail)| Damaged { file: file.to_owned(), mark, detail }))
}

impl Damaged {
    /// Says whether the file still is as the damage left it, at its place.
    pub(super) fn is_left(&self) -> io::Result<bool> {
        let file = match File::open(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(matches!(self.mark, Mark::Absent));
            }
            file => file?,
        };
        let length = file.metadata()?.len();
        match &self.mark {
            Mark::Absent => Ok(false),
            Mark::Length(cut) => Ok(length == *cut),
            Mark::Whole(digest) => Ok(scratch::digest(&self.file)? == *digest),
            Mark::Bytes { at, bytes } => {
                let end = at.saturating_add(crate::codec::count(bytes.len()));
                Ok(end <= length && read(&file, *at, crate::codec::count(bytes.len()))? == *bytes)
            }
        }
    }
}

type Made = Option<(Mark, String)>;

fn open(file: &Path) -> io::Result<(File, u64)> {
    let file = File::options().read(true).write(true).open(file)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

fn read(file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

fn flip_bit(file: &Path, hand: &mut Hand) -> io::Result<Made> {
    let (file, length) = open(file)?;
    if length == 0 {
        return Ok(None);
    }
    let (at, bit) = (hand.below(length), hand.below(8));
    let mut bytes = read(&file, at, 1)?;
    for byte in &mut bytes {
        *byte ^= 1 << bit;
    }
    file.write_all_at(&bytes, at)?;
    Ok(Some((Mark::Bytes { at, bytes }, format!("bit {bit} of byte {at} of {length} was flipped"))))
}

fn truncate(file: &Path, hand: &mut Hand) -> io::Result<Made> {
    let (file, length) = open(file)?;
    if length == 0 {
        return Ok(None);
    }
    let cut = hand.below(length);
    file.set_len(cut)?;
    Ok(Some((Mark::Length(cut), format!("it was cut from {length} bytes to {cut}"))))
}

/// Returns the size and the number of the pieces of a file.
fn pieces(length: u64) -> (u64, u64) {
    let size = PAGE_BYTES.min(length / 2).max(1);
    (size, length / size)
}

fn zero_page(file: &Path, hand: &mut Hand) -> io::Result<Made> {
    let (file, length) = open(file)?;
    let (size, count) = pieces(length);
    for _draw in 0..DRAWS {
        let at = hand.below(count).saturating_mul(size);
        if count > 0 && read(&file, at, size)?.iter().any(|byte| *byte != 0) {
            let bytes = vec![0; usize::try_from(size).unwrap_or(0)];
            file.write_all_at(&bytes, at)?;
            let detail = format!("{size} bytes from {at} of {length} on became zeros");
            return Ok(Some((Mark::Bytes { at, bytes }, detail)));
        }
    }
    Ok(None)
}

fn swap_pages(file: &Path, hand: &mut Hand) -> io::Result<Made> {
    let (file, length) = open(file)?;
    let (size, count) = pieces(length);
    for _draw in 0..DRAWS {
        let (one, other) =
            (hand.below(count).saturating_mul(size), hand.below(count).saturating_mul(size));
        if count == 0 || one == other {
            continue;
        }
        let (first, second) = (read(&file, one, size)?, read(&file, other, size)?);
        if first != second {
            file.write_all_at(&second, one)?;
            file.write_all_at(&first, other)?;
            let detail = format!("{size} bytes at {one} and {other} of {length} changed places");
            return Ok(Some((Mark::Bytes { at: one, bytes: second }, detail)));
        }
    }
    Ok(None)
}

fn older_copy(file: &Path, older: &Path) -> io::Result<Made> {
    let before = scratch::digest(older)?;
    if before == scratch::digest(file)? {
        return Ok(None);
    }
    let bytes = fs::copy(older, file)?;
    let detail = format!("it was replaced by an older copy of {bytes} bytes");
    Ok(Some((Mark::Whole(before), detail)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torture::fault::OF_FILES;

    /// Damages a file of some bytes; says whether it could, and what the file holds then.
    fn try_on(fault: Fault, bytes: &[u8]) -> (Option<Damaged>, Option<Vec<u8>>, tempfile::TempDir) {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let (file, older) = (scratch.path().join("file"), scratch.path().join("older"));
        fs::write(&file, bytes).expect("a file");
        fs::write(&older, b"older").expect("a file");
        let damaged = damage(fault, &file, &older, &mut Hand::of_round(1, 1)).expect("a file");
        (damaged, fs::read(&file).ok(), scratch)
    }

    #[test]
    fn each_damage_changes_the_file_and_is_seen_until_it_is_mended() {
        let bytes: Vec<u8> = (0..12_288u32).map(|at| u8::try_from(at / 64).unwrap_or(1)).collect();
        for fault in OF_FILES {
            let (damaged, left, scratch) = try_on(fault, &bytes);
            let damaged = damaged.unwrap_or_else(|| panic!("{fault:?} has a place"));
            assert_ne!(left.as_deref(), Some(bytes.as_slice()), "{fault:?}");
            assert!(damaged.is_left().expect("a file"), "{fault:?}: {}", damaged.detail);
            fs::write(scratch.path().join("file"), &bytes).expect("a file");
            assert!(!damaged.is_left().expect("a file"), "{fault:?}: {}", damaged.detail);
        }
    }

    #[test]
    fn a_file_without_a_place_for_it_is_left_alone() {
        for (fault, bytes) in [
            (Fault::FlipBit, &b""[..]),
            (Fault::Truncate, b""),
            (Fault::ZeroPage, b""),
            (Fault::ZeroPage, b"\0\0\0\0"),
            (Fault::SwapPages, b""),
            (Fault::SwapPages, b"aaaa"),
            (Fault::OlderCopy, b"older"),
            (Fault::Kill, b"kill is for processes"),
        ] {
            let (damaged, left, _scratch) = try_on(fault, bytes);
            assert!(damaged.is_none() && left.as_deref() == Some(bytes), "{fault:?} {bytes:?}");
        }
    }
}
