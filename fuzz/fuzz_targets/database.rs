//! libFuzzer on the target `database`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rewake_fuzz::run("database", bytes));
