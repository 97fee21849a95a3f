//! Refuses to create a contract where storage is already (EIP-7610).
//!
//! The virtual machine refuses where there is code or a nonce, and cannot ask its database about storage. While it
//! looks at an account that has storage but neither of these, the account is shown with a nonce.
//!
//! NOTE: such accounts were made before EIP-161 and cannot be met on mainnet; a slot that was written and cleared
//! later still counts as storage here, which matters for the same accounts only.

use alloy_primitives::{Address, KECCAK256_EMPTY};
use revm::context::{
    BlockEnv, CfgEnv, Context as EvmContext, ContextError, Evm, FrameStack, Journal, JournalTr,
    TxEnv,
};
use revm::handler::evm::{ContextDbError, FrameInitResult};
use revm::handler::{
    EthFrame, EthPrecompiles, EvmTr, FrameInitOrResult, FrameResult, ItemOrResult,
};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_action::FrameInit;
use revm::interpreter::{CreateInputs, FrameInput};
use revm::state::EvmState;

use super::database::{DbError, StateDb};
use super::instructions::Instructions;
use super::parts::Parts;

/// What a machine executes; block, transaction and configuration are only looked at.
pub(super) type MachineContext<'a, 'c> =
    EvmContext<&'a BlockEnv, &'a TxEnv, &'a CfgEnv, StateDb<'a, 'c>, Journal<StateDb<'a, 'c>>>;
type Frame = EthFrame<EthInterpreter>;
type Parted<'a, 'c> = Evm<MachineContext<'a, 'c>, (), Instructions<'a, 'c>, EthPrecompiles, Frame>;

/// The virtual machine of mainnet with the rule of EIP-7610.
pub(super) struct Machine<'a, 'c> {
    evm: Parted<'a, 'c>,
    /// Depth of the deepest call so far.
    deepest: usize,
}

impl<'a, 'c> EvmTr for Machine<'a, 'c>
where
    'c: 'a,
{
    type Context = MachineContext<'a, 'c>;
    type Instructions = Instructions<'a, 'c>;
    type Precompiles = EthPrecompiles;
    type Frame = Frame;

    fn all(&self) -> (&Self::Context, &Self::Instructions, &Self::Precompiles, &FrameStack<Frame>) {
        self.evm.all()
    }

    fn all_mut(
        &mut self,
    ) -> (&mut Self::Context, &mut Self::Instructions, &mut Self::Precompiles, &mut FrameStack<Frame>)
    {
        self.evm.all_mut()
    }

    fn frame_init(
        &mut self,
        init: FrameInit,
    ) -> Result<FrameInitResult<'_, Frame>, ContextDbError<Self::Context>> {
        self.deepest = self.deepest.max(init.depth);
        let shown = match &init.frame_input {
            FrameInput::Create(inputs) => self.show_nonce(inputs)?,
            _ => None,
        };
        let Some(address) = shown else { return self.evm.frame_init(init) };
        let result = match self.evm.frame_init(init)? {
            ItemOrResult::Result(result) => result,
            ItemOrResult::Item(_) => {
                let reason = format!("a contract was created over the storage of {address}");
                return Err(ContextError::Custom(reason));
            }
        };
        self.hide_nonce(address);
        Ok(ItemOrResult::Result(result))
    }

    fn frame_run(&mut self) -> Result<FrameInitOrResult<Frame>, ContextDbError<Self::Context>> {
        self.evm.frame_run()
    }

    fn frame_return_result(
        &mut self,
        result: FrameResult,
    ) -> Result<Option<FrameResult>, ContextDbError<Self::Context>> {
        self.evm.frame_return_result(result)
    }
}

impl<'a, 'c> Machine<'a, 'c> {
    /// Makes a machine of its parts.
    pub(super) fn new(evm: Parted<'a, 'c>) -> Self {
        Self { evm, deepest: 0 }
    }

    /// Ends the transaction; returns every account that it looked at.
    pub(super) fn finalize(&mut self) -> EvmState {
        self.evm.ctx.journaled_state.finalize()
    }

    /// Returns what the machine executes.
    pub(super) fn context(&mut self) -> &mut MachineContext<'a, 'c> {
        &mut self.evm.ctx
    }

    /// Returns the state as it was before the transaction.
    pub(super) fn database(&mut self) -> &mut StateDb<'a, 'c> {
        &mut self.evm.ctx.journaled_state.database
    }

    /// Keeps the parts of this machine for the next transaction.
    pub(super) fn keep(self, state: EvmState) {
        let Evm { ctx, frame_stack, .. } = self.evm;
        let Journal { database, inner } = ctx.journaled_state;
        Parts::new(frame_stack, ctx.local, inner, database.records).keep(state, self.deepest);
    }

    /// Shows the account that is about to be created with a nonce, where it has storage and looks untouched.
    fn show_nonce(
        &mut self,
        inputs: &CreateInputs,
    ) -> Result<Option<Address>, ContextError<DbError>> {
        let journal = &mut self.evm.ctx.journaled_state;
        let Some(creator) = journal.inner.state.get(&inputs.caller()) else { return Ok(None) };
        let address = inputs.created_address(creator.info.nonce);
        let record = journal.database.record(address).map_err(DbError)?;
        let collides = record.is_some_and(|record| {
            let plain = record.nonce == 0 && record.code_hash == KECCAK256_EMPTY;
            record.exists && record.has_storage && plain
        });
        if !collides {
            return Ok(None);
        }
        match journal.inner.state.get_mut(&address) {
            None => journal.database.show_nonce_of(Some(address)),
            Some(account) => {
                let info = &mut account.info;
                if info.nonce != 0 || info.code_hash != KECCAK256_EMPTY {
                    return Ok(None);
                }
                info.nonce = 1;
            }
        }
        Ok(Some(address))
    }

    fn hide_nonce(&mut self, address: Address) {
        let journal = &mut self.evm.ctx.journaled_state;
        journal.database.show_nonce_of(None);
        if let Some(account) = journal.inner.state.get_mut(&address) {
            account.info.nonce = 0;
        }
    }
}
