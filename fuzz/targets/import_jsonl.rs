//! Transfers as JSON lines, held against the same transfers in requests over HTTP.

use rewake::http::{OneOrMany, dialect_of};
use rewake::import::jsonl::{LINE_BYTES_MAX, Line, Lines};
use rewake::machine::ledger::Transfer;

use super::Target;
use super::reached::reach;

pub const TARGET: Target =
    Target { name: "import_jsonl", run, seeds, smoke_runs: 250_000, places: PLACES };
const PLACES: &[&str] = &["a transfer", "a refusal", "both ways"];

fn run(bytes: &[u8]) {
    let mut lines = Lines::new("a.jsonl", bytes);
    let line_count = bytes.split(|byte| *byte == b'\n').count() as u64;
    let mut has_failed = false;
    for read in &mut lines {
        assert!(!has_failed, "reading goes on after an error");
        match read {
            Ok((_, payload)) => {
                reach(TARGET.name, "a transfer");
                check_transfer(&payload);
            }
            Err(error) => {
                reach(TARGET.name, "a refusal");
                has_failed = true;
                assert!((1..=line_count).contains(&error.line), "{error}");
                assert!((1..=LINE_BYTES_MAX).contains(&error.column), "{error}");
            }
        }
    }
    assert!(lines.number() <= line_count);
    bytes.split(|byte| *byte == b'\n').for_each(check_dialect);
}

fn check_transfer(payload: &[u8]) {
    let transfer = Transfer::decode(payload).expect("a payload is a transfer");
    let text = serde_json::to_string(&Line::from(transfer)).expect("it is plain");
    let mut again = Lines::new("again", text.as_bytes());
    let (id, read) = again.next().expect("one line").expect("a transfer");
    assert_eq!((id, &*read), (transfer.id(), payload));
}

/// A line that is a transfer here is the same transfer there, and the other way round.
fn check_dialect(line: &[u8]) {
    if line.trim_ascii().is_empty() || line.len() as u64 > LINE_BYTES_MAX {
        return;
    }
    let here = Lines::new("a.jsonl", line).next().expect("a line that is not blank");
    match dialect_of("ledger").read(line) {
        Ok(OneOrMany::One(tx)) => {
            reach(TARGET.name, "both ways");
            assert_eq!(here.expect("there it is"), (tx.id, tx.payload));
        }
        Ok(OneOrMany::Many(_)) => assert!(here.is_err(), "an array is no line"),
        Err(error) => assert!(here.is_err(), "over HTTP: {error}"),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let good = r#"{"from":1,"to":2,"amount":5,"nonce":0}"#;
    let id = r#"{"from":1,"to":2,"amount":5,"nonce":1,"id":"abababababababababababababababababababababababababababababababab"}"#;
    let texts = [
        good.to_owned(),
        id.to_owned(),
        format!("\n{good}\r\n  \n{id}\n"),
        r#" { "nonce" : 0, "amount":18446744073709551615,"to":-0,"\u0066rom":1 }"#.to_owned(),
        format!("[{good}]"),
        "{\"from\":1,\"fee\":2}".to_owned(),
    ];
    texts.map(String::into_bytes).into()
}
