//! Ethereum blocks in: files with one real block, and the conformance cases of `ethereum/tests`.

mod cases;
mod error;
mod file;
mod json;
mod plan;
mod state;
mod suite;
mod witness;

pub use cases::{
    CaseAccount, CaseBlock, ConformanceCase, DecodedBlock, NamedCase, PostState, parse_cases,
    read_case_file,
};
pub use error::EthImportError;
pub use file::{EthBlock, EthBlockFile, parse_block, read_block_file};
pub use plan::{CasePlan, PlannedBlock, plan_case};
pub use suite::{SuiteFile, visit_suite};
pub use witness::{Witness, WitnessChain};
