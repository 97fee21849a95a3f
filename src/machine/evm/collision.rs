//! Refuses to create a contract where storage is already (EIP-7610).
//!
//! The virtual machine refuses where there is code or a nonce, and cannot ask its database about storage. While it
//! looks at an account that has storage but neither of these, the account is shown with a nonce.
//!
//! NOTE: such accounts were made before EIP-161 and cannot be met on mainnet; a slot that was written and cleared
//! later still counts as storage here, which matters for the same accounts only.

use alloy_primitives::{Address, KECCAK256_EMPTY};
use revm::context::{ContextError, FrameStack};
use revm::handler::evm::{ContextDbError, FrameInitResult};
use revm::handler::instructions::EthInstructions;
use revm::handler::{
    EthFrame, EthPrecompiles, EvmTr, FrameInitOrResult, FrameResult, ItemOrResult, MainnetContext,
    MainnetEvm,
};
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::interpreter_action::FrameInit;
use revm::interpreter::{CreateInputs, FrameInput};

use super::database::{DbError, StateDb};

pub(super) type MachineContext<'a, 'c> = MainnetContext<StateDb<'a, 'c>>;
type Frame = EthFrame<EthInterpreter>;

/// The virtual machine of mainnet with the rule of EIP-7610.
pub(super) struct Machine<'a, 'c>(pub(super) MainnetEvm<MachineContext<'a, 'c>>);

impl<'a, 'c> EvmTr for Machine<'a, 'c>
where
    'c: 'a,
{
    type Context = MachineContext<'a, 'c>;
    type Instructions = EthInstructions<EthInterpreter, MachineContext<'a, 'c>>;
    type Precompiles = EthPrecompiles;
    type Frame = Frame;

    fn all(&self) -> (&Self::Context, &Self::Instructions, &Self::Precompiles, &FrameStack<Frame>) {
        self.0.all()
    }

    fn all_mut(
        &mut self,
    ) -> (&mut Self::Context, &mut Self::Instructions, &mut Self::Precompiles, &mut FrameStack<Frame>)
    {
        self.0.all_mut()
    }

    fn frame_init(
        &mut self,
        init: FrameInit,
    ) -> Result<FrameInitResult<'_, Frame>, ContextDbError<Self::Context>> {
        let shown = match &init.frame_input {
            FrameInput::Create(inputs) => self.show_nonce(inputs)?,
            _ => None,
        };
        let Some(address) = shown else { return self.0.frame_init(init) };
        let result = match self.0.frame_init(init)? {
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
        self.0.frame_run()
    }

    fn frame_return_result(
        &mut self,
        result: FrameResult,
    ) -> Result<Option<FrameResult>, ContextDbError<Self::Context>> {
        self.0.frame_return_result(result)
    }
}

impl Machine<'_, '_> {
    /// Shows the account that is about to be created with a nonce, where it has storage and looks untouched.
    fn show_nonce(
        &mut self,
        inputs: &CreateInputs,
    ) -> Result<Option<Address>, ContextError<DbError>> {
        let journal = &mut self.0.ctx.journaled_state;
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
        let journal = &mut self.0.ctx.journaled_state;
        journal.database.show_nonce_of(None);
        if let Some(account) = journal.inner.state.get_mut(&address) {
            account.info.nonce = 0;
        }
    }
}
