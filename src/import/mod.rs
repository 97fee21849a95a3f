//! Real formats in: ledger transfers as JSON lines.

pub mod jsonl;
