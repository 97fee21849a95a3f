//! The canonical byte encoding: little-endian numbers, length-prefixed bytes, nothing optional in its layout.
//!
//! Everything that is hashed is written with [`Writer`] and read back with [`Reader`]; the layouts are pinned by
//! golden vectors in `fixtures/`.

use crate::types::{Bytes, Digest};

/// Bytes that are not what the canonical encoding says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end inside a field.
    #[error("{field} at byte {at} is cut short")]
    Truncated {
        /// Name of the field.
        field: &'static str,
        /// Offset of its first byte.
        at: usize,
    },
    /// A field holds a value that is never written.
    #[error("{field} at byte {at} holds {found}, which is never written")]
    Invalid {
        /// Name of the field.
        field: &'static str,
        /// Offset of its first byte.
        at: usize,
        /// What was found there.
        found: u64,
    },
    /// Bytes remain after the last field.
    #[error("{count} bytes follow the last field at byte {at}")]
    Trailing {
        /// Offset of the first byte too many.
        at: usize,
        /// Number of bytes too many.
        count: usize,
    },
    /// A part is kept compressed and cannot be unpacked.
    #[error("the {part} cannot be unpacked to {length} bytes: {reason}")]
    Frame {
        /// Name of the part.
        part: &'static str,
        /// Bytes that it is said to have.
        length: u64,
        /// What is wrong with its frame.
        reason: String,
    },
}

/// Appends fields to a buffer.
#[derive(Default, Debug)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Makes an empty writer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// Writes one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    /// Writes four bytes, little-endian.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Writes eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Writes an unsigned LEB128 number: seven bits a byte, low bits first.
    pub fn varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.bytes.push(low7(value) | 0x80);
            value >>= 7;
        }
        self.bytes.push(low7(value));
        self
    }

    /// Writes bytes as they are, without their length.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Writes the length as a varint and then the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.varint(count(bytes.len())).raw(bytes)
    }

    /// Writes a presence byte (0 or 1) and, where present, the bytes with their length.
    pub fn optional(&mut self, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            None => self.u8(0),
            Some(bytes) => self.u8(1).bytes(bytes),
        }
    }

    /// Returns how many bytes were written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Says whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns what was written from an offset on; nothing where it is beyond the end.
    #[must_use]
    pub fn since(&self, offset: usize) -> &[u8] {
        self.bytes.get(offset..).unwrap_or_default()
    }

    /// Returns what was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Returns a length as the number that is written for it.
pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn low7(value: u64) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or(0)
}

/// Takes fields off the front of a slice; every error names the field and its offset.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Takes `length` bytes.
    ///
    /// # Errors
    /// [`CodecError::Truncated`] where fewer are left.
    pub fn raw(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], CodecError> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(CodecError::Truncated { field, at: self.at })?;
        self.at = self.at.saturating_add(length);
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], CodecError> {
        let at = self.at;
        self.raw(field, N)?.try_into().map_err(|_| CodecError::Truncated { field, at })
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// [`CodecError::Truncated`].
    pub fn u8(&mut self, field: &'static str) -> Result<u8, CodecError> {
        self.array::<1>(field).map(u8::from_le_bytes)
    }

    /// Takes four bytes, little-endian.
    ///
    /// # Errors
    /// [`CodecError::Truncated`].
    pub fn u32(&mut self, field: &'static str) -> Result<u32, CodecError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// Takes eight bytes, little-endian.
    ///
    /// # Errors
    /// [`CodecError::Truncated`].
    pub fn u64(&mut self, field: &'static str) -> Result<u64, CodecError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// Takes 32 bytes.
    ///
    /// # Errors
    /// [`CodecError::Truncated`].
    pub fn digest(&mut self, field: &'static str) -> Result<Digest, CodecError> {
        self.array(field).map(Digest)
    }

    /// Takes an unsigned LEB128 number in its shortest form.
    ///
    /// # Errors
    /// [`CodecError::Truncated`]; [`CodecError::Invalid`] for more than 64 bits or a longer form than needed.
    pub fn varint(&mut self, field: &'static str) -> Result<u64, CodecError> {
        let at = self.at;
        let mut value = 0u64;
        for shift in (0..64u32).step_by(7) {
            let byte = self.u8(field)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                // One number has one form, or two events with one meaning could have two digests.
                let shortest = bits != 0 || shift == 0;
                return if shortest {
                    Ok(value)
                } else {
                    Err(CodecError::Invalid { field, at, found: value })
                };
            }
        }
        Err(CodecError::Invalid { field, at, found: value })
    }

    /// Takes a varint that counts things in memory, at most as many as bytes are left.
    ///
    /// # Errors
    /// As [`Reader::varint`]; [`CodecError::Truncated`] where the count cannot be met by the bytes that are left.
    pub fn count(&mut self, field: &'static str) -> Result<usize, CodecError> {
        let at = self.at;
        let count = self.varint(field)?;
        let left = self.bytes.len().saturating_sub(self.at);
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= left)
            .ok_or(CodecError::Truncated { field, at })
    }

    /// Takes bytes with their length before them.
    ///
    /// # Errors
    /// As [`Reader::count`].
    pub fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], CodecError> {
        let length = self.count(field)?;
        self.raw(field, length)
    }

    /// Takes a presence byte and, where it is 1, bytes with their length.
    ///
    /// # Errors
    /// As [`Reader::bytes`]; [`CodecError::Invalid`] for a presence byte above 1.
    pub fn optional(&mut self, field: &'static str) -> Result<Option<Bytes>, CodecError> {
        let at = self.at;
        match self.u8(field)? {
            0 => Ok(None),
            1 => self.bytes(field).map(|bytes| Some(Bytes::from(bytes))),
            found => Err(CodecError::Invalid { field, at, found: found.into() }),
        }
    }

    /// Takes UTF-8 text with its length before it.
    ///
    /// # Errors
    /// As [`Reader::bytes`]; [`CodecError::Invalid`] for bytes that are not UTF-8.
    pub fn text(&mut self, field: &'static str) -> Result<String, CodecError> {
        let at = self.at;
        let bytes = self.bytes(field)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
            let found = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
            CodecError::Invalid {
                field,
                at: at.saturating_add(error.valid_up_to()),
                found: found.into(),
            }
        })
    }

    /// Returns an [`CodecError::Invalid`] for a value that was just taken.
    #[must_use]
    pub fn invalid(&self, field: &'static str, found: u64) -> CodecError {
        CodecError::Invalid { field, at: self.at, found }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`CodecError::Trailing`] where bytes are left.
    pub fn finish(self) -> Result<(), CodecError> {
        match self.bytes.len().saturating_sub(self.at) {
            0 => Ok(()),
            count => Err(CodecError::Trailing { at: self.at, count }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_has_one_form() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::MAX >> 1, u64::MAX] {
            let mut writer = Writer::default();
            writer.varint(value);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varint("value"), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
        }
        let longer = Reader::new(&[0x81, 0x00]).varint("value");
        assert_eq!(longer, Err(CodecError::Invalid { field: "value", at: 0, found: 1 }));
        let wide = Reader::new(&[0xff; 10]).varint("value");
        assert!(matches!(wide, Err(CodecError::Invalid { .. })), "{wide:?}");
    }

    #[test]
    fn errors_name_the_field_and_its_offset() {
        let mut reader = Reader::new(&[3, 1, 2]);
        assert_eq!(reader.bytes("key"), Err(CodecError::Truncated { field: "key", at: 0 }));
        let mut reader = Reader::new(&[2]);
        let optional = reader.optional("value");
        assert_eq!(optional, Err(CodecError::Invalid { field: "value", at: 0, found: 2 }));
        let mut reader = Reader::new(&[1, 0xff]);
        assert_eq!(
            reader.text("reason"),
            Err(CodecError::Invalid { field: "reason", at: 0, found: 0xff })
        );
        let reader = Reader::new(&[7]);
        assert_eq!(reader.finish(), Err(CodecError::Trailing { at: 0, count: 1 }));
    }

    #[test]
    fn every_field_is_read_as_it_was_written() {
        let mut writer = Writer::with_capacity(3);
        writer.u8(7).u32(0x0102_0304).u64(0x0102_0304_0506_0708).raw(&[9; 32]).bytes(b"key");
        writer.optional(None).optional(Some(b"")).optional(Some(b"value")).bytes("ü".as_bytes());
        writer.varint(300).raw(&[1, 2]);
        let bytes = writer.finish();
        assert_eq!(bytes[..13], [7, 4, 3, 2, 1, 8, 7, 6, 5, 4, 3, 2, 1]);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8("a"), Ok(7));
        assert_eq!(reader.u32("b"), Ok(0x0102_0304));
        assert_eq!(reader.u64("c"), Ok(0x0102_0304_0506_0708));
        assert_eq!(reader.digest("d"), Ok(Digest([9; 32])));
        assert_eq!(reader.bytes("e"), Ok(&b"key"[..]));
        assert_eq!(reader.optional("f"), Ok(None));
        assert_eq!(reader.optional("g"), Ok(Some(Bytes::default())));
        assert_eq!(reader.optional("h"), Ok(Some(Bytes::from(*b"value"))));
        assert_eq!(reader.text("i").as_deref(), Ok("ü"));
        assert_eq!(reader.invalid("j", 5), CodecError::Invalid { field: "j", at: 62, found: 5 });
        assert_eq!(reader.varint("j"), Ok(300));
        assert_eq!(reader.raw("k", 2), Ok(&[1, 2][..]));
        assert_eq!(reader.u8("l"), Err(CodecError::Truncated { field: "l", at: 66 }));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_count_is_at_most_what_is_left() {
        assert_eq!(Reader::new(&[2, 0, 0]).count("n"), Ok(2));
        assert_eq!(
            Reader::new(&[2, 0]).count("n"),
            Err(CodecError::Truncated { field: "n", at: 0 })
        );
        let mut reader = Reader::new(&[5, 2, 0, 0]);
        assert_eq!((reader.u8("m"), reader.count("n")), (Ok(5), Ok(2)));
        let huge =
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).count("n");
        assert_eq!(huge, Err(CodecError::Truncated { field: "n", at: 0 }));
        assert_eq!(
            Reader::new(&[0; 4]).raw("r", usize::MAX),
            Err(CodecError::Truncated { field: "r", at: 0 })
        );
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        let greatest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Reader::new(&greatest).varint("v"), Ok(u64::MAX));
        for last in [0x02, 0x03, 0x81] {
            let mut wide = greatest;
            wide[9] = last;
            let refused = Reader::new(&wide).varint("v");
            assert!(
                matches!(refused, Err(CodecError::Invalid { field: "v", at: 0, .. })),
                "{last}"
            );
        }
        assert_eq!(
            Reader::new(&[0x80]).varint("v"),
            Err(CodecError::Truncated { field: "v", at: 1 })
        );
        assert_eq!(Reader::new(&[0]).varint("v"), Ok(0));
    }

    #[test]
    fn text_names_the_byte_that_is_none() {
        let refused = Reader::new(&[3, b'a', 0xc3, b'b']).text("reason");
        assert_eq!(refused, Err(CodecError::Invalid { field: "reason", at: 1, found: 0xc3 }));
    }
}
