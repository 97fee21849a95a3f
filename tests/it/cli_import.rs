//! Imports from outside: what reaches the log, what is left out, and where a fault is.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::cli::{Ran, files, program, rewake, run};

/// Lines of transfers from account 1 to account 2, with ascending nonces.
fn lines(nonces: std::ops::Range<u64>) -> String {
    nonces.fold(String::new(), |mut text, nonce| {
        writeln!(text, r#"{{"from":1,"to":2,"amount":5,"nonce":{nonce}}}"#).expect("it is memory");
        text
    })
}

fn import(options: &str, text: &str, data: &Path) -> Ran {
    let file = data.with_extension("jsonl");
    std::fs::write(&file, text).expect("a file");
    let words = options.split_whitespace();
    run(program()
        .args(["import", "jsonl"])
        .arg(&file)
        .args(words)
        .arg("--json")
        .arg("--data")
        .arg(data))
}

fn expect(ran: Ran, expected: &serde_json::Value) {
    let told = ran.expect(0).json();
    for (field, value) in expected.as_object().expect("an object") {
        assert_eq!(told[field], *value, "{field}: {told}");
    }
}

#[test]
fn transfers_land_in_the_mempool_or_in_blocks_and_never_twice() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    let first = import("--accounts 2 --balance 1000", &lines(0..10), &data);
    expect(
        first,
        &serde_json::json!({ "received": 10, "known": 0, "ordered_blocks": 0, "mempool": 10 }),
    );
    // Of these, ten wait since before, and one comes twice.
    let text = lines(0..25) + &lines(3..4);
    let second = import("--block-txs 10", &text, &data);
    expect(
        second,
        &serde_json::json!({
            "read": 26, "received": 15, "known": 11, "ordered_blocks": 3, "ordered_txs": 25, "mempool": 0,
        }),
    );
    let third = import("--block-txs 10", &text, &data);
    expect(
        third,
        &serde_json::json!({ "received": 0, "known": 26, "ordered_blocks": 0, "mempool": 0 }),
    );
    let report = rewake("recover --json", &data).expect(0).json();
    assert_eq!((&report["blocks"], &report["applied"]), (&4.into(), &25.into()), "{report}");
}

#[test]
fn the_same_transfers_give_the_same_state_however_they_are_imported() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut digests = Vec::new();
    for (index, options) in
        ["--block-txs 1", "--block-txs 7", "--block-txs 10000000"].iter().enumerate()
    {
        let data = scratch.path().join(format!("node-{index}"));
        import(&format!("--accounts 3 {options}"), &lines(0..50), &data).expect(0);
        digests.push(rewake("recover --json", &data).expect(0).json()["state_digest"].clone());
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[test]
fn a_line_that_is_no_transfer_ends_the_import_and_is_named() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    let faulty =
        lines(0..12) + "{\"from\":1,\"to\":2,\"amount\":-5,\"nonce\":12}\n" + &lines(13..20);
    let ran = import("--accounts 2 --block-txs 5", &faulty, &data).expect(2);
    let told = ran.json();
    let error = told["error"].as_str().expect("a text");
    assert!(error.contains("node.jsonl:13:28: invalid value: integer `-5`"), "{ran:#?}");
    let advice = told["advice"].as_str().expect("a text");
    assert!(advice.contains("the 12 transfers before it are logged"), "{ran:#?}");
    let status = rewake("status --json", &data).expect(3).json();
    assert_eq!((&status["pending_txs"], &status["mempool"]), (&10.into(), &2.into()), "{status}");
    // After the correction the two that were left are ordered with the others.
    expect(
        import("--block-txs 5", &lines(0..20), &data),
        &serde_json::json!({
            "received": 8, "known": 12, "ordered_blocks": 2, "ordered_txs": 10, "mempool": 0,
        }),
    );
    let report = rewake("recover --json", &data).expect(0).json();
    assert_eq!(report["applied"], 20, "{report}");
}

#[test]
fn standard_input_is_a_file_too() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    let file = scratch.path().join("transfers");
    std::fs::write(&file, lines(0..3)).expect("a file");
    let input = Stdio::from(std::fs::File::open(&file).expect("the file"));
    let ran =
        run(program().args(["import", "jsonl", "-", "--data"]).arg(&data).stdin(input)).expect(0);
    assert!(ran.out.contains("imported 3 transfers"), "{ran:#?}");
    assert!(ran.err.contains("note: this node has no accounts"), "{ran:#?}");
}

#[test]
fn what_cannot_be_imported_makes_nothing() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    let ran = rewake("import jsonl /no/such/file", &data).expect(2);
    assert!(
        ran.err.contains("/no/such/file: cannot be opened") && ran.err.contains("help: "),
        "{ran:#?}"
    );
    assert!(!data.exists());
    rewake("init --machine evm", &data).expect(0);
    let before = files(&data);
    let ran = import("", &lines(0..3), &data).expect(2);
    assert!(ran.err.contains("the node runs evm version"), "{ran:#?}");
    assert!(files(&data) == before, "something on disk was changed");
}
