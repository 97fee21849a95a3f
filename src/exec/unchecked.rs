//! A machine without its last word: what a block did is seen even where its header forbids it.

use std::sync::Arc;

use crate::block::{Receipt, Receipts};
use crate::machine::{
    BlockInput, BlockOutcome, CheckFailure, Context, ExecError, MachineVersion, OpenBlock,
    PoisonPolicy, Preparation, StateMachine,
};

/// A machine that never compares a block with its header; for looking at a block that failed that comparison.
pub struct Unchecked(pub Arc<dyn StateMachine>);

impl StateMachine for Unchecked {
    fn version(&self) -> MachineVersion {
        self.0.version()
    }

    fn poison_policy(&self) -> PoisonPolicy {
        self.0.poison_policy()
    }

    fn open_block<'a>(
        &'a self,
        block: &'a BlockInput,
    ) -> Result<Box<dyn OpenBlock + 'a>, ExecError> {
        Ok(Box::new(UncheckedBlock(self.0.open_block(block)?)))
    }

    fn prepares(&self) -> bool {
        self.0.prepares()
    }

    fn prepare(&self, block: &BlockInput) -> Option<Preparation> {
        self.0.prepare(block)
    }
}

struct UncheckedBlock<'a>(Box<dyn OpenBlock + 'a>);

impl OpenBlock for UncheckedBlock<'_> {
    fn begin(&self, context: &mut Context<'_>) -> Result<(), ExecError> {
        self.0.begin(context)
    }

    fn execute(&self, index: usize, context: &mut Context<'_>) -> Result<Receipt, ExecError> {
        self.0.execute(index, context)
    }

    fn end(&self, receipts: &Receipts, context: &mut Context<'_>) -> Result<(), ExecError> {
        self.0.end(receipts, context)
    }

    fn check(&self, _: &BlockOutcome<'_>) -> Result<(), CheckFailure> {
        Ok(())
    }

    fn declared_access(&self, index: usize, touch: &mut dyn FnMut(&[u8])) -> bool {
        self.0.declared_access(index, touch)
    }
}
