//! The lines of a bundle.
//!
//! Every line is one JSON object with one field, which names its kind. Bytes are lower-case hexadecimal text. Fields of
//! a line that a reader does not know are passed over, so that a line can gain some within a format.
//!
//! | line | comes |
//! | --- | --- |
//! | `bundle` | first: the format, the machine, how many blocks follow |
//! | `state` | once for each entry of the state before the first block, ascending by key |
//! | `block` | once for each block: its order, its header, and how many lines of each kind below follow, in this order |
//! | `patch` | once for each patch, each followed by its `entry` lines |
//! | `tx` | once for each transaction, in execution order; `depends_on` says which earlier ones wrote what it read, in all lines of a block or in none |
//! | `receipt` | once for each receipt, in execution order |
//! | `change` | once for each change, ascending by key |
//! | `effects` or `failure` | ends a block: the digests that its row had, or why it could not be executed |
//! | `end` | last: the number of lines before, and the BLAKE3 digest of their bytes, line ends included |

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::block::Status;
use crate::machine::MachineVersion;
use crate::reproduce::ReportedFailure;
use crate::types::{Bytes, Digest, Height, Seq, TxId, UnixMillis, decode_hex, encode_hex};

/// The format that is written, and the newest that is read.
pub(super) const FORMAT: u32 = 1;

/// Bytes as hexadecimal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hex(pub(super) Bytes);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = decode_hex(&text);
        bytes.map(|bytes| Self(bytes.into())).ok_or_else(|| {
            serde::de::Error::custom("bytes are not written as pairs of hexadecimal digits")
        })
    }
}

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    Bundle(HeadLine),
    State(StateLine),
    Block(BlockLine),
    Patch(PatchLine),
    Entry(EntryLine),
    Tx(TxLine),
    Receipt(ReceiptLine),
    Change(ChangeLine),
    Effects(EffectsLine),
    Failure(ReportedFailure),
    End(EndLine),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HeadLine {
    pub(super) format: u32,
    pub(super) machine: MachineVersion,
    pub(super) state: u64,
    pub(super) blocks: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StateLine {
    pub(super) key: Hex,
    pub(super) value: Hex,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BlockLine {
    pub(super) height: Height,
    pub(super) order_seq: u64,
    pub(super) order_chain: Digest,
    pub(super) header: Hex,
    pub(super) patches: u64,
    pub(super) txs: u64,
    pub(super) receipts: u64,
    pub(super) changes: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PatchLine {
    pub(super) label: String,
    pub(super) replaces_state: bool,
    pub(super) entries: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EntryLine {
    pub(super) key: Hex,
    pub(super) value: Option<Hex>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TxLine {
    pub(super) seq: Seq,
    pub(super) id: TxId,
    pub(super) payload: Hex,
    pub(super) created: Option<UnixMillis>,
    /// Why a verdict keeps it out, where one does.
    pub(super) ruling: Option<String>,
    /// Indices of the earlier transactions of the block that wrote what it read, the nearest first; `None` where
    /// nothing is recorded of the block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) depends_on: Option<Vec<u32>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ReceiptLine {
    #[serde(flatten)]
    pub(super) status: Status,
    pub(super) output: Hex,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ChangeLine {
    pub(super) key: Hex,
    pub(super) before: Option<Hex>,
    pub(super) after: Option<Hex>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EffectsLine {
    pub(super) receipts_digest: Digest,
    pub(super) changes_digest: Digest,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EndLine {
    pub(super) lines: u64,
    pub(super) digest: Digest,
}
