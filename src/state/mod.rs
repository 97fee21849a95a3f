//! The state as key → value bytes: change sets, the overlays that collect them, and the digest of the whole.

mod changes;
mod counter;
mod digest;
mod layer;
mod overlay;
mod recording;
mod touched;

pub(crate) use changes::value_memory;
pub use changes::{Change, ChangeSet};
pub(crate) use counter::{CounterError, add_to};
pub use digest::StateDigest;
pub(crate) use layer::Layer;
pub use overlay::{BlockOverlay, MemoryState, Writer};
pub(crate) use overlay::{Slot, scan_layered};
pub use recording::RecordingState;
pub use touched::{Effect, Touched, TouchedKey};

use std::collections::HashMap;
use std::sync::Arc;

use crate::types::Bytes;

/// A hash map by key. Its order is never looked at; its seed differs from process to process.
pub type KeyMap<V> = HashMap<Bytes, V, foldhash::fast::RandomState>;

/// A failure to read the state below; the cause is the error of whatever holds it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the state cannot be read: {0}")]
pub struct StateError(pub Arc<dyn std::error::Error + Send + Sync>);

/// Reads the state as it stands below some overlay.
pub trait StateRead {
    /// Returns the value of a key, `None` where there is none.
    ///
    /// # Errors
    /// [`StateError`] where the store below cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError>;

    /// Visits every key that starts with `prefix`, ascending. Costs as much as there are such keys.
    ///
    /// # Errors
    /// [`StateError`] where the store below cannot be read.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError>;
}
