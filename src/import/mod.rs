//! Real formats in: what other programs wrote becomes what is logged here.

#[cfg(feature = "evm")]
mod eth;
#[cfg(feature = "evm")]
mod eth_error;
#[cfg(feature = "evm")]
mod eth_json;
#[cfg(feature = "evm")]
mod eth_plan;
#[cfg(feature = "evm")]
mod eth_state;
#[cfg(feature = "evm")]
mod eth_tests;
#[cfg(feature = "evm")]
mod eth_witness;
pub mod jsonl;

#[cfg(feature = "evm")]
pub use eth::{EthBlock, EthBlockFile, parse_block, read_block_file};
#[cfg(feature = "evm")]
pub use eth_error::EthImportError;
#[cfg(feature = "evm")]
pub use eth_plan::{CasePlan, PlannedBlock, plan_case};
#[cfg(feature = "evm")]
pub use eth_tests::{
    CaseAccount, CaseBlock, ConformanceCase, DecodedBlock, PostState, parse_cases, read_case_file,
};
#[cfg(feature = "evm")]
pub use eth_witness::{Witness, WitnessChain};
