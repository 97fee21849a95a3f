//! The dialect of the ledger: transfers as `import jsonl` has them, and accounts.

use serde_json::{Value, json};

use crate::http::dialect::{Dialect, OneOrMany, Resource, raw, read_one_or_many};
use crate::import::jsonl::Line;
use crate::machine::ledger::{Account, AccountState, Transfer, account_key};
use crate::node::NewTx;
use crate::types::Bytes;

/// `{"from":1,"to":2,"amount":5,"nonce":0}`, with an `id` where its sender has one for it.
pub(super) struct LedgerDialect;

impl Dialect for LedgerDialect {
    fn read(&self, json: &[u8]) -> serde_json::Result<OneOrMany<NewTx>> {
        Ok(read_one_or_many::<Line>(json)?.map(|Line { from, to, amount, nonce, id }| {
            let transfer = Transfer { from, to, amount, nonce };
            let id = id.unwrap_or_else(|| transfer.id());
            NewTx { id, payload: Bytes::from(transfer.encode()) }
        }))
    }

    fn show(&self, payload: &[u8]) -> Value {
        // A node takes payloads by other ways, too, and logs what is no transfer.
        Transfer::decode(payload).map_or_else(|_| raw::show(payload), |transfer| json!(transfer))
    }

    fn resources(&self) -> &'static [Resource] {
        &[Resource { collection: "accounts", key, show }]
    }
}

fn key(name: &str) -> Option<Bytes> {
    number(name).map(|number| Bytes::from(account_key(Account(number))))
}

fn show(name: &str, value: &[u8]) -> Option<Value> {
    let AccountState { balance, nonce } = AccountState::decode(value).ok()?;
    Some(json!({ "account": number(name)?, "balance": balance, "nonce": nonce }))
}

fn number(name: &str) -> Option<u64> {
    let is_digits = name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| is_digits)
}
