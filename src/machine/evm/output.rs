//! The output of a receipt, read where it lies: nothing of its logs is copied.

use crate::codec::{CodecError, Reader};

/// Format of an output.
pub(super) const FORMAT: u8 = 1;
/// Most topics of a log: the EVM has instructions for no more.
const TOPICS_MAX: u8 = 4;
/// Logs for which there is room before they are read.
const LOGS_ROOM_MAX: usize = 64;

/// What an output says; see [`EvmReceipt`](super::EvmReceipt) for its bytes.
#[derive(Debug)]
pub(super) struct Output<'a> {
    pub(super) tx_type: u8,
    pub(super) success: bool,
    pub(super) gas_used: u64,
    pub(super) blob_gas_used: u64,
    /// Address of the contract that was created.
    pub(super) created: Option<&'a [u8]>,
    pub(super) logs: Vec<LogBytes<'a>>,
}

/// A log.
#[derive(Debug)]
pub(super) struct LogBytes<'a> {
    /// 20 bytes.
    pub(super) address: &'a [u8],
    /// 32 bytes each.
    pub(super) topics: &'a [u8],
    pub(super) data: &'a [u8],
}

impl<'a> Output<'a> {
    /// Reads output bytes.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that no receipt is written as.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8("receipt format")?;
        if format != FORMAT {
            return Err(reader.invalid("receipt format", format.into()));
        }
        let tx_type = reader.u8("transaction type")?;
        let success = flag(&mut reader, "success")?;
        let gas_used = reader.varint("gas used")?;
        let blob_gas_used = reader.varint("blob gas used")?;
        let created = if flag(&mut reader, "created contract")? {
            Some(reader.raw("created contract", 20)?)
        } else {
            None
        };
        let length = reader.count("log count")?;
        let mut logs = Vec::with_capacity(length.min(LOGS_ROOM_MAX));
        for _ in 0..length {
            logs.push(LogBytes::read(&mut reader)?);
        }
        reader.finish()?;
        Ok(Self { tx_type, success, gas_used, blob_gas_used, created, logs })
    }
}

impl<'a> LogBytes<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, CodecError> {
        let address = reader.raw("log address", 20)?;
        let topic_count = reader.u8("topic count")?;
        if topic_count > TOPICS_MAX {
            return Err(reader.invalid("topic count", topic_count.into()));
        }
        let topics = reader.raw("topic", usize::from(topic_count).saturating_mul(32))?;
        Ok(Self { address, topics, data: reader.bytes("log data")? })
    }
}

fn flag(reader: &mut Reader<'_>, field: &'static str) -> Result<bool, CodecError> {
    match reader.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(reader.invalid(field, found.into())),
    }
}
