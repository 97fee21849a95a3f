//! Refusals of connections: those beyond the limit are told so, as far as that costs next to nothing.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::http::connection::close;
use crate::http::{Problem, ProblemKind};
use crate::telemetry::{HttpRefusal, Metrics};

/// Connections that are told at once; further ones are dropped without a word.
const TOLD_AT_ONCE: usize = 32;

/// Turns connections away.
pub(super) struct Refuser {
    telling: Arc<Semaphore>,
    metrics: Metrics,
    most: usize,
}

impl Refuser {
    pub(super) fn new(most: usize, metrics: Metrics) -> Self {
        Self { telling: Arc::new(Semaphore::new(TOLD_AT_ONCE)), metrics, most }
    }

    /// Answers a connection with a problem, and ends it.
    pub(super) fn refuse(&self, stream: TcpStream, tasks: &mut JoinSet<()>) {
        self.metrics.http_refused(HttpRefusal::Connections);
        let Ok(permit) = Arc::clone(&self.telling).try_acquire_owned() else { return };
        let detail = format!("{} connections are open already", self.most);
        let problem = Problem::new(ProblemKind::TooManyConnections, detail);
        let metrics = self.metrics.clone();
        tasks.spawn(async move {
            close(stream, Some(&problem), &metrics).await;
            drop(permit);
        });
    }
}
