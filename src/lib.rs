//! rewake brings a deterministic node that died back to exactly the state of a node that never died.

pub mod audit;
pub mod block;
pub mod cli;
pub mod codec;
#[cfg(feature = "evm")]
pub mod conformance;
pub mod diff;
pub mod event;
pub mod exec;
pub mod fail_point;
pub mod generate;
pub mod http;
pub mod import;
pub mod load;
pub mod machine;
pub mod mempool;
pub mod node;
pub mod plan;
pub mod recovery;
pub mod reproduce;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod torture;
pub mod types;
