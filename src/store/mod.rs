//! The store: the files of a data directory. The only room with SQL.

mod blocks;
mod connection;
mod copy;
mod error;
mod events;
mod file_system;
mod filter;
mod identities;
mod index;
mod insert;
mod layout;
mod lock;
mod log;
mod main_db;
mod many_rows;
mod medium;
mod migrate;
mod names;
mod renew;
mod sandbox;
mod scan;
mod scratch;
mod tail;
mod witness;

pub use blocks::{BlockBody, BlockWrite, QuarantineWrite, StoredRow};
pub use error::{Problem, StoreError};
pub use events::{Appended, LogHead, StoredEvent};
pub use index::IndexSum;
pub(crate) use layout::MAIN;
pub use layout::{DataDir, Repairs, Store};
pub use log::Log;
pub use main_db::{Batch, Main, QuarantineRow};
pub use medium::{Medium, MediumFile, Seen};
pub use sandbox::{OverlayEntry, SandboxBase, SandboxDb};
