//! The fuzz targets of rewake for libFuzzer; `cargo test` looks at the same ones with a plain mutator.

#![expect(dead_code, reason = "seeds and the number of inputs are for the test run")]

#[path = "../../tests/it/simulated.rs"]
mod simulated;
#[path = "../targets/mod.rs"]
mod targets;

/// Gives bytes to a target.
pub fn run(target: &str, bytes: &[u8]) {
    (targets::find(target).run)(bytes);
}
