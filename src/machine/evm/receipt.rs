//! The output of a transaction's receipt: what the EVM did, without what depends on its predecessors in the block.
//!
//! | field | bytes |
//! | --- | --- |
//! | format | 1: the number 1 |
//! | transaction type | 1 (EIP-2718; 0 for legacy) |
//! | success | 1: 0 reverted or halted, 1 succeeded |
//! | gas used | varint, after refunds |
//! | blob gas used | varint |
//! | created contract | 1: 0 none, 1 and the address, 20 |
//! | logs | varint count; each: address 20 · topic count 1 · topics 32 each · varint length, data |

use alloy_consensus::{Eip658Value, Receipt as ConsensusReceipt, ReceiptWithBloom};
use alloy_primitives::{Address, B256, Bloom, Log, LogData};
use alloy_rlp::Encodable;

use crate::codec::{CodecError, Reader, Writer, count};

/// What a transaction that was included did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvmReceipt {
    /// Its type (EIP-2718).
    pub tx_type: u8,
    /// Whether it succeeded; one that did not is charged all the same.
    pub success: bool,
    /// Gas used, after refunds.
    pub gas_used: u64,
    /// Blob gas used (EIP-4844).
    pub blob_gas_used: u64,
    /// The contract that it created.
    pub created: Option<Address>,
    /// Its logs.
    pub logs: Vec<Log>,
}

const FORMAT: u8 = 1;

impl EvmReceipt {
    /// Returns the output bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let logs = self.logs.iter().map(|log| log.data.data.len().saturating_add(160));
        let mut writer = Writer::with_capacity(logs.fold(40, usize::saturating_add));
        writer.u8(FORMAT).u8(self.tx_type).u8(u8::from(self.success));
        writer.varint(self.gas_used).varint(self.blob_gas_used);
        match &self.created {
            None => writer.u8(0),
            Some(address) => writer.u8(1).raw(address.as_slice()),
        };
        writer.varint(count(self.logs.len()));
        for log in &self.logs {
            let topics = log.topics();
            // The EVM has instructions for at most four topics.
            writer.raw(log.address.as_slice()).u8(u8::try_from(topics.len()).unwrap_or(u8::MAX));
            for topic in topics {
                writer.raw(topic.as_slice());
            }
            writer.bytes(&log.data.data);
        }
        writer.finish()
    }

    /// Reads output bytes.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that [`EvmReceipt::encode`] never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
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
            Some(Address::from_slice(reader.raw("created contract", 20)?))
        } else {
            None
        };
        let length = reader.count("log count")?;
        let logs = (0..length).map(|_| decode_log(&mut reader)).collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { tx_type, success, gas_used, blob_gas_used, created, logs })
    }

    /// Returns the bloom filter of the logs.
    pub(super) fn bloom(&self) -> Bloom {
        self.logs.iter().collect()
    }

    /// Returns the leaf of the receipts trie (EIP-2718), from Byzantium on.
    pub(super) fn into_leaf(self, cumulative_gas_used: u64, bloom: Bloom) -> Vec<u8> {
        let status = Eip658Value::Eip658(self.success);
        let receipt = ConsensusReceipt { status, cumulative_gas_used, logs: self.logs };
        let receipt = ReceiptWithBloom::new(receipt, bloom);
        let mut leaf = Vec::with_capacity(receipt.length().saturating_add(1));
        if self.tx_type != 0 {
            leaf.push(self.tx_type);
        }
        receipt.encode(&mut leaf);
        leaf
    }
}

fn flag(reader: &mut Reader<'_>, field: &'static str) -> Result<bool, CodecError> {
    match reader.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(reader.invalid(field, found.into())),
    }
}

fn decode_log(reader: &mut Reader<'_>) -> Result<Log, CodecError> {
    let address = Address::from_slice(reader.raw("log address", 20)?);
    let topics = reader.u8("topic count")?;
    let topics = (0..topics).map(|_| reader.digest("topic").map(|topic| B256::from(topic.0)));
    let topics = topics.collect::<Result<Vec<_>, _>>()?;
    let length = count(topics.len());
    let data = reader.bytes("log data")?.to_vec().into();
    let data = LogData::new(topics, data).ok_or_else(|| reader.invalid("topic count", length))?;
    Ok(Log { address, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_they_were_written() {
        let log = |topics| Log {
            address: Address::repeat_byte(1),
            data: LogData::new_unchecked(vec![B256::repeat_byte(2); topics], vec![3; 40].into()),
        };
        let receipt = EvmReceipt {
            tx_type: 3,
            success: true,
            gas_used: 21_000,
            blob_gas_used: 131_072,
            created: Some(Address::repeat_byte(9)),
            logs: vec![log(0), log(4)],
        };
        let bytes = receipt.encode();
        assert_eq!(EvmReceipt::decode(&bytes), Ok(receipt.clone()));
        for length in 0..bytes.len() {
            assert!(EvmReceipt::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        let mut foreign = bytes;
        foreign[0] = 2;
        let refused = EvmReceipt::decode(&foreign);
        assert!(matches!(refused, Err(CodecError::Invalid { field: "receipt format", .. })));
        assert_eq!(receipt.into_leaf(5, Bloom::ZERO).first(), Some(&3));
    }
}
