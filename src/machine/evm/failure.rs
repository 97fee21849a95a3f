//! Makes check failures.

use std::fmt::Display;

use crate::machine::CheckFailure;

/// Compares two values and names what they are.
pub(super) fn same<T: PartialEq + Display>(
    what: &str,
    expected: &T,
    found: &T,
) -> Result<(), CheckFailure> {
    if expected == found { Ok(()) } else { Err(differs(what, expected, found)) }
}

/// Makes a failure that blames no transaction.
pub(super) fn differs(what: &str, expected: impl Display, found: impl Display) -> CheckFailure {
    CheckFailure {
        what: what.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
        tx: None,
    }
}

/// Asks for a condition.
pub(super) fn ensure(
    holds: bool,
    what: &str,
    expected: impl Display,
    found: impl Display,
) -> Result<(), CheckFailure> {
    if holds { Ok(()) } else { Err(differs(what, expected, found)) }
}
