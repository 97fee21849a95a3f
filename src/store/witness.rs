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
