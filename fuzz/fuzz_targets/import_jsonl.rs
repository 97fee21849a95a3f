//! libFuzzer on the target `import_jsonl`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: rewake_fuzz::write_seeds("import_jsonl"),
    |bytes: &[u8]| rewake_fuzz::run("import_jsonl", bytes)
);
