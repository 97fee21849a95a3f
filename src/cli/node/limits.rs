//! The limits of the HTTP interface as they are typed.

use std::time::Duration;

use clap::Args;

use crate::http::ServerLimits;

/// How much a client may take, and for how long.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct LimitArgs {
    /// Largest body of a request, in bytes
    #[arg(long, default_value_t = small(ServerLimits::default().body_bytes_max), value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    body_bytes_max: u32,
    /// Most transactions of one submission
    #[arg(long, default_value_t = small(ServerLimits::default().batch_txs_max), value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    submission_txs_max: u32,
    /// Most connections at once; open files limit them as well
    #[arg(long, default_value_t = small(ServerLimits::default().connections_max), value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections_max: u32,
    /// Longest time for the head of a request, in seconds
    #[arg(long, default_value_t = ServerLimits::default().header_time_max.as_secs(), value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    header_seconds: u64,
    /// Longest time between two requests of a connection, in seconds
    #[arg(long, default_value_t = ServerLimits::default().idle_time_max.as_secs(), value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    idle_seconds: u64,
    /// Longest time for a request, its body included, in seconds
    #[arg(long, default_value_t = ServerLimits::default().request_time_max.as_secs(), value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    request_seconds: u64,
    /// Longest time for requests in flight when the node stops, in seconds
    #[arg(long, default_value_t = ServerLimits::default().drain_time_max.as_secs(), value_name = "S", value_parser = clap::value_parser!(u64).range(0..=3_600))]
    drain_seconds: u64,
}

impl LimitArgs {
    /// Returns what they mean to the server.
    pub(super) fn limits(self) -> ServerLimits {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        ServerLimits {
            body_bytes_max: number(self.body_bytes_max),
            batch_txs_max: number(self.submission_txs_max),
            connections_max: number(self.connections_max),
            header_time_max: Duration::from_secs(self.header_seconds),
            idle_time_max: Duration::from_secs(self.idle_seconds),
            request_time_max: Duration::from_secs(self.request_seconds),
            drain_time_max: Duration::from_secs(self.drain_seconds),
            ..ServerLimits::default()
        }
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
