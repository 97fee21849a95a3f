//! The opening: the accounts that the genesis block gives, read from its patch in the ledger's own encoding.

use crate::load::LoadError;
use crate::load::wire::Block;
use crate::machine::ledger::{Account, AccountState, Balance, LedgerKey};
use crate::types::decode_hex;

/// Returns the accounts of a genesis block with what they hold.
///
/// # Errors
/// [`LoadError::Unmodelled`] where it holds anything else than accounts that have sent nothing, supply and counter.
pub(super) fn accounts(genesis: &Block) -> Result<Vec<(Account, Balance)>, LoadError> {
    let entries = genesis.patches.iter().flat_map(|patch| &patch.entries);
    let accounts = entries.filter_map(|(key, value)| read(key, value.as_deref()).transpose());
    let accounts: Result<Vec<_>, String> = accounts.collect();
    accounts.map_err(|what| LoadError::Unmodelled { height: genesis.height, what })
}

/// Refuses a later block that changes the state by a patch, which the model cannot follow.
pub(super) fn without_patches(block: &Block) -> Result<(), LoadError> {
    if block.patches.is_empty() {
        return Ok(());
    }
    let what = "it changes the state by a patch".to_owned();
    Err(LoadError::Unmodelled { height: block.height, what })
}

/// Reads an entry; nothing for one that is no account.
fn read(key: &str, value: Option<&str>) -> Result<Option<(Account, Balance)>, String> {
    let bytes = decode_hex(key).and_then(|bytes| LedgerKey::read(&bytes));
    let account = match bytes.ok_or_else(|| format!("the ledger has no key {key}"))? {
        LedgerKey::Account(account) => account,
        LedgerKey::Supply | LedgerKey::Applied => return Ok(None),
    };
    let bytes =
        value.and_then(decode_hex).ok_or_else(|| format!("account {account} has no state"))?;
    match AccountState::decode(&bytes) {
        Ok(AccountState { balance, nonce: 0 }) => Ok(Some((account, balance))),
        Ok(_) => Err(format!("account {account} has sent transfers before genesis")),
        Err(error) => Err(format!("account {account}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::wire::BlockPatch;
    use crate::machine::ledger::{Ledger, account_key};
    use crate::types::{Digest, encode_hex};

    fn block(entries: Vec<(String, Option<String>)>) -> Block {
        Block {
            height: 0,
            digest: Digest::ZERO,
            parent: Digest::ZERO,
            txs: 0,
            applied: 0,
            rejected: 0,
            quarantined: 0,
            patches: vec![BlockPatch { entries }],
            transactions: Vec::new(),
        }
    }

    #[test]
    fn the_accounts_of_a_genesis_patch_are_read() {
        let expected = [(Account(1), 7), (Account(300), 0)];
        let patch = Ledger::genesis_patch(expected);
        let hex = |(key, value): (_, Option<crate::types::Bytes>)| {
            let key: crate::types::Bytes = key;
            (encode_hex(&key), value.map(|value| encode_hex(&value)))
        };
        let genesis = block(patch.entries.into_iter().map(hex).collect());
        assert_eq!(accounts(&genesis).expect("a genesis"), expected);
        assert!(without_patches(&genesis).is_err());
        assert!(without_patches(&Block { patches: Vec::new(), ..genesis }).is_ok());
    }

    #[test]
    fn what_the_model_does_not_know_is_refused() {
        let key = encode_hex(&account_key(Account(1)));
        let sent = encode_hex(&AccountState { balance: 1, nonce: 1 }.encode());
        for (key, value, expected) in [
            ("ff".to_owned(), None, "the ledger has no key ff"),
            (key.clone(), None, "account 1 has no state"),
            (key.clone(), Some("00".to_owned()), "account 1: "),
            (key, Some(sent), "account 1 has sent transfers before genesis"),
        ] {
            let error = accounts(&block(vec![(key, value)])).expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
