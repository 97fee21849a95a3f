//! Telemetry: every metric of the table is shown with every value of its labels, and counts what it says.

use std::time::Duration;

use rewake::block::Counts;
use rewake::event::Kind;
use rewake::node::Phase;
use rewake::telemetry::names::{self, METRICS, Shape};
use rewake::telemetry::{Exposition, Gauges, HttpRefusal, Metrics, Submission};
use rewake::types::{Height, UnixMillis};

/// Returns the value of a series, which must be there.
fn value(text: &str, series: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("no {series} in\n{text}"));
    found.parse().unwrap_or_else(|_| panic!("{series} is {found}"))
}

fn measure_once(metrics: &Metrics) {
    let took = Duration::from_millis(3);
    metrics.appended(took, 7);
    metrics.acknowledged(took);
    metrics.commit_took(took);
    metrics.http_request("/livez", 200, took);
}

#[test]
fn every_metric_of_the_table_is_shown_with_every_value_of_its_labels() {
    let (exposition, metrics) = Exposition::new();
    measure_once(&metrics);
    let text = exposition.render();
    for metric in METRICS {
        let shape = match metric.shape {
            Shape::Counter => "counter",
            Shape::Gauge => "gauge",
            Shape::Histogram => "histogram",
        };
        assert!(text.contains(&format!("# TYPE {} {shape}\n", metric.name)), "{}", metric.name);
        let help = format!("# HELP {} {}", metric.name, metric.help);
        assert!(text.lines().any(|line| line == help), "{help}");
        let series = match metric.shape {
            Shape::Histogram => format!("{}_bucket{{", metric.name),
            _ => metric.name.to_owned(),
        };
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with(&series)).collect();
        assert!(!lines.is_empty(), "{}", metric.name);
        for (label, values) in metric.labels {
            for value in *values {
                let pair = format!("{label}=\"{value}\"");
                assert!(lines.iter().any(|line| line.contains(&pair)), "{} {pair}", metric.name);
            }
        }
    }
}

#[test]
fn what_is_counted_is_shown() {
    let (exposition, metrics) = Exposition::new();
    measure_once(&metrics);
    for (kind, count) in [(Kind::Patch, 1), (Kind::Tx, 2), (Kind::Order, 3), (Kind::Verdict, 4)] {
        metrics.events(kind, count);
    }
    let outcomes = [
        (Submission::New, "new"),
        (Submission::Known, "known"),
        (Submission::Full, "full"),
        (Submission::TooMuch, "too_much"),
        (Submission::Refused, "refused"),
        (Submission::Unknown, "unknown"),
        (Submission::Down, "down"),
    ];
    for (count, (outcome, _)) in (1..).zip(outcomes) {
        metrics.submitted(outcome, count);
    }
    let reasons = [
        (HttpRefusal::Connections, "connections"),
        (HttpRefusal::Accept, "accept"),
        (HttpRefusal::MalformedHead, "malformed_head"),
        (HttpRefusal::Idle, "idle"),
        (HttpRefusal::HeadTime, "head_time"),
        (HttpRefusal::RequestTime, "request_time"),
        (HttpRefusal::AnswerTime, "answer_time"),
    ];
    for (reason, _) in reasons {
        metrics.http_refused(reason);
    }
    metrics.ordered(5);
    metrics.rehearsed(4);
    metrics.committed(Counts { txs: 6, applied: 3, rejected: 2, quarantined: 1 });
    metrics.http_connected();
    metrics.http_connected();
    metrics.http_disconnected();
    metrics.mailbox("append", 3, 64);
    metrics.http_request("/no/such/route", 404, Duration::ZERO);
    metrics.gauges(&Gauges {
        log_head_seq: 11,
        block_height: Some(Height(12)),
        lag_blocks: 13,
        lag_txs: 14,
        mempool: 15,
        subscribers: 16,
        quarantined: 17,
        last_progress: Some(UnixMillis(1_500)),
    });
    let text = exposition.render();
    let mut expected = vec![
        ("rewake_events_total{kind=\"patch\"}".to_owned(), 1.0),
        ("rewake_events_total{kind=\"tx\"}".to_owned(), 2.0),
        ("rewake_events_total{kind=\"order\"}".to_owned(), 3.0),
        ("rewake_events_total{kind=\"verdict\"}".to_owned(), 4.0),
        ("rewake_blocks_total{stage=\"ordered\"}".to_owned(), 5.0),
        ("rewake_blocks_total{stage=\"rehearsed\"}".to_owned(), 4.0),
        ("rewake_blocks_total{stage=\"committed\"}".to_owned(), 1.0),
        ("rewake_transactions_total{result=\"applied\"}".to_owned(), 3.0),
        ("rewake_transactions_total{result=\"rejected\"}".to_owned(), 2.0),
        ("rewake_transactions_total{result=\"quarantined\"}".to_owned(), 1.0),
        ("rewake_append_events_sum".to_owned(), 7.0),
        ("rewake_append_events_bucket{le=\"5\"}".to_owned(), 0.0),
        ("rewake_append_events_bucket{le=\"10\"}".to_owned(), 1.0),
        ("rewake_append_seconds_bucket{le=\"0.0025\"}".to_owned(), 0.0),
        ("rewake_append_seconds_bucket{le=\"0.005\"}".to_owned(), 1.0),
        ("rewake_acknowledge_seconds_count".to_owned(), 1.0),
        ("rewake_commit_seconds_count".to_owned(), 1.0),
        ("rewake_http_request_seconds_count".to_owned(), 2.0),
        ("rewake_http_requests_total{route=\"/livez\"}".to_owned(), 1.0),
        ("rewake_http_requests_total{route=\"other\"}".to_owned(), 1.0),
        ("rewake_http_answers_total{status=\"200\"}".to_owned(), 1.0),
        ("rewake_http_answers_total{status=\"404\"}".to_owned(), 1.0),
        ("rewake_http_connections".to_owned(), 1.0),
        ("rewake_mailbox_depth{mailbox=\"append\"}".to_owned(), 3.0),
        ("rewake_mailbox_capacity{mailbox=\"append\"}".to_owned(), 64.0),
        ("rewake_log_head_seq".to_owned(), 11.0),
        ("rewake_block_height".to_owned(), 12.0),
        ("rewake_lag_blocks".to_owned(), 13.0),
        ("rewake_lag_transactions".to_owned(), 14.0),
        ("rewake_mempool_transactions".to_owned(), 15.0),
        ("rewake_subscribers".to_owned(), 16.0),
        ("rewake_quarantined_transactions".to_owned(), 17.0),
        ("rewake_last_progress_timestamp_seconds".to_owned(), 1.5),
    ];
    for (count, (_, outcome)) in (1u32..).zip(outcomes) {
        let series = format!("rewake_submissions_total{{outcome=\"{outcome}\"}}");
        expected.push((series, count.into()));
    }
    for (_, reason) in reasons {
        expected.push((format!("rewake_http_refused_total{{reason=\"{reason}\"}}"), 1.0));
    }
    for (series, expected) in expected {
        let found = value(&text, &series);
        assert!((found - expected).abs() < 1e-9, "{series} is {found}, not {expected}");
    }
}

#[test]
fn exactly_the_present_phase_is_one() {
    let all = Phase::ALL.map(Phase::name);
    assert_eq!(all, names::PHASES.1, "the table names the phases of a node");
    let (exposition, metrics) = Exposition::new();
    for present in all {
        metrics.phase(present);
        let text = exposition.render();
        for phase in all {
            let shown = value(&text, &format!("rewake_phase{{phase=\"{phase}\"}}"));
            let expected = if phase == present { 1.0 } else { 0.0 };
            assert!((shown - expected).abs() < 1e-9, "{phase} while {present}");
        }
    }
}

#[test]
fn nodes_of_one_process_do_not_share_figures() {
    let ((one, counting), (other, _)) = (Exposition::new(), Exposition::new());
    counting.ordered(3);
    let series = "rewake_blocks_total{stage=\"ordered\"}";
    assert!(value(&one.render(), series) > 2.0);
    assert!(value(&other.render(), series) < 1.0);
}

#[test]
fn observations_survive_upkeep() {
    let (exposition, metrics) = Exposition::new();
    measure_once(&metrics);
    exposition.upkeep();
    measure_once(&metrics);
    let text = exposition.render();
    assert!((value(&text, "rewake_append_seconds_count") - 2.0).abs() < 1e-9);
}

#[test]
fn without_a_recorder_nothing_is_counted_and_nothing_fails() {
    let metrics = Metrics::default();
    measure_once(&metrics);
    metrics.gauges(&Gauges::default());
}
