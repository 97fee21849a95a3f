//! The store: the files of a data directory. The only room with SQL.

mod blocks;
mod connection;
mod copy;
mod error;
mod file_system;
mod index;
mod layout;
mod lock;
mod log;
mod main_db;
mod medium;
mod migrate;
mod names;
mod renew;
mod sandbox;
mod scratch;
mod witness;

pub use blocks::{BlockBody, BlockWrite, QuarantineWrite, StoredRow};
pub use error::{Problem, StoreError};
pub(crate) use layout::MAIN;
pub use layout::{DataDir, Repairs, Store};
pub use log::{Appended, Log, LogHead, StoredEvent};
pub use main_db::{Batch, Main, QuarantineRow};
pub use medium::{Medium, MediumFile, Seen};
pub use sandbox::{OverlayEntry, SandboxBase, SandboxDb};
