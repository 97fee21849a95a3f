//! Executes one transaction, or one system call, in the virtual machine and writes what it changed.

use std::cell::Cell;
use std::marker::PhantomData;

use alloy_primitives::{Address, Bytes, U256};
use revm::context::journaled_state::account::JournaledAccountTr;
use revm::context::result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction, Output};
use revm::context::{
    BlockEnv, CfgEnv, Context as EvmContext, Journal, JournalTr, LocalContext, Transaction, TxEnv,
};
use revm::handler::{FrameResult, Handler};
use revm::primitives::hardfork::SpecId;
use revm::{ExecuteEvm, MainBuilder, SystemCallEvm};

use super::code_cache::CodeCache;
use super::collision::{Machine, MachineContext};
use super::database::{DbError, StateDb};
use super::diff::write_state;
use super::layout::FEES_KEY;
use super::receipt::EvmReceipt;
use crate::block::Receipt;
use crate::machine::{Context, ExecError};

type MachineError = EVMError<DbError, InvalidTransaction>;

/// What every step of a block shares.
#[derive(Debug)]
pub(super) struct Environment<'e> {
    pub(super) block: BlockEnv,
    pub(super) config: CfgEnv,
    pub(super) codes: &'e CodeCache,
}

impl Environment<'_> {
    fn machine<'a, 'c>(&'a self, tx: TxEnv, context: &'a mut Context<'c>) -> Machine<'a, 'c> {
        let db = StateDb::new(context, self.codes, self.block.beneficiary);
        let mut journal = Journal::new(db);
        journal.set_spec_id(self.config.spec);
        let machine: MachineContext<'_, '_> = EvmContext {
            block: self.block.clone(),
            tx,
            cfg: self.config.clone(),
            journaled_state: journal,
            chain: (),
            local: LocalContext::default(),
            error: Ok(()),
        };
        Machine(machine.build_mainnet())
    }

    /// Executes a transaction. Only one that must not be in a block is rejected; one that fails is charged.
    pub(super) fn transact(
        &self,
        tx: &TxEnv,
        context: &mut Context<'_>,
    ) -> Result<Receipt, ExecError> {
        let mut machine = self.machine(tx.clone(), context);
        let mut handler = FeeHandler::default();
        let result = match handler.run(&mut machine) {
            Ok(result) => result,
            Err(EVMError::Transaction(refused)) => {
                return Ok(Receipt::rejected(refused.to_string()));
            }
            Err(EVMError::Header(refused)) => return Ok(Receipt::rejected(refused.to_string())),
            Err(error) => return Err(failure(error)),
        };
        let state = machine.0.finalize();
        let db = &mut machine.0.ctx.journaled_state.database;
        write_state(db, state, self.block.beneficiary)?;
        if handler.fee.get() > 0 {
            db.context.add(&FEES_KEY, handler.fee.get())?;
        }
        Ok(Receipt::applied(receipt(tx, result).encode()))
    }

    /// Calls a system contract; `Ok(Err)` where the call failed in the contract.
    pub(super) fn call_system(
        &self,
        contract: Address,
        input: Bytes,
        context: &mut Context<'_>,
    ) -> Result<Result<Bytes, String>, ExecError> {
        let mut machine = self.machine(TxEnv::default(), context);
        let outcome = machine.0.system_call(contract, input).map_err(failure)?;
        match outcome.result {
            ExecutionResult::Success { output, .. } => {
                let db = &mut machine.0.ctx.journaled_state.database;
                write_state(db, outcome.state, self.block.beneficiary)?;
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
        let machine = &mut evm.0.ctx;
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
