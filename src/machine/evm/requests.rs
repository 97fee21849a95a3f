//! Requests of the execution layer to the consensus layer, from Prague on (EIP-7685).

use alloy_eips::{eip6110, eip7002, eip7251};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, b256};
use revm::precompile::interface::crypto;

use super::Opened;
use super::database::{read_account, read_config};
use super::fork::Fork;
use super::layout::Requests;
use super::receipt::EvmReceipt;
use crate::block::{Receipts, Status};
use crate::machine::{Context, ExecError};

/// `DepositEvent(bytes,bytes,bytes,bytes,bytes)` of the deposit contract.
const DEPOSIT_EVENT: B256 =
    b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");

/// The fields of a deposit: offset of the length word, and the length that it must say (EIP-6110).
const DEPOSIT_FIELDS: [(usize, usize); 5] = [(160, 48), (256, 32), (320, 8), (384, 96), (512, 8)];
const DEPOSIT_EVENT_LENGTH: usize = 576;

/// Collects the requests of a block: deposits from its logs, the others from their contracts.
pub(super) fn collect(
    opened: &Opened<'_>,
    receipts: &Receipts,
    context: &mut Context<'_>,
) -> Result<Requests, ExecError> {
    if opened.order.fork < Fork::Prague {
        return Ok(Requests::None);
    }
    let mut hashes = Vec::new();
    match deposits(receipts) {
        Ok(deposits) => push(&mut hashes, eip6110::DEPOSIT_REQUEST_TYPE, &deposits),
        Err(reason) => return Ok(Requests::Failed(reason)),
    }
    let contracts = [
        (eip7002::WITHDRAWAL_REQUEST_TYPE, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS),
        (eip7251::CONSOLIDATION_REQUEST_TYPE, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS),
    ];
    for (kind, contract) in contracts {
        if !has_code(context, &contract)? {
            // A witness holds what transactions touched, and system calls are none.
            if !read_config(context)?.complete {
                return Ok(Requests::Unknown);
            }
            return Ok(Requests::Failed(format!("system contract {contract} has no code")));
        }
        match opened.environment.call_system(contract, Bytes::new(), context)? {
            Ok(output) => push(&mut hashes, kind, &output),
            Err(reason) => {
                return Ok(Requests::Failed(format!("system contract {contract}: {reason}")));
            }
        }
    }
    Ok(Requests::Hash(B256::from(crypto().sha256(&hashes))))
}

/// Adds the hash of the requests of one type; where there are none, nothing.
fn push(hashes: &mut Vec<u8>, kind: u8, requests: &[u8]) {
    if !requests.is_empty() {
        let typed: Vec<u8> = [&[kind][..], requests].concat();
        hashes.extend_from_slice(&crypto().sha256(&typed));
    }
}

fn has_code(context: &mut Context<'_>, address: &Address) -> Result<bool, ExecError> {
    let record = read_account(context, address)?;
    Ok(record.is_some_and(|record| record.code_hash != KECCAK256_EMPTY))
}

/// Returns the deposits of a block, one after the other.
fn deposits(receipts: &Receipts) -> Result<Vec<u8>, String> {
    let mut deposits = Vec::new();
    for receipt in receipts.0.iter().filter(|receipt| receipt.status == Status::Applied) {
        let output = EvmReceipt::decode(&receipt.output).map_err(|error| error.to_string())?;
        for log in output.logs {
            let is_deposit = log.address == eip6110::MAINNET_DEPOSIT_CONTRACT_ADDRESS
                && log.topics().first() == Some(&DEPOSIT_EVENT);
            if is_deposit {
                let deposit = deposit(&log.data.data);
                deposits.extend(deposit.ok_or("a deposit event is not laid out as EIP-6110 says")?);
            }
        }
    }
    Ok(deposits)
}

fn deposit(event: &[u8]) -> Option<Vec<u8>> {
    if event.len() != DEPOSIT_EVENT_LENGTH {
        return None;
    }
    let mut deposit = Vec::with_capacity(192);
    for (index, (at, length)) in DEPOSIT_FIELDS.into_iter().enumerate() {
        let offset = word(event, index.checked_mul(32)?)?;
        let data = at.checked_add(32)?;
        if offset != at || word(event, at)? != length {
            return None;
        }
        deposit.extend_from_slice(event.get(data..data.checked_add(length)?)?);
    }
    Some(deposit)
}

fn word(event: &[u8], at: usize) -> Option<usize> {
    let bytes = event.get(at..at.checked_add(32)?)?;
    let (high, low) = bytes.split_last_chunk::<8>()?;
    let small = high.iter().all(|byte| *byte == 0);
    usize::try_from(u64::from_be_bytes(*low)).ok().filter(|_| small)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Vec<u8> {
        let mut event = vec![0; DEPOSIT_EVENT_LENGTH];
        let mut put = |at: usize, number: usize| {
            let number = u16::try_from(number).expect("small").to_be_bytes();
            event[at + 30..at + 32].copy_from_slice(&number);
        };
        for (index, (at, length)) in DEPOSIT_FIELDS.into_iter().enumerate() {
            put(index * 32, at);
            put(at, length);
        }
        event[192] = 7;
        event
    }

    #[test]
    fn a_deposit_is_taken_out_of_its_event() {
        let deposit = deposit(&event()).expect("a deposit");
        assert_eq!((deposit.len(), deposit[0]), (192, 7));
    }

    #[test]
    fn an_event_of_another_layout_is_no_deposit() {
        // The offset and the length of the first field, the length of the last one.
        for at in [31, 160 + 31, 512 + 31, 512] {
            let mut event = event();
            event[at] ^= 1;
            assert_eq!(deposit(&event), None, "byte {at}");
        }
        assert_eq!(deposit(&event()[1..]), None);
    }
}
