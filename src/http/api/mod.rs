//! What clients ask of a node, under `/v1`.
//!
//! | address | answer |
//! | --- | --- |
//! | `POST /v1/transactions` | 200 once the transactions are durable |
//! | `GET /v1/transactions/{id}` | a transaction and how far it is |
//! | `GET /v1/accounts/{number}` | an account, where the machine has accounts |
//! | `GET /v1/state/{key}` | the value under a key of the state, both in hexadecimal digits |
//! | `GET /v1/blocks/{height}`, `/v1/blocks/latest` | a confirmed block with all that is in it |
//! | `GET /v1/mempool?after=SEQ&limit=N` | transactions that are in no block |
//! | `GET /v1/status` | readiness, machine and figures |
//!
//! While the node is not ready the answer is a problem of type `not-ready`; a node that halted goes on to answer
//! what is asked of it, and takes nothing.

mod large;
mod query;
mod submit;
mod views;

use axum::Router;
use axum::routing::{get, post};

use crate::http::budget::Budget;
use crate::http::door::Inside;
use crate::http::{Door, Probe, Problem, ProblemKind, ServerLimits};
use crate::node::Phase;

/// What every handler is given.
#[derive(Clone)]
struct Api {
    probe: Probe,
    door: Door,
    batch_txs_max: usize,
    answers: Budget,
}

impl Api {
    /// Returns the node if it takes transactions.
    fn for_submission(&self) -> Result<&Inside, Problem> {
        self.inside_if(Phase::is_ready)
    }

    /// Returns the node if it answers questions.
    fn for_question(&self) -> Result<&Inside, Problem> {
        self.inside_if(|phase| phase.is_ready() || phase == Phase::Halted)
    }

    fn inside_if(&self, admits: impl Fn(Phase) -> bool) -> Result<&Inside, Problem> {
        let readiness = self.probe.readiness();
        let inside = self.door.inside().filter(|_| admits(readiness.phase));
        inside.ok_or_else(|| Problem::not_ready(ProblemKind::NotReady, &readiness))
    }
}

/// Returns the routes of the interface.
pub(super) fn routes(probe: Probe, door: Door, limits: &ServerLimits) -> Router {
    let (batch_txs_max, answers) = (limits.batch_txs_max, Budget::of_answers(limits));
    Router::new()
        .route("/v1/transactions", post(submit::submit))
        .route("/v1/transactions/{id}", get(query::transaction))
        .route("/v1/state/{key}", get(query::state))
        .route("/v1/blocks/{height}", get(query::block))
        .route("/v1/mempool", get(query::mempool))
        .route("/v1/status", get(query::status))
        .route("/v1/{collection}/{name}", get(query::resource))
        .with_state(Api { probe, door, batch_txs_max, answers })
}
