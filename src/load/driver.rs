//! The driver: prepares the clients, lets them work, and has the node checked.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::load::check::Findings;
use crate::load::client::Client;
use crate::load::kills::KillReport;
use crate::load::report::{LoadReport, Verdict};
use crate::load::shared::Shared;
use crate::load::verify::{self, Verified};
use crate::load::{
    KillPlan, LoadError, LoadOptions, ManagedNode, Target, Until, join, kills, prepare,
};

/// Drives one node once.
pub struct Driver {
    shared: Arc<Shared>,
}

impl Driver {
    /// Makes a driver; nothing is asked yet.
    ///
    /// # Errors
    /// [`LoadError::Acknowledged`] where the list of acknowledgements cannot be kept in its file.
    pub fn new(target: Target, options: LoadOptions) -> Result<Self, LoadError> {
        Ok(Self { shared: Arc::new(Shared::new(target, options)?) })
    }

    /// Returns a watch over how many transactions are acknowledged so far.
    pub fn progress(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.tally.acknowledged()
    }

    /// Drives a node that somebody else runs, and checks it.
    ///
    /// # Errors
    /// [`LoadError`] says what kept it from a verdict.
    pub async fn run(&self) -> Result<LoadReport, LoadError> {
        self.run_with(async {
            if let Until::Elapsed(time) = self.shared.options.until {
                tokio::time::sleep(time).await;
                self.shared.stop();
            }
            Ok(None)
        })
        .await
    }

    /// Drives a node that is a child process, and checks it.
    ///
    /// # Errors
    /// [`LoadError`] says what kept it from a verdict; a child that ends by itself does.
    pub async fn run_managed(&self, node: &mut ManagedNode) -> Result<LoadReport, LoadError> {
        tokio::select! {
            report = self.run() => report,
            fault = node.fault() => Err(fault.into()),
        }
    }

    /// Drives a node while it kills and restarts it, and checks the last one.
    ///
    /// The load lasts until every kill is made, and as long as the options say at least.
    ///
    /// # Errors
    /// [`LoadError`] says what kept it from a verdict.
    pub async fn run_killing(
        &self,
        node: &mut ManagedNode,
        plan: KillPlan,
    ) -> Result<LoadReport, LoadError> {
        self.first_life(node).await?;
        self.run_with(async {
            let started = Instant::now();
            let killed = kills::kill_again_and_again(&self.shared, node, plan).await?;
            if let Until::Elapsed(time) = self.shared.options.until {
                tokio::time::sleep(time.saturating_sub(started.elapsed())).await;
            }
            self.shared.stop();
            Ok(Some(killed))
        })
        .await
    }

    /// Waits until a node is ready for the first time; one that ends instead is not waited for any longer.
    async fn first_life(&self, node: &mut ManagedNode) -> Result<(), LoadError> {
        let Shared { gate, target, options, .. } = &*self.shared;
        tokio::select! {
            error = gate.keep(target, options.request_limit, options.patience) => Err(error),
            fault = node.fault() => Err(fault.into()),
            _ = gate.ready() => Ok(()),
        }
    }

    /// Runs the clients beside a future that ends the load.
    async fn run_with(
        &self,
        conduct: impl Future<Output = Result<Option<KillReport>, LoadError>>,
    ) -> Result<LoadReport, LoadError> {
        let Shared { gate, target, options, .. } = &*self.shared;
        tokio::select! {
            error = gate.keep(target, options.request_limit, options.patience) => Err(error),
            done = self.work(conduct) => done,
        }
    }

    async fn work(
        &self,
        conduct: impl Future<Output = Result<Option<KillReport>, LoadError>>,
    ) -> Result<LoadReport, LoadError> {
        self.shared.gate.ready().await;
        let clients = prepare::clients(&self.shared).await?;
        let started = Instant::now();
        let (findings, kills) = tokio::try_join!(load(clients), conduct)?;
        let took = started.elapsed();
        self.shared.acknowledged().flush()?;
        let verified = if self.shared.options.checks {
            Some(verify::verify(&self.shared).await?)
        } else {
            None
        };
        Ok(self.report(took, findings, kills, verified))
    }

    fn report(
        &self,
        took: Duration,
        mut findings: Findings,
        kills: Option<KillReport>,
        verified: Option<Verified>,
    ) -> LoadReport {
        let Shared { tally, options, gate, .. } = &*self.shared;
        let (blocks, transactions, mempool) =
            verified.as_ref().map_or((0, 0, 0), |it| (it.blocks, it.transactions, it.mempool));
        let is_checked = verified.is_some();
        if let Some(verified) = verified {
            findings.extend(verified.findings);
        }
        let outcome = match (findings.is_empty(), is_checked) {
            (false, _) => Verdict::Violated,
            (true, true) => Verdict::Proved,
            (true, false) => Verdict::Unchecked,
        };
        let (checks, findings) = findings.into_parts();
        let acknowledged = tally.acknowledged();
        let took_us = took.as_micros().max(1);
        let rate = u128::from(acknowledged).saturating_mul(1_000_000) / took_us;
        let (latency, latency_disturbed) = tally.latencies();
        LoadReport {
            outcome,
            clients: options.clients,
            batch: options.batch,
            seed: options.seed,
            load_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            acknowledged,
            acknowledged_per_s: u64::try_from(rate).unwrap_or(u64::MAX),
            latency,
            latency_disturbed,
            retries: tally.retries(),
            resubmissions: tally.resubmissions(),
            deaths_seen: u64::try_from(gate.lives().saturating_sub(1)).unwrap_or(u64::MAX),
            kills,
            blocks,
            transactions,
            mempool,
            checks,
            findings,
        }
    }
}

/// Lets every client work to its end.
async fn load(clients: Vec<Client>) -> Result<Findings, LoadError> {
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(client.run());
    }
    let mut findings = Findings::default();
    join::all(tasks).await?.into_iter().for_each(|found| findings.extend(found));
    Ok(findings)
}
