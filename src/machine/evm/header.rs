//! The header bytes of an order: everything about an Ethereum block that is not a transaction.
//!
//! | field | bytes |
//! | --- | --- |
//! | format | 1: the number 1 |
//! | fork | 1: [`Fork::code`] |
//! | DAO rule | 1: 0 none, 1 extra data, 2 extra data and the irregular state change |
//! | chain id | varint |
//! | header | varint length, RLP of the header; its Keccak-256 is the block hash |
//! | ommers | 1: 0 with their headers, 1 with their hashes only |
//! | | varint length, RLP list of the headers; or varint count, 32 bytes for each hash |
//! | withdrawals | 1: 0 absent, 1 present; then varint length, RLP list |

use alloy_consensus::Header;
use alloy_eips::eip4895::Withdrawal;
use alloy_primitives::{B256, keccak256};
use alloy_rlp::{Decodable, Encodable};

use super::fork::Fork;
use crate::codec::{CodecError, Reader, Writer, count};

/// What the DAO fork asks of a block (EIP-779).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaoRule {
    /// Nothing.
    None = 0,
    /// The extra data must be the mark of the fork.
    ExtraData = 1,
    /// As `ExtraData`; and the irregular state change happens in this block.
    Transition = 2,
}

impl DaoRule {
    /// Returns the number that is stored.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Finds the rule of a stored number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::ExtraData),
            2 => Some(Self::Transition),
            _ => None,
        }
    }
}

/// The ommers of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ommers {
    /// Their headers, as the block's body has them.
    Headers(Vec<Header>),
    /// Only their hashes, as a node answers over JSON-RPC. The miner's reward for them can be paid, but not their own
    /// rewards, and the ommers hash of the header cannot be checked.
    HashesOnly(Vec<B256>),
}

impl Ommers {
    /// Returns how many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Headers(headers) => headers.len(),
            Self::HashesOnly(hashes) => hashes.len(),
        }
    }

    /// Returns whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What the header bytes of an order say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderHeader {
    /// The fork that governs the block.
    pub fork: Fork,
    /// What the DAO fork asks of the block.
    pub dao: DaoRule,
    /// The chain's number (EIP-155).
    pub chain_id: u64,
    /// The block header.
    pub header: Header,
    /// The ommers.
    pub ommers: Ommers,
    /// The withdrawals, from Shanghai on.
    pub withdrawals: Option<Vec<Withdrawal>>,
}

/// Header bytes that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The fields are not as documented.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A field is not the RLP that it should be.
    #[error("{field} is no RLP of one: {error}")]
    Rlp {
        /// Name of the field.
        field: &'static str,
        /// What the decoder said.
        error: alloy_rlp::Error,
    },
}

const FORMAT: u8 = 1;

impl OrderHeader {
    /// Returns the block hash.
    #[must_use]
    pub fn hash(&self) -> B256 {
        self.header.hash_slow()
    }

    /// Returns the bytes that are logged.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(640);
        writer.u8(FORMAT).u8(self.fork.code()).u8(self.dao.code()).varint(self.chain_id);
        writer.bytes(&alloy_rlp::encode(&self.header));
        match &self.ommers {
            Ommers::Headers(headers) => {
                writer.u8(0).bytes(&alloy_rlp::encode(headers));
            }
            Ommers::HashesOnly(hashes) => {
                writer.u8(1).varint(count(hashes.len()));
                for hash in hashes {
                    writer.raw(hash.as_slice());
                }
            }
        }
        let withdrawals = self.withdrawals.as_ref().map(alloy_rlp::encode);
        writer.optional(withdrawals.as_deref());
        writer.finish()
    }

    /// Reads logged bytes, with the hash of the header.
    ///
    /// # Errors
    /// [`HeaderError`] for bytes that [`OrderHeader::encode`] never writes.
    pub fn decode(bytes: &[u8]) -> Result<(Self, B256), HeaderError> {
        let mut reader = Reader::new(bytes);
        match reader.u8("format")? {
            FORMAT => {}
            found => return Err(reader.invalid("format", found.into()).into()),
        }
        let code = reader.u8("fork")?;
        let fork = Fork::from_code(code).ok_or_else(|| reader.invalid("fork", code.into()))?;
        let code = reader.u8("DAO rule")?;
        let dao =
            DaoRule::from_code(code).ok_or_else(|| reader.invalid("DAO rule", code.into()))?;
        let chain_id = reader.varint("chain id")?;
        let rlp = reader.bytes("header")?;
        let header = exact("header", rlp)?;
        let ommers = match reader.u8("ommers kind")? {
            0 => Ommers::Headers(exact("ommers", reader.bytes("ommers")?)?),
            1 => {
                let length = reader.count("ommer count")?;
                let hashes =
                    (0..length).map(|_| reader.digest("ommer hash").map(|hash| B256::from(hash.0)));
                Ommers::HashesOnly(hashes.collect::<Result<_, _>>()?)
            }
            found => return Err(reader.invalid("ommers kind", found.into()).into()),
        };
        let withdrawals = match reader.optional("withdrawals")? {
            Some(rlp) => Some(exact("withdrawals", &rlp)?),
            None => None,
        };
        reader.finish()?;
        Ok((Self { fork, dao, chain_id, header, ommers, withdrawals }, keccak256(rlp)))
    }

    /// Returns the bytes of the block's RLP, given those of its transactions without their list's head (EIP-7934).
    pub(super) fn block_rlp_length(&self, transactions: usize) -> usize {
        let list = |payload: usize| payload.saturating_add(alloy_rlp::length_of_length(payload));
        let ommers = match &self.ommers {
            Ommers::Headers(headers) => headers.length(),
            Ommers::HashesOnly(_) => 0,
        };
        let withdrawals = self.withdrawals.as_ref().map_or(0, Encodable::length);
        let parts = [self.header.length(), list(transactions), ommers, withdrawals];
        list(parts.into_iter().fold(0, usize::saturating_add))
    }
}

/// Decodes RLP that must be used up by the value.
pub(super) fn exact<T: Decodable>(field: &'static str, mut bytes: &[u8]) -> Result<T, HeaderError> {
    let value = T::decode(&mut bytes).map_err(|error| HeaderError::Rlp { field, error })?;
    if bytes.is_empty() {
        Ok(value)
    } else {
        Err(HeaderError::Rlp { field, error: alloy_rlp::Error::UnexpectedLength })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> OrderHeader {
        OrderHeader {
            fork: Fork::Shanghai,
            dao: DaoRule::None,
            chain_id: 1,
            header: Header { number: 7, base_fee_per_gas: Some(9), ..Header::default() },
            ommers: Ommers::Headers(vec![Header { number: 6, ..Header::default() }]),
            withdrawals: Some(vec![Withdrawal { index: 3, amount: 4, ..Withdrawal::default() }]),
        }
    }

    #[test]
    fn headers_are_read_as_they_were_written() {
        let hashes = OrderHeader {
            ommers: Ommers::HashesOnly(vec![B256::repeat_byte(5); 2]),
            withdrawals: None,
            dao: DaoRule::Transition,
            ..header()
        };
        for header in [header(), hashes] {
            let bytes = header.encode();
            assert_eq!(OrderHeader::decode(&bytes), Ok((header.clone(), header.hash())));
            for length in 0..bytes.len() {
                assert!(OrderHeader::decode(&bytes[..length]).is_err(), "{length} bytes");
            }
        }
    }

    #[test]
    fn foreign_headers_are_refused() {
        for (at, field) in [(0, "format"), (1, "fork"), (2, "DAO rule")] {
            let mut bytes = header().encode();
            bytes[at] = 0xff;
            let refused = OrderHeader::decode(&bytes);
            let Err(HeaderError::Codec(CodecError::Invalid { field: found, .. })) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(found, field);
        }
        let refused = exact::<Header>("header", &[0xc1, 0x80]);
        assert!(matches!(refused, Err(HeaderError::Rlp { field: "header", .. })), "{refused:?}");
        let refused = exact::<u64>("number", &[1, 2]);
        assert!(matches!(refused, Err(HeaderError::Rlp { field: "number", .. })), "{refused:?}");
    }
}
