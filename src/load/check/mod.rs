//! The checks: pure functions that hold what a node says against what it acknowledged and against the ledger's rules.

pub(super) mod accounts;
#[cfg(test)]
mod cases;
pub(super) mod chain;
pub(super) mod contents;
mod counted;
mod finding;
mod places;
pub(super) mod receipts;

pub(super) use counted::Findings;
pub use counted::{Checked, FINDINGS_MAX};
pub use finding::{Check, Finding, Place};
pub(super) use places::Places;
