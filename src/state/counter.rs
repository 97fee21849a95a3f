//! Counters: values of 16 bytes, little-endian, to which additions commute; absent is zero.

use crate::types::Bytes;

/// Why nothing can be added to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CounterError {
    /// It has not 16 bytes.
    NoCounter,
    /// The sum does not fit.
    Overflow,
}

/// Returns the value of a counter after an addition.
pub(crate) fn add_to(held: Option<&Bytes>, delta: u128) -> Result<Bytes, CounterError> {
    let held = match held {
        None => 0,
        Some(bytes) => {
            let bytes = bytes.as_ref().try_into().map_err(|_| CounterError::NoCounter)?;
            u128::from_le_bytes(bytes)
        }
    };
    let held = if planted!("additions_lost") { 0 } else { held };
    let sum = held.checked_add(delta).ok_or(CounterError::Overflow)?;
    Ok(sum.to_le_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_starts_at_nothing_and_does_not_wrap() {
        let counter = |number: u128| Bytes::from(number.to_le_bytes());
        assert_eq!(add_to(None, 5), Ok(counter(5)));
        assert_eq!(add_to(Some(&counter(5)), u128::MAX - 5), Ok(counter(u128::MAX)));
        assert_eq!(add_to(Some(&counter(5)), u128::MAX), Err(CounterError::Overflow));
        assert_eq!(add_to(Some(&Bytes::from(*b"five")), 0), Err(CounterError::NoCounter));
    }
}
