//! Bodies of requests in both dialects: what is read is what is shown.

use rewake::http::{Dialect, OneOrMany, dialect_of};
use rewake::machine::ledger::{LedgerKey, Transfer};
use rewake::types::{Digest, TxId, decode_hex, encode_hex};

use super::Target;
use super::reached::reach;

pub const TARGET: Target =
    Target { name: "http_body", run, seeds, smoke_runs: 300_000, places: PLACES };
const PLACES: &[&str] = &["a transaction", "a refusal", "an account", "an identity"];

fn run(bytes: &[u8]) {
    for machine in ["ledger", "another"] {
        let dialect = dialect_of(machine);
        let txs = match dialect.read(bytes) {
            Ok(OneOrMany::One(tx)) => vec![tx],
            Ok(OneOrMany::Many(txs)) => txs,
            Err(error) => {
                reach(TARGET.name, "a refusal");
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        for tx in txs {
            reach(TARGET.name, "a transaction");
            check_shown(&*dialect, &tx.payload);
            let transfer = Transfer::decode(&tx.payload);
            assert!(machine != "ledger" || transfer.is_ok(), "the ledger reads transfers alone");
        }
        check_shown(&*dialect, bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        check_names(text);
    }
}

/// What a payload is shown as is read as that payload, unless the ledger shows something that is no transfer.
fn check_shown(dialect: &dyn Dialect, payload: &[u8]) {
    let shown = dialect.show(payload);
    let text = serde_json::to_vec(&shown).expect("JSON");
    match dialect.read(&text) {
        Ok(OneOrMany::One(tx)) => assert_eq!(&*tx.payload, payload),
        Ok(OneOrMany::Many(_)) => panic!("one payload is shown as several"),
        Err(_) => assert_eq!(shown["payload"], encode_hex(payload)),
    }
}

/// Names of accounts, keys and identities: each stands for one thing.
fn check_names(name: &str) {
    let dialect = dialect_of("ledger");
    for resource in dialect.resources() {
        let Some(key) = (resource.key)(name) else { continue };
        let Some(LedgerKey::Account(account)) = LedgerKey::read(&key) else {
            panic!("{name}: no account")
        };
        reach(TARGET.name, "an account");
        assert_eq!(name.trim_start_matches('0'), account.0.to_string().trim_start_matches('0'));
    }
    if let Some(bytes) = decode_hex(name) {
        let digits = name.strip_prefix("0x").unwrap_or(name);
        assert_eq!(encode_hex(&bytes), digits.to_ascii_lowercase());
    }
    if let Ok(id) = name.parse::<TxId>() {
        reach(TARGET.name, "an identity");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(name.parse::<Digest>().map(|digest| digest.0), Ok(id.0));
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let id = "ab".repeat(32);
    let texts = [
        r#"{"from":1,"to":2,"amount":5,"nonce":0}"#.to_owned(),
        format!(
            r#"[{{"from":1,"to":2,"amount":5,"nonce":0}},{{"nonce":0,"from":7,"to":2,"amount":5,"id":"{id}"}}]"#
        ),
        format!(r#"[{{"payload":"0x0102"}},{{"payload":"","id":"{id}"}}]"#),
        r#"{"payload":"010100000000000000020000000000000005000000000000000300000000000000"}"#
            .to_owned(),
        "[]".to_owned(),
        "184467".to_owned(),
        format!("0x{id}"),
    ];
    texts.map(String::into_bytes).into()
}
