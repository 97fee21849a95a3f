//! Dialects: how the clients of a machine write its transactions, and read its state.

mod ledger;
mod raw;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::machine::StateMachine as _;
use crate::machine::ledger::Ledger;
use crate::node::NewTx;
use crate::types::Bytes;

/// How clients speak of one machine.
pub trait Dialect: Send + Sync {
    /// Reads one transaction, or an array of them; most use [`read_one_or_many`].
    ///
    /// # Errors
    /// What is wrong with the JSON, and where.
    fn read(&self, json: &[u8]) -> serde_json::Result<OneOrMany<NewTx>>;

    /// Shows a payload, whatever bytes it is.
    fn show(&self, payload: &[u8]) -> Value;

    /// Names what of the machine's state has addresses of its own.
    fn resources(&self) -> &'static [Resource];
}

/// A part of a machine's state under `GET /v1/{collection}/{name}`.
pub struct Resource {
    /// The collection.
    pub collection: &'static str,
    /// Returns the key of a name; `None` for what is no name.
    pub key: fn(&str) -> Option<Bytes>,
    /// Shows the value under the key of a name; `None` for a value that the machine never writes.
    pub show: fn(&str, &[u8]) -> Option<Value>,
}

/// One, or an array of any length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneOrMany<T> {
    /// It was written alone.
    One(T),
    /// They were written in an array.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn map<U>(self, each: impl Fn(T) -> U) -> OneOrMany<U> {
        match self {
            Self::One(one) => OneOrMany::One(each(one)),
            Self::Many(many) => OneOrMany::Many(many.into_iter().map(each).collect()),
        }
    }
}

/// Returns the dialect of a machine: that of the ledger for the ledger, payloads in hexadecimal digits for any other.
#[must_use]
pub fn dialect_of(machine: &str) -> Arc<dyn Dialect> {
    if machine == Ledger.version().id {
        Arc::new(ledger::LedgerDialect)
    } else {
        Arc::new(raw::Raw)
    }
}

/// Reads one JSON object, or an array of them.
///
/// # Errors
/// What is wrong, with line and column. An array in place of an object is refused: its meaning would hang on the order
/// of the fields.
pub fn read_one_or_many<T: for<'de> Deserialize<'de>>(
    json: &[u8],
) -> serde_json::Result<OneOrMany<T>> {
    if json.trim_ascii_start().first() == Some(&b'[') {
        let many: Vec<Object<T>> = serde_json::from_slice(json)?;
        Ok(OneOrMany::Many(many.into_iter().map(|Object(each)| each).collect()))
    } else {
        serde_json::from_slice(json).map(|Object(one)| OneOrMany::One(one))
    }
}

/// A value that is written as an object.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a transaction as an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(OfObject(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::ledger::{Account, Transfer, account_key};
    use crate::types::TxId;

    fn transfer() -> Transfer {
        Transfer { from: Account(1), to: Account(2), amount: 5, nonce: 0 }
    }

    #[test]
    fn a_transfer_is_read_and_shown_in_the_same_words() {
        let dialect = dialect_of("ledger");
        let json = br#" {"from":1,"to":2,"amount":5,"nonce":0}"#;
        let read = dialect.read(json).expect("a transfer");
        let OneOrMany::One(NewTx { id, payload }) = read else { panic!("{read:?}") };
        assert_eq!((id, &payload[..]), (transfer().id(), &transfer().encode()[..]));
        let shown = dialect.show(&payload);
        assert_eq!(shown, serde_json::json!({"from": 1, "to": 2, "amount": 5, "nonce": 0}));
        assert_eq!(dialect.show(b"\x01\x02"), serde_json::json!({"payload": "0102"}));
    }

    #[test]
    fn an_account_has_an_address() {
        let resources = dialect_of("ledger").resources();
        let [accounts] = resources else { panic!("there is one collection") };
        assert_eq!(accounts.collection, "accounts");
        assert_eq!((accounts.key)("7").as_deref(), Some(&account_key(Account(7))[..]));
        for name in ["", "-1", "x", "18446744073709551616", "+7"] {
            assert_eq!((accounts.key)(name), None, "{name}");
        }
        let value = 5u128 | 3u128 << 64;
        let shown = (accounts.show)("7", &value.to_le_bytes());
        assert_eq!(shown, Some(serde_json::json!({"account": 7, "balance": 5, "nonce": 3})));
        assert_eq!((accounts.show)("7", b"short"), None);
    }

    #[test]
    fn a_payload_of_any_other_machine_is_hexadecimal() {
        let dialect = dialect_of("another");
        assert!(dialect.resources().is_empty());
        let id = "ab".repeat(32);
        let json = format!(r#"[{{"payload":"0x0102"}},{{"payload":"","id":"{id}"}}]"#);
        let OneOrMany::Many(read) = dialect.read(json.as_bytes()).expect("two payloads") else {
            panic!("an array is read as an array")
        };
        let ids: Vec<_> = read.iter().map(|tx| tx.id).collect();
        assert_eq!(ids, [TxId(*blake3::hash(&[1, 2]).as_bytes()), TxId([0xab; 32])]);
        assert_eq!(dialect.show(&read[0].payload), serde_json::json!({"payload": "0102"}));
    }

    #[test]
    fn what_is_no_transaction_is_refused_with_its_place() {
        let cases = [
            ("ledger", "", "EOF while parsing a value at line 1 column 0"),
            ("ledger", "[1]", "invalid type: integer `1`, expected a transaction as an object"),
            ("ledger", "[[1,2,5,0]]", "invalid type: sequence, expected a transaction"),
            ("ledger", "{\"from\":1,\n\"fee\":2}", "unknown field `fee`"),
            ("ledger", "{\"from\":1,\n\"fee\":2}", "at line 2 column 5"),
            ("ledger", "[{\"from\":1}]", "missing field `to` at line 1 column 11"),
            ("other", "{\"payload\":\"abc\"}", "expected hexadecimal digits, two a byte"),
            ("other", "{\"payload\":\"\",\"tip\":1}", "unknown field `tip`"),
        ];
        for (machine, json, expected) in cases {
            let error = dialect_of(machine).read(json.as_bytes()).expect_err(json).to_string();
            assert!(error.contains(expected), "{json}: {error}, not {expected}");
        }
    }
}
