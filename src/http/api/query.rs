//! Questions: what clients read from a node.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::views::{BlockJson, MempoolJson, TxJson};
use super::{Api, large};
use crate::http::{Problem, ProblemKind};
use crate::types::{Bytes, Height, Seq, TxId, decode_hex, encode_hex};

/// Most transactions of a page.
const PAGE_MAX: usize = 1000;
/// Transactions of a page where nothing is said.
const PAGE_DEFAULT: usize = 100;

/// A part of an address as it was given.
type Named = Result<Path<String>, PathRejection>;

/// `GET /v1/transactions/{id}`
///
/// ```json
/// {"id":"…","seq":17,"created_ms":1700000000000,"status":"rejected","reason":"overdraft","height":3,"index":0,
///  "output":"0102","transaction":{"from":1,"to":2,"amount":5,"nonce":0}}
/// ```
///
/// `status` is `waiting`, `ordered`, `applied`, `rejected` or `quarantined`. `created_ms`, `reason`, `height`, `index`
/// and `output` are there where there is something to say.
pub(super) async fn transaction(
    State(api): State<Api>,
    id: Named,
) -> Result<Json<TxJson>, Problem> {
    let inside = api.for_question()?;
    let id = named(id)?;
    let id: TxId = id.parse().map_err(|error| malformed(&error))?;
    let found = inside.node.transaction(id).await?;
    let view = found.ok_or_else(|| missing(format!("the log holds no transaction {id}")))?;
    Ok(Json(TxJson::new(view, inside.dialect.as_ref())))
}

/// `GET /v1/state/{key}`: `{"key":"…","value":"…"}`, both in hexadecimal digits.
pub(super) async fn state(State(api): State<Api>, key: Named) -> Result<Json<Value>, Problem> {
    let inside = api.for_question()?;
    let digits = named(key)?;
    let key = decode_hex(&digits)
        .ok_or_else(|| malformed(&"a key is written in hexadecimal digits, two a byte"))?;
    let value = inside.node.state(Bytes::from(key.as_slice())).await?;
    let value = value.ok_or_else(|| missing(format!("the state has no key {digits}")))?;
    Ok(Json(json!({ "key": encode_hex(&key), "value": encode_hex(&value) })))
}

/// `GET /v1/{collection}/{name}`: what the dialect of the machine names; for the ledger accounts.
///
/// ```json
/// {"account":1,"balance":100,"nonce":2}
/// ```
pub(super) async fn resource(
    State(api): State<Api>,
    address: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let Path((collection, name)) = address.map_err(|error| malformed(&error.body_text()))?;
    let inside = api.for_question()?;
    let resources = inside.dialect.resources();
    let resource = resources.iter().find(|resource| resource.collection == collection);
    let resource = resource.ok_or_else(|| missing(format!("there is no /v1/{collection}")))?;
    let key = (resource.key)(&name)
        .ok_or_else(|| malformed(&format_args!("{name:?} names none of the {collection}")))?;
    let value = inside.node.state(key).await?;
    let value = value.ok_or_else(|| missing(format!("none of the {collection} is {name}")))?;
    let shown = (resource.show)(&name, &value);
    let unreadable = || {
        let detail = format!("the state of {name} of the {collection} cannot be read");
        Problem::new(ProblemKind::Internal, detail)
    };
    shown.map(Json).ok_or_else(unreadable)
}

/// `GET /v1/blocks/{height}`, or `latest` for the last confirmed one.
///
/// ```json
/// {"height":3,"order_seq":21,"digest":"…","parent":"…","committed_ms":1700000000000,"state_digest":"…",
///  "txs":1,"applied":1,"rejected":0,"quarantined":0,
///  "patches":[{"label":"genesis","replaces_state":false,"entries":[["61…","64…"],["62",null]]}],
///  "transactions":[{"id":"…","seq":17,"status":"applied","transaction":{"from":1,"to":2,"amount":5,"nonce":0}}]}
/// ```
///
/// A block is answered whole; where large ones take as much as they may together, the answer is `queue-full`.
/// `state_digest` is there on the last block of each batch; keys and values are in hexadecimal digits, and a value of
/// `null` deletes.
pub(super) async fn block(State(api): State<Api>, height: Named) -> Result<Response, Problem> {
    let inside = api.for_question()?;
    let name = named(height)?;
    let height = match name.as_str() {
        "latest" => None,
        digits => Some(height_of(digits)?),
    };
    let view = inside.node.block(height).await?;
    let view = view.ok_or_else(|| missing(format!("no confirmed block is {name}")))?;
    let (bytes, dialect) = (large::block_bytes(&view), Arc::clone(&inside.dialect));
    large::answer(&api.answers, bytes, move || BlockJson::new(view, dialect.as_ref())).await
}

fn height_of(digits: &str) -> Result<Height, Problem> {
    let number = digits.parse::<u64>().map_err(|error| {
        malformed(&format_args!("{digits:?} is neither a height nor `latest`: {error}"))
    })?;
    if number > Height::MAX.get() {
        return Err(missing(format!("no block is {number}")));
    }
    Ok(Height(number))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    after: Option<u64>,
    limit: Option<usize>,
}

impl Page {
    fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(PAGE_DEFAULT) {
            0 => Err(malformed(&"a page has at least one transaction")),
            limit @ 1..=PAGE_MAX => Ok(limit),
            _ => Err(malformed(&format_args!("a page has at most {PAGE_MAX} transactions"))),
        }
    }
}

/// `GET /v1/mempool?after=SEQ&limit=N`: at most 1000 a page, 100 where nothing is said; `after` is the last `seq` of
/// the page before.
///
/// ```json
/// {"transactions":2,"page":[{"seq":17,"id":"…"},{"seq":18,"id":"…"}],"has_more":false}
/// ```
pub(super) async fn mempool(
    State(api): State<Api>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<MempoolJson>, Problem> {
    let inside = api.for_question()?;
    let Query(page) = page.map_err(|error| malformed(&error.body_text()))?;
    let limit = page.limit()?;
    let page = inside.node.mempool(page.after.and_then(Seq::new), limit).await?;
    Ok(Json(MempoolJson::new(page)))
}

/// `GET /v1/status`
///
/// ```json
/// {"readiness":{"phase":"ready",…},"machine":{"id":"ledger","version":1},"log_head_seq":21,"block_height":3,
///  "pending_blocks":0,"pending_txs":0,"mempool":0,"subscribers":0}
/// ```
pub(super) async fn status(State(api): State<Api>) -> Result<Json<Value>, Problem> {
    let inside = api.for_question()?;
    let figures = inside.node.vitals().figures();
    Ok(Json(json!({
        "readiness": api.probe.readiness(),
        "machine": inside.node.machine(),
        "log_head_seq": figures.log_head_seq,
        "block_height": figures.block_height,
        "pending_blocks": figures.pending_blocks,
        "pending_txs": figures.pending_txs,
        "mempool": figures.mempool,
        "subscribers": figures.subscribers,
    })))
}

fn named(part: Named) -> Result<String, Problem> {
    part.map(|Path(name)| name).map_err(|error| malformed(&error.body_text()))
}

fn malformed(detail: &dyn std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::Malformed, detail.to_string())
}

fn missing(detail: String) -> Problem {
    Problem::new(ProblemKind::NotFound, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_limit() {
        let limit = |limit| Page { after: None, limit }.limit().map_err(|problem| problem.kind());
        assert_eq!((limit(None), limit(Some(1000))), (Ok(100), Ok(1000)));
        assert_eq!(limit(Some(0)), Err(ProblemKind::Malformed));
        assert_eq!(limit(Some(1001)), Err(ProblemKind::Malformed));
    }

    #[test]
    fn a_height_is_a_number_that_a_block_can_have() {
        let height = |digits| height_of(digits).map_err(|problem| problem.kind());
        assert_eq!(height("7"), Ok(Height(7)));
        assert_eq!(height("9223372036854775808"), Err(ProblemKind::NotFound));
        for digits in ["", "newest", "-1", "1.5", "18446744073709551616"] {
            assert_eq!(height(digits), Err(ProblemKind::Malformed), "{digits}");
        }
    }
}
