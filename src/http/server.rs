//! The server: accepts connections within limits until it is stopped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::http::ServerLimits;
use crate::http::budget::Budget;
use crate::http::connection;
use crate::http::descriptors::room_for_connections;
use crate::http::refuse::Refuser;
use crate::http::service::Service;
use crate::http::track::Track;
use crate::telemetry::{Exposition, HttpRefusal, Metrics};

/// How often observations are folded, so that they do not pile up while nobody scrapes.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Connections that may wait to be accepted; the system's own limit holds as well.
const WAITING_MAX: u32 = 4096;
/// First pause after the system did not hand a connection over; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(5);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub error: io::Error,
}

/// A server that listens, and answers when it is told with what.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    limits: ServerLimits,
    exposition: Exposition,
    metrics: Metrics,
}

impl Server {
    /// Listens on an address; port 0 lets the system choose one.
    ///
    /// The process's soft limit of open files is raised to the hard one, and the limit of connections lowered to what
    /// that leaves room for.
    ///
    /// # Errors
    /// [`BindError`] where the address is taken, foreign or not allowed.
    #[expect(clippy::unused_async, reason = "it needs the runtime, which only a future surely has")]
    pub async fn bind(
        address: SocketAddr,
        limits: ServerLimits,
        (exposition, metrics): (Exposition, Metrics),
    ) -> Result<Self, BindError> {
        let failed = |error| BindError { address, error };
        let connections_max = limits.connections_max.min(room_for_connections()).max(1);
        let limits = ServerLimits { connections_max, ..limits };
        let listener = listen(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, limits, exposition, metrics })
    }

    /// Returns the address with the port that was chosen.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the limits that hold.
    #[must_use]
    pub const fn limits(&self) -> &ServerLimits {
        &self.limits
    }

    /// Serves until `stop` is done; then requests in flight are given the drain time, and no other begins.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()>) {
        let Self { listener, limits, exposition, metrics, .. } = self;
        let (stopping, _) = watch::channel(false);
        let refuser = Refuser::new(limits.connections_max, metrics.clone());
        let budget = Budget::new(&limits);
        let room = Arc::new(Semaphore::new(limits.connections_max));
        let mut tasks = JoinSet::new();
        let mut upkeep = interval(UPKEEP_INTERVAL);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = std::pin::pin!(stop);
        let mut acceptor = Acceptor { listener, metrics: metrics.clone(), pause: PAUSE_FIRST };
        loop {
            let stream = tokio::select! {
                () = &mut stop => break,
                _ = upkeep.tick() => {
                    exposition.upkeep();
                    continue;
                }
                Some(_) = tasks.join_next() => continue,
                stream = acceptor.accept() => stream,
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                refuser.refuse(stream, &mut tasks);
                continue;
            };
            let (router, track) = (router.clone(), Arc::new(Track::new()));
            let budget = budget.clone();
            let service = Service { router, limits, budget, metrics: metrics.clone(), track };
            let (metrics, stopping) = (metrics.clone(), stopping.subscribe());
            tasks.spawn(async move {
                metrics.http_connected();
                connection::serve(stream, service, stopping).await;
                metrics.http_disconnected();
                drop(permit);
            });
        }
        drop(acceptor);
        stopping.send_replace(true);
        let drained = async { while tasks.join_next().await.is_some() {} };
        // What is left after that is dropped with its tasks.
        let _ = timeout(limits.drain_time_max, drained).await;
    }
}

/// Listens with room for a burst: a connection for which there is none is tried again by its client a second later.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A node that was killed listens on the same port again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_MAX)
}

/// Accepts connections whatever the system says.
struct Acceptor {
    listener: TcpListener,
    metrics: Metrics,
    pause: Duration,
}

impl Acceptor {
    /// Waits for a connection. Where the system is out of something, it waits until that may have been given back.
    async fn accept(&mut self) -> TcpStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    self.pause = PAUSE_FIRST;
                    // Answers are written whole; where this cannot be set they are only slower.
                    let _ = stream.set_nodelay(true);
                    return stream;
                }
                Err(error) => {
                    self.metrics.http_refused(HttpRefusal::Accept);
                    if !is_of_client(&error) {
                        sleep(self.pause).await;
                        self.pause = self.pause.saturating_mul(2).min(PAUSE_MAX);
                    }
                }
            }
        }
    }
}

/// Says whether a connection could not be accepted because its client had left.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
