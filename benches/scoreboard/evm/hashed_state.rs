//! A state in memory whose keys are hashed, as those of the database that it is measured against.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use rewake::state::{MemoryState, StateError, StateRead};
use rewake::types::Bytes;

/// A state that does not change.
pub(super) struct HashedState {
    hashed: HashMap<Bytes, Bytes, RandomState>,
    /// The same in order, for scans.
    ordered: MemoryState,
}

impl HashedState {
    /// Takes over a state.
    pub(super) fn new(ordered: MemoryState) -> Self {
        let entries = ordered.entries();
        let hashed = entries.map(|(key, value)| (key.clone(), value.clone())).collect();
        Self { hashed, ordered }
    }
}

impl StateRead for HashedState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.hashed.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        self.ordered.scan(prefix, visit)
    }
}
