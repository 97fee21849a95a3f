//! Transfers: the payload of a ledger transaction.
//!
//! Canonical bytes, little-endian, always 33: `format u8 (1) · from u64 · to u64 · amount u64 · nonce u64`.
//! JSON: `{"from":1,"to":2,"amount":5,"nonce":0}`, every field required and no other allowed.

use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, Reader};
use crate::machine::ledger::{Account, Balance};
use crate::types::TxId;

const FORMAT: u8 = 1;

/// Length of a payload in bytes.
pub const PAYLOAD_BYTES: usize = 33;

/// An amount that one account sends another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// The sender.
    pub from: Account,
    /// The receiver; opened where it is unknown.
    pub to: Account,
    /// How much, in the smallest unit; not zero.
    pub amount: Balance,
    /// How many transfers the sender has sent before.
    pub nonce: u64,
}

impl Transfer {
    /// Returns the canonical bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; PAYLOAD_BYTES] {
        let mut bytes = [FORMAT; PAYLOAD_BYTES];
        let [_, rest @ ..] = &mut bytes;
        let (words, _) = rest.as_chunks_mut::<8>();
        let fields = [self.from.0, self.to.0, self.amount, self.nonce];
        for (word, field) in words.iter_mut().zip(fields) {
            *word = field.to_le_bytes();
        }
        bytes
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// [`CodecError`] unless there are exactly 33 bytes that begin with a known format.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8("format")?;
        if format != FORMAT {
            return Err(CodecError::Invalid { field: "format", at: 0, found: format.into() });
        }
        let transfer = Self {
            from: Account(reader.u64("from")?),
            to: Account(reader.u64("to")?),
            amount: reader.u64("amount")?,
            nonce: reader.u64("nonce")?,
        };
        reader.finish()?;
        Ok(transfer)
    }

    /// Returns the identity that a transfer has unless its sender gives another: BLAKE3 over the tag
    /// `rewake transfer 1` and the canonical bytes.
    #[must_use]
    pub fn id(&self) -> TxId {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"rewake transfer 1").update(&self.encode());
        TxId(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSFER: Transfer = Transfer { from: Account(1), to: Account(2), amount: 5, nonce: 3 };

    #[test]
    fn a_payload_has_one_form() {
        let bytes = TRANSFER.encode();
        let golden = "010100000000000000020000000000000005000000000000000300000000000000";
        assert_eq!(crate::types::encode_hex(&bytes), golden);
        assert_eq!(Transfer::decode(&bytes), Ok(TRANSFER));
        let short = Transfer::decode(&bytes[..32]);
        assert_eq!(short, Err(CodecError::Truncated { field: "nonce", at: 25 }));
        let long = Transfer::decode(&[1; 34]);
        assert_eq!(long, Err(CodecError::Trailing { at: 33, count: 1 }));
        let foreign = Transfer::decode(&[2; 33]);
        assert_eq!(foreign, Err(CodecError::Invalid { field: "format", at: 0, found: 2 }));
    }

    #[test]
    fn the_identity_depends_on_every_field() {
        let Transfer { from, to, .. } = TRANSFER;
        let ids = [
            TRANSFER,
            Transfer { from: to, ..TRANSFER },
            Transfer { to: from, ..TRANSFER },
            Transfer { amount: 6, ..TRANSFER },
            Transfer { nonce: 4, ..TRANSFER },
        ]
        .map(|transfer| transfer.id());
        assert_eq!(std::collections::BTreeSet::from(ids).len(), ids.len());
    }

    #[test]
    fn json_has_exactly_the_four_fields() {
        let text = r#"{"from":1,"to":2,"amount":5,"nonce":3}"#;
        assert_eq!(serde_json::to_string(&TRANSFER).expect("it is plain"), text);
        assert_eq!(serde_json::from_str::<Transfer>(text).expect("it is plain"), TRANSFER);
        for foreign in [r#"{"from":1,"to":2,"amount":5}"#, &text.replace('}', r#","fee":1}"#)] {
            assert!(serde_json::from_str::<Transfer>(foreign).is_err(), "{foreign}");
        }
    }
}
