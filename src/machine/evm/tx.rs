//! Transactions: from their EIP-2718 bytes to what the virtual machine executes.

use alloy_consensus::crypto::RecoveryError;
use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{EthereumTxEnvelope, Transaction, TxEip4844, Typed2718};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, keccak256};
use rayon::prelude::*;
use revm::context::TxEnv;
use revm::context::either::Either;

use super::fork::Fork;
use super::sender_cache::SenderCache;
use crate::machine::TxInput;
use crate::types::TxId;

/// A signed transaction without blobs' sidecars, as blocks contain it.
pub(super) type Envelope = EthereumTxEnvelope<TxEip4844>;

/// Transactions from which on their senders are recovered on several cores.
const PARALLEL_MIN: usize = 4;

/// Reads the transactions of a block; one that cannot be read is the reason why.
pub(super) fn open_txs(
    txs: &[TxInput],
    fork: Fork,
    senders: &SenderCache,
) -> Vec<Result<TxEnv, String>> {
    if txs.len() < PARALLEL_MIN {
        return txs.iter().map(|tx| open_tx(tx.id, &tx.payload, fork, senders)).collect();
    }
    txs.par_iter().map(|tx| open_tx(tx.id, &tx.payload, fork, senders)).collect()
}

fn sender(
    id: TxId,
    envelope: &Envelope,
    fork: Fork,
    senders: &SenderCache,
) -> Result<Address, RecoveryError> {
    // EIP-2 rules out the second signature of a message, from Homestead on.
    let either_form = fork == Fork::Frontier;
    senders.get_or((id, either_form), || {
        if either_form { envelope.recover_signer_unchecked() } else { envelope.recover_signer() }
    })
}

/// Reads a transaction.
///
/// # Errors
/// Why it cannot be executed.
pub(super) fn open_tx(
    id: TxId,
    payload: &[u8],
    fork: Fork,
    senders: &SenderCache,
) -> Result<TxEnv, String> {
    if keccak256(payload) != id.0 {
        return Err("the identity of the transaction is not its hash".to_owned());
    }
    let envelope = decode(payload)?;
    if fork < Fork::Eip158 && envelope.is_legacy() && envelope.chain_id().is_some() {
        return Err("a signature for one chain (EIP-155) comes before its fork".to_owned());
    }
    let sender = sender(id, &envelope, fork, senders);
    let sender = sender.map_err(|error| format!("the sender cannot be recovered: {error}"))?;
    let authorizations = envelope.authorization_list().unwrap_or_default();
    Ok(TxEnv {
        tx_type: envelope.ty(),
        caller: sender,
        gas_limit: envelope.gas_limit(),
        gas_price: envelope.max_fee_per_gas(),
        kind: envelope.kind(),
        value: envelope.value(),
        data: envelope.input().clone(),
        nonce: envelope.nonce(),
        chain_id: envelope.chain_id(),
        access_list: envelope.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: envelope.max_priority_fee_per_gas(),
        blob_hashes: envelope.blob_versioned_hashes().unwrap_or_default().to_vec(),
        max_fee_per_blob_gas: envelope.max_fee_per_blob_gas().unwrap_or_default(),
        authorization_list: authorizations.iter().cloned().map(Either::Left).collect(),
    })
}

/// Decodes bytes that must be the only encoding of their transaction.
pub(super) fn decode(payload: &[u8]) -> Result<Envelope, String> {
    let envelope = Envelope::decode_2718_exact(payload);
    let envelope = envelope.map_err(|error| format!("the transaction cannot be read: {error}"))?;
    let mut again = Vec::with_capacity(payload.len());
    envelope.encode_2718(&mut again);
    if again != payload {
        return Err("the transaction is not in its canonical encoding".to_owned());
    }
    Ok(envelope)
}
