//! State machines: the contract that they meet, the registry that finds them by name, and those in the box.

mod context;
mod contract;
#[cfg(feature = "evm")]
pub mod evm;
mod helpers;
pub mod ledger;
mod registry;

pub use context::{Context, Limits};
pub use contract::{
    BlockInput, BlockOutcome, CheckFailure, ExecError, MachineVersion, OpenBlock, Opened,
    PoisonPolicy, Preparation, StateMachine, TxInput,
};
pub use helpers::Helpers;
pub(crate) use helpers::Work;
pub use registry::{Registry, UnknownMachine};
