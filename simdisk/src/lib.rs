//! A disk in memory that loses power: every operation is recorded, and any crash of it can be looked at afterwards.
//!
//! A run on a [`Disk`] gives a [`Trace`]. [`Crash`] walks along it and knows, after each operation, what is durable and
//! what is only pending; a [`Plan`] says which of the pending operations reach the medium, and gives an [`Image`] from
//! which a fresh disk can be made. SQLite reaches a disk through the VFS [`VFS`], everything else through paths
//! below [`Disk::path`].

mod crash;
mod disk;
mod fault;
mod image;
mod plan;
mod vfs;

pub use crash::{Crash, Pending};
pub use disk::{Counter, Disk, OpenFile, Place, Settings, disk_of};
pub use fault::{Call, Fault, Kind as FaultKind, Lasting};
pub use image::{Image, Node, NodeId, Op, SyncOutcome, Torn, Trace};
pub use plan::{Kind, Numbers, Plan, Share, plans};
pub use vfs::{VFS, register};
