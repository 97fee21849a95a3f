//! The integration tests, in one binary, so that it links once.

// The attribute tells clippy that helpers are tests too: they may expect, index and panic.
#[cfg(test)]
mod executor;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod generate;
#[cfg(test)]
mod ledger;
