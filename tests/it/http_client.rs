//! A client that speaks HTTP byte by byte, so that it can speak it badly, and the server that it speaks to.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use rewake::http::{Door, Probe, Server, ServerLimits, routes};
use rewake::node::{Phase, Readiness};
use rewake::plan::Work;
use rewake::telemetry::{Exposition, Gauges};
use rewake::types::UnixMillis;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Longest time for which anything is waited.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Repeats a question until its answer is yes.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it never came to this: {what}");
        std::thread::yield_now();
    }
}

/// Returns a readiness in a phase.
pub fn readiness(phase: Phase) -> Readiness {
    Readiness {
        phase,
        since: UnixMillis(1),
        done: Work { blocks: 3, txs: 30 },
        total: Work { blocks: 10, txs: 100 },
        rate: 7,
        remaining_ms: None,
        last_progress: UnixMillis(2_000),
        estimate: None,
        held: 0,
        detail: None,
    }
}

/// A server without a node, on a runtime of its own.
pub struct Served {
    pub address: SocketAddr,
    pub limits: ServerLimits,
    pub phase: watch::Sender<Readiness>,
    /// Whether the probe has figures.
    pub is_open: Arc<AtomicBool>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    task: Mutex<Option<JoinHandle<()>>>,
    runtime: Runtime,
}

impl Served {
    /// Serves the routes of a node that is not there yet, and some more.
    pub fn start(limits: ServerLimits, more: impl FnOnce(Router) -> Router) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let (exposition, metrics) = Exposition::new();
        let (phase, watched) = watch::channel(readiness(Phase::Rehearsing));
        let telemetry = (exposition.clone(), metrics.clone());
        let is_open = Arc::new(AtomicBool::new(true));
        let (seen, opened) = (watched.clone(), Arc::clone(&is_open));
        let measure = move || {
            let readiness = seen.borrow().clone();
            metrics.phase(readiness.phase.name());
            if opened.load(Ordering::Relaxed) {
                let (quarantined, last_progress) = (readiness.held, Some(readiness.last_progress));
                metrics.gauges(&Gauges {
                    log_head_seq: 41,
                    quarantined,
                    last_progress,
                    ..Gauges::default()
                });
            }
        };
        let opened = Arc::clone(&is_open);
        let probe =
            Probe::new(watched, measure, move || opened.load(Ordering::Relaxed), exposition);
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = runtime.block_on(Server::bind(local, limits, telemetry));
        let server = bound.expect("a free port");
        let (address, limits) = (server.address(), *server.limits());
        let router = more(routes(probe, Door::default(), server.limits()));
        let (stop, stopped) = oneshot::channel::<()>();
        let task = runtime.spawn(server.serve(router, async { drop(stopped.await) }));
        let (stop, task) = (Mutex::new(Some(stop)), Mutex::new(Some(task)));
        Self { address, limits, phase, is_open, stop, task, runtime }
    }

    /// Serves within limits.
    pub fn with(limits: ServerLimits) -> Self {
        Self::start(limits, |router| router)
    }

    /// Tells the server to stop.
    pub fn stop(&self) {
        drop(self.stop.lock().expect("no test panics here").take());
    }

    /// Waits until the server has ended.
    pub fn join(&self) {
        let task = self.task.lock().expect("no test panics here").take().expect("it runs");
        let ended = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, task).await });
        ended.expect("it ends").expect("it does not panic");
    }

    /// Connects.
    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Asks once on a connection of its own.
    pub fn ask(&self, request: &str) -> Answer {
        let mut client = self.client();
        client.send(request.as_bytes());
        client.answer().unwrap_or_else(|| panic!("no answer to {request:?}"))
    }

    /// Gets an address once.
    pub fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n"))
    }

    /// Returns the value of a series of the metrics.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").body;
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let found = found.unwrap_or_else(|| panic!("no {series} in\n{text}"));
        found.parse().expect("a number")
    }

    /// Returns how many answers had a status code.
    pub fn answered(&self, status: u16) -> f64 {
        self.metric(&format!("rewake_http_answers_total{{status=\"{status}\"}}"))
    }

    /// Returns how many clients were turned away for a reason.
    pub fn refused(&self, reason: &str) -> f64 {
        self.metric(&format!("rewake_http_refused_total{{reason=\"{reason}\"}}"))
    }
}

/// Returns a request that posts JSON on a connection of its own.
pub fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the server listens")
    }

    /// Connects, if anybody listens.
    pub fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time limit");
        stream.set_nodelay(true).expect("an option");
        Some(Self { stream, read: Vec::new() })
    }

    /// Sends bytes, all of which the server takes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends bytes; says whether the connection took them.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Asks once, if anybody still answers.
    pub fn try_ask(&mut self, request: &str) -> Option<Answer> {
        self.try_send(request.as_bytes()).then(|| self.answer())?
    }

    /// Reads one answer; `None` where the connection ends without any.
    pub fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more() {
                assert!(self.read.is_empty(), "half a head: {:?}", self.read);
                return None;
            }
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).expect("text");
        let status = head.split(' ').nth(1).expect("a status line");
        let status = status.parse().expect("a status code");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().expect("a number"));
        while self.read.len() < length {
            assert!(self.more(), "half a body of {length} after {head}");
        }
        let body = String::from_utf8(self.read.drain(..length).collect()).expect("text");
        Some(Answer { status, head, body })
    }

    /// Sends a byte again and again, until an answer comes.
    pub fn trickle(&mut self, byte: u8) -> Option<Answer> {
        self.stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a time limit");
        let began = Instant::now();
        let mut first = [0];
        loop {
            assert!(began.elapsed() < PATIENCE, "the server takes byte after byte");
            self.try_send(&[byte]);
            match self.stream.peek(&mut first) {
                Err(error) if is_time_out(&error) => {}
                _ => break,
            }
        }
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        self.answer()
    }

    /// Waits until the server has ended the connection, without another byte.
    pub fn is_closed(&mut self) -> bool {
        self.read.is_empty() && !self.more()
    }

    fn more(&mut self) -> bool {
        let mut buffer = [0; 16384];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.read.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("the server neither answers nor leaves: {error}"),
        }
    }
}

impl Answer {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Returns the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Checks that it is a problem of a type in every part, and returns it.
    pub fn problem(&self, status: u16, name: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:rewake:problem:{name}"), "{self:?}");
        assert_eq!(problem["status"], status, "{self:?}");
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        }
        assert_eq!(self.header("retry-after").is_some(), status == 503, "{self:?}");
        assert_eq!(problem["retry_after_ms"].is_u64(), status == 503, "{self:?}");
        problem
    }
}

fn is_time_out(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
