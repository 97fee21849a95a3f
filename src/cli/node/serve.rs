//! The life of a served node: listens, starts, serves, stops.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ServeArgs;
use super::options::options;
use super::start::{Started, until_up};
use super::wish::StopWish;
use crate::cli::{Advised, App, Exit, Finding};
use crate::exec::{Outcome, RecoverError};
use crate::http::{Door, Probe, Server, ServerLimits, probe_routes, routes};
use crate::machine::MachineVersion;
use crate::node::{Down, Node};
use crate::store::Store;
use crate::telemetry::{Exposition, Metrics};

/// How long a node that failed goes on to tell so before it ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a node came to.
#[derive(Debug, Serialize)]
struct Ended {
    outcome: &'static str,
    address: SocketAddr,
    log_head_seq: u64,
    block_height: Option<crate::types::Height>,
    exit_code: u8,
    wall_ms: u64,
}

/// Runs a node from its start to its end.
pub(super) async fn serve(
    args: &ServeArgs,
    store: Store,
    machine: &MachineVersion,
    app: &App,
) -> Result<Exit> {
    let mut wish = StopWish::listen()?;
    let (exposition, metrics) = Exposition::new();
    let telemetry = (exposition, metrics.clone());
    let server = listen(args.listen, args.limits.limits(), &telemetry).await?;
    let probes = match args.probe_listen {
        Some(address) => Some(listen(address, args.limits.limits(), &telemetry).await?),
        None => None,
    };
    let address = server.address();
    let options = options(args, machine, metrics);
    if options.sequencer.is_none() {
        app.output.note(format_args!("note: nobody here orders blocks of {machine}"));
    }
    let starting = Node::start_opened(store, app.registry.clone(), options);
    let door = Door::default();
    let probe = Probe::of(starting.vitals(), door.clone(), telemetry.0);
    let mut servers = Servers::new();
    if let Some(probes) = probes {
        announce("probes listen on", probes.address(), app);
        servers.spawn(|stop| probes.serve(probe_routes(probe.clone()), stop));
    }
    let router = routes(probe, door.clone(), server.limits());
    servers.spawn(|stop| server.serve(router, stop));
    announce("listening on", address, app);
    match until_up(starting, &mut wish, app).await {
        Started::Up(node, report) => {
            door.open(node.clone());
            app.output.line(format_args!(
                "ready: {} blocks recovered in {} ms",
                report.blocks, report.wall_ms
            ));
            let exit = live(&node, &mut wish, servers, app).await?;
            tell(&node, address, exit, app);
            Ok(exit)
        }
        Started::Stopped => {
            servers.stop().await;
            app.output.line("stopped before the recovery ended; the next start goes on from there");
            app.output.object(&serde_json::json!({ "outcome": "stopped", "address": address }));
            Ok(Exit::Done)
        }
        Started::Halted(exit) => {
            servers.last_words().await;
            Ok(exit)
        }
        Started::Failed(error) => {
            servers.last_words().await;
            Err(error)
        }
        Started::Refused(error) => Err(error),
    }
}

/// Serves a node that is up until it is asked to stop or fails.
async fn live(node: &Node, wish: &mut StopWish, servers: Servers, app: &App) -> Result<Exit> {
    let down = tokio::select! {
        () = wish.made() => None,
        down = node.down() => Some(down),
    };
    let exit = match down {
        None | Some(Down::Stopped) => Exit::Done,
        Some(Down::Halted(halt)) => {
            app.output.error(format_args!("error: {}", Down::Halted(halt.clone())));
            app.output.error("help: it answers questions and takes nothing; see `rewake status`");
            // Whoever runs it decides when what it still answers is no longer needed.
            wish.made().await;
            Finding::Ended(Outcome::Halted, Some(halt.cause)).exit()
        }
        Some(Down::Store(error)) => {
            servers.last_words().await;
            return Err(RecoverError(error).into());
        }
        Some(down @ Down::Actor { .. }) => {
            servers.last_words().await;
            return Err(anyhow!(down));
        }
    };
    servers.stop().await;
    match node.clone().shutdown().await {
        Err(Down::Store(error)) => Err(RecoverError(error).into()),
        Err(down @ Down::Actor { .. }) => Err(anyhow!(down)),
        Ok(()) | Err(Down::Stopped | Down::Halted(_)) => Ok(exit),
    }
}

fn tell(node: &Node, address: SocketAddr, exit: Exit, app: &App) {
    let figures = node.vitals().figures();
    let outcome = if exit == Exit::Done { "stopped" } else { "halted" };
    app.output.line(format_args!("{outcome} at event {}", figures.log_head_seq));
    app.output.object(&Ended {
        outcome,
        address,
        log_head_seq: figures.log_head_seq,
        block_height: figures.block_height,
        exit_code: exit.code(),
        wall_ms: app.wall_ms(),
    });
}

async fn listen(
    address: SocketAddr,
    limits: ServerLimits,
    (exposition, metrics): &(Exposition, Metrics),
) -> Result<Server, Advised> {
    let bound = Server::bind(address, limits, (exposition.clone(), metrics.clone())).await;
    bound.map_err(|error| {
        let advice = "name another address; port 0 lets the system choose one";
        Advised::new(Exit::Unexpected, error.to_string(), advice)
    })
}

/// Says where the node listens: for programs on standard error, since their one line comes at the end.
fn announce(what: &str, address: SocketAddr, app: &App) {
    let line = format!("{what} http://{address}");
    if app.output.is_json() {
        app.output.error(line);
    } else {
        app.output.line(line);
    }
    if !address.ip().is_loopback() {
        app.output.note(
            "note: there is no authentication: whoever reaches this address may use it; \
             put it behind something that decides who may",
        );
    }
}

/// The servers that run, and what stops them.
struct Servers {
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Servers {
    fn new() -> Self {
        Self { stopping: watch::Sender::new(false), tasks: JoinSet::new() }
    }

    fn spawn<F>(&mut self, serve: impl FnOnce(BoxedStop) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut stopping = self.stopping.subscribe();
        let stop: BoxedStop = Box::pin(async move {
            // Where nobody is left to say so, it is time to stop as well.
            let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
        });
        self.tasks.spawn(serve(stop));
    }

    /// Answers what is in flight, and ends.
    async fn stop(mut self) {
        self.stopping.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }

    /// Lets a probe see that the node failed, and ends.
    async fn last_words(self) {
        tokio::time::sleep(LAST_WORDS).await;
        self.stop().await;
    }
}

type BoxedStop = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
