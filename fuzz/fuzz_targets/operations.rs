//! libFuzzer on the target `operations`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rewake_fuzz::write_seeds("operations"),
    |bytes: &[u8]| rewake_fuzz::run("operations", bytes)
);
