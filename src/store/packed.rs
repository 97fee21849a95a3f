//! Large parts of a block, kept compressed where that makes them smaller.
//!
//! Digests are always over the bytes as they were; nothing that is compared depends on how they are kept.

use std::borrow::Cow;
use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{compress_bound, get_frame_content_size};

use crate::codec::{CodecError, Reader, Writer, count};

/// Bytes from which on it is tried: less than a page of the database is not worth it.
const PACKED_MIN: usize = 4_096;
/// Level of zstd. By measurement faster ones win no time and leave a third more.
const LEVEL: i32 = 1;
/// Bytes that a part may have: what SQLite takes for one value.
const LENGTH_MAX: u64 = 1_000_000_000;
/// Bytes of room that a thread keeps for the next part.
const ROOM_MAX: usize = 1 << 20;

/// Bytes that are kept as they are, or as one zstd frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    kept: Vec<u8>,
    /// How many bytes are in the frame; `None` where they are kept as they are.
    length: Option<u64>,
}

thread_local! {
    /// A compressor and room for what it writes, made once for each thread: making them takes longer than a small block.
    static PACKING: RefCell<Option<(Compressor<'static>, Vec<u8>)>> = const { RefCell::new(None) };
    static UNPACKING: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

impl Packed {
    /// Keeps bytes, compressed where that saves an eighth of them.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        match pack(&bytes) {
            Some(kept) => Self { kept, length: Some(count(bytes.len())) },
            None => Self { kept: bytes, length: None },
        }
    }

    /// Takes up what was kept: bytes, and how many are in them where they are a frame.
    #[must_use]
    pub const fn kept(kept: Vec<u8>, length: Option<u64>) -> Self {
        Self { kept, length }
    }

    /// Returns the bytes that are kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.kept
    }

    /// Returns how many bytes are in the frame; `None` where they are kept as they are.
    #[must_use]
    pub const fn length(&self) -> Option<u64> {
        self.length
    }

    /// Returns how many bytes [`Packed::open`] gives.
    #[must_use]
    pub fn opened_len(&self) -> u64 {
        self.length.unwrap_or_else(|| count(self.kept.len()))
    }

    /// Returns the bytes that were given to [`Packed::of`].
    ///
    /// # Errors
    /// [`CodecError::Frame`] under the name of the part, where they are no frame of so many bytes.
    pub fn open(&self, part: &'static str) -> Result<Cow<'_, [u8]>, CodecError> {
        let Some(length) = self.length else { return Ok(Cow::Borrowed(&self.kept)) };
        let fault = |reason: String| CodecError::Frame { part, length, reason };
        // What is damaged does not make room for what nobody wrote.
        let said = get_frame_content_size(&self.kept).ok().flatten();
        if length > LENGTH_MAX {
            return Err(fault("no part has so many".to_owned()));
        }
        let length = match said {
            Some(said) if said == length => usize::try_from(length).unwrap_or(usize::MAX),
            Some(said) => return Err(fault(format!("there are {said} in its frame"))),
            None => return Err(fault("there is no frame that says its size".to_owned())),
        };
        let bytes = UNPACKING.with_borrow_mut(|slot| {
            slot.get_or_insert(Decompressor::new()?).decompress(&self.kept, length)
        });
        let bytes = bytes.map_err(|error| fault(error.to_string()))?;
        Ok(Cow::Owned(bytes))
    }

    /// Returns about how many bytes of memory it takes.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.kept.capacity()
    }

    /// Writes what is kept behind a byte that says how: 0 as it is, 1 as a frame, with the number of bytes in it.
    pub(crate) fn encode(&self, writer: &mut Writer) {
        match self.length {
            None => writer.u8(0),
            Some(length) => writer.u8(1).varint(length),
        };
        writer.bytes(&self.kept);
    }

    /// Reads what [`Packed::encode`] wrote.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that are never written.
    pub(crate) fn decode(reader: &mut Reader<'_>, part: &'static str) -> Result<Self, CodecError> {
        let length = match reader.u8(part)? {
            0 => None,
            1 => Some(reader.varint(part)?),
            other => return Err(reader.invalid(part, other.into())),
        };
        Ok(Self { kept: reader.bytes(part)?.to_vec(), length })
    }
}

/// `None` where it would not save an eighth, or where the compressor cannot be had.
fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() < PACKED_MIN || count(bytes.len()) > LENGTH_MAX {
        return None;
    }
    PACKING.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some((Compressor::new(LEVEL).ok()?, Vec::new()));
        }
        let (compressor, room) = slot.as_mut()?;
        room.reserve(compress_bound(bytes.len()));
        let length = compressor.compress_to_buffer(bytes, room).ok()?;
        let saved = bytes.len().checked_sub(length)?;
        let packed = (saved >= bytes.len() / 8).then(|| room.as_slice().to_vec());
        room.clear();
        room.shrink_to(ROOM_MAX);
        packed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes in which nothing repeats.
    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn opened(packed: &Packed) -> Vec<u8> {
        packed.open("part").expect("what was packed").into_owned()
    }

    #[test]
    fn what_is_small_or_would_not_be_smaller_is_kept_as_it_is() {
        let repeating = |length: usize| b"rewake".iter().copied().cycle().take(length).collect();
        for (bytes, is_packed) in [
            (Vec::new(), false),
            (repeating(PACKED_MIN - 1), false),
            (repeating(PACKED_MIN), true),
            (repeating(3 << 20), true),
            (noise(PACKED_MIN), false),
            (noise(3 << 20), false),
        ] {
            let length = bytes.len();
            let packed = Packed::of(bytes.clone());
            assert_eq!(packed.length().is_some(), is_packed, "{length}");
            assert_eq!(packed.bytes().len() < length, is_packed, "{length}");
            assert_eq!(packed.opened_len(), count(length));
            assert_eq!(opened(&packed), bytes);
            let mut writer = Writer::default();
            packed.encode(&mut writer);
            let written = writer.finish();
            let mut reader = Reader::new(&written);
            assert_eq!(Packed::decode(&mut reader, "part"), Ok(packed));
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn a_frame_that_does_not_hold_what_it_is_said_to_is_an_error() {
        let packed = Packed::of(vec![7; 2 * PACKED_MIN]);
        let length = packed.length();
        let whole = packed.bytes().to_vec();
        let cut = whole[..whole.len() - 1].to_vec();
        // A header that says as much as the column beside it, and more than there can be.
        let huge = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &u64::MAX.to_le_bytes()].concat();
        for (kept, length, says) in [
            (whole.clone(), Some(8), "8192 in its frame"),
            (whole, Some(u64::MAX), "no part has so many"),
            (huge, Some(u64::MAX), "no part has so many"),
            (noise(100), length, "no frame"),
            (Vec::new(), length, "no frame"),
            (cut, length, "size"),
        ] {
            let error = Packed::kept(kept, length).open("part").expect_err(says);
            assert!(matches!(error, CodecError::Frame { part: "part", .. }), "{says}: {error}");
            assert!(error.to_string().contains(says), "{says}: {error}");
        }
        let other = Packed::decode(&mut Reader::new(&[2, 0]), "part");
        assert_eq!(other, Err(CodecError::Invalid { field: "part", at: 1, found: 2 }));
    }
}
