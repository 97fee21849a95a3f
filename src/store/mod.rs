//! The store: the files of a data directory. The only room with SQL.

mod blocks;
mod connection;
mod error;
mod events;
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
mod tail;
mod witness;

pub use blocks::{BlockBody, BlockWrite, QuarantineWrite, StoredRow};
pub use error::{Problem, StoreError};
pub use events::{LogHead, StoredEvent};
pub(crate) use layout::MAIN;
pub use layout::{DataDir, Repairs, Store};
pub use log::{Appended, Log};
pub use main_db::{Batch, Main, QuarantineRow};
pub use medium::{Medium, MediumFile, Seen};
pub use sandbox::{OverlayEntry, SandboxBase, SandboxDb};
