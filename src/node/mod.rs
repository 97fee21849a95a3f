//! The node: the asynchronous service around the engine. Actors own the databases; callers talk to them.

mod append;
mod confirm;
mod error;
mod figures;
mod gather;
mod mailbox;
mod options;
mod query;
mod reader;
mod readiness;
mod sequence;
mod service;
mod start;
mod subscription;
mod supervise;
mod view;
mod vitals;

pub use append::Ordered;
pub use error::{Down, QueryError, StartError, SubmitError};
pub use figures::Figures;
pub use options::{NodeOptions, Sequencer};
pub use readiness::{Phase, Readiness};
pub use service::{NewTx, Node, OnFull};
pub use start::{Started, Starting};
pub use subscription::{Notice, Subscription};
pub use view::{BlockTx, BlockView, MempoolPage, Place, TxView};
pub use vitals::Vitals;
