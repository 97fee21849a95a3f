//! What a block does besides its transactions: rewards, withdrawals, system calls, and the memory of itself.

use alloy_consensus::Header;
use alloy_eips::{eip2935, eip4788};
use alloy_primitives::{Address, Bytes, U256};

use super::Opened;
use super::dao;
use super::database::{read_account, read_fees};
use super::diff::write_account;
use super::fork::Fork;
use super::header::{DaoRule, Ommers};
use super::layout::{Ancestor, FEES_KEY, HASHES_KEPT, HEADERS_KEPT, block_hash_key, header_key};
use super::requests;
use crate::block::Receipts;
use crate::machine::{Context, ExecError};

const ETHER: u128 = 1_000_000_000_000_000_000;

/// Runs what comes before the first transaction.
pub(super) fn begin(opened: &Opened<'_>, context: &mut Context<'_>) -> Result<(), ExecError> {
    let order = &opened.order;
    if order.dao == DaoRule::Transition {
        dao::move_balances(context)?;
    }
    // A contract that is missing, or that fails, leaves no effects and no harm (EIP-4788, EIP-2935).
    if let Some(root) = order.header.parent_beacon_block_root
        && order.fork >= Fork::Cancun
    {
        let input = Bytes::copy_from_slice(root.as_slice());
        let _ = opened.environment.call_system(eip4788::BEACON_ROOTS_ADDRESS, input, context)?;
    }
    if order.fork >= Fork::Prague {
        let input = Bytes::copy_from_slice(order.header.parent_hash.as_slice());
        let _ = opened.environment.call_system(eip2935::HISTORY_STORAGE_ADDRESS, input, context)?;
    }
    Ok(())
}

/// Runs what comes after the last transaction.
pub(super) fn end(
    opened: &Opened<'_>,
    receipts: &Receipts,
    context: &mut Context<'_>,
) -> Result<(), ExecError> {
    let order = &opened.order;
    pay_fees(opened, context)?;
    if order.fork < Fork::Paris {
        pay_rewards(order.fork, &order.header, &order.ommers, context)?;
    }
    for withdrawal in order.withdrawals.iter().flatten() {
        credit(context, &withdrawal.address, withdrawal.amount_wei())?;
    }
    let requests = requests::collect(opened, receipts, context)?;
    let number = order.header.number;
    let ommers = match &order.ommers {
        Ommers::Headers(headers) => headers.iter().map(Header::hash_slow).collect(),
        Ommers::HashesOnly(hashes) => hashes.clone(),
    };
    let ancestor = Ancestor {
        fork: order.fork,
        dao: order.dao,
        hash: opened.hash,
        requests,
        header: order.header.clone(),
        ommers,
    };
    context.put(&header_key(number), ancestor.encode())?;
    context.put(&block_hash_key(number), *opened.hash)?;
    if let Some(old) = number.checked_sub(HEADERS_KEPT) {
        context.delete(&header_key(old))?;
    }
    if let Some(old) = number.checked_sub(HASHES_KEPT) {
        context.delete(&block_hash_key(old))?;
    }
    Ok(())
}

/// Pays the fees that transactions added up beside the beneficiary's account.
fn pay_fees(opened: &Opened<'_>, context: &mut Context<'_>) -> Result<(), ExecError> {
    let fees = read_fees(context)?;
    if fees > 0 {
        context.delete(&FEES_KEY)?;
    }
    // Every transaction touches the beneficiary, if only to pay it nothing (EIP-161).
    if fees > 0 || (opened.order.fork >= Fork::Eip158 && !opened.input.is_empty()) {
        credit(context, &opened.order.header.beneficiary, U256::from(fees))?;
    }
    Ok(())
}

/// Pays the miner and the miners of the ommers.
fn pay_rewards(
    fork: Fork,
    header: &Header,
    ommers: &Ommers,
    context: &mut Context<'_>,
) -> Result<(), ExecError> {
    let ether: u128 = match fork {
        Fork::Frontier | Fork::Homestead | Fork::Eip150 | Fork::Eip158 => 5,
        Fork::Byzantium => 3,
        _ => 2,
    };
    let reward = U256::from(ether * ETHER);
    let for_ommers = reward / U256::from(32) * U256::from(ommers.len());
    credit(context, &header.beneficiary, reward.saturating_add(for_ommers))?;
    if let Ommers::Headers(headers) = ommers {
        for ommer in headers {
            // Eight generations back would be worth nothing; older ones are refused by the check.
            let eighths = ommer.number.saturating_add(8).saturating_sub(header.number).min(8);
            let share = reward / U256::from(8) * U256::from(eighths);
            credit(context, &ommer.beneficiary, share)?;
        }
    }
    Ok(())
}

/// Adds to a balance. Nothing added to nothing leaves no account (EIP-161); an empty one disappears.
pub(super) fn credit(
    context: &mut Context<'_>,
    address: &Address,
    amount: U256,
) -> Result<(), ExecError> {
    let before = read_account(context, address)?;
    let mut after = before.clone().unwrap_or_default();
    if !after.exists && amount.is_zero() {
        return Ok(());
    }
    after.exists = true;
    after.balance = after.balance.saturating_add(amount);
    let after = if after.is_empty() { after.destroyed() } else { Some(after) };
    write_account(context, address, before.as_ref(), after.as_ref())
}
