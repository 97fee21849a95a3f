//! Limits: how much a client may take of the server, and for how long.

use std::time::Duration;

/// The limits of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Largest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// Bytes of bodies of more than 16 KiB that are taken at once, all connections together; one body always is.
    pub bodies_bytes_max: usize,
    /// Bytes of answers of more than 16 KiB that are given at once, all connections together; one answer always is.
    pub answers_bytes_max: usize,
    /// Largest head of a request, in bytes; at least 8192.
    pub head_bytes_max: usize,
    /// Longest time from the first byte of a head to its last.
    pub header_time_max: Duration,
    /// Longest time from an answer to the first byte of the next head; the answer is to be read within it, too.
    pub idle_time_max: Duration,
    /// Longest time from the head of a request to that of its answer; the body is to be sent within it.
    pub request_time_max: Duration,
    /// Longest time that requests in flight are given when the server stops.
    pub drain_time_max: Duration,
    /// Connections at once.
    pub connections_max: usize,
    /// Transactions of one submission.
    pub batch_txs_max: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            body_bytes_max: 4 << 20,
            bodies_bytes_max: 64 << 20,
            answers_bytes_max: 256 << 20,
            head_bytes_max: 32 << 10,
            header_time_max: Duration::from_secs(5),
            idle_time_max: Duration::from_secs(30),
            request_time_max: Duration::from_secs(30),
            drain_time_max: Duration::from_secs(5),
            connections_max: 1024,
            batch_txs_max: 1000,
        }
    }
}
