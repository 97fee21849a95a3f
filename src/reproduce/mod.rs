//! Bundles: a transaction sequence cut out of a node with just the state that it touches, and its replay elsewhere.
//!
//! A bundle is one zstd frame around JSON lines, so that `zstd -dc FILE | head` shows what is in it; `format` says
//! which lines there are. It is self-contained, its bytes depend on nothing but its content, and its last line holds
//! the digest of all lines before it.

mod bundle;
mod cut;
mod failure;
mod format;
mod lines;
mod parse;
mod replay;

pub use bundle::{Bundle, BundleBlock, BundleError, Expected, FailureKind, ReportedFailure};
pub use cut::{CutError, cut};
pub use failure::{BUNDLES, with_failure_bundles, write_failure_bundle};
pub use replay::{ReplayOptions, ReplayReport, ReplayedBlock, replay};
