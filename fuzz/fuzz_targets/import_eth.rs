//! libFuzzer on the target `import_eth`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rewake_fuzz::run("import_eth", bytes));
