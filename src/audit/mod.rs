//! The audit: executes confirmed history again and says where what is stored parts from it.
//!
//! Nothing is written into the node: state is held in memory (see `base`), and the store is only read. From genesis
//! the base is empty and the whole log is verified; from a height, the stored change sets are undone from the head
//! down to it, and what lies below is believed. After a difference the audit goes on from the *stored* change set where
//! its digest vouches for it, else from the one that execution gave: one damaged place is one finding or a few in its
//! block, not one in every block after it.
//!
//! What can be read without executing is put together on a thread of its own (`cases`, `ahead`); what is found on the
//! way comes with its block, so that the order of findings is that of the blocks.

mod ahead;
mod base;
mod block;
mod cases;
mod compare;
mod finding;
mod history;
mod index;
mod log;
mod report;
mod rows;
mod run;
mod stored;
mod structure;
mod table;
mod verdicts;
mod written;

pub(crate) use base::{Base, Undone};
pub(crate) use block::failure_finding;
pub(crate) use compare::{Place, changes, receipt_text, receipts};
pub(crate) use finding::Findings;
pub use finding::{FINDINGS_MAX, Finding, TxPlace, What};
pub use report::AuditReport;
pub use run::{AuditError, AuditRange, Progress, Stage, audit};
