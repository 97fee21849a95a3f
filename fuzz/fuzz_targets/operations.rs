//! libFuzzer on the target `operations`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rewake_fuzz::run("operations", bytes));
