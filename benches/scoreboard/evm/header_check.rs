//! What a node checks of a block and bare `revm` does not: identities of transactions, roots, bloom, one after the other.

use std::time::{Duration, Instant};

use alloy_consensus::{Eip658Value, EthereumTxEnvelope, Receipt, ReceiptWithBloom, TxEip4844};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Bloom, keccak256};
use alloy_rlp::Encodable;
use alloy_trie::root::ordered_trie_root_encoded;
use anyhow::{Result, ensure};
use rewake::machine::BlockInput;
use rewake::machine::evm::{EvmReceipt, Fork, OrderHeader};

/// Checks a block whose transactions came to these receipts; returns how long that took.
pub(crate) fn check(input: &BlockInput, receipts: &[EvmReceipt]) -> Result<Duration> {
    // They would be the outcome of an execution, not copies of it.
    let receipts = receipts.to_vec();
    let began = Instant::now();
    let (order, _) = OrderHeader::decode(&input.header)?;
    for tx in &input.txs {
        ensure!(keccak256(&tx.payload) == tx.id.0, "a transaction is not what its identity says");
        EthereumTxEnvelope::<TxEip4844>::decode_2718_exact(&tx.payload)?;
    }
    let payloads: Vec<&[u8]> = input.txs.iter().map(|tx| &*tx.payload).collect();
    let root = ordered_trie_root_encoded(&payloads);
    ensure!(root == order.header.transactions_root, "the transactions root differs");
    let (mut gas, mut bloom) = (0, Bloom::ZERO);
    let mut leaves = Vec::with_capacity(receipts.len());
    for receipt in receipts {
        gas += receipt.gas_used;
        leaves.push(leaf(receipt, gas, &mut bloom));
    }
    ensure!(gas == order.header.gas_used, "the gas used differs");
    ensure!(bloom == order.header.logs_bloom, "the logs bloom differs");
    if order.fork >= Fork::Byzantium {
        let root = ordered_trie_root_encoded(&leaves);
        ensure!(root == order.header.receipts_root, "the receipts root differs");
    }
    Ok(began.elapsed())
}

/// Returns the leaf of the receipts trie; adds its bloom to that of the block.
fn leaf(receipt: EvmReceipt, cumulative_gas_used: u64, bloom: &mut Bloom) -> Vec<u8> {
    let own: Bloom = receipt.logs.iter().collect();
    *bloom |= own;
    let status = Eip658Value::Eip658(receipt.success);
    let content = Receipt { status, cumulative_gas_used, logs: receipt.logs };
    let mut leaf = Vec::new();
    if receipt.tx_type != 0 {
        leaf.push(receipt.tx_type);
    }
    ReceiptWithBloom::new(content, own).encode(&mut leaf);
    leaf
}
