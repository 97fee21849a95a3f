//! A state that remembers which of its entries were read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::state::{MemoryState, StateError, StateRead};
use crate::types::Bytes;

/// Reads from the state below and keeps every answer.
pub struct RecordingState<'a> {
    below: &'a (dyn StateRead + Sync),
    touched: Mutex<BTreeMap<Bytes, Option<Bytes>>>,
}

impl<'a> RecordingState<'a> {
    /// Records what is read of `below`.
    #[must_use]
    pub fn new(below: &'a (dyn StateRead + Sync)) -> Self {
        Self { below, touched: Mutex::default() }
    }

    /// Returns the entries that were read and exist: a state on which the same reads give the same answers.
    #[must_use]
    pub fn touched(self) -> MemoryState {
        let mut state = MemoryState::default();
        for (key, value) in self.touched.into_inner().unwrap_or_else(PoisonError::into_inner) {
            state.set(key, value);
        }
        state
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Bytes, Option<Bytes>>> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateRead for RecordingState<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let value = self.below.get(key)?;
        self.held().insert(key.into(), value.clone());
        Ok(value)
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        self.below.scan(prefix, &mut |key, value| {
            self.held().insert(key.clone(), Some(value.clone()));
            visit(key, value);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_answers_as_the_whole_state_did() {
        let mut below = MemoryState::default();
        for key in [&b"a"[..], b"b1", b"b2", b"c"] {
            below.set(key.into(), Some(key.into()));
        }
        let recording = RecordingState::new(&below);
        let get = |key: &[u8]| recording.get(key).expect("memory can be read");
        assert_eq!((get(b"a").as_deref(), get(b"x")), (Some(&b"a"[..]), None));
        let mut seen = Vec::new();
        let scan = recording.scan(b"b", &mut |key, value| seen.push((key.clone(), value.clone())));
        scan.expect("memory can be read");
        assert_eq!(seen.len(), 2);
        let touched = recording.touched();
        let keys: Vec<_> = touched.entries().map(|(key, _)| key.to_vec()).collect();
        assert_eq!(keys, [b"a".to_vec(), b"b1".to_vec(), b"b2".to_vec()]);
    }
}
