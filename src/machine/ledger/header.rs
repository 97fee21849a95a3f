//! The ledger's block header: the time that consensus gave the block.
//!
//! Canonical bytes, little-endian: none at all where no time is given (genesis), else 9:
//! `format u8 (1) · time u64, milliseconds`.

use crate::codec::{CodecError, Reader, Writer};

const FORMAT: u8 = 1;

/// The header of a ledger block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Time of the block in UTC milliseconds since 1970-01-01; 0 where none is given.
    pub time_ms: u64,
}

impl Header {
    /// Returns the canonical bytes: none, or 9.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        if self.time_ms != 0 {
            writer.u8(FORMAT).u64(self.time_ms);
        }
        writer.finish()
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that [`Header::encode`] never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = Reader::new(bytes);
        let format = reader.u8("format")?;
        if format != FORMAT {
            return Err(CodecError::Invalid { field: "format", at: 0, found: format.into() });
        }
        let time_ms = reader.u64("time")?;
        reader.finish()?;
        if time_ms == 0 {
            return Err(CodecError::Invalid { field: "time", at: 1, found: 0 });
        }
        Ok(Self { time_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_one_form() {
        for (header, length) in [(Header::default(), 0), (Header { time_ms: 1 }, 9)] {
            assert_eq!(header.encode().len(), length);
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
        let refused = |bytes: &[u8]| Header::decode(bytes).expect_err("not a header");
        let invalid = |field, at, found| CodecError::Invalid { field, at, found };
        assert_eq!(refused(&[2]), invalid("format", 0, 2));
        assert_eq!(refused(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), invalid("time", 1, 0));
        assert_eq!(refused(&[1, 5]), CodecError::Truncated { field: "time", at: 1 });
        assert_eq!(refused(&[1; 10]), CodecError::Trailing { at: 9, count: 1 });
    }
}
