//! libFuzzer on the target `http_body`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rewake_fuzz::run("http_body", bytes));
