//! Files with one real Ethereum block and the state that it touches.
//!
//! A file is one JSON object, plain or compressed with zstd: `block` as `eth_getBlockByNumber(N, true)` answers it,
//! `prestate` as the `prestateTracer` of `debug_traceBlockByNumber` answers it, `blockHashes` (number → hash) for the
//! BLOCKHASH instruction and, where they were asked for, `uncles` with the headers of the ommers.
//!
//! NOTE: without the headers of its ommers, a block pays its miner for them but not their own miners, and its ommers
//! hash cannot be checked; the state after it differs from the chain's in the balances of those miners alone.

use std::io::Read;
use std::path::{Path, PathBuf};

use alloy_consensus::Header;
use alloy_consensus::proofs::calculate_withdrawals_root;
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{B256, keccak256};
use alloy_rlp::Decodable as _;
use alloy_trie::root::ordered_trie_root_encoded;

use super::error::{EthImportError, verify};
use super::json::{BodyFile, HeaderFile, TransactionJson};
use super::witness::Witness;
use crate::machine::evm::{BlockPlace, ForkSchedule, Ommers, OrderHeader};
use crate::types::{Bytes, Height, TxId};

pub(super) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Largest file, unpacked; those of mainnet blocks have a few million bytes.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A block file that was read and agrees with itself: hashes and roots are those that the header commits to.
#[derive(Clone, Debug)]
pub struct EthBlockFile {
    path: PathBuf,
    header: Header,
    hash: B256,
    txs: Vec<(TxId, Bytes)>,
    ommers: Ommers,
    withdrawals: Option<Vec<Withdrawal>>,
    witness: Witness,
}

/// A block as it is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EthBlock {
    /// Its number.
    pub height: Height,
    /// Its hash.
    pub hash: B256,
    /// The hash of the block before it.
    pub parent_hash: B256,
    /// The header bytes of its order.
    pub header: Bytes,
    /// Its transactions: identity and payload.
    pub txs: Vec<(TxId, Bytes)>,
    /// The state that it touches.
    pub witness: Witness,
}

/// Reads a block file, plain or compressed.
///
/// # Errors
/// [`EthImportError`] names the file, the place and what to do.
pub fn read_block_file(path: &Path) -> Result<EthBlockFile, EthImportError> {
    parse_block(path, &unpack(path)?)
}

/// Reads the bytes of a file, decompressed.
pub(super) fn unpack(path: &Path) -> Result<Vec<u8>, EthImportError> {
    unpack_within(path, FILE_BYTES_MAX)
}

fn unpack_within(path: &Path, limit: u64) -> Result<Vec<u8>, EthImportError> {
    let failed = |error| EthImportError::Read { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    let one_more = limit.saturating_add(1);
    file.take(one_more).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.starts_with(&ZSTD_MAGIC) {
        let mut unpacked = Vec::new();
        let decoder = zstd::stream::read::Decoder::new(bytes.as_slice()).map_err(failed)?;
        decoder.take(one_more).read_to_end(&mut unpacked).map_err(failed)?;
        bytes = unpacked;
    }
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= limit => Ok(bytes),
        _ => Err(EthImportError::TooLarge { path: path.to_owned(), limit }),
    }
}

/// Reads a block from JSON; `path` is only named in errors.
///
/// # Errors
/// [`EthImportError`] names the file, the place and what to do.
pub fn parse_block(path: &Path, json: &[u8]) -> Result<EthBlockFile, EthImportError> {
    let unread = |error: serde_json::Error| EthImportError::json(path, &error);
    let HeaderFile { block: header } = serde_json::from_slice(json).map_err(unread)?;
    let body: BodyFile = serde_json::from_slice(json).map_err(unread)?;
    verify(path, "block.hash", &body.block.hash, &header.hash_slow())?;
    check_form(path, &header)?;
    let txs = transactions(path, &header, body.block.transactions)?;
    let withdrawals = body.block.withdrawals;
    if let Some(expected) = &header.withdrawals_root {
        let found = calculate_withdrawals_root(withdrawals.as_deref().unwrap_or_default());
        verify(path, "block.withdrawalsRoot", expected, &found)?;
    }
    let ommers = ommers(path, &header, body.uncles, body.block.uncles)?;
    let mut witness = Witness::default();
    for (address, account) in &body.prestate {
        witness.put_account(*address, account);
    }
    for (number, hash) in body.block_hashes {
        let field = || format!("blockHashes.{number}");
        let number = number.parse();
        let number = number.map_err(|error| EthImportError::field(path, field(), error))?;
        witness.put_block_hash(number, hash);
    }
    let hash = body.block.hash;
    Ok(EthBlockFile { path: path.to_owned(), header, hash, txs, ommers, withdrawals, witness })
}

/// Refuses a header that its own bytes do not give back: one that has a later field and lacks an earlier one.
fn check_form(path: &Path, header: &Header) -> Result<(), EthImportError> {
    let read = Header::decode(&mut alloy_rlp::encode(header).as_slice());
    if read.as_ref() == Ok(header) {
        return Ok(());
    }
    let reason = "the header lacks a field that comes before one that it has";
    Err(EthImportError::field(path, "block", reason))
}

fn transactions(
    path: &Path,
    header: &Header,
    transactions: Vec<TransactionJson>,
) -> Result<Vec<(TxId, Bytes)>, EthImportError> {
    let mut txs: Vec<(TxId, Bytes)> = Vec::with_capacity(transactions.len());
    for (index, transaction) in transactions.into_iter().enumerate() {
        let field = format!("block.transactions[{index}]");
        let expected = transaction.hash;
        let payload = transaction.into_payload();
        let payload = payload.map_err(|reason| EthImportError::field(path, &*field, reason))?;
        verify(path, &format!("{field}.hash"), &expected, &keccak256(&payload))?;
        txs.push((TxId(expected.0), payload.into()));
    }
    let payloads: Vec<&[u8]> = txs.iter().map(|(_, payload)| &**payload).collect();
    let root = ordered_trie_root_encoded(&payloads);
    verify(path, "block.transactionsRoot", &header.transactions_root, &root)?;
    Ok(txs)
}

fn ommers(
    path: &Path,
    header: &Header,
    headers: Option<Vec<Header>>,
    hashes: Vec<B256>,
) -> Result<Ommers, EthImportError> {
    match headers {
        None if !hashes.is_empty() => {
            let count = if header.ommers_hash_is_empty() { 0 } else { hashes.len() };
            verify(path, "number of block.uncles", &count, &hashes.len())?;
            Ok(Ommers::HashesOnly(hashes))
        }
        headers => {
            let headers = headers.unwrap_or_default();
            let found = keccak256(alloy_rlp::encode(&headers));
            verify(path, "block.sha3Uncles", &header.ommers_hash, &found)?;
            Ok(Ommers::Headers(headers))
        }
    }
}

impl EthBlockFile {
    /// Returns the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of the block.
    #[must_use]
    pub const fn height(&self) -> Height {
        Height(self.header.number)
    }

    /// Returns the number of transactions.
    #[must_use]
    pub const fn tx_count(&self) -> usize {
        self.txs.len()
    }

    /// Returns the block as it is logged, governed by the fork that the schedule says.
    #[must_use]
    pub fn into_block(self, schedule: &ForkSchedule) -> EthBlock {
        let Header { number, timestamp, parent_hash, .. } = self.header;
        let place = BlockPlace { number, timestamp, parent_total_difficulty: None };
        let order = OrderHeader {
            fork: schedule.fork_at(place),
            dao: schedule.dao_at(number),
            chain_id: schedule.chain_id(),
            header: self.header,
            ommers: self.ommers,
            withdrawals: self.withdrawals,
        };
        EthBlock {
            height: Height(number),
            hash: self.hash,
            parent_hash,
            header: order.encode().into(),
            txs: self.txs,
            witness: self.witness,
        }
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
pub(crate) mod tests;
