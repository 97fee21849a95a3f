//! Events: what was received and ordered, and the canonical bytes that are chained and hashed.
//!
//! Canonical bytes of an event, little-endian: `format u8 · kind u8 · seq u64 · created u64 (format 1) · body`.
//! The chain digest of an event is `BLAKE3(digest of its predecessor · canonical bytes)`; the first event follows
//! [`Digest::ZERO`].

use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, Reader, Writer, count};
use crate::types::{Bytes, Digest, Height, Seq, TxId, UnixMillis};

/// One logged fact at its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Position in the log.
    pub seq: Seq,
    /// When it was logged; `None` in format 0, which has no time.
    pub created: Option<UnixMillis>,
    /// What was logged.
    pub body: EventBody,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventBody {
    /// A state change that no transaction causes.
    Patch(Patch),
    /// A transaction was received.
    Tx(Tx),
    /// Consensus fixed a block.
    Order(Order),
    /// A decision that re-execution alone could not reproduce.
    Verdict(Verdict),
}

/// A state change that no transaction causes: genesis, an irregular fork change, the witness state of an isolated block.
///
/// It takes effect at the start of the block that the next `Order` fixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Why the state is changed, for people.
    pub label: String,
    /// Whether the whole state is dropped before the entries are written.
    pub replaces_state: bool,
    /// Keys with their new values; `None` deletes. Strictly ascending by key.
    pub entries: Vec<(Bytes, Option<Bytes>)>,
}

/// A received transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tx {
    /// Its identity, the idempotency key.
    pub id: TxId,
    /// Its bytes, in the machine's own format.
    pub payload: Bytes,
}

/// A block as consensus fixed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its number, above that of every block ordered before.
    pub height: Height,
    /// The machine's own header bytes.
    pub header: Bytes,
    /// Positions of its transactions in execution order. A position names exactly one `TxId` of this log.
    pub txs: Vec<Seq>,
}

/// A decision about one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Position of the transaction.
    pub tx: Seq,
    /// What was decided.
    pub ruling: Ruling,
}

/// What a verdict decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ruling")]
pub enum Ruling {
    /// The transaction is not executed in its block and leaves no writes.
    Quarantine {
        /// Why, for people.
        reason: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// The transaction returns to the mempool and may be ordered again.
    Release,
    /// The transaction stays out for good.
    Discard,
}

/// The formats of an event that this program reads; the last one is written.
pub const FORMATS: [u8; 2] = [0, 1];

/// Number that stands for the kind of an event in its bytes and in the `kind` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`EventBody::Patch`]
    Patch = 1,
    /// [`EventBody::Tx`]
    Tx = 2,
    /// [`EventBody::Order`]
    Order = 3,
    /// [`EventBody::Verdict`]
    Verdict = 4,
}

impl Kind {
    /// Returns the number that is stored.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Finds the kind of a stored number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Patch),
            2 => Some(Self::Tx),
            3 => Some(Self::Order),
            4 => Some(Self::Verdict),
            _ => None,
        }
    }
}

impl EventBody {
    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Patch(_) => Kind::Patch,
            Self::Tx(_) => Kind::Tx,
            Self::Order(_) => Kind::Order,
            Self::Verdict(_) => Kind::Verdict,
        }
    }

    /// Returns the canonical bytes of the body, without the event's head.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(self.bytes_about());
        self.write(&mut writer);
        writer.finish()
    }

    /// Writes the canonical bytes of the body after what a writer holds.
    pub(crate) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Patch(patch) => patch.write(writer),
            Self::Tx(tx) => tx.write(writer),
            Self::Order(order) => order.write(writer),
            Self::Verdict(verdict) => verdict.write(writer),
        }
    }

    /// Returns about how many bytes the body takes; exactly for a transaction.
    pub(crate) fn bytes_about(&self) -> usize {
        match self {
            Self::Tx(tx) => tx.payload.len().saturating_add(size_of::<TxId>()),
            Self::Order(order) => order.txs.len().saturating_mul(2).saturating_add(64),
            Self::Patch(_) | Self::Verdict(_) => 64,
        }
    }

    /// Reads the canonical bytes of a body.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that [`EventBody::encode`] never writes.
    pub fn decode(kind: Kind, bytes: &[u8]) -> Result<Self, CodecError> {
        match kind {
            Kind::Patch => Patch::decode(bytes).map(Self::Patch),
            Kind::Tx => Tx::decode(bytes).map(Self::Tx),
            Kind::Order => Order::decode(bytes).map(Self::Order),
            Kind::Verdict => Verdict::decode(bytes).map(Self::Verdict),
        }
    }
}

impl Event {
    /// Returns the canonical bytes in format 1, or in format 0 where the event has no time.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(256);
        writer.u8(u8::from(self.created.is_some())).u8(self.body.kind().code());
        writer.u64(self.seq.get());
        if let Some(created) = self.created {
            writer.u64(created.0);
        }
        self.body.write(&mut writer);
        writer.finish()
    }

    /// Reads canonical bytes of any format in [`FORMATS`].
    ///
    /// # Errors
    /// [`CodecError`] for bytes that no format writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let format = reader.u8("format")?;
        if !FORMATS.contains(&format) {
            return Err(reader.invalid("format", format.into()));
        }
        let code = reader.u8("kind")?;
        let kind = Kind::from_code(code).ok_or_else(|| reader.invalid("kind", code.into()))?;
        let seq = Seq::new(reader.u64("seq")?).ok_or_else(|| reader.invalid("seq", 0))?;
        let (created, head) = match format {
            0 => (None, 10),
            _ => (Some(UnixMillis(reader.u64("created")?)), 18),
        };
        let body = EventBody::decode(kind, bytes.get(head..).unwrap_or_default())?;
        Ok(Self { seq, created, body })
    }
}

/// Returns the chain digest of an event from that of its predecessor and the bytes of its body.
#[must_use]
pub fn chain_digest(
    previous: Digest,
    seq: Seq,
    kind: Kind,
    created: Option<UnixMillis>,
    body: &[u8],
) -> Digest {
    let head = [u8::from(created.is_some()), kind.code()];
    let (seq, created) = (seq.get().to_le_bytes(), created.map(|time| time.0.to_le_bytes()));
    let created = created.as_ref().map_or(&[][..], |time| time);
    let parts = [&previous.0, &head[..], &seq, created, body];
    let mut buffer = [0; AT_ONCE];
    if let Some(joined) = join(&mut buffer, parts) {
        return Digest::of(joined);
    }
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Bytes of an event that are joined and hashed by one call, without the state of a hasher that is fed piece by piece.
const AT_ONCE: usize = 512;

/// Joins parts in a buffer; `None` where they have no room.
fn join<'a>(buffer: &'a mut [u8], parts: [&[u8]; 5]) -> Option<&'a [u8]> {
    let mut length = 0usize;
    for part in parts {
        let end = length.saturating_add(part.len());
        buffer.get_mut(length..end)?.copy_from_slice(part);
        length = end;
    }
    buffer.get(..length)
}

impl Patch {
    /// Makes a patch of entries in any order; the last entry of a key counts.
    #[must_use]
    pub fn new(
        label: impl Into<String>,
        replaces_state: bool,
        entries: impl IntoIterator<Item = (Bytes, Option<Bytes>)>,
    ) -> Self {
        let sorted: std::collections::BTreeMap<_, _> = entries.into_iter().collect();
        Self { label: label.into(), replaces_state, entries: sorted.into_iter().collect() }
    }

    fn write(&self, writer: &mut Writer) {
        writer.bytes(self.label.as_bytes()).u8(u8::from(self.replaces_state));
        writer.varint(count(self.entries.len()));
        for (key, value) in &self.entries {
            writer.bytes(key).optional(value.as_deref());
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let label = reader.text("label")?;
        let replaces_state = match reader.u8("replaces state")? {
            0 => false,
            1 => true,
            found => return Err(reader.invalid("replaces state", found.into())),
        };
        let length = reader.count("entry count")?;
        let mut entries: Vec<(Bytes, Option<Bytes>)> = Vec::with_capacity(length.min(1 << 16));
        for _ in 0..length {
            let key = Bytes::from(reader.bytes("key")?);
            if entries.last().is_some_and(|(last, _)| *last >= key) {
                return Err(reader.invalid("key order", count(entries.len())));
            }
            entries.push((key, reader.optional("value")?));
        }
        reader.finish()?;
        Ok(Self { label, replaces_state, entries })
    }
}

impl Tx {
    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.id.0).raw(&self.payload);
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let id = TxId(reader.digest("tx id")?.0);
        let payload = bytes.get(32..).unwrap_or_default().into();
        Ok(Self { id, payload })
    }
}

impl Order {
    fn write(&self, writer: &mut Writer) {
        writer.u64(self.height.get()).bytes(&self.header);
        encode_seqs(writer, &self.txs);
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let height = Height(reader.u64("height")?);
        let header = reader.bytes("header")?.into();
        let txs = decode_seqs(&mut reader)?;
        reader.finish()?;
        Ok(Self { height, header, txs })
    }
}

/// Writes positions as their count and the zigzag differences between neighbours: one byte each where they are dense.
pub(crate) fn encode_seqs(writer: &mut Writer, seqs: &[Seq]) {
    writer.varint(count(seqs.len()));
    let mut previous = 0u64;
    for seq in seqs {
        let difference = seq.get().wrapping_sub(previous).cast_signed();
        writer.varint(((difference << 1) ^ (difference >> 63)).cast_unsigned());
        previous = seq.get();
    }
}

/// Reads what [`encode_seqs`] writes.
pub(crate) fn decode_seqs(reader: &mut Reader<'_>) -> Result<Vec<Seq>, CodecError> {
    let length = reader.count("transaction count")?;
    let mut previous = 0u64;
    (0..length)
        .map(|_| {
            let zigzag = reader.varint("transaction seq")?;
            let difference =
                (zigzag >> 1).cast_signed() ^ (zigzag & 1).cast_signed().wrapping_neg();
            previous = previous.wrapping_add(difference.cast_unsigned());
            Seq::new(previous).ok_or_else(|| reader.invalid("transaction seq", 0))
        })
        .collect()
}

impl Verdict {
    fn write(&self, writer: &mut Writer) {
        writer.u64(self.tx.get());
        match &self.ruling {
            Ruling::Quarantine { reason, attempts } => {
                writer.u8(1).u32(*attempts).bytes(reason.as_bytes())
            }
            Ruling::Release => writer.u8(2),
            Ruling::Discard => writer.u8(3),
        };
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let tx = Seq::new(reader.u64("tx seq")?).ok_or_else(|| reader.invalid("tx seq", 0))?;
        let ruling = match reader.u8("ruling")? {
            1 => Ruling::Quarantine {
                attempts: reader.u32("attempts")?,
                reason: reader.text("reason")?,
            },
            2 => Ruling::Release,
            3 => Ruling::Discard,
            found => return Err(reader.invalid("ruling", found.into())),
        };
        reader.finish()?;
        Ok(Self { tx, ruling })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(number: u64) -> Seq {
        Seq::new(number).expect("not zero")
    }

    fn seqs(numbers: &[u64]) -> Vec<Seq> {
        numbers.iter().copied().map(seq).collect()
    }

    fn bodies() -> Vec<(Kind, u8, EventBody)> {
        let entries = [
            (Bytes::from(*b"b"), None),
            (Bytes::from(*b"a"), Some(Bytes::from(*b"0"))),
            (Bytes::from(*b"a"), Some(Bytes::from(*b"1"))),
        ];
        let quarantine = Ruling::Quarantine { reason: "panicked".to_owned(), attempts: 5 };
        let verdict = |ruling| EventBody::Verdict(Verdict { tx: seq(2), ruling });
        let payload = Bytes::from(*b"pay");
        let txs = seqs(&[2, 300, 1, u64::MAX, 7]);
        let order = Order { height: Height(258), header: Bytes::from(*b"head"), txs };
        vec![
            (Kind::Patch, 1, EventBody::Patch(Patch::new("genesis", true, entries.clone()))),
            (Kind::Patch, 1, EventBody::Patch(Patch::new("", false, entries))),
            (Kind::Tx, 2, EventBody::Tx(Tx { id: TxId([7; 32]), payload })),
            (Kind::Order, 3, EventBody::Order(order)),
            (Kind::Verdict, 4, verdict(quarantine)),
            (Kind::Verdict, 4, verdict(Ruling::Release)),
            (Kind::Verdict, 4, verdict(Ruling::Discard)),
        ]
    }

    #[test]
    fn an_event_is_read_as_it_was_written_and_its_chain_covers_each_byte() {
        for (kind, code, body) in bodies() {
            assert_eq!((body.kind(), kind.code(), Kind::from_code(code)), (kind, code, Some(kind)));
            assert_eq!(EventBody::decode(kind, &body.encode()), Ok(body.clone()));
            for created in [None, Some(UnixMillis(0x0102))] {
                let event = Event { seq: seq(9), created, body: body.clone() };
                let bytes = event.encode();
                assert_eq!(Event::decode(&bytes), Ok(event));
                let format = u8::from(created.is_some());
                assert_eq!(bytes[..10], [format, code, 9, 0, 0, 0, 0, 0, 0, 0]);
                let mut covered = [3; 32].to_vec();
                covered.extend_from_slice(&bytes);
                let chain = chain_digest(Digest([3; 32]), seq(9), kind, created, &body.encode());
                assert_eq!(chain, Digest::of(&covered));
            }
        }
        assert_eq!([0, 5].map(Kind::from_code), [None; 2]);
    }

    #[test]
    fn a_patch_is_sorted_and_the_last_entry_of_a_key_counts() {
        let (_, _, EventBody::Patch(patch)) = bodies().swap_remove(0) else { panic!("a patch") };
        let expected = [(Bytes::from(*b"a"), Some(Bytes::from(*b"1"))), (Bytes::from(*b"b"), None)];
        assert_eq!((patch.label.as_str(), patch.replaces_state), ("genesis", true));
        assert_eq!(patch.entries, expected);
    }

    #[test]
    fn positions_near_each_other_take_a_byte_each() {
        let mut writer = Writer::default();
        encode_seqs(&mut writer, &seqs(&[40, 41, 40]));
        assert_eq!(writer.finish(), [3, 80, 2, 1]);
    }

    #[test]
    fn what_is_never_written_is_refused_with_its_field() {
        let tx = [&[1, 2][..], &9u64.to_le_bytes(), &5u64.to_le_bytes(), &[7; 32]].concat();
        assert!(Event::decode(&tx).is_ok());
        let head = |at: usize, value: u8| {
            let mut bytes = tx.clone();
            bytes[at] = value;
            Event::decode(&bytes)
        };
        let invalid = |field, at, found| CodecError::Invalid { field, at, found };
        assert_eq!(head(0, 2), Err(invalid("format", 1, 2)));
        assert_eq!(head(1, 5), Err(invalid("kind", 2, 5)));
        assert_eq!(head(2, 0), Err(invalid("seq", 10, 0)));
        let body = |kind, bytes: &[u8]| EventBody::decode(kind, bytes).expect_err("never written");
        assert_eq!(body(Kind::Patch, &[0, 2, 0]), invalid("replaces state", 2, 2));
        let twice = [0, 0, 2, 1, b'a', 0, 1, b'a', 0];
        assert_eq!(body(Kind::Patch, &twice), invalid("key order", 8, 1));
        assert_eq!(body(Kind::Patch, &[0, 0, 0, 0]), CodecError::Trailing { at: 3, count: 1 });
        let none = [&4u64.to_le_bytes()[..], &[0, 1, 0]].concat();
        assert_eq!(body(Kind::Order, &none), invalid("transaction seq", 11, 0));
        let more = [&4u64.to_le_bytes()[..], &[0, 0, 0]].concat();
        assert_eq!(body(Kind::Order, &more), CodecError::Trailing { at: 10, count: 1 });
        assert_eq!(body(Kind::Verdict, &[0; 9]), invalid("tx seq", 8, 0));
        let verdict = |ruling: &[u8]| [&2u64.to_le_bytes()[..], ruling].concat();
        assert_eq!(body(Kind::Verdict, &verdict(&[4])), invalid("ruling", 9, 4));
        assert_eq!(
            body(Kind::Verdict, &verdict(&[2, 0])),
            CodecError::Trailing { at: 9, count: 1 }
        );
    }
}
