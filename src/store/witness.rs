//! The witness: a file outside the database that knows how far the log had been acknowledged.
//!
//! SQLite answers a cut write-ahead log with an older, healthy-looking database; only something outside it can tell.
//! There are two slots of 64 bytes, a page apart. One is written until it is synced, then the other: whatever a power cut
//! does to the writes since the last sync, the slot that was synced is whole.
//! `magic [8] · turn u64 · seq u64 · chain [32] · checksum [8]`, little-endian; the checksum is the beginning of the
//! BLAKE3 digest of the bytes before it. A `seq` of zero says that nothing was acknowledged yet.

use std::path::{Path, PathBuf};

use crate::codec::{Reader, Writer};
use crate::fail_point::Point;
use crate::store::medium::{Medium, MediumFile};
use crate::store::{LogHead, Problem, StoreError};
use crate::types::Digest;

const MAGIC: &[u8; 8] = b"rwkWIT01";
const SLOT: usize = 64;
/// Distance between the slots: a torn write may take its neighbours in the sector along, and a page is written as one.
const STRIDE: usize = 4096;
const FILE_BYTES: usize = STRIDE + SLOT;

/// What the witness says.
pub(crate) type WitnessMark = LogHead;

/// The open witness file.
#[derive(Debug)]
pub(crate) struct Witness {
    file: Box<dyn MediumFile>,
    path: PathBuf,
    turn: u64,
    /// The slot that is written until the next sync: 0 or 1. The other one is on the disk.
    slot: u64,
    mark: WitnessMark,
}

impl Witness {
    /// Writes a new witness file, durable when this returns.
    pub(crate) fn create(
        medium: &dyn Medium,
        path: &Path,
        mark: WitnessMark,
    ) -> Result<Self, StoreError> {
        StoreError::passed(path, Point::WitnessCreate)?;
        let file = medium.create(path).map_err(|error| StoreError::io(path, "creating", &error))?;
        let mut witness = Self { file, path: path.to_owned(), turn: 0, slot: 1, mark };
        for _slot in 0..2 {
            witness.write(mark)?;
            witness.sync()?;
            StoreError::passed(path, Point::WitnessSlot)?;
        }
        Ok(witness)
    }

    /// Opens the witness and believes the newer of its whole slots.
    pub(crate) fn open(medium: &dyn Medium, path: &Path) -> Result<Self, StoreError> {
        let file = medium.open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StoreError::new(path, Problem::Missing),
            _ => StoreError::io(path, "opening", &error),
        })?;
        let length = file.bytes().map_err(|error| StoreError::io(path, "looking", &error))?;
        if length != FILE_BYTES as u64 {
            let found = format!("it has {length} bytes, a witness has {FILE_BYTES}");
            return Err(StoreError::new(path, Problem::Foreign(found)));
        }
        let mut bytes = [0u8; FILE_BYTES];
        let read = file.read_exact_at(&mut bytes, 0);
        read.map_err(|error| StoreError::io(path, "reading", &error))?;
        let slots = (0..).zip(bytes.chunks(STRIDE));
        let slots = slots.filter_map(|(slot, page)| Some((slot, read_slot(page.get(..SLOT)?)?)));
        let Some((slot, (turn, mark))) = slots.max_by_key(|(_, (turn, _))| *turn) else {
            let found = "neither of its slots is whole".to_owned();
            return Err(StoreError::new(path, Problem::Foreign(found)));
        };
        // The newer slot is the one that an earlier process may not have synced: it is gone on with.
        Ok(Self { file, path: path.to_owned(), turn, slot, mark })
    }

    /// Returns the highest acknowledged position and its chain digest.
    #[must_use]
    pub(crate) const fn mark(&self) -> WitnessMark {
        self.mark
    }

    /// Writes a new mark. It survives the process at once, and a power cut after the next sync:
    /// a witness that lags behind the log notices less, but never accuses falsely.
    pub(crate) fn write(&mut self, mark: WitnessMark) -> Result<(), StoreError> {
        let turn = self.turn.saturating_add(1);
        let at = self.slot.saturating_mul(STRIDE as u64);
        let written = self.file.write_all_at(&slot_bytes(turn, mark), at);
        written.map_err(|error| StoreError::io(&self.path, "writing", &error))?;
        (self.turn, self.mark) = (turn, mark);
        Ok(())
    }

    /// Makes the last mark survive a power cut.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        if !planted!("witness_not_synced") {
            self.file.sync().map_err(|error| StoreError::io(&self.path, "syncing", &error))?;
        }
        // CRASH: from here on a torn write of the other slot leaves this one.
        self.slot = 1 - self.slot.min(1);
        Ok(())
    }
}

fn slot_bytes(turn: u64, mark: WitnessMark) -> Vec<u8> {
    let mut writer = Writer::with_capacity(SLOT);
    writer.raw(MAGIC).u64(turn).u64(mark.seq).raw(&mark.chain.0);
    let mut bytes = writer.finish();
    let checksum = Digest::of(&bytes);
    bytes.extend_from_slice(checksum.0.first_chunk::<8>().unwrap_or(&[0; 8]));
    bytes
}

fn read_slot(bytes: &[u8]) -> Option<(u64, WitnessMark)> {
    let mut reader = Reader::new(bytes);
    let _magic = reader.raw("magic", MAGIC.len()).ok()?;
    let turn = reader.u64("turn").ok()?;
    let seq = reader.u64("seq").ok()?;
    let chain = reader.digest("chain").ok()?;
    let mark = WitnessMark { seq, chain };
    // The magic and the checksum are compared with the rest.
    (slot_bytes(turn, mark) == bytes || planted!("witness_checksum_ignored"))
        .then_some((turn, mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::file_system::FileSystem;

    fn mark(seq: u64) -> WitnessMark {
        WitnessMark { seq, chain: Digest([u8::try_from(seq).expect("small"); 32]) }
    }

    /// Makes a witness in a directory that vanishes.
    fn made(seq: u64) -> (tempfile::TempDir, PathBuf, Witness) {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let path = scratch.path().join("WITNESS");
        let witness = Witness::create(&FileSystem, &path, mark(seq)).expect("a witness");
        (scratch, path, witness)
    }

    fn slots(path: &Path) -> [Option<(u64, WitnessMark)>; 2] {
        let bytes = std::fs::read(path).expect("a file");
        assert_eq!(bytes.len(), 4_160);
        [&bytes[..64], &bytes[4_096..]].map(read_slot)
    }

    fn opened(path: &Path) -> Result<Witness, Problem> {
        Witness::open(&FileSystem, path).map_err(|error| error.problem)
    }

    #[test]
    fn one_slot_is_written_until_it_is_synced_and_then_the_other() {
        let (_scratch, path, mut witness) = made(3);
        assert_eq!(slots(&path), [Some((2, mark(3))), Some((1, mark(3)))]);
        for seq in [4, 5] {
            witness.write(mark(seq)).expect("a write");
            assert_eq!(witness.mark(), mark(seq));
        }
        assert_eq!(slots(&path), [Some((2, mark(3))), Some((4, mark(5)))]);
        witness.sync().expect("a sync");
        witness.write(mark(6)).expect("a write");
        assert_eq!(slots(&path), [Some((5, mark(6))), Some((4, mark(5)))]);
        // What an earlier process may not have synced is gone on with.
        let mut again = opened(&path).expect("a witness");
        assert_eq!(again.mark(), mark(6));
        again.write(mark(7)).expect("a write");
        assert_eq!(slots(&path), [Some((6, mark(7))), Some((4, mark(5)))]);
        again.sync().expect("a sync");
        again.write(mark(8)).expect("a write");
        assert_eq!(slots(&path), [Some((6, mark(7))), Some((7, mark(8)))]);
    }

    #[test]
    fn a_torn_slot_leaves_the_other_and_two_leave_none() {
        let (_scratch, path, mut witness) = made(3);
        witness.write(mark(4)).expect("a write");
        let whole = std::fs::read(&path).expect("a file");
        for at in 0..64 {
            let mut torn = whole.clone();
            torn[4_096 + at] ^= 1;
            std::fs::write(&path, &torn).expect("a write");
            assert_eq!(opened(&path).expect("a witness").mark(), mark(3), "byte {at}");
            torn[at] ^= 1;
            std::fs::write(&path, &torn).expect("a write");
            let problem = opened(&path).expect_err("no slot is whole");
            assert_eq!(problem, Problem::Foreign("neither of its slots is whole".to_owned()));
        }
    }

    #[test]
    fn what_is_no_witness_is_refused() {
        let (scratch, path, _) = made(3);
        assert_eq!(opened(&scratch.path().join("none")).err(), Some(Problem::Missing));
        let whole = std::fs::read(&path).expect("a file");
        std::fs::write(&path, &whole[..4_159]).expect("a write");
        let Some(Problem::Foreign(why)) = opened(&path).err() else { panic!("it was cut") };
        assert_eq!(why, "it has 4159 bytes, a witness has 4160");
        let below_a_file = opened(&path.join("WITNESS")).err();
        assert!(
            matches!(below_a_file, Some(Problem::Io { operation: "opening", .. })),
            "{below_a_file:?}"
        );
        let error = Witness::create(&FileSystem, &path.join("WITNESS"), mark(1)).err();
        let problem = error.map(|error| error.problem);
        assert!(matches!(problem, Some(Problem::Io { operation: "creating", .. })), "{problem:?}");
    }
}
