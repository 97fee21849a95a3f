//! The Ethereum machine: real blocks on `revm`, from Frontier to the newest fork that it knows.
//!
//! A block's header bytes are laid out in [`header`](OrderHeader), its transactions are EIP-2718 bytes whose
//! identity is their Keccak-256, the state is laid out in [`layout`], the output of a receipt in [`EvmReceipt`].
//! What is executed depends on these bytes and the state alone: the fork is part of the header.
//!
//! A transaction that reverts or halts is included and charged: its receipt is applied, and its output says that it
//! failed. A transaction that must not be in a block at all is refused, and the check of the block then names it.
//! Every transaction is independent of the receipts before it; cumulative sums are made by the check.

mod bloom;
mod cache;
mod check;
mod code_cache;
mod collision;
mod dao;
mod database;
mod diff;
mod difficulty;
mod execute;
mod failure;
mod fees;
mod fork;
mod header;
mod hooks;
mod instructions;
pub mod layout;
mod leaf;
mod ommers;
mod output;
mod parts;
mod read_txs;
mod receipt;
mod receipts_root;
mod requests;
mod root;
mod sender_cache;
mod tx;
mod validity;

use std::sync::Arc;

use alloy_primitives::{B256, U256};
use revm::context::{BlockEnv, CfgEnv};
use revm::interpreter::instructions::gas_table_spec;

pub use difficulty::next_difficulty;
pub use fees::{next_base_fee, next_excess_blob_gas};
pub use fork::{BlockPlace, FORKS, Fork, ForkError, ForkSchedule};
pub use header::{DaoRule, HeaderError, Ommers, OrderHeader};
pub use receipt::EvmReceipt;
pub use root::state_root;

use self::code_cache::CodeCache;
use self::execute::Environment;
use self::read_txs::{ReadTxs, TxsAhead, Unread};
use self::sender_cache::SenderCache;
use crate::block::{Receipt, Receipts};
use crate::machine::{
    BlockInput, BlockOutcome, CheckFailure, Context, ExecError, MachineVersion, OpenBlock,
    PoisonPolicy, Preparation, StateMachine, TxInput,
};

/// The name of the machine in the registry.
pub const MACHINE_ID: &str = "evm";

/// The Ethereum machine; it keeps analysed code, recovered senders and transactions that were read before their turn.
#[derive(Debug, Default)]
pub struct Evm {
    codes: CodeCache,
    senders: Arc<SenderCache>,
    ahead: Arc<TxsAhead>,
}

impl StateMachine for Evm {
    fn version(&self) -> MachineVersion {
        MachineVersion { id: MACHINE_ID.to_owned(), version: 1 }
    }

    fn poison_policy(&self) -> PoisonPolicy {
        // A block commits to the results of every transaction: none can be left out.
        PoisonPolicy::Halt
    }

    fn open_block<'a>(
        &'a self,
        block: &'a BlockInput,
    ) -> Result<Box<dyn OpenBlock + 'a>, ExecError> {
        let unread = |error| ExecError::Poison(format!("the header of the block: {error}"));
        let (order, hash) = OrderHeader::decode(&block.header).map_err(unread)?;
        let ahead = self.ahead.find(hash, order.fork, &block.txs);
        let read = || Arc::new(ReadTxs::of(&block.txs, order.fork, &self.senders));
        let read = ahead.unwrap_or_else(read);
        Ok(Box::new(Opened {
            environment: environment(&order, &self.codes),
            order,
            hash,
            height: block.height.get(),
            input: &block.txs,
            read,
        }))
    }

    fn prepares(&self) -> bool {
        true
    }

    fn prepare(&self, block: &BlockInput) -> Option<Preparation> {
        let (order, hash) = OrderHeader::decode(&block.header).ok()?;
        let txs = block.txs.iter().map(|tx| (tx.id, tx.payload.clone())).collect();
        let unread = Unread { hash, fork: order.fork, txs };
        let (ahead, senders) = (Arc::clone(&self.ahead), Arc::clone(&self.senders));
        Some(Box::new(move |must_stop| ahead.read(&unread, &senders, must_stop)))
    }
}

/// A block whose bytes have been read.
#[derive(Debug)]
struct Opened<'a> {
    order: OrderHeader,
    hash: B256,
    height: u64,
    input: &'a [TxInput],
    read: Arc<ReadTxs>,
    environment: Environment<'a>,
}

impl OpenBlock for Opened<'_> {
    fn begin(&self, context: &mut Context<'_>) -> Result<(), ExecError> {
        hooks::begin(self, context)
    }

    fn execute(&self, index: usize, context: &mut Context<'_>) -> Result<Receipt, ExecError> {
        match self.read.txs.get(index) {
            Some(Ok(tx)) => self.environment.transact(tx, context),
            Some(Err(reason)) => Ok(Receipt::rejected(reason.clone())),
            None => Err(ExecError::Poison(format!("the block has no transaction {index}"))),
        }
    }

    fn end(&self, receipts: &Receipts, context: &mut Context<'_>) -> Result<(), ExecError> {
        hooks::end(self, receipts, context)
    }

    fn check(&self, outcome: &BlockOutcome<'_>) -> Result<(), CheckFailure> {
        check::check(self, outcome)
    }
}

fn environment<'a>(order: &OrderHeader, codes: &'a CodeCache) -> Environment<'a> {
    let header = &order.header;
    let blobs = order.fork.blobs();
    let price = blobs.and_then(|blobs| fees::blob_price(header.excess_blob_gas?, &blobs));
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
    let mut config = CfgEnv::new_with_spec(order.fork.spec()).with_chain_id(order.chain_id);
    config.max_blobs_per_tx = blobs.map(|blobs| blobs.max_blobs_per_tx);
    config.blob_base_fee_update_fraction =
        blobs.and_then(|blobs| u64::try_from(blobs.update_fraction).ok());
    Environment { block, gas: gas_table_spec(config.spec), config, codes }
}

#[cfg(test)]
mod tests;
