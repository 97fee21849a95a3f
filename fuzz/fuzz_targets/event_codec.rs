//! libFuzzer on the target `event_codec`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rewake_fuzz::write_seeds("event_codec"),
    |bytes: &[u8]| rewake_fuzz::run("event_codec", bytes)
);
