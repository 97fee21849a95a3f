//! The context: the only window through which a machine reads and writes the state.

use std::collections::BTreeSet;

use crate::machine::ExecError;
use crate::state::{KeyMap, StateRead};
use crate::types::Bytes;

/// What one step of a block may use at most. Exceeding a limit is poison, and the same on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Reads and writes.
    pub operations_max: u64,
    /// Bytes of keys and values written, overwritten ones counted again.
    pub written_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { operations_max: 50_000_000, written_bytes_max: 256 << 20 }
    }
}

/// Reads and writes of one step above the state before it. Writes are kept apart until the step has succeeded.
pub struct Context<'a> {
    below: &'a dyn StateRead,
    must_stop: &'a dyn Fn() -> bool,
    limits: Limits,
    operations: u64,
    written_bytes: u64,
    writes: KeyMap<Option<Bytes>>,
    reads: Option<BTreeSet<Bytes>>,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Context({} operations, {} keys written)", self.operations, self.writes.len())
    }
}

impl<'a> Context<'a> {
    /// Opens a context above a state. Once `must_stop` says so, every operation fails as a runaway.
    #[must_use]
    pub fn new(below: &'a dyn StateRead, limits: Limits, must_stop: &'a dyn Fn() -> bool) -> Self {
        Self {
            below,
            must_stop,
            limits,
            operations: 0,
            written_bytes: 0,
            writes: KeyMap::default(),
            reads: None,
        }
    }

    /// Keeps the set of keys that are read from below, for [`Context::finish`].
    #[must_use]
    pub fn recording_reads(mut self) -> Self {
        self.reads = Some(BTreeSet::new());
        self
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// [`ExecError::State`] where the state cannot be read; [`ExecError::Poison`] over a limit.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, ExecError> {
        self.charge(0)?;
        if let Some(written) = self.writes.get(key) {
            return Ok(written.clone());
        }
        if let Some(reads) = &mut self.reads
            && !reads.contains(key)
        {
            reads.insert(key.into());
        }
        Ok(self.below.get(key)?)
    }

    /// Writes the value of a key.
    ///
    /// # Errors
    /// [`ExecError::Poison`] over a limit.
    pub fn put(&mut self, key: &[u8], value: impl Into<Bytes>) -> Result<(), ExecError> {
        self.set(key, Some(value.into()))
    }

    /// Deletes a key; no matter whether it is there.
    ///
    /// # Errors
    /// [`ExecError::Poison`] over a limit.
    pub fn delete(&mut self, key: &[u8]) -> Result<(), ExecError> {
        self.set(key, None)
    }

    /// Adds to a counter: 16 bytes, little-endian, absent is zero. Additions commute, so that a scheduler need not
    /// order the transactions that only add.
    ///
    /// # Errors
    /// [`ExecError::Poison`] where the sum does not fit or the value is no counter; else as [`Context::get`].
    pub fn add(&mut self, key: &[u8], delta: u128) -> Result<(), ExecError> {
        let no_counter =
            || ExecError::Poison(format!("key {} holds no counter", key.escape_ascii()));
        let held = match self.get(key)? {
            None => 0,
            Some(bytes) => {
                u128::from_le_bytes(bytes.as_ref().try_into().map_err(|_| no_counter())?)
            }
        };
        let held = if planted!("additions_lost") { 0 } else { held };
        let sum = held.checked_add(delta);
        let sum =
            sum.ok_or_else(|| ExecError::Poison("a counter overflows 128 bits".to_owned()))?;
        self.put(key, sum.to_le_bytes())
    }

    /// Ends the step: what it wrote, and the keys that it read where they were recorded.
    #[must_use]
    pub fn finish(self) -> (KeyMap<Option<Bytes>>, Option<BTreeSet<Bytes>>) {
        (self.writes, self.reads)
    }

    fn set(&mut self, key: &[u8], value: Option<Bytes>) -> Result<(), ExecError> {
        let length = key.len().saturating_add(value.as_ref().map_or(0, |value| value.len()));
        self.charge(crate::codec::count(length))?;
        match self.writes.get_mut(key) {
            Some(held) => *held = value,
            None => drop(self.writes.insert(key.into(), value)),
        }
        Ok(())
    }

    fn charge(&mut self, bytes: u64) -> Result<(), ExecError> {
        self.operations = self.operations.saturating_add(1);
        self.written_bytes = self.written_bytes.saturating_add(bytes);
        if self.operations > self.limits.operations_max {
            let limit = self.limits.operations_max;
            return Err(ExecError::Poison(format!("more than {limit} reads and writes")));
        }
        if self.written_bytes > self.limits.written_bytes_max {
            let limit = self.limits.written_bytes_max;
            return Err(ExecError::Poison(format!("more than {limit} bytes written")));
        }
        if (self.must_stop)() {
            return Err(ExecError::Poison("ran longer than the time limit".to_owned()));
        }
        Ok(())
    }
}
