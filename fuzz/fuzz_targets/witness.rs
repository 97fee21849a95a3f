//! libFuzzer on the target `witness`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rewake_fuzz::run("witness", bytes));
