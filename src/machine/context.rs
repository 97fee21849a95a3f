//! The context: the only window through which a machine reads and writes the state.

use crate::machine::ExecError;
use crate::state::{CounterError, Effect, StateRead, Touched, TouchedKey, add_to};
use crate::types::Bytes;

/// Keys beyond which a step's mere reads are not remembered, so that no step's memory grows with what it reads.
const READS_KEPT_MAX: usize = 1 << 16;

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
    touched: Touched,
    reads_kept_max: usize,
    defers_additions: bool,
    has_failed: bool,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = self.touched.keys().len();
        write!(f, "Context({} operations, {keys} keys)", self.operations)
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
            touched: Touched::default(),
            reads_kept_max: READS_KEPT_MAX,
            defers_additions: false,
            has_failed: false,
        }
    }

    /// Keeps every key that is read from below, for [`Context::finish`].
    #[must_use]
    pub const fn recording_reads(mut self) -> Self {
        self.reads_kept_max = usize::MAX;
        self
    }

    /// Leaves additions to keys that the step does not read to whoever takes over its effects, who can tell
    /// alone whether the sum fits.
    #[must_use]
    pub(crate) const fn deferring_additions(mut self) -> Self {
        self.defers_additions = true;
        self
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// [`ExecError::State`] where the state cannot be read; [`ExecError::Poison`] over a limit.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, ExecError> {
        self.read(key, false).inspect_err(|_| self.has_failed = true)
    }

    /// Writes the value of a key.
    ///
    /// # Errors
    /// [`ExecError::Poison`] over a limit.
    pub fn put(&mut self, key: &[u8], value: impl Into<Bytes>) -> Result<(), ExecError> {
        self.set(key, Some(value.into()), false)
    }

    /// Deletes a key; no matter whether it is there.
    ///
    /// # Errors
    /// [`ExecError::Poison`] over a limit.
    pub fn delete(&mut self, key: &[u8]) -> Result<(), ExecError> {
        self.set(key, None, false)
    }

    /// Adds to a counter: 16 bytes, little-endian, absent is zero. Additions commute, so that a scheduler need not
    /// order the transactions that only add.
    ///
    /// # Errors
    /// [`ExecError::Poison`] where the sum does not fit or the value is no counter; else as [`Context::get`].
    pub fn add(&mut self, key: &[u8], delta: u128) -> Result<(), ExecError> {
        if self.defers_additions && self.defer(key, delta)? {
            return Ok(());
        }
        let sum = self.read(key, true).and_then(|held| sum(key, held.as_ref(), delta));
        let sum = sum.inspect_err(|_| self.has_failed = true)?;
        self.set(key, Some(sum), true)
    }

    /// Says whether any operation failed: then the state was not seen as it is, whatever the machine made of that.
    pub(crate) const fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Says whether some keys that were only read may be missing among those that [`Context::finish`] returns.
    pub(crate) fn has_forgotten(&self) -> bool {
        self.touched.keys().len() >= self.reads_kept_max
    }

    /// Ends the step: the keys that it touched. Of keys that were only read, not all are remembered unless
    /// [`Context::recording_reads`] asks for that.
    #[must_use]
    pub fn finish(self) -> Touched {
        self.touched
    }

    fn read(&mut self, key: &[u8], is_addition: bool) -> Result<Option<Bytes>, ExecError> {
        self.charge(0)?;
        let Some(held) = self.touched.find(key) else {
            let value = self.below.get(key)?;
            if self.touched.keys().len() < self.reads_kept_max {
                let (read, effect) = (Some(value.clone()), Effect::None);
                self.touched.push(TouchedKey { key: key.into(), read, effect, is_addition });
            }
            return Ok(value);
        };
        held.is_addition &= is_addition;
        settle(held, self.below)?;
        Ok(match &held.effect {
            Effect::Write(written) => written.clone(),
            Effect::None | Effect::Add(_) => held.read.clone().flatten(),
        })
    }

    /// Keeps an addition as what it is, where the step has not seen the value.
    fn defer(&mut self, key: &[u8], delta: u128) -> Result<bool, ExecError> {
        match self.touched.find(key).map(|held| &mut held.effect) {
            None => {
                let (effect, is_addition) = (Effect::Add(delta), true);
                self.touched.push(TouchedKey { key: key.into(), read: None, effect, is_addition });
            }
            Some(Effect::Add(sum)) => {
                let Some(both) = sum.checked_add(delta) else { return Ok(false) };
                *sum = both;
            }
            Some(Effect::None | Effect::Write(_)) => return Ok(false),
        }
        self.charge(0)?;
        self.charge(written(key, size_of::<u128>()))?;
        Ok(true)
    }

    fn set(
        &mut self,
        key: &[u8],
        value: Option<Bytes>,
        is_addition: bool,
    ) -> Result<(), ExecError> {
        self.charge(written(key, value.as_ref().map_or(0, |value| value.len())))?;
        let effect = Effect::Write(value);
        if let Some(held) = self.touched.find(key) {
            // Whether the addition failed matters even where its sum does not.
            settle(held, self.below).inspect_err(|_| self.has_failed = true)?;
            held.effect = effect;
            held.is_addition &= is_addition;
        } else {
            self.touched.push(TouchedKey { key: key.into(), read: None, effect, is_addition });
        }
        Ok(())
    }

    fn charge(&mut self, bytes: u64) -> Result<(), ExecError> {
        self.operations = self.operations.saturating_add(1);
        self.written_bytes = self.written_bytes.saturating_add(bytes);
        let reason = if self.operations > self.limits.operations_max {
            format!("more than {} reads and writes", self.limits.operations_max)
        } else if self.written_bytes > self.limits.written_bytes_max {
            format!("more than {} bytes written", self.limits.written_bytes_max)
        } else if (self.must_stop)() {
            "ran longer than the time limit".to_owned()
        } else {
            return Ok(());
        };
        self.has_failed = true;
        Err(ExecError::Poison(reason))
    }
}

/// Makes an addition that was left to others, now that its sum is asked for or replaced.
fn settle(held: &mut TouchedKey, below: &dyn StateRead) -> Result<(), ExecError> {
    if let Effect::Add(delta) = held.effect {
        let before = below.get(&held.key)?;
        let sum = sum(&held.key, before.as_ref(), delta)?;
        (held.read, held.effect) = (Some(before), Effect::Write(Some(sum)));
    }
    Ok(())
}

fn written(key: &[u8], value_bytes: usize) -> u64 {
    crate::codec::count(key.len().saturating_add(value_bytes))
}

fn sum(key: &[u8], held: Option<&Bytes>, delta: u128) -> Result<Bytes, ExecError> {
    add_to(held, delta).map_err(|error| {
        ExecError::Poison(match error {
            CounterError::NoCounter => format!("key {} holds no counter", key.escape_ascii()),
            CounterError::Overflow => "a counter overflows 128 bits".to_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::MemoryState;

    /// Does the same with additions made at once and with additions left to others.
    fn check(below: u128, steps: fn(&mut Context<'_>) -> Result<(), ExecError>, fails: bool) {
        let mut state = MemoryState::default();
        state.set(Bytes::from(*b"n"), Some(Bytes::from(below.to_le_bytes())));
        let mut context = Context::new(&state, Limits::default(), &|| false);
        assert_eq!(steps(&mut context).is_err(), fails);
        let mut deferring =
            Context::new(&state, Limits::default(), &|| false).deferring_additions();
        assert_eq!(steps(&mut deferring).is_err(), fails);
        assert_eq!((context.has_failed(), deferring.has_failed()), (fails, fails));
        let effect = |context: Context<'_>| {
            let mut overlay = crate::state::BlockOverlay::new(&state);
            let mut touched = context.finish();
            let settled = overlay.settle_additions(&mut touched).expect("memory can be read");
            overlay.take_over(crate::state::Writer::End, touched).expect("memory can be read");
            (settled, overlay.get(b"n").expect("memory can be read"))
        };
        if !fails {
            assert_eq!(effect(deferring), effect(context));
        }
    }

    #[test]
    fn an_addition_that_is_left_to_others_does_what_it_would_have_done() {
        check(1, |context| context.add(b"n", 2), false);
        check(1, |context| context.add(b"n", 2).and_then(|()| context.add(b"n", 3)), false);
        check(1, |context| context.add(b"n", 2).and_then(|()| context.put(b"n", *b"x")), false);
        check(1, |context| context.add(b"n", 2).and_then(|()| context.delete(b"n")), false);
        check(1, |context| context.add(b"n", 2).and_then(|()| context.get(b"n").map(drop)), false);
        let most = u128::MAX;
        check(1, |context| context.put(b"n", *b"x").and_then(|()| context.add(b"n", 2)), true);
        check(most, |context| context.get(b"n").and_then(|_| context.add(b"n", 2)), true);
        check(most, |context| context.add(b"n", 2).and_then(|()| context.put(b"n", *b"x")), true);
        check(most, |context| context.add(b"n", 2).and_then(|()| context.delete(b"n")), true);
        check(
            most,
            |context| context.add(b"n", 2).and_then(|()| context.get(b"n").map(drop)),
            true,
        );
        let twice = |context: &mut Context<'_>| {
            context.add(b"n", u128::MAX).and_then(|()| context.add(b"n", 1))
        };
        check(0, twice, true);
    }
}
