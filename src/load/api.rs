//! The questions of the driver: each asks a node for one thing and reads the answer.

use std::time::Duration;

use hyper::body::Bytes;
use serde::de::DeserializeOwned;

use crate::load::connection::{Answer, ClientError, Connection, Question};
use crate::load::wire::{
    AccountAnswer, Acknowledgement, Acknowledgements, Block, MempoolPage, NodeStatus, Problem,
    StateAnswer,
};
use crate::load::{LoadError, Target};
use crate::machine::ledger::{Account, Transfer};
use crate::types::{Seq, decode_hex, encode_hex};

/// Longest answer but for blocks.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Longest block: the genesis of millions of accounts is one answer.
const BLOCK_BYTES_MAX: usize = 512 << 20;
/// How often a question is asked again whose connection broke, or which a busy node put off.
const ATTEMPTS_MAX: u32 = 10;
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// What a node says to a submission.
#[derive(Debug)]
pub(super) enum Reply {
    /// It is durable.
    Acknowledged(Vec<Acknowledgement>),
    /// The node is busy. Nothing was logged.
    Full,
    /// The node is not up, or the outcome is unknown.
    Away,
}

/// Returns the pause before an attempt: it doubles from 5 ms up to a limit.
pub(super) fn pause(attempt: u32) -> Duration {
    Duration::from_millis(5).saturating_mul(1 << attempt.min(16)).min(PAUSE_MAX)
}

/// Returns the body of a submission: one object, or an array of several.
pub(super) fn submission(lot: &[Transfer]) -> Bytes {
    let text = match lot {
        [one] => serde_json::to_vec(one),
        several => serde_json::to_vec(several),
    };
    // Four numbers under fixed names have no way to fail.
    text.unwrap_or_default().into()
}

/// Submits a body of so many transfers once.
pub(super) async fn submit(
    connection: &mut Connection,
    body: &Bytes,
    count: usize,
) -> Result<Reply, LoadError> {
    let question = Question {
        path: "/v1/transactions".to_owned(),
        body: Some(body.clone()),
        bytes_max: ANSWER_BYTES_MAX,
    };
    let answer = connection.ask(&question).await?;
    if answer.status == 200 {
        let found = match parse(&question, &answer)? {
            Acknowledgements::One(one) => vec![one],
            Acknowledgements::Several(several) => several,
        };
        if found.len() != count {
            let detail = format!("{} acknowledgements of {count} transactions", found.len());
            return Err(ClientError::Unreadable { path: question.path, detail }.into());
        }
        return Ok(Reply::Acknowledged(found));
    }
    let problem = problem(&answer);
    match (answer.status, problem.name.rsplit(':').next()) {
        (503, Some("queue-full")) => Ok(Reply::Full),
        (503, _) => Ok(Reply::Away),
        (status, _) => {
            Err(LoadError::Refused { status, title: problem.title, detail: problem.detail })
        }
    }
}

/// Asks once whether the node is ready; where it is not, the error says what it is doing.
pub(super) async fn readyz(target: &Target, limit: Duration) -> Result<(), ClientError> {
    let mut connection = Connection::open(target, limit).await?;
    let answer = connection.ask(&read("/readyz".to_owned())).await?;
    if answer.status == 200 { Ok(()) } else { Err(status_error("/readyz".to_owned(), &answer)) }
}

/// Asks once what the node is doing.
pub(super) async fn phase(connection: &mut Connection) -> Result<String, ClientError> {
    let question = read("/readyz".to_owned());
    let answer = connection.ask(&question).await?;
    if answer.status == 200 {
        return Ok("ready".to_owned());
    }
    if let Some(phase) = phase_in(&answer) {
        return Ok(phase);
    }
    let question = read("/v1/status".to_owned());
    let answer = connection.ask(&question).await?;
    phase_in(&answer).ok_or_else(|| status_error(question.path, &answer))
}

fn phase_in(answer: &Answer) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let phase = value.pointer("/readiness/phase").or_else(|| value.get("phase"))?;
    phase.as_str().map(str::to_owned)
}

/// Reads what a node knows; it connects again where a connection broke.
pub(super) struct Reader {
    target: Target,
    limit: Duration,
    connection: Option<Connection>,
}

impl Reader {
    pub(super) const fn new(target: Target, limit: Duration) -> Self {
        Self { target, limit, connection: None }
    }

    /// Returns an account; `None` where it is unknown.
    pub(super) async fn account(
        &mut self,
        account: Account,
    ) -> Result<Option<AccountAnswer>, ClientError> {
        self.find(read(format!("/v1/accounts/{account}"))).await
    }

    /// Returns the number under a key of the ledger's state; one that is absent is zero.
    pub(super) async fn number(&mut self, key: &[u8]) -> Result<u128, ClientError> {
        let path = format!("/v1/state/{}", encode_hex(key));
        let answer: Option<StateAnswer> = self.find(read(path.clone())).await?;
        let Some(StateAnswer { value }) = answer else { return Ok(0) };
        let bytes = decode_hex(&value).and_then(|bytes| bytes.try_into().ok());
        let detail = format!("{value:?} is no number of 16 bytes");
        bytes.map(u128::from_le_bytes).ok_or(ClientError::Unreadable { path, detail })
    }

    /// Returns a block; `None` where there is none.
    pub(super) async fn block(&mut self, height: u64) -> Result<Option<Block>, ClientError> {
        let path = format!("/v1/blocks/{height}");
        self.find(Question { bytes_max: BLOCK_BYTES_MAX, ..read(path) }).await
    }

    /// Returns a page of the mempool.
    pub(super) async fn mempool(
        &mut self,
        after: Option<Seq>,
        limit: u64,
    ) -> Result<MempoolPage, ClientError> {
        let after = after.map(|seq| format!("after={}&", seq.get())).unwrap_or_default();
        self.get(read(format!("/v1/mempool?{after}limit={limit}"))).await
    }

    /// Returns where the node stands.
    pub(super) async fn status(&mut self) -> Result<NodeStatus, ClientError> {
        self.get(read("/v1/status".to_owned())).await
    }

    async fn find<T: DeserializeOwned>(
        &mut self,
        question: Question,
    ) -> Result<Option<T>, ClientError> {
        match self.get(question).await {
            Err(ClientError::Status { status: 404, .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    async fn get<T: DeserializeOwned>(&mut self, question: Question) -> Result<T, ClientError> {
        let mut attempt = 0;
        loop {
            let error = match self.once(&question).await {
                Ok(answer) if answer.status == 200 => return parse(&question, &answer),
                Ok(answer) => status_error(question.path.clone(), &answer),
                Err(error) => {
                    self.connection = None;
                    error
                }
            };
            let is_passing =
                error.is_lost() || matches!(error, ClientError::Status { status: 503, .. });
            if !is_passing || attempt >= ATTEMPTS_MAX {
                return Err(error);
            }
            tokio::time::sleep(pause(attempt)).await;
            attempt = attempt.saturating_add(1);
        }
    }

    async fn once(&mut self, question: &Question) -> Result<Answer, ClientError> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            empty => empty.insert(Connection::open(&self.target, self.limit).await?),
        };
        connection.ask(question).await
    }
}

fn read(path: String) -> Question {
    Question { path, body: None, bytes_max: ANSWER_BYTES_MAX }
}

fn parse<T: DeserializeOwned>(question: &Question, answer: &Answer) -> Result<T, ClientError> {
    serde_json::from_slice(&answer.body).map_err(|error| ClientError::Unreadable {
        path: question.path.clone(),
        detail: error.to_string(),
    })
}

fn problem(answer: &Answer) -> Problem {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

fn status_error(path: String, answer: &Answer) -> ClientError {
    let Problem { title, detail, .. } = problem(answer);
    ClientError::Status { path, status: answer.status, detail: format!("{title} {detail}") }
}
