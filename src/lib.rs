//! rewake brings a deterministic node that died back to exactly the state of a node that never died.

pub mod block;
pub mod codec;
pub mod event;
pub mod exec;
pub mod import;
pub mod machine;
pub mod state;
pub mod types;
