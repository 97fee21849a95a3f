//! libFuzzer on the target `block_codec`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rewake_fuzz::write_seeds("block_codec"),
    |bytes: &[u8]| rewake_fuzz::run("block_codec", bytes)
);
