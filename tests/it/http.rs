//! The HTTP interface without a node: probes, problems, and clients that ask for nothing in particular.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::{get, post};
use rewake::http::{Server, ServerLimits};
use rewake::node::{Phase, Readiness};
use rewake::telemetry::Exposition;
use tokio::sync::Notify;

use crate::http_client::{Client, Served, eventually, readiness};

fn served() -> Served {
    Served::with(ServerLimits::default())
}

#[test]
fn probes_answer_in_every_phase() {
    let served = served();
    for phase in Phase::ALL {
        served.phase.send_replace(readiness(phase));
        let (live, ready) = (served.get("/livez"), served.get("/readyz"));
        if phase == Phase::Failed {
            live.problem(503, "down");
        } else {
            assert_eq!((live.status, &live.json()["phase"]), (200, &phase.name().into()));
        }
        let shown = if phase.is_ready() {
            assert_eq!(ready.status, 200, "{ready:?}");
            ready.json()
        } else {
            ready.problem(503, "not-ready")
        };
        let shown: Readiness = serde_json::from_value(shown["readiness"].clone()).expect("whole");
        assert_eq!(shown, readiness(phase));
        for other in Phase::ALL {
            let series = format!("rewake_phase{{phase=\"{}\"}}", other.name());
            assert_eq!(served.metric(&series) > 0.5, other == phase, "{series}");
        }
    }
}

#[test]
fn a_node_is_ready_when_its_clients_are_let_in() {
    let served = served();
    served.phase.send_replace(Readiness { held: 2, ..readiness(Phase::Degraded) });
    served.is_open.store(false, Ordering::Relaxed);
    let problem = served.get("/readyz").problem(503, "not-ready");
    assert_eq!(problem["detail"], "the node lets clients in in a moment");
    assert!(served.metric("rewake_log_head_seq") < 0.5, "nothing is known of it yet");
    served.is_open.store(true, Ordering::Relaxed);
    assert_eq!(served.get("/readyz").status, 200);
    assert!((served.metric("rewake_log_head_seq") - 41.0).abs() < 0.5);
    assert!((served.metric("rewake_quarantined_transactions") - 2.0).abs() < 0.5);
    assert!((served.metric("rewake_last_progress_timestamp_seconds") - 2.0).abs() < 0.5);
}

#[test]
fn a_probe_says_when_to_come_back_and_why_not_yet() {
    let served = served();
    let cases = [(None, "1", 1_000), (Some(2_500), "3", 2_500), (Some(3_600_000), "60", 60_000)];
    for (remaining_ms, header, wait_ms) in cases {
        let detail = Some("block 7 differs".to_owned());
        served.phase.send_replace(Readiness {
            remaining_ms,
            detail,
            ..readiness(Phase::Committing)
        });
        let ready = served.get("/readyz");
        let problem = ready.problem(503, "not-ready");
        assert_eq!(ready.header("retry-after"), Some(header));
        assert_eq!(problem["retry_after_ms"], wait_ms);
        assert_eq!(problem["detail"], "the node is committing: block 7 differs");
    }
}

#[test]
fn without_a_node_every_question_is_answered_with_its_readiness() {
    let served = served();
    for phase in [Phase::Checking, Phase::Ready, Phase::Halted] {
        served.phase.send_replace(readiness(phase));
        for path in
            ["transactions/x", "accounts/1", "state/00", "blocks/latest", "mempool", "status"]
        {
            let problem = served.get(&format!("/v1/{path}")).problem(503, "not-ready");
            assert_eq!(problem["readiness"]["phase"], phase.name());
        }
        let post = "POST /v1/transactions HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n\r\n{}";
        served.ask(post).problem(503, "not-ready");
    }
}

#[test]
fn an_address_or_method_that_is_not_there_is_a_problem() {
    let served = served();
    for path in
        ["/", "/v1", "/v2/status", "/livez/", "/v1/transactions/1/2/3", "/%2e%2e/x", "/\u{e9}"]
    {
        served.get(path).problem(404, "not-found");
    }
    let cases = [
        ("POST", "/livez", "GET,HEAD"),
        ("DELETE", "/v1/transactions", "POST"),
        ("GET", "/v1/transactions", "POST"),
        ("PUT", "/v1/status", "GET,HEAD"),
        ("BREW", "/readyz", "GET,HEAD"),
    ];
    for (method, path, allowed) in cases {
        let answer = served.ask(&format!("{method} {path} HTTP/1.1\r\nhost: here\r\n\r\n"));
        answer.problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), Some(allowed), "{answer:?}");
    }
}

#[test]
fn requests_are_counted_by_route_and_status() {
    let served = served();
    for path in ["/livez", "/livez", "/readyz", "/v1/blocks/7", "/v1/nothing/7", "/nothing"] {
        served.get(path);
    }
    let expected = [
        ("requests_total{route=\"/livez\"}", 2.0),
        ("requests_total{route=\"/readyz\"}", 1.0),
        ("requests_total{route=\"/v1/blocks/{height}\"}", 1.0),
        ("requests_total{route=\"other\"}", 2.0),
        ("answers_total{status=\"503\"}", 3.0),
        ("answers_total{status=\"404\"}", 1.0),
    ];
    for (series, count) in expected {
        let found = served.metric(&format!("rewake_http_{series}"));
        assert!((found - count).abs() < 0.5, "{series} is {found}");
    }
}

#[test]
fn a_connection_serves_many_requests_also_when_they_come_at_once() {
    let served = served();
    let mut client = served.client();
    let one = "GET /livez HTTP/1.1\r\nhost: here\r\n\r\n";
    for _ in 0..3 {
        client.send(one.as_bytes());
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    client.send(format!("{one}{one}GET /none HTTP/1.1\r\nhost: here\r\n\r\n{one}").as_bytes());
    let statuses: Vec<_> = (0..4).map(|_| client.answer().expect("an answer").status).collect();
    assert_eq!(statuses, [200, 200, 404, 200]);
}

#[test]
fn a_long_answer_arrives_whole() {
    const LENGTH: usize = 8 << 20;
    let large = |router: Router| router.route("/large", get(async || "x".repeat(LENGTH)));
    let served = Served::start(ServerLimits::default(), large);
    let mut client = served.client();
    for _ in 0..2 {
        client.send(b"GET /large HTTP/1.1\r\nhost: here\r\n\r\n");
        let answer = client.answer().expect("an answer");
        assert_eq!((answer.status, answer.body.len()), (200, LENGTH));
    }
}

#[test]
fn a_handler_that_panics_costs_its_own_request_only() {
    async fn panicking() {
        panic!("this is the panic of a test")
    }
    let route = |router: Router| router.route("/panic", post(panicking));
    let served = Served::start(ServerLimits::default(), route);
    let mut other = served.client();
    let request = "POST /panic HTTP/1.1\r\nhost: here\r\ncontent-length: 0\r\n\r\n";
    for _ in 0..3 {
        served.ask(request).problem(500, "internal");
    }
    other.send(b"GET /livez HTTP/1.1\r\nhost: here\r\n\r\n");
    assert_eq!(other.answer().expect("an answer").status, 200);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let served = served();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let bound = Server::bind(served.address, ServerLimits::default(), Exposition::new());
    let error = runtime.block_on(bound).err().expect("the port is taken").to_string();
    let expected = format!("cannot listen on {}: ", served.address);
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn files_that_may_be_open_limit_the_connections() {
    use rustix::process::{Resource, getrlimit};
    let served = Served::with(ServerLimits { connections_max: usize::MAX, ..served().limits });
    let limit = getrlimit(Resource::Nofile);
    assert_eq!(limit.current, limit.maximum, "the soft limit was raised");
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(u64::try_from(served.limits.connections_max).expect("it fits") < most);
}

#[test]
fn a_server_that_stops_answers_what_is_in_flight_and_nothing_else() {
    let (release, has_begun) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (held, begun) = (Arc::clone(&release), Arc::clone(&has_begun));
    let hold = async move || {
        begun.store(true, Ordering::Relaxed);
        held.notified().await;
        "done"
    };
    let served = Served::start(ServerLimits::default(), |router| router.route("/hold", get(hold)));
    let (mut idle, mut busy) = (served.client(), served.client());
    idle.send(b"GET /livez HTTP/1.1\r\nhost: here\r\n\r\n");
    assert_eq!(idle.answer().expect("an answer").status, 200);
    busy.send(b"GET /hold HTTP/1.1\r\nhost: here\r\n\r\n");
    eventually("the request is in flight", || has_begun.load(Ordering::Relaxed));
    served.stop();
    assert!(idle.is_closed(), "a connection without a request is ended at once");
    release.notify_one();
    let answer = busy.answer().expect("it is answered");
    assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
    assert!(busy.is_closed());
    served.join();
    assert!(std::net::TcpStream::connect(served.address).is_err(), "nobody listens any more");
}

#[test]
fn a_server_that_stops_does_not_wait_for_ever() {
    let has_begun = Arc::new(AtomicBool::new(false));
    let begun = Arc::clone(&has_begun);
    let never = async move || {
        begun.store(true, Ordering::Relaxed);
        std::future::pending::<()>().await;
    };
    let drain_time_max = std::time::Duration::from_millis(100);
    let limits = ServerLimits { drain_time_max, ..ServerLimits::default() };
    let served = Served::start(limits, |router| router.route("/never", get(never)));
    let mut client = Client::connect(served.address);
    client.send(b"GET /never HTTP/1.1\r\nhost: here\r\n\r\n");
    eventually("the request is in flight", || has_begun.load(Ordering::Relaxed));
    served.stop();
    served.join();
    assert!(client.answer().is_none());
}
