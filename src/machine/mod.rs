//! State machines: the contract that they meet, the registry that finds them by name, and those in the box.

mod context;
mod contract;
#[cfg(feature = "evm")]
pub mod evm;
pub mod ledger;
mod registry;
mod threads;

pub use context::{Context, Limits};
pub use contract::{
    BlockInput, BlockOutcome, CheckFailure, ExecError, MachineVersion, OpenBlock, Opened,
    PoisonPolicy, Preparation, StateMachine, TxInput,
};
pub use registry::{Registry, UnknownMachine};
pub use threads::Threads;
pub(crate) use threads::Work;
