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

use alloy_primitives::{Address, B256, Log, LogData};

use super::output::{FORMAT, LogBytes, Output};
use crate::codec::{CodecError, Writer, count};

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
        let Output { tx_type, success, gas_used, blob_gas_used, created, logs } =
            Output::read(bytes)?;
        let created = created.map(Address::from_slice);
        let logs = logs.iter().map(log).collect();
        Ok(Self { tx_type, success, gas_used, blob_gas_used, created, logs })
    }
}

fn log(bytes: &LogBytes<'_>) -> Log {
    let topics = bytes.topics.chunks_exact(32).map(B256::from_slice).collect();
    let data = LogData::new_unchecked(topics, bytes.data.to_vec().into());
    Log { address: Address::from_slice(bytes.address), data }
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
    }
}
