//! Leaves of the receipts trie (EIP-2718), made from outputs of receipts.

use alloy_primitives::Bloom;
use alloy_rlp::{Encodable as _, Header};

use super::bloom::BloomBits;
use super::output::{LogBytes, Output};

/// RLP of 20 bytes, of 32 bytes and of a bloom filter.
const ADDRESS_RLP: usize = 21;
const TOPIC_RLP: usize = 33;
const BLOOM_RLP: usize = 259;

/// Returns the leaf of a receipt, from Byzantium on, and the bloom filter of its logs.
pub(super) fn leaf<'a>(
    output: &Output<'a>,
    cumulative_gas_used: u64,
    bits: &mut BloomBits<'a>,
) -> (Bloom, Vec<u8>) {
    let bloom = bits.bloom(&output.logs);
    let logs = output.logs.iter().map(|log| list(log_payload(log)));
    let logs = logs.fold(0, usize::saturating_add);
    let head = 1usize.saturating_add(cumulative_gas_used.length()).saturating_add(BLOOM_RLP);
    let payload = head.saturating_add(list(logs));
    let mut leaf = Vec::with_capacity(list(payload).saturating_add(1));
    if output.tx_type != 0 {
        leaf.push(output.tx_type);
    }
    Header { list: true, payload_length: payload }.encode(&mut leaf);
    output.success.encode(&mut leaf);
    cumulative_gas_used.encode(&mut leaf);
    bloom.encode(&mut leaf);
    Header { list: true, payload_length: logs }.encode(&mut leaf);
    for log in &output.logs {
        encode_log(log, &mut leaf);
    }
    (bloom, leaf)
}

fn encode_log(log: &LogBytes<'_>, leaf: &mut Vec<u8>) {
    Header { list: true, payload_length: log_payload(log) }.encode(leaf);
    log.address.encode(leaf);
    Header { list: true, payload_length: topics_payload(log) }.encode(leaf);
    for topic in log.topics.chunks_exact(32) {
        topic.encode(leaf);
    }
    log.data.encode(leaf);
}

/// Returns the bytes of a list, given those of what is in it.
const fn list(payload: usize) -> usize {
    payload.saturating_add(alloy_rlp::length_of_length(payload))
}

const fn topics_payload(log: &LogBytes<'_>) -> usize {
    log.topics.len() / 32 * TOPIC_RLP
}

fn log_payload(log: &LogBytes<'_>) -> usize {
    let topics = list(topics_payload(log));
    ADDRESS_RLP.saturating_add(topics).saturating_add(log.data.length())
}

#[cfg(test)]
mod tests {
    use alloy_consensus::{Eip658Value, Receipt, ReceiptWithBloom};
    use alloy_primitives::{Address, B256, Log, LogData};

    use super::*;
    use crate::machine::evm::EvmReceipt;

    /// Compares a leaf with the one that the consensus crate makes.
    fn check(tx_type: u8, success: bool, gas: u64, logs: Vec<Log>) {
        let receipt = EvmReceipt {
            tx_type,
            success,
            gas_used: gas,
            blob_gas_used: 0,
            created: None,
            logs: logs.clone(),
        };
        let bytes = receipt.encode();
        let output = Output::read(&bytes).expect("what was written is read");
        let (bloom, found) = leaf(&output, gas, &mut BloomBits::default());
        let status = Eip658Value::Eip658(success);
        let expected = Receipt { status, cumulative_gas_used: gas, logs };
        assert_eq!(bloom, expected.logs.iter().collect::<Bloom>());
        let mut bytes = if tx_type == 0 { Vec::new() } else { vec![tx_type] };
        alloy_rlp::Encodable::encode(&ReceiptWithBloom::new(expected, bloom), &mut bytes);
        assert_eq!(found, bytes, "type {tx_type}, gas {gas}");
    }

    #[test]
    fn a_leaf_is_that_of_the_receipt() {
        let log = |topics: u8, data: &[u8]| Log {
            address: Address::repeat_byte(topics),
            data: LogData::new_unchecked(
                (0..topics).map(B256::repeat_byte).collect(),
                data.to_vec().into(),
            ),
        };
        check(0, true, 0, Vec::new());
        check(2, false, 21_000, Vec::new());
        check(3, true, u64::MAX, vec![log(0, &[]), log(1, &[7]), log(4, &[0x80])]);
        check(4, true, 0x7f, vec![log(2, &[3; 55]), log(3, &[4; 56]), log(2, &[5; 70_000])]);
    }
}
