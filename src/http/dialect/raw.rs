//! The dialect of any machine: payloads in hexadecimal digits.

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::http::dialect::{Dialect, OneOrMany, Resource, read_one_or_many};
use crate::node::NewTx;
use crate::types::{Bytes, Digest, TxId, decode_hex, encode_hex};

/// `{"payload":"0102"}`, with an `id` where its sender has one for it; else it is the BLAKE3 digest of the payload.
pub(super) struct Raw;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(deserialize_with = "hexadecimal")]
    payload: Bytes,
    id: Option<TxId>,
}

impl Dialect for Raw {
    fn read(&self, json: &[u8]) -> serde_json::Result<OneOrMany<NewTx>> {
        Ok(read_one_or_many::<Written>(json)?.map(|Written { payload, id }| {
            let id = id.unwrap_or_else(|| TxId(Digest::of(&payload).0));
            NewTx { id, payload }
        }))
    }

    fn show(&self, payload: &[u8]) -> Value {
        show(payload)
    }

    fn resources(&self) -> &'static [Resource] {
        &[]
    }
}

pub(super) fn show(payload: &[u8]) -> Value {
    json!({ "payload": encode_hex(payload) })
}

fn hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = decode_hex(&text);
    let error = || serde::de::Error::custom("expected hexadecimal digits, two a byte");
    bytes.map(Bytes::from).ok_or_else(error)
}
