//! Keys and records of the state.
//!
//! The first byte of a key is its namespace; numbers inside keys are big-endian, so that neighbours are neighbours.
//!
//! | namespace | key after it (bytes) | value |
//! | --- | --- | --- |
//! | `A` account | address 20 | [`AccountRecord`]: flags 1 (bit 0 exists, 1 has code, 2 has storage) · incarnation varint · while it exists: nonce varint · balance: length 1, big-endian without leading zeros · with code: its Keccak-256, 32 |
//! | `C` config | none | [`Config`]: format 1 (the number 1) · flags 1 (bit 0: the state is complete) |
//! | `F` fees | none | fees of this block for its beneficiary that no account holds yet, 16, little-endian; only inside a block |
//! | `H` header | block number 8 | [`Ancestor`]: fork 1 · DAO rule 1 · hash 32 · requests (0 none; 1 and hash 32; 2 failed, varint length, reason; 3 unknown) · varint length, header RLP · varint count, ommer hashes 32 each; the last eight blocks |
//! | `K` code | Keccak-256 of the code 32 | the code as deployed |
//! | `N` block hash | block number 8 | hash 32; the last 256 blocks |
//! | `S` storage | address 20 · incarnation 8 · slot 32 | big-endian without leading zeros; zero is absent |
//!
//! A destroyed account that may have storage leaves a record that does not exist but holds the next incarnation: its
//! slots stay behind under the old incarnation, where nothing reads them. Nothing is ever deleted by range.

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};

use super::fork::Fork;
use super::header::{DaoRule, HeaderError, exact};
use crate::codec::{CodecError, Reader, Writer, count};

/// Namespace of the accounts.
pub const ACCOUNTS: u8 = b'A';
/// Namespace of the storage slots.
pub const STORAGE: u8 = b'S';
/// Key of the [`Config`].
pub const CONFIG_KEY: [u8; 1] = *b"C";
/// Key of the beneficiary's fees of the block that is being executed.
pub(super) const FEES_KEY: [u8; 1] = *b"F";

/// Blocks whose hashes are kept (the BLOCKHASH instruction).
pub(super) const HASHES_KEPT: u64 = 256;
/// Blocks whose headers are kept: the seven generations that can have ommers, and one more.
pub(super) const HEADERS_KEPT: u64 = 8;

/// Returns the key of an account.
#[must_use]
pub fn account_key(address: &Address) -> [u8; 21] {
    let mut key = [ACCOUNTS; 21];
    write(&mut key, 1, address.as_slice());
    key
}

/// Returns the key of a storage slot.
#[must_use]
pub fn storage_key(address: &Address, incarnation: u64, slot: &U256) -> [u8; 61] {
    let mut key = [STORAGE; 61];
    write(&mut key, 1, address.as_slice());
    write(&mut key, 21, &incarnation.to_be_bytes());
    write(&mut key, 29, &slot.to_be_bytes::<32>());
    key
}

/// Reads the key of a storage slot: address, incarnation, slot.
#[must_use]
pub fn parse_storage_key(key: &[u8]) -> Option<(Address, u64, B256)> {
    let (&STORAGE, rest) = key.split_first()? else { return None };
    let (address, rest) = rest.split_first_chunk::<20>()?;
    let (incarnation, slot) = rest.split_first_chunk::<8>()?;
    let slot = <[u8; 32]>::try_from(slot).ok()?;
    Some((address.into(), u64::from_be_bytes(*incarnation), slot.into()))
}

/// Returns the key of a code.
#[must_use]
pub fn code_key(hash: &B256) -> [u8; 33] {
    let mut key = [b'K'; 33];
    write(&mut key, 1, hash.as_slice());
    key
}

/// Returns the key of a block hash.
#[must_use]
pub fn block_hash_key(number: u64) -> [u8; 9] {
    let mut key = [b'N'; 9];
    write(&mut key, 1, &number.to_be_bytes());
    key
}

/// Returns the key of an [`Ancestor`].
#[must_use]
pub fn header_key(number: u64) -> [u8; 9] {
    let mut key = [b'H'; 9];
    write(&mut key, 1, &number.to_be_bytes());
    key
}

fn write(key: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(to) = key.get_mut(at..at.saturating_add(bytes.len())) {
        to.copy_from_slice(bytes);
    }
}

/// Returns the big-endian bytes of a number without leading zeros; none for zero.
#[must_use]
pub fn encode_word(value: &U256) -> Vec<u8> {
    value.to_be_bytes_trimmed_vec()
}

/// Returns the bytes of a big-endian number without its leading zeros.
pub(super) fn trimmed(word: &[u8; 32]) -> &[u8] {
    let zeros = word.iter().take_while(|byte| **byte == 0).count();
    word.get(zeros..).unwrap_or_default()
}

/// Reads what [`encode_word`] writes.
#[must_use]
pub fn decode_word(bytes: &[u8]) -> Option<U256> {
    let shortest = bytes.first().is_none_or(|first| *first != 0);
    U256::try_from_be_slice(bytes).filter(|_| shortest)
}

/// What the state holds about an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// Whether there is an account; where not, the record only keeps the incarnation.
    pub exists: bool,
    /// How often the account's storage was dropped as a whole.
    pub incarnation: u64,
    /// Number of transactions sent or contracts created.
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
    /// Keccak-256 of the code, that of nothing where there is none.
    pub code_hash: B256,
    /// Whether a slot was ever written under this incarnation.
    pub has_storage: bool,
}

impl Default for AccountRecord {
    fn default() -> Self {
        Self {
            exists: true,
            incarnation: 0,
            nonce: 0,
            balance: U256::ZERO,
            code_hash: KECCAK256_EMPTY,
            has_storage: false,
        }
    }
}

impl AccountRecord {
    /// Returns whether the account counts as empty (EIP-161).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nonce == 0 && self.balance.is_zero() && self.code_hash == KECCAK256_EMPTY
    }

    /// Returns what is left of the account when it is destroyed: nothing, or the next incarnation.
    #[must_use]
    pub fn destroyed(&self) -> Option<Self> {
        let incarnation = self.incarnation.saturating_add(u64::from(self.has_storage));
        (incarnation > 0).then(|| Self { exists: false, incarnation, ..Self::default() })
    }

    /// Returns the bytes that are stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let has_code = self.exists && self.code_hash != KECCAK256_EMPTY;
        let mut writer = Writer::with_capacity(80);
        let flags = u8::from(self.exists) | u8::from(has_code) << 1;
        writer.u8(flags | u8::from(self.exists && self.has_storage) << 2);
        writer.varint(self.incarnation);
        if self.exists {
            writer.varint(self.nonce).bytes(trimmed(&self.balance.to_be_bytes()));
        }
        if has_code {
            writer.raw(self.code_hash.as_slice());
        }
        writer.finish()
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that [`AccountRecord::encode`] never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let flags = reader.u8("account flags")?;
        let exists = flags & 1 != 0;
        if flags > 7 || (!exists && flags != 0) {
            return Err(reader.invalid("account flags", flags.into()));
        }
        let mut record =
            Self { exists, incarnation: reader.varint("incarnation")?, ..Self::default() };
        if exists {
            record.nonce = reader.varint("nonce")?;
            let word = decode_word(reader.bytes("balance")?);
            record.balance = word.ok_or_else(|| reader.invalid("balance", 0))?;
            record.has_storage = flags & 4 != 0;
        }
        if flags & 2 != 0 {
            record.code_hash = B256::from(reader.digest("code hash")?.0);
        }
        reader.finish()?;
        Ok(record)
    }
}

/// What the state says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Whether every account is in the state, so that its root can be computed and every block has its parent.
    pub complete: bool,
}

impl Config {
    /// Returns the bytes that are stored.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        vec![1, u8::from(self.complete)]
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`CodecError`] for bytes that [`Config::encode`] never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let (format, flags) = (reader.u8("config format")?, reader.u8("config flags")?);
        if format != 1 || flags > 1 {
            return Err(reader.invalid("config", flags.into()));
        }
        reader.finish()?;
        Ok(Self { complete: flags == 1 })
    }
}

/// What became of the execution layer's requests of a block (EIP-7685).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requests {
    /// The fork has none.
    None,
    /// Their hash.
    Hash(B256),
    /// They could not be collected, which makes the block invalid.
    Failed(String),
    /// The state is partial and lacks the contracts that hold them.
    Unknown,
}

/// A recent block, kept for its descendants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// The fork that governed it.
    pub fork: Fork,
    /// What the DAO fork asked of it.
    pub dao: DaoRule,
    /// Its hash.
    pub hash: B256,
    /// Its requests.
    pub requests: Requests,
    /// Its header.
    pub header: Header,
    /// The hashes of its ommers.
    pub ommers: Vec<B256>,
}

impl Ancestor {
    /// Returns the bytes that are stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(700);
        writer.u8(self.fork.code()).u8(self.dao.code()).raw(self.hash.as_slice());
        match &self.requests {
            Requests::None => writer.u8(0),
            Requests::Hash(hash) => writer.u8(1).raw(hash.as_slice()),
            Requests::Failed(reason) => writer.u8(2).bytes(reason.as_bytes()),
            Requests::Unknown => writer.u8(3),
        };
        writer.bytes(&alloy_rlp::encode(&self.header)).varint(count(self.ommers.len()));
        for ommer in &self.ommers {
            writer.raw(ommer.as_slice());
        }
        writer.finish()
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`HeaderError`] for bytes that [`Ancestor::encode`] never writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut reader = Reader::new(bytes);
        let code = reader.u8("fork")?;
        let fork = Fork::from_code(code).ok_or_else(|| reader.invalid("fork", code.into()))?;
        let code = reader.u8("DAO rule")?;
        let dao =
            DaoRule::from_code(code).ok_or_else(|| reader.invalid("DAO rule", code.into()))?;
        let hash = B256::from(reader.digest("block hash")?.0);
        let requests = match reader.u8("requests kind")? {
            0 => Requests::None,
            1 => Requests::Hash(B256::from(reader.digest("requests hash")?.0)),
            2 => Requests::Failed(reader.text("requests failure")?),
            3 => Requests::Unknown,
            found => return Err(reader.invalid("requests kind", found.into()).into()),
        };
        let header = exact("header", reader.bytes("header")?)?;
        let length = reader.count("ommer count")?;
        let ommers =
            (0..length).map(|_| reader.digest("ommer hash").map(|hash| B256::from(hash.0)));
        let ommers = ommers.collect::<Result<_, _>>()?;
        reader.finish()?;
        Ok(Self { fork, dao, hash, requests, header, ommers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_as_they_were_written() {
        let plain =
            AccountRecord { nonce: 300, balance: U256::from(1) << 200, ..Default::default() };
        let contract = AccountRecord {
            code_hash: B256::repeat_byte(3),
            has_storage: true,
            incarnation: 2,
            ..plain.clone()
        };
        let destroyed = contract.destroyed().expect("a tombstone");
        assert_eq!((destroyed.exists, destroyed.incarnation), (false, 3));
        for record in [AccountRecord::default(), plain.clone(), contract, destroyed] {
            assert_eq!(AccountRecord::decode(&record.encode()), Ok(record));
        }
        assert_eq!(plain.destroyed(), None);
        for foreign in [&[8, 0][..], &[2, 0], &[1, 0, 0, 2, 0, 1], &[]] {
            assert!(AccountRecord::decode(foreign).is_err(), "{foreign:?}");
        }
    }

    #[test]
    fn storage_keys_are_taken_apart_again() {
        let address = Address::repeat_byte(7);
        let key = storage_key(&address, 5, &U256::from(9));
        let slot = B256::from(U256::from(9));
        assert_eq!(parse_storage_key(&key), Some((address, 5, slot)));
        assert_eq!(parse_storage_key(&account_key(&address)), None);
    }

    #[test]
    fn words_have_one_form() {
        for value in [U256::ZERO, U256::ONE, U256::from(256), U256::MAX] {
            assert_eq!(decode_word(&encode_word(&value)), Some(value));
        }
        assert_eq!(decode_word(&[0, 1]), None);
        assert_eq!(decode_word(&[1; 33]), None);
    }

    #[test]
    fn ancestors_and_config_are_read_as_they_were_written() {
        for requests in
            [Requests::None, Requests::Hash(B256::ZERO), Requests::Failed("no code".to_owned())]
        {
            let ancestor = Ancestor {
                fork: Fork::Prague,
                dao: DaoRule::None,
                hash: B256::repeat_byte(1),
                requests,
                header: Header::default(),
                ommers: vec![B256::repeat_byte(2)],
            };
            assert_eq!(Ancestor::decode(&ancestor.encode()), Ok(ancestor));
        }
        for complete in [false, true] {
            assert_eq!(Config::decode(&Config { complete }.encode()), Ok(Config { complete }));
        }
        assert!(Config::decode(&[2, 0]).is_err());
    }
}
