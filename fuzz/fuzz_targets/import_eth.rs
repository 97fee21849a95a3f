//! libFuzzer on the target `import_eth`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rewake_fuzz::write_seeds("import_eth"),
    |bytes: &[u8]| rewake_fuzz::run("import_eth", bytes)
);
