//! Executes one transaction, or one system call, in the virtual machine and writes what it changed.

use std::cell::Cell;
use std::marker::PhantomData;

use alloy_primitives::{Address, Bytes, U256};
use revm::context::journaled_state::account::JournaledAccountTr;
use revm::context::result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction, Output};
use revm::context::{
    BlockEnv, CfgEnv, Context as EvmContext, Evm, Journal, JournalTr, Transaction, TxEnv,
};
use revm::handler::{EthPrecompiles, FrameResult, Handler, SystemCallTx as _};
use revm::interpreter::GasTable;
use revm::primitives::hardfork::SpecId;

use super::code_cache::CodeCache;
use super::collision::Machine;
use super::database::{DbError, StateDb};
use super::diff::write_state;
use super::instructions::Instructions;
use super::layout::FEES_KEY;
use super::parts::Parts;
use super::receipt::EvmReceipt;
use crate::block::Receipt;
use crate::machine::{Context, ExecError};

type MachineError = EVMError<DbError, InvalidTransaction>;

/// What every step of a block shares.
#[derive(Debug)]
pub(super) struct Environment<'e> {
    pub(super) block: BlockEnv,
    pub(super) config: CfgEnv,
    pub(super) gas: GasTable,
    pub(super) codes: &'e CodeCache,
}

impl Environment<'_> {
    fn machine<'a, 'c>(
        &'a self,
        tx: &'a TxEnv,
        context: &'a mut Context<'c>,
        parts: Parts,
    ) -> Machine<'a, 'c> {
        let Parts { spec, frames, local, journal, records } = parts;
        let db = StateDb::new(context, self.codes, self.block.beneficiary, records);
        let ctx = EvmContext {
            block: &self.block,
            tx,
            cfg: &self.config,
            journaled_state: Journal::new_with_inner(db, journal),
            chain: (),
            local,
            error: Ok(()),
        };
        Machine::new(Evm {
            ctx,
            inspector: (),
            instruction: Instructions::new(&self.gas),
            precompiles: EthPrecompiles::new(spec),
            frame_stack: frames,
        })
    }

    /// Executes a transaction. Only one that must not be in a block is rejected; one that fails is charged.
    pub(super) fn transact(
        &self,
        tx: &TxEnv,
        context: &mut Context<'_>,
    ) -> Result<Receipt, ExecError> {
        let mut machine = self.machine(tx, context, Parts::of_thread(self.config.spec));
        let mut handler = FeeHandler::default();
        let result = match handler.run(&mut machine) {
            Ok(result) => result,
            Err(EVMError::Transaction(refused)) => {
                return Ok(Receipt::rejected(refused.to_string()));
            }
            Err(EVMError::Header(refused)) => return Ok(Receipt::rejected(refused.to_string())),
            Err(error) => return Err(failure(error)),
        };
        let fee = handler.fee.get();
        let state = machine.finalize();
        let db = machine.database();
        write_state(db, &state, self.block.beneficiary)?;
        if fee > 0 {
            db.context.add(&FEES_KEY, fee)?;
        }
        machine.keep(state);
        Ok(Receipt::applied(receipt(tx, result).encode()))
    }

    /// Calls a system contract; `Ok(Err)` where the call failed in the contract.
    pub(super) fn call_system(
        &self,
        contract: Address,
        input: Bytes,
        context: &mut Context<'_>,
    ) -> Result<Result<Bytes, String>, ExecError> {
        let tx = TxEnv::new_system_tx(contract, input);
        let mut machine = self.machine(&tx, context, Parts::of_system_call(self.config.spec));
        match FeeHandler::default().run_system_call(&mut machine).map_err(failure)? {
            ExecutionResult::Success { output, .. } => {
                let state = machine.finalize();
                write_state(machine.database(), &state, self.block.beneficiary)?;
                Ok(Ok(output.into_data()))
            }
            ExecutionResult::Revert { .. } => Ok(Err("reverted".to_owned())),
            ExecutionResult::Halt { reason, .. } => Ok(Err(reason.to_string())),
        }
    }
}

fn failure(error: MachineError) -> ExecError {
    match error {
        EVMError::Database(DbError(error)) => error,
        other => ExecError::Poison(other.to_string()),
    }
}

fn receipt(tx: &TxEnv, result: ExecutionResult) -> EvmReceipt {
    let created = match &result {
        ExecutionResult::Success { output: Output::Create(_, address), .. } => *address,
        _ => None,
    };
    EvmReceipt {
        tx_type: tx.tx_type,
        success: result.is_success(),
        gas_used: result.tx_gas_used(),
        blob_gas_used: tx.total_blob_gas(),
        created,
        logs: result.into_logs(),
    }
}

/// The handler of mainnet, except that the beneficiary's fee is added up beside its account wherever the transaction
/// did not look at that account: transactions of one block then have no account in common only because of their fees.
#[derive(Default)]
struct FeeHandler<'a, 'c> {
    fee: Cell<u128>,
    machine: PhantomData<(&'a (), &'c ())>,
}

/// Fees are added up to this one; a greater one goes to the account, so that the sum of a block cannot overflow.
const FEE_MAX: u128 = 1 << 96;

impl<'a, 'c: 'a> Handler for FeeHandler<'a, 'c> {
    type Evm = Machine<'a, 'c>;
    type Error = MachineError;
    type HaltReason = HaltReason;

    fn reward_beneficiary(
        &self,
        evm: &mut Self::Evm,
        result: &mut FrameResult,
    ) -> Result<(), MachineError> {
        let machine = evm.context();
        let (spec, base_fee) = (machine.cfg.spec, u128::from(machine.block.basefee));
        let price = machine.tx.effective_gas_price(base_fee);
        // EIP-1559 burns the base fee.
        let tip = if spec >= SpecId::LONDON { price.saturating_sub(base_fee) } else { price };
        let gas = result.gas();
        let used = u128::from(gas.used().saturating_sub(gas.reservoir()));
        let beneficiary = machine.block.beneficiary;
        let journal = &mut machine.journaled_state;
        // Before EIP-161 a reward of nothing makes an account, which later transactions could notice.
        let looked_at = journal.inner.state.contains_key(&beneficiary);
        let beside = spec >= SpecId::SPURIOUS_DRAGON && !looked_at;
        match tip.checked_mul(used).filter(|fee| *fee <= FEE_MAX) {
            Some(fee) if beside => self.fee.set(fee),
            _ => {
                let fee = U256::from(tip).saturating_mul(U256::from(used));
                journal.load_account_mut(beneficiary)?.data.incr_balance(fee);
            }
        }
        Ok(())
    }
}
