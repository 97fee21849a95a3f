//! Real formats in: what other programs wrote becomes what is logged here.

#[cfg(feature = "evm")]
pub mod eth;
pub mod jsonl;
