//! Compares a block with its header.
//!
//! NOTE: the receipts root is checked from Byzantium on. Receipts before it hold the state root after each transaction
//! (EIP-658 replaced it by the status), which would cost one root over the whole state for each; where the state is
//! complete, the block's own state root covers the same results.

use alloy_consensus::Header;
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{B256, Bloom};
use alloy_trie::root::ordered_trie_root;

use super::Opened;
use super::bloom::BloomBits;
use super::failure::{differs, ensure, same};
use super::fork::Fork;
use super::header::Ommers;
use super::layout::{Ancestor, CONFIG_KEY, Config, HEADERS_KEPT, Requests, header_key};
use super::ommers::check_ommers;
use super::output::Output;
use super::receipts_root::bloom_and_root;
use super::root::state_root;
use super::validity;
use crate::block::{Receipts, Status};
use crate::machine::{BlockOutcome, CheckFailure, Threads};
use crate::state::StateRead;

/// Largest RLP of a block, from Osaka on (EIP-7934).
const BLOCK_RLP_MAX: usize = (10 << 20) - (2 << 20);

/// Checks the header, then the transactions, then the results.
pub(super) fn check(opened: &Opened<'_>, outcome: &BlockOutcome<'_>) -> Result<(), CheckFailure> {
    let config = config(outcome.state)?;
    check_header(opened, config, outcome.state)?;
    check_body(opened)?;
    let outputs = outputs(opened, outcome.receipts)?;
    check_receipts(opened, outputs, outcome.threads)?;
    check_requests(opened, outcome.state)?;
    if config.complete {
        let root = state_root(outcome.state).map_err(|error| unreadable("state", error))?;
        same("state root", &opened.order.header.state_root, &root)?;
    }
    Ok(())
}

fn unreadable(what: &str, error: impl std::fmt::Display) -> CheckFailure {
    differs(what, "readable", error)
}

fn config(state: &dyn StateRead) -> Result<Config, CheckFailure> {
    let bytes = state.get(&CONFIG_KEY).map_err(|error| unreadable("config", error))?;
    let config = bytes.map_or(Ok(Config::default()), |bytes| Config::decode(&bytes));
    config.map_err(|error| unreadable("config", error))
}

/// Checks the header on its own and, where they are known, against its ancestors.
fn check_header(
    opened: &Opened<'_>,
    config: Config,
    state: &dyn StateRead,
) -> Result<(), CheckFailure> {
    let order = &opened.order;
    let header = &order.header;
    same("height", &header.number, &opened.height)?;
    validity::check_alone(header, order.fork, order.dao)?;
    let ancestors = ancestors(header, state)?;
    match ancestors.first() {
        Some(parent) => {
            validity::check_against_parent(header, order.fork, &parent.header, parent.hash)?;
        }
        // NOTE: an isolated block brings the state that it touches and no parent.
        None if !config.complete => {}
        None => return Err(differs("parent", header.parent_hash, "absent")),
    }
    match &order.ommers {
        Ommers::Headers(ommers) => {
            let hash = alloy_primitives::keccak256(alloy_rlp::encode(ommers));
            same("ommers hash", &header.ommers_hash, &hash)?;
            if ancestors.is_empty() {
                return Ok(());
            }
            check_ommers(header, ommers, &ancestors)
        }
        Ommers::HashesOnly(_) => Ok(()),
    }
}

/// Returns the kept ancestors of a block, its parent first.
fn ancestors(header: &Header, state: &dyn StateRead) -> Result<Vec<Ancestor>, CheckFailure> {
    let mut ancestors: Vec<Ancestor> = Vec::new();
    for back in 1..HEADERS_KEPT {
        let Some(number) = header.number.checked_sub(back) else { break };
        let bytes =
            state.get(&header_key(number)).map_err(|error| unreadable("ancestor", error))?;
        let Some(bytes) = bytes else { break };
        ancestors.push(Ancestor::decode(&bytes).map_err(|error| unreadable("ancestor", error))?);
    }
    Ok(ancestors)
}

fn check_body(opened: &Opened<'_>) -> Result<(), CheckFailure> {
    let order = &opened.order;
    let root = &opened.read.root;
    same("transactions root", &order.header.transactions_root, root)?;
    match (&order.header.withdrawals_root, &order.withdrawals) {
        (Some(expected), Some(withdrawals)) => {
            same("withdrawals root", expected, &ordered_trie_root::<Withdrawal>(withdrawals))?;
        }
        (None, None) => {}
        (Some(expected), None) => return Err(differs("withdrawals", expected, "absent")),
        (None, Some(_)) => return Err(differs("withdrawals", "absent", "present")),
    }
    if order.fork >= Fork::Osaka {
        let transactions =
            opened.input.iter().map(|tx| &*tx.payload).map(|payload| match payload.first() {
                // In a block, a typed transaction is a string (EIP-2718).
                Some(..0xc0) => {
                    payload.len().saturating_add(alloy_rlp::length_of_length(payload.len()))
                }
                _ => payload.len(),
            });
        let length = order.block_rlp_length(transactions.sum());
        ensure(length <= BLOCK_RLP_MAX, "bytes of the block", BLOCK_RLP_MAX, length)?;
    }
    Ok(())
}

/// Reads the receipts; a transaction that must not be in the block is the failure.
fn outputs<'a>(
    opened: &Opened<'_>,
    receipts: &'a Receipts,
) -> Result<Vec<Output<'a>>, CheckFailure> {
    let header = &opened.order.header;
    let (mut gas, mut blob_gas) = (0u64, 0u64);
    let blob_gas_max = opened.order.fork.blobs().map(|blobs| blobs.max_blob_gas_per_block());
    let mut read = Vec::with_capacity(receipts.0.len());
    for (index, (receipt, tx)) in receipts.0.iter().zip(&opened.read.txs).enumerate() {
        let blame = |expected: String, found: String| CheckFailure {
            tx: Some(index),
            ..differs(&format!("transaction {index}"), expected, found)
        };
        let refused = |reason: &String| blame("valid in its block".to_owned(), reason.clone());
        match &receipt.status {
            Status::Applied => {}
            Status::Rejected(reason) | Status::Quarantined(reason) => return Err(refused(reason)),
        }
        let left = header.gas_limit.saturating_sub(gas);
        let limit = tx.as_ref().map_or(0, |tx| tx.gas_limit);
        if limit > left {
            return Err(blame(format!("a gas limit of at most {left}"), limit.to_string()));
        }
        let output = Output::read(&receipt.output);
        let output = output.map_err(|error| refused(&error.to_string()))?;
        gas = gas.saturating_add(output.gas_used);
        blob_gas = blob_gas.saturating_add(output.blob_gas_used);
        if let Some(max) = blob_gas_max.filter(|max| blob_gas > *max) {
            return Err(blame(format!("at most {max} blob gas so far"), blob_gas.to_string()));
        }
        read.push(output);
    }
    Ok(read)
}

fn check_receipts(
    opened: &Opened<'_>,
    outputs: Vec<Output<'_>>,
    threads: Threads<'_>,
) -> Result<(), CheckFailure> {
    let header = &opened.order.header;
    let mut cumulative = 0u64;
    let blob_gas: u64 = outputs.iter().map(|output| output.blob_gas_used).sum();
    let sized = outputs.into_iter().map(|output| {
        cumulative = cumulative.saturating_add(output.gas_used);
        (output, cumulative)
    });
    let sized: Vec<_> = sized.collect();
    same("gas used", &header.gas_used, &cumulative)?;
    if let Some(expected) = &header.blob_gas_used {
        same("blob gas used", expected, &blob_gas)?;
    }
    if opened.order.fork < Fork::Byzantium {
        let mut bits = BloomBits::default();
        let blooms = sized.iter().map(|(output, _)| bits.bloom(&output.logs));
        let bloom = blooms.fold(Bloom::ZERO, |sum, bloom| sum | bloom);
        return same("logs bloom", &header.logs_bloom, &bloom);
    }
    let (bloom, root) = bloom_and_root(&sized, threads);
    same("logs bloom", &header.logs_bloom, &bloom)?;
    same("receipts root", &header.receipts_root, &root)
}

fn check_requests(opened: &Opened<'_>, state: &dyn StateRead) -> Result<(), CheckFailure> {
    let Some(expected) = opened.order.header.requests_hash else { return Ok(()) };
    let key = header_key(opened.order.header.number);
    let bytes = state.get(&key).map_err(|error| unreadable("requests", error))?;
    let bytes = bytes.ok_or_else(|| differs("requests", "collected", "absent"))?;
    let own = Ancestor::decode(&bytes).map_err(|error| unreadable("requests", error))?;
    match own.requests {
        Requests::Hash(found) => same::<B256>("requests hash", &expected, &found),
        // NOTE: they cannot be collected from the witness of an isolated block.
        Requests::Unknown => Ok(()),
        Requests::None => Err(differs("requests hash", expected, "absent")),
        Requests::Failed(reason) => Err(differs("requests", "collected", reason)),
    }
}
