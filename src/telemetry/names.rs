//! Names: every metric with its labels, its unit and what it says.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// What kind of figure a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A sum that only grows.
    Counter,
    /// A value that rises and falls.
    Gauge,
    /// Observations, counted by size.
    Histogram,
}

/// A label with every value that it takes.
pub type Label = (&'static str, &'static [&'static str]);

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub shape: Shape,
    /// What is counted or measured.
    pub unit: Unit,
    /// Its labels.
    pub labels: &'static [Label],
    /// What it says.
    pub help: &'static str,
}

/// Kinds of events.
pub const KINDS: Label = ("kind", &["patch", "tx", "order", "verdict"]);
/// How a submission ended.
pub const OUTCOMES: Label =
    ("outcome", &["new", "known", "full", "too_much", "refused", "unknown", "down"]);
/// Steps of a block's way.
pub const STAGES: Label = ("stage", &["ordered", "rehearsed", "committed"]);
/// How a transaction ended.
pub const RESULTS: Label = ("result", &["applied", "rejected", "quarantined"]);
/// Phases of a node.
pub const PHASES: Label = (
    "phase",
    &["checking", "rehearsing", "committing", "ready", "degraded", "halted", "failed", "stopping"],
);
/// Mailboxes of a node.
pub const MAILBOXES: Label = ("mailbox", &["append", "confirm", "sequence", "read"]);
/// Routes of the HTTP interface; a path that none of them fits is shown as `other`.
pub const ROUTES: Label = (
    "route",
    &[
        "/livez",
        "/readyz",
        "/metrics",
        "/v1/transactions",
        "/v1/transactions/{id}",
        "/v1/accounts/{account}",
        "/v1/state/{key}",
        "/v1/blocks/{height}",
        "/v1/mempool",
        "/v1/status",
        "other",
    ],
);
/// Status codes of the HTTP interface.
pub const STATUSES: Label = (
    "status",
    &["200", "400", "404", "405", "408", "413", "414", "415", "422", "431", "500", "503"],
);
/// Why the HTTP interface had nothing to do with a client.
pub const REFUSALS: Label = (
    "reason",
    &[
        "connections",
        "accept",
        "malformed_head",
        "idle",
        "head_time",
        "request_time",
        "answer_time",
    ],
);

/// Events that were logged.
pub const EVENTS: &str = "rewake_events_total";
/// Time of an append.
pub const APPEND_SECONDS: &str = "rewake_append_seconds";
/// Size of an append.
pub const APPEND_EVENTS: &str = "rewake_append_events";
/// Transactions that were submitted.
pub const SUBMISSIONS: &str = "rewake_submissions_total";
/// Time until a submission is durable.
pub const ACKNOWLEDGE_SECONDS: &str = "rewake_acknowledge_seconds";
/// Blocks by stage.
pub const BLOCKS: &str = "rewake_blocks_total";
/// Transactions of committed blocks.
pub const TRANSACTIONS: &str = "rewake_transactions_total";
/// Time of a commit.
pub const COMMIT_SECONDS: &str = "rewake_commit_seconds";
/// The present phase.
pub const PHASE: &str = "rewake_phase";
/// The last event.
pub const LOG_HEAD_SEQ: &str = "rewake_log_head_seq";
/// The last confirmed block.
pub const BLOCK_HEIGHT: &str = "rewake_block_height";
/// Blocks that wait to be confirmed.
pub const LAG_BLOCKS: &str = "rewake_lag_blocks";
/// Transactions in those.
pub const LAG_TRANSACTIONS: &str = "rewake_lag_transactions";
/// Transactions in no block.
pub const MEMPOOL_TRANSACTIONS: &str = "rewake_mempool_transactions";
/// Subscribers of the node.
pub const SUBSCRIBERS: &str = "rewake_subscribers";
/// Transactions that wait for an operator.
pub const QUARANTINED_TRANSACTIONS: &str = "rewake_quarantined_transactions";
/// When the node last got on.
pub const LAST_PROGRESS: &str = "rewake_last_progress_timestamp_seconds";
/// What waits in a mailbox.
pub const MAILBOX_DEPTH: &str = "rewake_mailbox_depth";
/// What a mailbox holds at most.
pub const MAILBOX_CAPACITY: &str = "rewake_mailbox_capacity";
/// HTTP requests that were answered.
pub const HTTP_REQUESTS: &str = "rewake_http_requests_total";
/// HTTP answers by status.
pub const HTTP_ANSWERS: &str = "rewake_http_answers_total";
/// Time of an HTTP request.
pub const HTTP_REQUEST_SECONDS: &str = "rewake_http_request_seconds";
/// Open HTTP connections.
pub const HTTP_CONNECTIONS: &str = "rewake_http_connections";
/// HTTP clients that were turned away.
pub const HTTP_REFUSED: &str = "rewake_http_refused_total";

const fn counter(name: &'static str, labels: &'static [Label], help: &'static str) -> Metric {
    Metric { name, shape: Shape::Counter, unit: Unit::Count, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [Label], help: &'static str) -> Metric {
    Metric { name, shape: Shape::Gauge, unit: Unit::Count, labels, help }
}

const fn seconds(name: &'static str, help: &'static str) -> Metric {
    Metric { name, shape: Shape::Histogram, unit: Unit::Seconds, labels: &[], help }
}

/// Every metric.
pub const METRICS: &[Metric] = &[
    counter(EVENTS, &[KINDS], "Events that are durable in the log"),
    seconds(APPEND_SECONDS, "Time of one durable append to the log"),
    Metric {
        name: APPEND_EVENTS,
        shape: Shape::Histogram,
        unit: Unit::Count,
        labels: &[],
        help: "Events of one durable append to the log",
    },
    counter(SUBMISSIONS, &[OUTCOMES], "Transactions that were submitted, by what was answered"),
    seconds(ACKNOWLEDGE_SECONDS, "Time from a submission until it is durable"),
    counter(BLOCKS, &[STAGES], "Blocks that reached a stage"),
    counter(TRANSACTIONS, &[RESULTS], "Transactions of committed blocks, by what became of them"),
    seconds(COMMIT_SECONDS, "Time of one advance of the block table"),
    gauge(PHASE, &[PHASES], "1 for what the node is doing, 0 for everything else"),
    gauge(LOG_HEAD_SEQ, &[], "Position of the last event of the log"),
    gauge(BLOCK_HEIGHT, &[], "Height of the last confirmed block, -1 before the first"),
    gauge(LAG_BLOCKS, &[], "Blocks that are ordered and not confirmed"),
    gauge(LAG_TRANSACTIONS, &[], "Transactions in blocks that are ordered and not confirmed"),
    gauge(MEMPOOL_TRANSACTIONS, &[], "Transactions that were received and are in no block"),
    gauge(SUBSCRIBERS, &[], "Subscribers that are told what is committed"),
    gauge(QUARANTINED_TRANSACTIONS, &[], "Transactions in quarantine that wait for an operator"),
    Metric {
        name: LAST_PROGRESS,
        shape: Shape::Gauge,
        unit: Unit::Seconds,
        labels: &[],
        help: "When the node last got on, in seconds since 1970-01-01",
    },
    gauge(MAILBOX_DEPTH, &[MAILBOXES], "Messages that wait in a mailbox"),
    gauge(MAILBOX_CAPACITY, &[MAILBOXES], "Messages that a mailbox holds at most"),
    counter(HTTP_REQUESTS, &[ROUTES], "HTTP requests that were answered"),
    counter(
        HTTP_ANSWERS,
        &[STATUSES],
        "HTTP answers, those to what never became a request among them",
    ),
    seconds(
        HTTP_REQUEST_SECONDS,
        "Time from the head of an HTTP request to the head of its answer",
    ),
    gauge(HTTP_CONNECTIONS, &[], "Open HTTP connections"),
    counter(HTTP_REFUSED, &[REFUSALS], "HTTP clients that were turned away or cut off"),
];

/// Tells the recorder in scope what every metric says.
pub(super) fn describe() {
    for Metric { name, shape, unit, help, .. } in METRICS.iter().copied() {
        match shape {
            Shape::Counter => describe_counter!(name, unit, help),
            Shape::Gauge => describe_gauge!(name, unit, help),
            Shape::Histogram => describe_histogram!(name, unit, help),
        }
    }
}
