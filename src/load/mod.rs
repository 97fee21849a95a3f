//! The load driver: clients that submit transfers to a node over HTTP, outlive its deaths, and hold it to its word.
//!
//! Each client owns senders of its own and works in a closed loop. An outcome that it does not know, because the
//! connection broke, is resolved by submitting the same transaction again until it is acknowledged. What was
//! acknowledged is listed outside the node; at the end everything that the node has is fetched and held against that
//! list and against a model of the ledger that shares no code with the machine.

mod acknowledged;
mod api;
mod check;
mod client;
mod connection;
mod draw;
mod driver;
mod error;
mod gate;
mod histogram;
mod join;
mod kills;
mod managed;
mod opening;
mod options;
mod prepare;
mod report;
mod settle;
mod shared;
mod tally;
mod target;
mod transfers;
mod verify;
mod wire;

pub use acknowledged::AcknowledgedError;
pub use check::{Check, Checked, FINDINGS_MAX, Finding, Place};
pub use connection::ClientError;
pub use driver::Driver;
pub use error::LoadError;
pub use histogram::Latency;
pub use kills::{Kill, KillPlan, KillReport};
pub use managed::{Launch, ManagedNode, NodeFault};
pub use options::{LoadOptions, Until};
pub use report::{LoadReport, Verdict};
pub use target::{Target, TargetError};
pub use wire::TxStatus;
