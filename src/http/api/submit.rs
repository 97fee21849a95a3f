//! `POST /v1/transactions`: takes transactions, and answers when they are durable.
//!
//! The body is one transaction in the dialect of the machine, or an array of them, which becomes durable as a whole or
//! not at all. For the ledger, with an optional `id` of 64 hexadecimal digits:
//!
//! ```json
//! {"from":1,"to":2,"amount":5,"nonce":0}
//! ```
//!
//! The answer has the form of the question: an object, or an array of them.
//!
//! ```json
//! {"id":"…","seq":17,"is_new":true}
//! ```
//!
//! A transaction whose `id` is known is not logged again: the answer is the one that its first submission got, with
//! `is_new` false. With `?wait=false` a node that has as much to log as it takes at once says so; else it is waited for.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use super::Api;
use crate::exec::Logged;
use crate::http::body::read_json;
use crate::http::{OneOrMany, Problem, ProblemKind};
use crate::node::OnFull;
use crate::types::{Seq, TxId};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    wait: Option<bool>,
}

#[derive(Serialize)]
struct Acknowledged {
    id: TxId,
    seq: Seq,
    is_new: bool,
}

pub(super) async fn submit(
    State(api): State<Api>,
    options: Result<Query<Options>, QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let inside = api.for_submission()?;
    let Query(options) =
        options.map_err(|error| Problem::new(ProblemKind::Malformed, error.body_text()))?;
    let on_full = if options.wait == Some(false) { OnFull::Refuse } else { OnFull::Wait };
    let json = read_json(request).await?;
    let read = inside.dialect.read(&json).map_err(|error| Problem::of_json(&error))?;
    let (txs, is_alone) = match read {
        OneOrMany::One(one) => (vec![one], true),
        OneOrMany::Many(many) => (many, false),
    };
    check_number(txs.len(), api.batch_txs_max)?;
    let ids: Vec<TxId> = txs.iter().map(|tx| tx.id).collect();
    let acks = inside.node.submit_all(txs, on_full).await?;
    let acknowledged = |(id, Logged { seq, is_new })| Acknowledged { id, seq, is_new };
    let mut answer = ids.into_iter().zip(acks).map(acknowledged);
    Ok(match answer.next() {
        Some(one) if is_alone => Json(one).into_response(),
        first => Json(first.into_iter().chain(answer).collect::<Vec<_>>()).into_response(),
    })
}

fn check_number(found: usize, most: usize) -> Result<(), Problem> {
    if found == 0 {
        let detail = "the array is empty; submit at least one transaction";
        return Err(Problem::new(ProblemKind::Malformed, detail));
    }
    if found > most {
        let detail =
            format!("{found} transactions are more than the {most} that are taken at once");
        return Err(Problem::new(ProblemKind::TooMuch, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_has_at_least_one_transaction_and_at_most_the_limit() {
        let kind = |found| check_number(found, 10).map_err(|problem| problem.kind());
        assert_eq!((kind(1), kind(10)), (Ok(()), Ok(())));
        assert_eq!(kind(0), Err(ProblemKind::Malformed));
        assert_eq!(kind(11), Err(ProblemKind::TooMuch));
    }
}
