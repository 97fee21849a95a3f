//! libFuzzer on the target `database`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rewake_fuzz::write_seeds("database"),
    |bytes: &[u8]| rewake_fuzz::run("database", bytes)
);
