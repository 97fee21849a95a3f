//! The instructions of the virtual machine, in a table that all machines share.

use std::marker::PhantomData;

use revm::handler::instructions::InstructionProvider;
use revm::interpreter::interpreter::EthInterpreter;
use revm::interpreter::{GasTable, InstructionTable, instruction_table};

use super::collision::MachineContext;

/// The instructions of mainnet with what each costs in one fork. Those of `revm` copy both tables for each machine.
pub(super) struct Instructions<'a, 'c> {
    gas: &'a GasTable,
    context: PhantomData<fn() -> MachineContext<'a, 'c>>,
}

impl<'a> Instructions<'a, '_> {
    /// Makes the instructions, given their costs.
    pub(super) const fn new(gas: &'a GasTable) -> Self {
        Self { gas, context: PhantomData }
    }
}

impl<'a, 'c> InstructionProvider for Instructions<'a, 'c>
where
    'c: 'a,
{
    type Context = MachineContext<'a, 'c>;
    type InterpreterTypes = EthInterpreter;

    fn instruction_table(&self) -> &InstructionTable<EthInterpreter, MachineContext<'a, 'c>> {
        const { &instruction_table::<EthInterpreter, MachineContext<'a, 'c>>() }
    }

    fn gas_table(&self) -> &GasTable {
        self.gas
    }
}
