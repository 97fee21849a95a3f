//! The metrics: what a node and its HTTP interface count and measure.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, gauge, histogram};

use crate::block::Counts;
use crate::event::Kind;
use crate::telemetry::family::Family;
use crate::telemetry::names;
use crate::types::{Height, UnixMillis};

/// The handles of every metric, bound to the recorder in whose scope they were made; clones count together.
///
/// No method blocks, allocates or fails. Where there is no recorder they do nothing.
#[derive(Clone)]
pub struct Metrics {
    handles: Arc<Handles>,
}

/// How a submission was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submission {
    /// Acknowledged: it is durable.
    New,
    /// Acknowledged: it was durable before.
    Known,
    /// Not taken: the mailbox is full.
    Full,
    /// Not taken: it is more than is taken at once.
    TooMuch,
    /// Not taken: it cannot be logged.
    Refused,
    /// Whether it was logged shows at the next start.
    Unknown,
    /// Not taken: the node is down.
    Down,
}

/// Why the HTTP interface had nothing to do with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpRefusal {
    /// There are as many connections as are allowed.
    Connections,
    /// The system did not hand the connection over.
    Accept,
    /// The head of a request cannot be read.
    MalformedHead,
    /// No request was begun in time.
    Idle,
    /// The head of a request did not end in time.
    HeadTime,
    /// The request, its body included, took too long.
    RequestTime,
    /// The answer was not read in time.
    AnswerTime,
}

/// How far a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Position of the last event; 0 in an empty log.
    pub log_head_seq: u64,
    /// The last confirmed block.
    pub block_height: Option<Height>,
    /// Blocks that are ordered and not confirmed.
    pub lag_blocks: u64,
    /// Transactions in those.
    pub lag_txs: u64,
    /// Transactions that are in no block.
    pub mempool: u64,
    /// Subscribers that are told what is committed.
    pub subscribers: u64,
    /// Transactions in quarantine that wait for an operator.
    pub quarantined: u64,
    /// When the node last got on.
    pub last_progress: Option<UnixMillis>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Makes the handles in the recorder that is in scope: that of `metrics::with_local_recorder`, else the global one.
    #[must_use]
    pub fn new() -> Self {
        names::describe();
        Self { handles: Arc::new(Handles::new()) }
    }

    /// Counts events of a kind that became durable.
    pub fn events(&self, kind: Kind, count: u64) {
        let kind = match kind {
            Kind::Patch => "patch",
            Kind::Tx => "tx",
            Kind::Order => "order",
            Kind::Verdict => "verdict",
        };
        self.handles.events.add(kind, count);
    }

    /// Measures one durable append: how long it took, and how many events it held.
    pub fn appended(&self, took: Duration, events: usize) {
        self.handles.append_seconds.record(took);
        self.handles.append_events.record(float(crate::codec::count(events)));
    }

    /// Counts transactions that were submitted, by how that was answered.
    pub fn submitted(&self, outcome: Submission, txs: u64) {
        let outcome = match outcome {
            Submission::New => "new",
            Submission::Known => "known",
            Submission::Full => "full",
            Submission::TooMuch => "too_much",
            Submission::Refused => "refused",
            Submission::Unknown => "unknown",
            Submission::Down => "down",
        };
        self.handles.submissions.add(outcome, txs);
    }

    /// Measures the time from a submission until it was durable.
    pub fn acknowledged(&self, took: Duration) {
        self.handles.acknowledge_seconds.record(took);
    }

    /// Counts blocks that were ordered.
    pub fn ordered(&self, blocks: u64) {
        self.handles.blocks.add("ordered", blocks);
    }

    /// Counts blocks that were rehearsed.
    pub fn rehearsed(&self, blocks: u64) {
        self.handles.blocks.add("rehearsed", blocks);
    }

    /// Counts one block that was committed, with its transactions.
    pub fn committed(&self, counts: Counts) {
        self.handles.blocks.add("committed", 1);
        self.handles.transactions.add("applied", counts.applied);
        self.handles.transactions.add("rejected", counts.rejected);
        self.handles.transactions.add("quarantined", counts.quarantined);
    }

    /// Measures one advance of the block table.
    pub fn commit_took(&self, took: Duration) {
        self.handles.commit_seconds.record(took);
    }

    /// Shows which of all phases is the present one.
    pub fn phase(&self, name: &str) {
        for phase in names::PHASES.1 {
            self.handles.phase.set(phase, if *phase == name { 1.0 } else { 0.0 });
        }
    }

    /// Shows how far the node is.
    pub fn gauges(&self, gauges: &Gauges) {
        let handles = &self.handles;
        handles.log_head_seq.set(float(gauges.log_head_seq));
        handles.block_height.set(gauges.block_height.map_or(-1.0, |height| float(height.get())));
        handles.lag_blocks.set(float(gauges.lag_blocks));
        handles.lag_txs.set(float(gauges.lag_txs));
        handles.mempool.set(float(gauges.mempool));
        handles.subscribers.set(float(gauges.subscribers));
        handles.quarantined.set(float(gauges.quarantined));
        if let Some(at) = gauges.last_progress {
            handles.last_progress.set(float(at.0) / 1000.0);
        }
    }

    /// Shows how full a mailbox is.
    pub fn mailbox(&self, mailbox: &'static str, depth: u64, capacity: u64) {
        self.handles.mailbox_depth.set(mailbox, float(depth));
        self.handles.mailbox_capacity.set(mailbox, float(capacity));
    }

    /// Counts and measures an HTTP request that was answered.
    pub fn http_request(&self, route: &str, status: u16, took: Duration) {
        self.http_answered(status);
        self.handles.http_requests.add(route, 1);
        self.handles.http_request_seconds.record(took);
    }

    /// Counts an HTTP answer, also one to what never became a request.
    pub fn http_answered(&self, status: u16) {
        let mut digits = [b'0'; 3];
        let [hundreds, tens, ones] = &mut digits;
        let digit = |number: u16| b'0'.saturating_add(u8::try_from(number % 10).unwrap_or(0));
        (*hundreds, *tens, *ones) = (digit(status / 100), digit(status / 10), digit(status));
        self.handles.http_answers.add(std::str::from_utf8(&digits).unwrap_or_default(), 1);
    }

    /// Counts an HTTP connection that was opened.
    pub fn http_connected(&self) {
        self.handles.http_connections.increment(1.0);
    }

    /// Counts an HTTP connection that was closed.
    pub fn http_disconnected(&self) {
        self.handles.http_connections.decrement(1.0);
    }

    /// Counts an HTTP client that was turned away or cut off.
    pub fn http_refused(&self, reason: HttpRefusal) {
        let reason = match reason {
            HttpRefusal::Connections => "connections",
            HttpRefusal::Accept => "accept",
            HttpRefusal::MalformedHead => "malformed_head",
            HttpRefusal::Idle => "idle",
            HttpRefusal::HeadTime => "head_time",
            HttpRefusal::RequestTime => "request_time",
            HttpRefusal::AnswerTime => "answer_time",
        };
        self.handles.http_refused.add(reason, 1);
    }
}

struct Handles {
    events: Family<Counter>,
    append_seconds: Histogram,
    append_events: Histogram,
    submissions: Family<Counter>,
    acknowledge_seconds: Histogram,
    blocks: Family<Counter>,
    transactions: Family<Counter>,
    commit_seconds: Histogram,
    phase: Family<Gauge>,
    log_head_seq: Gauge,
    block_height: Gauge,
    lag_blocks: Gauge,
    lag_txs: Gauge,
    mempool: Gauge,
    subscribers: Gauge,
    quarantined: Gauge,
    last_progress: Gauge,
    mailbox_depth: Family<Gauge>,
    mailbox_capacity: Family<Gauge>,
    http_requests: Family<Counter>,
    http_answers: Family<Counter>,
    http_request_seconds: Histogram,
    http_connections: Gauge,
    http_refused: Family<Counter>,
}

impl Handles {
    fn new() -> Self {
        Self {
            events: Family::counters(names::EVENTS, names::KINDS),
            append_seconds: histogram!(names::APPEND_SECONDS),
            append_events: histogram!(names::APPEND_EVENTS),
            submissions: Family::counters(names::SUBMISSIONS, names::OUTCOMES),
            acknowledge_seconds: histogram!(names::ACKNOWLEDGE_SECONDS),
            blocks: Family::counters(names::BLOCKS, names::STAGES),
            transactions: Family::counters(names::TRANSACTIONS, names::RESULTS),
            commit_seconds: histogram!(names::COMMIT_SECONDS),
            phase: Family::gauges(names::PHASE, names::PHASES),
            log_head_seq: gauge!(names::LOG_HEAD_SEQ),
            block_height: gauge!(names::BLOCK_HEIGHT),
            lag_blocks: gauge!(names::LAG_BLOCKS),
            lag_txs: gauge!(names::LAG_TRANSACTIONS),
            mempool: gauge!(names::MEMPOOL_TRANSACTIONS),
            subscribers: gauge!(names::SUBSCRIBERS),
            quarantined: gauge!(names::QUARANTINED_TRANSACTIONS),
            last_progress: gauge!(names::LAST_PROGRESS),
            mailbox_depth: Family::gauges(names::MAILBOX_DEPTH, names::MAILBOXES),
            mailbox_capacity: Family::gauges(names::MAILBOX_CAPACITY, names::MAILBOXES),
            http_requests: Family::counters(names::HTTP_REQUESTS, names::ROUTES),
            http_answers: Family::counters(names::HTTP_ANSWERS, names::STATUSES),
            http_request_seconds: histogram!(names::HTTP_REQUEST_SECONDS),
            http_connections: gauge!(names::HTTP_CONNECTIONS),
            http_refused: Family::counters(names::HTTP_REFUSED, names::REFUSALS),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures are shown, and exact below 2^53")]
const fn float(number: u64) -> f64 {
    number as f64
}
