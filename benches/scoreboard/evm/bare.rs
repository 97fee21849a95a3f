//! The other side of EVM blocks: sequential `revm` over its own database in memory, with nothing of the engine.
//!
//! What depends on bytes alone is ready before the clock: the database holds the state before the block and its codes analysed,
//! senders are recovered. Rewards of blocks, withdrawals and system calls are left out: no receipt of a transaction
//! depends on them here, and each block begins with the state that the engine has before it.

use std::time::{Duration, Instant};

use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{EthereumTxEnvelope, Transaction, TxEip4844, Typed2718};
use alloy_eips::eip2718::Decodable2718;
use alloy_eips::eip7840::BlobParams;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use anyhow::{Context as _, Result, bail};
use revm::bytecode::Bytecode;
use revm::context::either::Either;
use revm::context::result::ExecutionResult;
use revm::context::{BlockEnv, CfgEnv, Context, TxEnv};
use revm::context_interface::block::BlobExcessGasAndPrice;
use revm::database::InMemoryDB;
use revm::primitives::hardfork::SpecId;
use revm::state::AccountInfo;
use revm::{ExecuteCommitEvm, MainBuilder, MainContext};
use rewake::machine::evm::layout::{ACCOUNTS, AccountRecord, decode_word, parse_storage_key};
use rewake::machine::evm::{EvmReceipt, Fork, OrderHeader};
use rewake::machine::{BlockInput, TxInput};
use rewake::state::MemoryState;

use crate::allocations;

/// Namespaces of codes and of block hashes, as the layout of the state documents them.
const CODES: u8 = b'K';
const BLOCK_HASHES: u8 = b'N';

/// A block with all that its execution needs.
pub(crate) struct Bare {
    fork: Fork,
    block: BlockEnv,
    config: CfgEnv,
    txs: Vec<TxEnv>,
    database: InMemoryDB,
}

impl Bare {
    /// Makes ready a block above the state before it.
    pub(crate) fn new(input: &BlockInput, state: &MemoryState) -> Result<Self> {
        let (order, _) = OrderHeader::decode(&input.header)?;
        let (block, config) = environment(&order)?;
        let txs = open_txs(&input.txs, order.fork)?;
        Ok(Self { fork: order.fork, block, config, txs, database: database(state)? })
    }

    /// Reads transactions of the block and recovers their senders, one after the other.
    pub(crate) fn recover_senders(&self, txs: &[TxInput]) -> Result<Vec<TxEnv>> {
        open_txs(txs, self.fork)
    }

    /// Executes the block, transaction after transaction, each committed to the database.
    pub(crate) fn execute(&self) -> Result<Measured> {
        let (txs, database) = (self.txs.clone(), self.database.clone());
        let (block, config) = (self.block.clone(), self.config.clone());
        let (began, allocated) = (Instant::now(), allocations::so_far());
        let context = Context::mainnet().with_db(database).with_block(block).with_cfg(config);
        let mut machine = context.build_mainnet();
        let mut results = Vec::with_capacity(txs.len());
        for tx in txs {
            results.push(machine.transact_commit(tx)?);
        }
        let (took, allocations) = (began.elapsed(), allocations::so_far() - allocated);
        Ok(Measured { took, allocations, results })
    }
}

/// What a block took, and what its transactions came to.
pub(crate) struct Measured {
    pub(crate) took: Duration,
    pub(crate) allocations: u64,
    pub(crate) results: Vec<ExecutionResult>,
}

/// Says whether transactions came to the same results.
pub(crate) fn agree(bare: Vec<ExecutionResult>, ours: &[EvmReceipt]) -> bool {
    bare.len() == ours.len()
        && bare.into_iter().zip(ours).all(|(result, receipt)| {
            (result.is_success(), result.tx_gas_used()) == (receipt.success, receipt.gas_used)
                && result.into_logs() == receipt.logs
        })
}

fn open_txs(txs: &[TxInput], fork: Fork) -> Result<Vec<TxEnv>> {
    txs.iter().map(|tx| open_tx(&tx.payload, fork)).collect()
}

fn open_tx(payload: &[u8], fork: Fork) -> Result<TxEnv> {
    let envelope = EthereumTxEnvelope::<TxEip4844>::decode_2718_exact(payload)?;
    let caller = match fork {
        Fork::Frontier => envelope.recover_signer_unchecked()?,
        _ => envelope.recover_signer()?,
    };
    let authorizations = envelope.authorization_list().unwrap_or_default();
    Ok(TxEnv {
        tx_type: envelope.ty(),
        caller,
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

fn environment(order: &OrderHeader) -> Result<(BlockEnv, CfgEnv)> {
    let header = &order.header;
    let mut config = CfgEnv::new_with_spec(spec(order.fork)?).with_chain_id(order.chain_id);
    let mut price = None;
    if order.fork == Fork::Cancun {
        let blobs = BlobParams::cancun();
        let fraction = u64::try_from(blobs.update_fraction)?;
        config.max_blobs_per_tx = Some(blobs.max_blobs_per_tx);
        config.blob_base_fee_update_fraction = Some(fraction);
        let excess = header.excess_blob_gas.unwrap_or_default();
        price = Some(BlobExcessGasAndPrice::new(excess, fraction));
    }
    let block = BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        difficulty: header.difficulty,
        prevrandao: (order.fork >= Fork::Paris).then_some(header.mix_hash),
        blob_excess_gas_and_price: price,
        slot_num: 0,
    };
    Ok((block, config))
}

fn spec(fork: Fork) -> Result<SpecId> {
    Ok(match fork {
        Fork::Frontier => SpecId::FRONTIER,
        Fork::Homestead => SpecId::HOMESTEAD,
        Fork::Eip150 => SpecId::TANGERINE,
        Fork::Eip158 => SpecId::SPURIOUS_DRAGON,
        Fork::Byzantium => SpecId::BYZANTIUM,
        Fork::ConstantinopleFix => SpecId::PETERSBURG,
        Fork::Istanbul | Fork::MuirGlacier => SpecId::ISTANBUL,
        Fork::Berlin => SpecId::BERLIN,
        Fork::London | Fork::ArrowGlacier | Fork::GrayGlacier => SpecId::LONDON,
        Fork::Paris => SpecId::MERGE,
        Fork::Shanghai => SpecId::SHANGHAI,
        Fork::Cancun => SpecId::CANCUN,
        later => bail!("blocks of {} are not measured: their system calls pay", later.name()),
    })
}

/// Fills a database from a state of the engine's.
fn database(state: &MemoryState) -> Result<InMemoryDB> {
    let mut database = InMemoryDB::default();
    for (key, value) in state.entries() {
        let Some((namespace, rest)) = key.split_first() else { continue };
        match *namespace {
            CODES => {
                let code = Bytes::copy_from_slice(value);
                // Codes from before EIP-3541 may begin like a designator without being one.
                let read = Bytecode::new_raw_checked(code.clone());
                let code = read.unwrap_or_else(|_| Bytecode::new_legacy(code));
                database.cache.contracts.insert(B256::try_from(rest)?, code);
            }
            BLOCK_HASHES => {
                let number = rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
                let number = U256::from(number.context("a block number")?);
                database.cache.block_hashes.insert(number, B256::try_from(&**value)?);
            }
            ACCOUNTS => {
                let record = AccountRecord::decode(value)?;
                if record.exists {
                    database.insert_account_info(Address::try_from(rest)?, info(&record));
                }
            }
            _ => put_slot(&mut database, key, value)?,
        }
    }
    Ok(database)
}

fn info(record: &AccountRecord) -> AccountInfo {
    AccountInfo {
        balance: record.balance,
        nonce: record.nonce,
        code_hash: record.code_hash,
        code: (record.code_hash == KECCAK256_EMPTY).then(Bytecode::default),
        ..AccountInfo::default()
    }
}

/// Puts a slot, if the key is that of one; slots of destroyed accounts are left out.
fn put_slot(database: &mut InMemoryDB, key: &[u8], value: &[u8]) -> Result<()> {
    // Accounts come before their slots, in the order of the keys.
    if let Some((address, 0, slot)) = parse_storage_key(key) {
        let word = decode_word(value).context("a word")?;
        database.insert_account_storage(address, slot.into(), word)?;
    }
    Ok(())
}
