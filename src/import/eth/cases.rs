//! Conformance cases of `ethereum/tests` (`BlockchainTests`): a genesis state, blocks as RLP, and what must come out.
//!
//! The seals of the cases are not verified (`sealEngine` is `NoProof`): a case that asks for another engine is read
//! all the same.

use std::collections::BTreeMap;
use std::path::Path;

use alloy_consensus::Header;
use alloy_consensus::proofs::calculate_withdrawals_root;
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{Address, B256, Bytes as Hex, U64, U256, keccak256};
use alloy_rlp::{Decodable, Header as RlpHead, PayloadView};
use alloy_trie::root::ordered_trie_root_encoded;
use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use super::error::{EthImportError, verify};
use super::file::unpack;
use crate::event::Patch;
use crate::machine::evm::layout::{
    AccountRecord, Ancestor, CONFIG_KEY, Config, Requests, account_key, block_hash_key, code_key,
    encode_word, header_key, storage_key,
};
use crate::machine::evm::{BlockPlace, DaoRule, ForkSchedule, state_root};
use crate::state::{MemoryState, StateRead};
use crate::types::{Bytes, TxId};

/// One case of a suite.
#[derive(Clone, Debug)]
pub struct ConformanceCase {
    /// Its name in the file.
    pub name: String,
    /// The network whose forks govern it.
    pub network: String,
    /// The schedule that the network stands for.
    pub schedule: ForkSchedule,
    /// The genesis block.
    pub genesis: Header,
    /// The hash of the genesis block.
    pub genesis_hash: B256,
    /// The whole state after genesis.
    pub genesis_patch: Patch,
    /// The blocks in the order in which they are offered.
    pub blocks: Vec<CaseBlock>,
    /// The hash of the block that must be the head of the chain in the end.
    pub last_hash: B256,
    /// The state that must be there in the end.
    pub post: PostState,
}

/// One block of a case.
#[derive(Clone, Debug)]
pub struct CaseBlock {
    /// Why it must be refused; `None` where it must be accepted.
    pub exception: Option<String>,
    /// Its RLP.
    pub rlp: Vec<u8>,
    /// What the RLP says, or why it cannot be read, which refuses the block.
    pub decoded: Result<DecodedBlock, String>,
}

/// What the RLP of a block says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedBlock {
    /// Its hash.
    pub hash: B256,
    /// Its header.
    pub header: Header,
    /// Its transactions, not decoded: one that cannot be read is the machine's to refuse.
    pub txs: Vec<(TxId, Bytes)>,
    /// The headers of its ommers.
    pub ommers: Vec<Header>,
    /// Its withdrawals, where the body has the list.
    pub withdrawals: Option<Vec<Withdrawal>>,
}

/// The state that a case must end with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostState {
    /// Every account.
    Accounts(BTreeMap<Address, CaseAccount>),
    /// Only the root.
    Root(B256),
}

/// An account of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CaseAccount {
    /// Wei.
    pub balance: U256,
    /// Transactions sent or contracts created.
    pub nonce: U64,
    /// The code.
    pub code: Hex,
    /// Its slots; one that is zero is absent.
    pub storage: BTreeMap<U256, U256>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CaseJson {
    network: String,
    #[serde(rename = "genesisRLP")]
    genesis_rlp: Hex,
    genesis_block_header: HashJson,
    pre: BTreeMap<Address, CaseAccount>,
    blocks: Vec<BlockJson>,
    #[serde(rename = "lastblockhash")]
    last_hash: B256,
    post_state: Option<BTreeMap<Address, CaseAccount>>,
    post_state_hash: Option<B256>,
}

#[derive(Deserialize)]
struct HashJson {
    hash: B256,
}

struct BlockJson {
    rlp: Hex,
    /// Why the block must be refused, by what stands behind `expectException`: nothing, `ALL` or a network.
    exceptions: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for BlockJson {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BlockVisitor)
    }
}

struct BlockVisitor;

impl<'de> Visitor<'de> for BlockVisitor {
    type Value = BlockJson;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a block with its `rlp`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BlockJson, A::Error> {
        let (mut rlp, mut exceptions) = (None, BTreeMap::new());
        while let Some(key) = map.next_key::<String>()? {
            match key.strip_prefix("expectException") {
                Some(network) => drop(exceptions.insert(network.to_owned(), map.next_value()?)),
                None if key == "rlp" => rlp = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let rlp = rlp.ok_or_else(|| serde::de::Error::missing_field("rlp"))?;
        Ok(BlockJson { rlp, exceptions })
    }
}

/// A case by its name, or why it cannot be run.
pub type NamedCase = (String, Result<ConformanceCase, EthImportError>);

/// Reads a file of cases, plain or compressed.
///
/// # Errors
/// [`EthImportError`] names the file, the place and what to do.
pub fn read_case_file(path: &Path) -> Result<Vec<NamedCase>, EthImportError> {
    parse_cases(path, &unpack(path)?)
}

/// Reads cases from JSON; `path` is only named in errors.
///
/// # Errors
/// [`EthImportError`] where the file as a whole cannot be read; a case that cannot be run does not stop the others.
pub fn parse_cases(path: &Path, json: &[u8]) -> Result<Vec<NamedCase>, EthImportError> {
    let cases: BTreeMap<String, CaseJson> =
        serde_json::from_slice(json).map_err(|error| EthImportError::json(path, &error))?;
    let read = |(name, case): (String, CaseJson)| (name.clone(), read_case(path, name, case));
    Ok(cases.into_iter().map(read).collect())
}

fn read_case(path: &Path, name: String, case: CaseJson) -> Result<ConformanceCase, EthImportError> {
    let fork_error = |error| EthImportError::Fork { path: path.to_owned(), error };
    let schedule = ForkSchedule::named(&case.network).map_err(fork_error)?;
    let genesis = decode_block(&case.genesis_rlp);
    let field = || format!("{name}.genesisRLP");
    let genesis = genesis.map_err(|reason| EthImportError::field(path, field(), reason))?;
    verify(path, &field(), &case.genesis_block_header.hash, &genesis.hash)?;
    let genesis_patch = genesis_patch(&schedule, &genesis, &case.pre);
    let mut state = MemoryState::default();
    for (key, value) in &genesis_patch.entries {
        state.set(key.clone(), value.clone());
    }
    let root = state_root(&state);
    let root = root.map_err(|error| EthImportError::field(path, format!("{name}.pre"), error))?;
    verify(path, &format!("{name}: root of pre"), &genesis.header.state_root, &root)?;
    let post = match (case.post_state, case.post_state_hash) {
        (Some(accounts), _) => PostState::Accounts(accounts),
        (None, Some(root)) => PostState::Root(root),
        (None, None) => {
            return Err(EthImportError::field(path, format!("{name}.postState"), "missing"));
        }
    };
    let blocks = case.blocks.into_iter().map(|block| read_block(&case.network, block)).collect();
    Ok(ConformanceCase {
        name,
        network: case.network,
        schedule,
        genesis_hash: genesis.hash,
        genesis: genesis.header,
        genesis_patch,
        blocks,
        last_hash: case.last_hash,
        post,
    })
}

fn read_block(network: &str, mut block: BlockJson) -> CaseBlock {
    let exception = ["", "ALL", network].into_iter().find_map(|key| block.exceptions.remove(key));
    CaseBlock { exception, decoded: decode_block(&block.rlp), rlp: block.rlp.to_vec() }
}

fn genesis_patch(
    schedule: &ForkSchedule,
    genesis: &DecodedBlock,
    accounts: &BTreeMap<Address, CaseAccount>,
) -> Patch {
    let mut entries: Vec<(Bytes, Option<Bytes>)> = Vec::new();
    let mut put = |key: &[u8], value: Vec<u8>| entries.push((key.into(), Some(value.into())));
    for (address, account) in accounts {
        let slots = account.storage.iter().filter(|(_, value)| !value.is_zero());
        let has_storage = slots.clone().next().is_some();
        for (slot, value) in slots {
            put(&storage_key(address, 0, slot), encode_word(value));
        }
        let mut record = AccountRecord {
            nonce: account.nonce.to(),
            balance: account.balance,
            has_storage,
            ..AccountRecord::default()
        };
        if !account.code.is_empty() {
            record.code_hash = keccak256(&account.code);
            put(&code_key(&record.code_hash), account.code.to_vec());
        }
        put(&account_key(address), record.encode());
    }
    let Header { number, timestamp, .. } = genesis.header;
    let place = BlockPlace { number, timestamp, parent_total_difficulty: None };
    let ancestor = Ancestor {
        fork: schedule.fork_at(place),
        dao: DaoRule::None,
        hash: genesis.hash,
        requests: Requests::None,
        header: genesis.header.clone(),
        ommers: Vec::new(),
    };
    put(&header_key(number), ancestor.encode());
    put(&block_hash_key(number), genesis.hash.to_vec());
    put(&CONFIG_KEY, Config { complete: true }.encode());
    Patch::new("genesis", true, entries)
}

/// Reads the RLP of a block: header, transactions, ommers and, from Shanghai on, withdrawals.
fn decode_block(rlp: &[u8]) -> Result<DecodedBlock, String> {
    let say = |error: alloy_rlp::Error| format!("the block is no RLP of one: {error}");
    let mut rest = rlp;
    let mut body = RlpHead::decode_bytes(&mut rest, true).map_err(say)?;
    if !rest.is_empty() {
        return Err(format!("{} bytes follow the block", rest.len()));
    }
    let start = body;
    let header = Header::decode(&mut body).map_err(say)?;
    let header_length = start.len().saturating_sub(body.len());
    let hash = keccak256(start.get(..header_length).unwrap_or_default());
    let txs = decode_txs(&mut body).map_err(say)?;
    let ommers = Vec::<Header>::decode(&mut body).map_err(say)?;
    let withdrawals = if body.is_empty() {
        None
    } else {
        Some(Vec::<Withdrawal>::decode(&mut body).map_err(say)?)
    };
    if !body.is_empty() {
        return Err(format!("{} bytes follow the last part of the block", body.len()));
    }
    Ok(DecodedBlock { hash, header, txs, ommers, withdrawals })
}

/// Takes the list of transactions apart: a legacy transaction is a list, a typed one a string (EIP-2718).
fn decode_txs(body: &mut &[u8]) -> alloy_rlp::Result<Vec<(TxId, Bytes)>> {
    let PayloadView::List(items) = RlpHead::decode_raw(body)? else {
        return Err(alloy_rlp::Error::UnexpectedString);
    };
    let payload = |item: &[u8]| match item.first() {
        Some(0xc0..) => Ok(Bytes::from(item)),
        _ => RlpHead::decode_bytes(&mut &*item, false).map(Bytes::from),
    };
    let id = |payload: Bytes| (TxId(keccak256(&payload).0), payload);
    items.into_iter().map(|item| payload(item).map(id)).collect()
}

impl DecodedBlock {
    /// Returns whether the header commits to this body.
    #[must_use]
    pub fn body_is_its_own(&self) -> bool {
        let payloads: Vec<&[u8]> = self.txs.iter().map(|(_, payload)| &**payload).collect();
        let withdrawals = self.withdrawals.as_deref().map(calculate_withdrawals_root);
        self.header.transactions_root == ordered_trie_root_encoded(&payloads)
            && self.header.ommers_hash == keccak256(alloy_rlp::encode(&self.ommers))
            && self.header.withdrawals_root == withdrawals
    }
}

impl ConformanceCase {
    /// Compares a state with the one that the case must end with.
    ///
    /// # Errors
    /// Says what differs, for people.
    pub fn check_state(&self, state: &dyn StateRead) -> Result<(), String> {
        let say = |error: crate::state::StateError| error.to_string();
        let expected = match &self.post {
            PostState::Root(expected) => {
                let found = state_root(state).map_err(say)?;
                return if found == *expected {
                    Ok(())
                } else {
                    Err(format!("state root is {found}, expected {expected}"))
                };
            }
            PostState::Accounts(accounts) => accounts,
        };
        let found = super::state::accounts(state)?;
        for (address, account) in expected {
            match found.get(address) {
                Some(found) if found == account => {}
                other => {
                    return Err(format!("account {address} is {other:?}, expected {account:?}"));
                }
            }
        }
        match found.keys().find(|address| !expected.contains_key(*address)) {
            Some(address) => Err(format!("account {address} is there, expected none")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "cases_tests.rs"]
mod tests;
