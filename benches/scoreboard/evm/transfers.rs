//! A chain of transfers of one's own making: tokens of a minimal ERC-20 contract, or ether; each from a sender of its own to a receiver of its own.

use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH};
use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{EthereumTxEnvelope, Header, Signed, TxEip1559, TxEip4844};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, address, keccak256};
use alloy_trie::root::ordered_trie_root_encoded;
use anyhow::{Result, bail};
use rewake::event::Patch;
use rewake::exec::{BlockFailure, Executor, ExecutorSettings, Rulings};
use rewake::machine::evm::layout::{
    AccountRecord, CONFIG_KEY, Config, account_key, code_key, encode_word, storage_key,
};
use rewake::machine::evm::{DaoRule, Fork, Ommers, OrderHeader, next_base_fee};
use rewake::machine::{BlockInput, Registry, TxInput};
use rewake::state::{ChangeSet, MemoryState, StateRead};
use rewake::types::{Bytes as StateBytes, Height, Seq, TxId};

use super::contest::Contest;
use super::token::{TOKEN, balance_slot, transfer_input};

/// Transactions of a block.
const BLOCK_TXS: u64 = 1_000;
const GAS_LIMIT: u64 = 120_000_000;
/// Wei for a unit of gas, far above the base fee, so that the fee recipient gets most of it.
const GAS_PRICE: u128 = 10_000_000_000;
const FEE_RECIPIENT: Address = address!("00000000000000000000000000000000000000cb");
const TOKENS: u64 = 1_000_000;

/// What is transferred.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asset {
    Token,
    Ether,
}

/// Makes a chain of so many blocks; the first brings the state in which every sender has what it will send.
pub(crate) fn chain(asset: Asset, blocks: u64) -> Result<Vec<BlockInput>> {
    let txs: Vec<_> = (0..blocks * BLOCK_TXS).map(|number| tx(asset, number)).collect();
    let mut senders = Vec::with_capacity(txs.len());
    for tx in &txs {
        senders.push(tx.recover_signer()?);
    }
    let genesis = Patch::new("genesis of transfers", true, genesis(asset, &senders));
    let mut maker = Maker::new(&genesis)?;
    let mut inputs = Vec::new();
    for txs in txs.chunks(usize::try_from(BLOCK_TXS)?) {
        inputs.push(maker.next(txs.iter().map(Encodable2718::encoded_2718).collect())?);
    }
    if let Some(first) = inputs.first_mut() {
        first.patches.push(genesis);
    }
    Ok(inputs)
}

type Envelope = EthereumTxEnvelope<TxEip4844>;

/// Makes a transfer under a signature that nobody made: every signature is that of somebody, whoever it recovers to.
fn tx(asset: Asset, number: u64) -> Envelope {
    let receiver = receiver(number);
    let (to, value, input) = match asset {
        Asset::Token => (TOKEN.address, U256::ZERO, transfer_input(receiver, U256::ONE)),
        Asset::Ether => (receiver, U256::ONE, Bytes::default()),
    };
    let tx = TxEip1559 {
        chain_id: 1,
        gas_limit: 100_000,
        max_fee_per_gas: GAS_PRICE,
        max_priority_fee_per_gas: GAS_PRICE,
        to: TxKind::Call(to),
        value,
        input,
        ..TxEip1559::default()
    };
    let signature = Signature::new(U256::from(2), U256::from(number + 1), false);
    Signed::new_unhashed(tx, signature).into()
}

/// Says whether every receiver has what was sent, and whether every token says that it moved.
pub(crate) fn arrived(asset: Asset, contest: &Contest) -> bool {
    let logs = usize::from(asset == Asset::Token);
    let receipts = contest.blocks.iter().flat_map(|block| &block.receipts);
    receipts.zip(0..).all(|(receipt, number)| {
        let one = U256::ONE;
        let (key, value) = match asset {
            Asset::Token => {
                let slot = balance_slot(receiver(number));
                (storage_key(&TOKEN.address, 0, &slot).to_vec(), encode_word(&one))
            }
            Asset::Ether => {
                let record = AccountRecord { balance: one, ..AccountRecord::default() };
                (account_key(&receiver(number)).to_vec(), record.encode())
            }
        };
        let found = contest.after.get(&key).ok().flatten();
        found.as_deref() == Some(&value) && receipt.success && receipt.logs.len() == logs
    })
}

fn receiver(number: u64) -> Address {
    Address::from_word(keccak256(number.to_be_bytes()))
}

fn genesis(asset: Asset, senders: &[Address]) -> Vec<(StateBytes, Option<StateBytes>)> {
    let entry = |key: &[u8], value: Vec<u8>| (key.into(), Some(value.into()));
    let mut entries = vec![entry(&CONFIG_KEY, Config { complete: false }.encode())];
    let rich = AccountRecord { balance: U256::from(1u64 << 60), ..AccountRecord::default() };
    entries.extend(senders.iter().map(|sender| entry(&account_key(sender), rich.encode())));
    if asset == Asset::Token {
        let code_hash = keccak256(TOKEN.code);
        let token =
            AccountRecord { nonce: 1, code_hash, has_storage: true, ..AccountRecord::default() };
        entries.push(entry(&account_key(&TOKEN.address), token.encode()));
        entries.push(entry(&code_key(&code_hash), TOKEN.code.to_vec()));
        entries.extend(senders.iter().map(|sender| {
            let key = storage_key(&TOKEN.address, 0, &balance_slot(*sender));
            entry(&key, encode_word(&U256::from(TOKENS)))
        }));
    }
    entries
}

/// Makes blocks whose headers say what their transactions do.
struct Maker {
    executor: Executor,
    state: MemoryState,
    parent: Header,
}

impl Maker {
    fn new(genesis: &Patch) -> Result<Self> {
        let mut state = MemoryState::default();
        genesis.entries.iter().for_each(|(key, value)| state.set(key.clone(), value.clone()));
        let settings = ExecutorSettings { workers: 1, ..ExecutorSettings::default() };
        let executor = Executor::new(Registry::built_in().find("evm")?, settings);
        let parent = Header {
            gas_limit: GAS_LIMIT,
            base_fee_per_gas: Some(1_000_000_000),
            gas_used: GAS_LIMIT / 2,
            ..Header::default()
        };
        Ok(Self { executor, state, parent })
    }

    fn next(&mut self, txs: Vec<Vec<u8>>) -> Result<BlockInput> {
        let header = Header {
            parent_hash: self.parent.hash_slow(),
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: FEE_RECIPIENT,
            difficulty: U256::ZERO,
            number: self.parent.number + 1,
            gas_limit: GAS_LIMIT,
            timestamp: self.parent.timestamp + 12,
            base_fee_per_gas: Some(next_base_fee(&self.parent)),
            transactions_root: ordered_trie_root_encoded(&txs),
            withdrawals_root: Some(EMPTY_ROOT_HASH),
            ..Header::default()
        };
        let order = OrderHeader {
            fork: Fork::Shanghai,
            dao: DaoRule::None,
            chain_id: 1,
            header,
            ommers: Ommers::Headers(Vec::new()),
            withdrawals: Some(Vec::new()),
        };
        let txs = (1..).zip(txs).map(|(number, payload)| TxInput {
            seq: Seq::new(number).expect("positions start at 1"),
            id: TxId(keccak256(&payload).0),
            payload: payload.into(),
            created: None,
        });
        let height = Height(order.header.number);
        let header = StateBytes::default();
        let block = BlockInput { height, header, patches: Vec::new(), txs: txs.collect() };
        let (block, order, changes) = self.seal(block, order)?;
        self.state.apply(&changes);
        self.parent = order.header;
        Ok(block)
    }

    /// Takes over what the check of the block asks for, until it asks for nothing.
    fn seal(
        &self,
        mut block: BlockInput,
        mut order: OrderHeader,
    ) -> Result<(BlockInput, OrderHeader, ChangeSet)> {
        for _ in 0..4 {
            block.header = order.encode().into();
            let failure = match self.executor.execute(&block, &Rulings::new(), &self.state) {
                Ok(executed) => return Ok((block, order, executed.changes)),
                Err(BlockFailure::Check { failure, .. }) => failure,
                Err(other) => bail!("a block of transfers cannot be made: {other}"),
            };
            let header = &mut order.header;
            match failure.what.as_str() {
                "gas used" => header.gas_used = failure.found.parse()?,
                "logs bloom" => header.logs_bloom = failure.found.parse()?,
                "receipts root" => header.receipts_root = failure.found.parse()?,
                _ => bail!("a block of transfers cannot be made: {failure}"),
            }
        }
        bail!("a block of transfers does not settle")
    }
}
