//! Whether a header may follow its parent.
//!
//! Proof-of-work seals are not verified: the chains that are replayed were sealed long ago, and test suites use
//! none. Everything else about a header that its parent and its fork determine is.

use alloy_consensus::Header;
use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_primitives::{B64, B256};

use super::dao;
use super::difficulty::next_difficulty;
use super::failure::{differs, ensure, same};
use super::fees::{next_base_fee, next_excess_blob_gas};
use super::fork::Fork;
use super::header::DaoRule;
use crate::machine::CheckFailure;

const GAS_LIMIT_MIN: u64 = 5000;
const GAS_LIMIT_MAX: u64 = i64::MAX.cast_unsigned();
const EXTRA_DATA_MAX: usize = 32;

/// Checks what a header says on its own.
pub(super) fn check_alone(header: &Header, fork: Fork, dao: DaoRule) -> Result<(), CheckFailure> {
    let extra = header.extra_data.len();
    ensure(extra <= EXTRA_DATA_MAX, "length of the extra data", "at most 32", extra)?;
    ensure(header.gas_used <= header.gas_limit, "gas used", header.gas_limit, header.gas_used)?;
    ensure(header.gas_limit <= GAS_LIMIT_MAX, "gas limit", GAS_LIMIT_MAX, header.gas_limit)?;
    dao::check_extra_data(header, dao)?;
    let fields = [
        ("base fee", header.base_fee_per_gas.is_some(), Fork::London),
        ("withdrawals root", header.withdrawals_root.is_some(), Fork::Shanghai),
        ("blob gas used", header.blob_gas_used.is_some(), Fork::Cancun),
        ("excess blob gas", header.excess_blob_gas.is_some(), Fork::Cancun),
        ("parent beacon block root", header.parent_beacon_block_root.is_some(), Fork::Cancun),
        ("requests hash", header.requests_hash.is_some(), Fork::Prague),
    ];
    for (field, present, since) in fields {
        presence(field, present, fork >= since)?;
    }
    presence("block access list hash", header.block_access_list_hash.is_some(), false)?;
    presence("slot number", header.slot_number.is_some(), false)?;
    if fork >= Fork::Paris {
        ensure(header.difficulty.is_zero(), "difficulty after the merge", 0, header.difficulty)?;
        same("nonce after the merge", &B64::ZERO, &header.nonce)?;
        same("ommers hash after the merge", &EMPTY_OMMER_ROOT_HASH, &header.ommers_hash)?;
    }
    Ok(())
}

/// Checks what a header says against its parent.
pub(super) fn check_against_parent(
    header: &Header,
    fork: Fork,
    parent: &Header,
    parent_hash: B256,
) -> Result<(), CheckFailure> {
    same("parent hash", &parent_hash, &header.parent_hash)?;
    same("number", &parent.number.saturating_add(1), &header.number)?;
    let (time, after) = (header.timestamp, parent.timestamp);
    ensure(time > after, "timestamp", format_args!("above {after}"), time)?;
    gas_limit(header, fork, parent)?;
    if fork < Fork::Paris {
        let expected = next_difficulty(fork, parent, header.timestamp);
        same("difficulty", &expected, &header.difficulty)?;
    }
    if let Some(base_fee) = header.base_fee_per_gas {
        same("base fee", &next_base_fee(parent), &base_fee)?;
    }
    if let (Some(excess), Some(blobs)) = (header.excess_blob_gas, fork.blobs()) {
        same("excess blob gas", &next_excess_blob_gas(parent, &blobs), &excess)?;
    }
    Ok(())
}

fn gas_limit(header: &Header, fork: Fork, parent: &Header) -> Result<(), CheckFailure> {
    // EIP-1559 doubles the limit in the block that introduces the base fee.
    let doubles = fork >= Fork::London && parent.base_fee_per_gas.is_none();
    let before = parent.gas_limit.saturating_mul(if doubles { 2 } else { 1 });
    let bound = before / 1024;
    let found = header.gas_limit;
    let within = format_args!("within {bound} of {before}").to_string();
    ensure(found.abs_diff(before) < bound, "gas limit", within, found)?;
    ensure(found >= GAS_LIMIT_MIN, "gas limit", "at least 5000", found)
}

fn presence(field: &str, found: bool, expected: bool) -> Result<(), CheckFailure> {
    let word = |present| if present { "present" } else { "absent" };
    if found == expected {
        return Ok(());
    }
    Err(differs(&format!("header field {field}"), word(expected), word(found)))
}
