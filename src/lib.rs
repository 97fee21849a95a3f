//! rewake brings a deterministic node that died back to exactly the state of a node that never died.

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!("the feature `planted-bugs` is for tests: no release is built with it");

/// Says whether a bug is planted: never, unless the feature `planted-bugs` is on.
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($name:literal) => {
        false
    };
}
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($name:literal) => {
        crate::types::planted() == $name
    };
}

pub mod audit;
pub mod block;
pub mod cli;
pub mod codec;
#[cfg(feature = "evm")]
pub mod conformance;
pub mod diff;
pub mod event;
pub mod exec;
pub(crate) mod fail_point;
pub mod generate;
pub mod http;
pub mod import;
pub mod load;
pub mod machine;
pub mod mempool;
pub mod node;
pub mod pace;
pub mod plan;
pub mod recovery;
pub mod reproduce;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod torture;
pub mod types;
