//! The fuzz targets of rewake for libFuzzer; `cargo test` looks at the same ones with a plain mutator.

#![expect(dead_code, reason = "the number of inputs and the places are for the test run")]

use std::path::Path;

#[path = "../../tests/it/simulated.rs"]
mod simulated;
#[path = "../targets/mod.rs"]
mod targets;

/// Writes the seeds of a target into the folder that `REWAKE_FUZZ_SEEDS` names, before libFuzzer reads its inputs.
pub fn write_seeds(target: &str) {
    let Some(dir) = std::env::var_os("REWAKE_FUZZ_SEEDS") else { return };
    for (place, seed) in (targets::find(target).seeds)().into_iter().enumerate() {
        let path = Path::new(&dir).join(format!("seed-{place:02}"));
        std::fs::write(path, seed).expect("the folder of the seeds can be written");
    }
}

/// Gives bytes to a target.
pub fn run(target: &str, bytes: &[u8]) {
    (targets::find(target).run)(bytes);
}
