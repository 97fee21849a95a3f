//! libFuzzer on the target `witness`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rewake_fuzz::write_seeds("witness"),
    |bytes: &[u8]| rewake_fuzz::run("witness", bytes)
);
