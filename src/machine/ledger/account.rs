//! The ledger's state: which keys there are and what bytes they hold.
//!
//! | key | value |
//! | --- | --- |
//! | `'a'` · account u64 big-endian (9 bytes) | balance u64 little-endian · nonce u64 little-endian (16 bytes) |
//! | `'s'` | supply u128 little-endian: the sum of all balances |
//! | `'t'` | number of applied transfers, u128 little-endian |
//!
//! Account numbers are big-endian, so that the order of the keys is that of the numbers.

use serde::{Deserialize, Serialize};

use crate::codec::{CodecError, Reader};

const ACCOUNT: u8 = b'a';
const SUPPLY: u8 = b's';
const APPLIED: u8 = b't';

/// Number of an account.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Account(pub u64);

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An amount that an account holds, in the smallest unit.
pub type Balance = u64;

/// What the state holds about one account; one that is absent holds nothing and has sent nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountState {
    /// The amount that it holds.
    pub balance: Balance,
    /// The nonce that its next transfer must bear: the number of transfers that it has sent.
    pub nonce: u64,
}

impl AccountState {
    /// Returns the value under the account's key.
    #[must_use]
    pub fn encode(&self) -> [u8; 16] {
        let both = u128::from(self.nonce) << 64 | u128::from(self.balance);
        both.to_le_bytes()
    }

    /// Reads the value under an account's key.
    ///
    /// # Errors
    /// [`CodecError`] unless there are exactly 16 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let (balance, nonce) = (reader.u64("balance")?, reader.u64("nonce")?);
        reader.finish()?;
        Ok(Self { balance, nonce })
    }
}

/// What a key of the ledger's state stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerKey {
    /// The state of an account.
    Account(Account),
    /// The sum of all balances.
    Supply,
    /// The number of applied transfers.
    Applied,
}

impl LedgerKey {
    /// Reads a key; `None` for one that the ledger never writes.
    #[must_use]
    pub fn read(key: &[u8]) -> Option<Self> {
        match key {
            [SUPPLY] => Some(Self::Supply),
            [APPLIED] => Some(Self::Applied),
            [ACCOUNT, number @ ..] => {
                let number = u64::from_be_bytes(number.try_into().ok()?);
                Some(Self::Account(Account(number)))
            }
            _ => None,
        }
    }
}

/// Returns the key of an account.
#[must_use]
pub const fn account_key(account: Account) -> [u8; 9] {
    let mut key = [ACCOUNT; 9];
    let [_, number @ ..] = &mut key;
    *number = account.0.to_be_bytes();
    key
}

/// Returns the key of the supply.
#[must_use]
pub const fn supply_key() -> [u8; 1] {
    [SUPPLY]
}

/// Returns the key of the counter of applied transfers.
#[must_use]
pub const fn applied_key() -> [u8; 1] {
    [APPLIED]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_were_written() {
        let account = Account(0x0102_0304_0506_0708);
        assert_eq!(account_key(account), *b"a\x01\x02\x03\x04\x05\x06\x07\x08");
        assert_eq!(LedgerKey::read(&account_key(account)), Some(LedgerKey::Account(account)));
        assert_eq!(LedgerKey::read(&supply_key()), Some(LedgerKey::Supply));
        assert_eq!(LedgerKey::read(&applied_key()), Some(LedgerKey::Applied));
        for foreign in [&b""[..], b"a", b"a\0\0\0\0\0\0\0", b"a\0\0\0\0\0\0\0\0\0", b"s\0", b"x"] {
            assert_eq!(LedgerKey::read(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn an_account_is_sixteen_bytes() {
        let state = AccountState { balance: 0x0102, nonce: 3 };
        let bytes = state.encode();
        assert_eq!(bytes, [2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(AccountState::decode(&bytes), Ok(state));
        let short = AccountState::decode(&bytes[..15]);
        assert_eq!(short, Err(CodecError::Truncated { field: "nonce", at: 8 }));
        let long = AccountState::decode(&[0; 17]);
        assert_eq!(long, Err(CodecError::Trailing { at: 16, count: 1 }));
    }
}
