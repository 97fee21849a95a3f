//! The state after a block, read through its change set.

use std::cell::RefCell;

use crate::state::{ChangeSet, StateError, StateRead};
use crate::types::Bytes;

/// A state with the changes of a block above it.
pub(super) struct After<'a> {
    below: &'a dyn StateRead,
    changes: &'a ChangeSet,
    /// The first failure to read, which is no fault of the block.
    failed: RefCell<Option<StateError>>,
}

impl<'a> After<'a> {
    pub(super) fn new(below: &'a dyn StateRead, changes: &'a ChangeSet) -> Self {
        Self { below, changes, failed: RefCell::default() }
    }

    /// Ends it with the first failure to read, where there was one.
    pub(super) fn finish(self) -> Result<(), StateError> {
        self.failed.into_inner().map_or(Ok(()), Err)
    }

    fn note(&self, error: &StateError) {
        self.failed.borrow_mut().get_or_insert_with(|| error.clone());
    }
}

impl StateRead for After<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        match self.changes.find(key) {
            Some(change) => Ok(change.after.clone()),
            None => self.below.get(key).inspect_err(|error| self.note(error)),
        }
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        let above = self.changes.changes().iter().filter(|change| change.key.starts_with(prefix));
        let above = above.map(|change| (change.key.clone(), change.after.clone())).collect();
        crate::state::scan_layered(self.below, above, prefix, visit)
            .inspect_err(|error| self.note(error))
    }
}
