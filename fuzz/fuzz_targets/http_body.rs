//! libFuzzer on the target `http_body`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rewake_fuzz::write_seeds("http_body"),
    |bytes: &[u8]| rewake_fuzz::run("http_body", bytes)
);
