//! The figures of the real node: every metric is there, and what can occur with the ledger occurs.

use rewake::telemetry::names::{METRICS, Shape};
use serde_json::json;

use crate::cli::generated;
use crate::http_client::eventually;
use crate::http_node::Running;

#[test]
fn a_running_node_shows_every_metric_and_counts_what_it_does() {
    // Five blocks are recovered, so that each stage of a block occurs twice: in the recovery and after it.
    let (_scratch, data) = generated();
    let node = Running::start("--block-ms 1", &data).ready();
    let head = node.get("/v1/status").json()["block_height"].as_u64().expect("a height");
    let ack = node.submit(&json!({"from": 1, "to": 2, "amount": 1, "nonce": 1_000_000}));
    assert_eq!(ack.status, 200, "{ack:?}");
    let path = format!("/v1/transactions/{}", ack.json()["id"].as_str().expect("an identity"));
    eventually("it is in a block", || node.get(&path).json()["status"] == "rejected");
    // The figures follow the commit a moment later; what had waited before may have had a block of its own.
    let later = ["rewake_commit_seconds_count ", "rewake_transactions_total{result=\"rejected\"} "];
    eventually("it is counted", || {
        let text = node.get("/metrics").body;
        let counts = |series| text.lines().filter_map(move |line| line.strip_prefix(series));
        later.into_iter().all(|series| counts(series).any(|count| count != "0"))
    });
    let text = node.get("/metrics").body;
    for metric in METRICS {
        let series = match metric.shape {
            Shape::Histogram => format!("{}_count", metric.name),
            Shape::Counter | Shape::Gauge => metric.name.to_owned(),
        };
        assert!(text.lines().any(|line| line.starts_with(&series)), "no {series} in\n{text}");
    }
    let value = |series: &str| -> f64 {
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
    };
    let least = [
        ("rewake_events_total{kind=\"tx\"}", 1.0),
        ("rewake_events_total{kind=\"order\"}", 1.0),
        ("rewake_append_seconds_count", 1.0),
        ("rewake_append_events_sum", 2.0),
        ("rewake_acknowledge_seconds_count", 1.0),
        ("rewake_commit_seconds_count", 1.0),
        ("rewake_submissions_total{outcome=\"new\"}", 1.0),
        ("rewake_blocks_total{stage=\"ordered\"}", 1.0),
        ("rewake_blocks_total{stage=\"rehearsed\"}", 6.0),
        ("rewake_blocks_total{stage=\"committed\"}", 6.0),
        ("rewake_transactions_total{result=\"applied\"}", 1.0),
        ("rewake_transactions_total{result=\"rejected\"}", 1.0),
        ("rewake_mailbox_capacity{mailbox=\"append\"}", 1.0),
        ("rewake_mailbox_capacity{mailbox=\"confirm\"}", 1.0),
        ("rewake_mailbox_capacity{mailbox=\"sequence\"}", 1.0),
        ("rewake_mailbox_capacity{mailbox=\"read\"}", 1.0),
        ("rewake_http_request_seconds_count", 3.0),
        ("rewake_http_connections", 1.0),
        ("rewake_last_progress_timestamp_seconds", 1.0),
    ];
    for (series, least) in least {
        assert!(value(series) >= least, "{series} is {}", value(series));
    }
    for route in ["/v1/transactions", "/v1/transactions/{id}", "/v1/status", "/readyz"] {
        let start = format!("rewake_http_requests_total{{route=\"{route}\"");
        let mut counts = text.lines().filter(|line| line.starts_with(&start));
        assert!(counts.any(|line| !line.ends_with(" 0")), "{route} in\n{text}");
    }
    for mailbox in ["append", "confirm", "sequence", "read"] {
        let series = format!("rewake_mailbox_depth{{mailbox=\"{mailbox}\"}}");
        assert!(value(&series) >= 0.0, "{series}");
    }
    let is = |series: &str, expected: f64| {
        let found = value(series);
        assert!((found - expected).abs() < 1e-9, "{series} is {found}, not {expected}");
    };
    for phase in rewake::node::Phase::ALL.map(rewake::node::Phase::name) {
        let series = format!("rewake_phase{{phase=\"{phase}\"}}");
        is(&series, f64::from(u8::from(phase == "ready")));
    }
    // What the program says of itself agrees with what it is asked.
    assert!(value("rewake_block_height") > f64::from(u32::try_from(head).expect("a low height")));
    is("rewake_lag_blocks", 0.0);
    is("rewake_mempool_transactions", 0.0);
    is("rewake_subscribers", 0.0);
    is("rewake_quarantined_transactions", 0.0);
    is("rewake_transactions_total{result=\"quarantined\"}", 0.0);
    assert!(value("rewake_log_head_seq") > 305.0);
    node.end(rustix::process::Signal::TERM, 0);
}
