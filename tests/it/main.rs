//! Tests of the engine and of the program, linked once.

#![expect(unreachable_pub, reason = "items of a test are shared between its modules")]

mod nodes;
mod recover;
