//! Tests of the engine and of the program, linked once.

#![expect(unreachable_pub, reason = "items of a test are shared between its modules")]
#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

mod audit;
mod nodes;
mod probe;
mod recover;
mod reproduce;
