//! A client: submits, waits for the acknowledgement, and goes on; what it does not know it submits again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::load::api::{self, Reply};
use crate::load::check::{Check, Finding, Findings};
use crate::load::connection::Connection;
use crate::load::draw::Draw;
use crate::load::shared::Shared;
use crate::load::transfers::ClientTransfers;
use crate::load::wire::Acknowledgement;
use crate::load::{ClientError, LoadError};
use crate::machine::ledger::Transfer;

/// One of so many submissions is followed by one of an old transaction, on purpose.
const RESUBMIT_EACH: u64 = 32;
/// Old transactions that a client keeps for that: a fair sample of all it submitted.
const OLD_MAX: u64 = 64;
/// How often a node may take the time it has to become ready, before a submission is given up.
const PATIENCES: u32 = 4;

/// A client in a closed loop.
pub(super) struct Client {
    shared: Arc<Shared>,
    transfers: ClientTransfers,
    draw: Draw,
    connection: Option<(Connection, usize)>,
    old: Vec<Transfer>,
    submitted: u64,
    findings: Findings,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, transfers: ClientTransfers, draw: Draw) -> Self {
        let findings = Findings::default();
        Self { shared, transfers, draw, connection: None, old: Vec::new(), submitted: 0, findings }
    }

    /// Submits until nothing more is wanted; returns what was wrong with the answers.
    pub(super) async fn run(mut self) -> Result<Findings, LoadError> {
        loop {
            let lot = self.transfers.by_ref().take(self.shared.take());
            let lot: Vec<Transfer> = lot.collect();
            if lot.is_empty() {
                return Ok(self.findings);
            }
            self.deliver(&lot).await?;
            for transfer in &lot {
                self.remember(*transfer);
            }
            if self.draw.below(RESUBMIT_EACH) == 0 {
                self.resubmit().await?;
            }
        }
    }

    /// Submits a lot until it is acknowledged.
    async fn deliver(&mut self, lot: &[Transfer]) -> Result<(), LoadError> {
        let started = Instant::now();
        let (life, is_disturbed) = self.acknowledge(lot).await?;
        self.shared.tally.measure(started.elapsed(), is_disturbed);
        let count = u64::try_from(lot.len()).unwrap_or(u64::MAX);
        self.shared.tally.acknowledge(life, count);
        Ok(())
    }

    async fn resubmit(&mut self) -> Result<(), LoadError> {
        let index = self.draw.index(self.old.len());
        let Some(old) = self.old.get(index).copied() else { return Ok(()) };
        self.shared.tally.resubmit();
        self.acknowledge(&[old]).await.map(|_| ())
    }

    /// Returns the life of the node that acknowledged, and whether the node went away before it did.
    async fn acknowledge(&mut self, lot: &[Transfer]) -> Result<(usize, bool), LoadError> {
        let (started, body) = (Instant::now(), api::submission(lot));
        let (mut is_disturbed, mut attempts) = (false, 0u32);
        loop {
            let reply = self.attempt(&body, lot.len()).await?;
            match reply {
                (life, Some(Reply::Acknowledged(answers))) => {
                    self.keep(lot, &answers)?;
                    return Ok((life, is_disturbed));
                }
                (_, Some(Reply::Full)) => {}
                (life, Some(Reply::Away)) => {
                    is_disturbed = true;
                    self.shared.gate.lost(life);
                }
                (_, None) => is_disturbed = true,
            }
            if started.elapsed() >= self.shared.options.patience.saturating_mul(PATIENCES) {
                return Err(not_acknowledged(lot, started.elapsed(), attempts));
            }
            self.shared.tally.retry();
            tokio::time::sleep(api::pause(attempts)).await;
            attempts = attempts.saturating_add(1);
        }
    }

    /// Submits once, in a life of the node; no reply where the connection broke.
    async fn attempt(
        &mut self,
        body: &hyper::body::Bytes,
        count: usize,
    ) -> Result<(usize, Option<Reply>), LoadError> {
        let life = match self.connect().await {
            Ok(life) => life,
            Err((life, error)) if error.is_lost() => {
                self.shared.gate.lost(life);
                return Ok((life, None));
            }
            Err((_, error)) => return Err(error.into()),
        };
        let Some((connection, _)) = &mut self.connection else { return Ok((life, None)) };
        let flight = self.shared.tally.take_off();
        let reply = api::submit(connection, body, count).await;
        drop(flight);
        match reply {
            Err(LoadError::Client(error)) if error.is_lost() => {
                self.connection = None;
                self.shared.tally.cut_off(life);
                self.shared.gate.lost(life);
                Ok((life, None))
            }
            reply => reply.map(|reply| (life, Some(reply))),
        }
    }

    /// Makes sure that there is a connection; returns the life of the node in which it was made.
    async fn connect(&mut self) -> Result<usize, (usize, ClientError)> {
        if let Some((_, life)) = &self.connection {
            return Ok(*life);
        }
        let life = self.shared.gate.ready().await;
        let options = &self.shared.options;
        let opened = Connection::open(&self.shared.target, options.request_limit).await;
        let connection = opened.map_err(|error| (life, error))?;
        self.connection = Some((connection, life));
        Ok(life)
    }

    /// Holds the answers against what was submitted, and keeps them.
    fn keep(&mut self, lot: &[Transfer], answers: &[Acknowledgement]) -> Result<(), LoadError> {
        self.findings.looked(Check::Answers, answers.len());
        for (transfer, answer) in lot.iter().zip(answers) {
            let (submitted, answered) = (transfer.id(), answer.id);
            if submitted == answered {
                let found = self.shared.acknowledged().keep(answer)?;
                self.findings.add(found);
            } else {
                self.findings.add([Finding::AnswerNames { submitted, answered }]);
            }
        }
        Ok(())
    }

    /// Keeps a fair sample of what was submitted (Vitter, "Random sampling with a reservoir", 1985, algorithm R).
    fn remember(&mut self, transfer: Transfer) {
        self.submitted = self.submitted.saturating_add(1);
        if self.submitted <= OLD_MAX {
            self.old.push(transfer);
            return;
        }
        let drawn = usize::try_from(self.draw.below(self.submitted)).unwrap_or(usize::MAX);
        if let Some(place) = self.old.get_mut(drawn) {
            *place = transfer;
        }
    }
}

fn not_acknowledged(lot: &[Transfer], waited: Duration, attempts: u32) -> LoadError {
    let id = lot.first().map_or(crate::types::TxId([0; 32]), Transfer::id);
    let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    LoadError::NotAcknowledged { id, waited_ms, attempts: u64::from(attempts).saturating_add(1) }
}
