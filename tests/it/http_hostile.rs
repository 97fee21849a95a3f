//! The HTTP interface under clients that mean no good, or know no better.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use rewake::http::ServerLimits;

use crate::http_client::{Client, Served, eventually};

const SHORT: Duration = Duration::from_millis(300);

/// Serves a route that reads the body as well.
fn reading(limits: ServerLimits) -> Served {
    let length = async |body: Bytes| body.len().to_string();
    Served::start(limits, |router: Router| router.route("/length", post(length)))
}

fn limits() -> ServerLimits {
    ServerLimits { body_bytes_max: 64 << 10, head_bytes_max: 8 << 10, ..ServerLimits::default() }
}

#[test]
fn a_body_of_a_gibibyte_is_refused_before_a_byte_of_it() {
    let served = reading(limits());
    for path in ["/length", "/v1/transactions", "/none"] {
        let mut client = served.client();
        let length = 1u64 << 30;
        client.send(format!("POST {path} HTTP/1.1\r\ncontent-length: {length}\r\n\r\n").as_bytes());
        client.answer().expect("an answer").problem(413, "payload-too-large");
        assert!(client.is_closed());
    }
}

#[test]
fn a_client_that_sends_its_body_unasked_reads_the_refusal_all_the_same() {
    let served = reading(limits());
    let mut client = served.client();
    client.send(b"POST /length HTTP/1.1\r\ncontent-length: 1073741824\r\n\r\n");
    // It may be cut off at any point of this.
    let chunk = vec![b'x'; 64 << 10];
    let _ = (0..16).all(|_| client.try_send(&chunk));
    client.answer().expect("an answer").problem(413, "payload-too-large");
}

#[test]
fn a_body_is_taken_up_to_the_limit() {
    let served = reading(limits());
    for length in [0, 1, limits().body_bytes_max] {
        let body = "x".repeat(length);
        let head = format!("POST /length HTTP/1.1\r\ncontent-length: {length}\r\n\r\n");
        let answer = served.ask(&format!("{head}{body}"));
        assert_eq!((answer.status, answer.body), (200, length.to_string()));
    }
}

#[test]
fn an_endless_body_ends_at_the_limit() {
    let served = reading(limits());
    let mut client = served.client();
    client.send(b"POST /length HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let chunks = (0..1_000_000).take_while(|_| client.try_send(chunk.as_bytes())).count();
    assert!(chunks < 1_000_000, "the server reads for ever");
}

#[test]
fn an_endless_body_is_answered() {
    let served = reading(limits());
    let mut client = served.client();
    client.send(b"POST /length HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    // As much as it takes, and no more than what fits between the two.
    let _ = (0..20).all(|_| client.try_send(chunk.as_bytes()));
    assert_eq!(client.answer().expect("an answer").status, 413);
    assert!(client.is_closed());
}

#[test]
fn a_body_that_comes_byte_by_byte_is_given_up_on() {
    let served = reading(ServerLimits { request_time_max: SHORT, ..limits() });
    let mut client = served.client();
    client.send(b"POST /length HTTP/1.1\r\ncontent-length: 10000\r\n\r\n");
    client.trickle(b'x').expect("an answer").problem(408, "timed-out");
    assert!(client.is_closed());
    assert!(served.refused("request_time") > 0.5);
}

#[test]
fn a_head_that_comes_byte_by_byte_is_given_up_on() {
    let served = reading(ServerLimits { header_time_max: SHORT, ..limits() });
    let mut client = served.client();
    client.send(b"GET /livez HTTP/1.1\r\nx-header: ");
    client.trickle(b'x').expect("an answer").problem(408, "timed-out");
    assert!(client.is_closed());
    // The same on a connection that was served before.
    let mut client = served.client();
    client.send(b"GET /livez HTTP/1.1\r\n\r\n");
    assert_eq!(client.answer().expect("an answer").status, 200);
    client.send(b"G");
    client.answer().expect("an answer").problem(408, "timed-out");
    assert!((served.refused("head_time") - 2.0).abs() < 0.5);
    assert!((served.answered(408) - 2.0).abs() < 0.5);
}

#[test]
fn a_connection_that_asks_nothing_is_ended() {
    let served = reading(ServerLimits { idle_time_max: SHORT, ..limits() });
    let mut silent = served.client();
    let mut kept = served.client();
    kept.send(b"GET /livez HTTP/1.1\r\n\r\n");
    assert_eq!(kept.answer().expect("an answer").status, 200);
    assert!(silent.is_closed() && kept.is_closed());
    assert!((served.refused("idle") - 2.0).abs() < 0.5);
}

#[test]
fn an_answer_that_is_not_read_is_given_up_on() {
    let large = |router: Router| router.route("/large", get(async || "x".repeat(64 << 20)));
    let served = Served::start(ServerLimits { idle_time_max: SHORT, ..limits() }, large);
    let mut client = served.client();
    client.send(b"GET /large HTTP/1.1\r\n\r\n");
    eventually("the connection is given up on", || served.refused("answer_time") > 0.5);
}

#[test]
fn a_handler_that_is_late_is_given_up_on() {
    let never = |router: Router| router.route("/never", get(std::future::pending::<()>));
    let limits = ServerLimits { request_time_max: SHORT, ..limits() };
    let served = Served::start(limits, never);
    served.get("/never").problem(503, "no-answer");
}

#[test]
fn heads_that_are_none_are_problems() {
    let served = reading(limits());
    let long = "x".repeat(9_000);
    let many = "h: x\r\n".repeat(200);
    let cases = [
        ("nonsense\r\n\r\n", 400, "malformed"),
        ("GET\r\n\r\n", 400, "malformed"),
        ("GET / HTTP/9.9\r\n\r\n", 400, "malformed"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "malformed"),
        ("GET / HTTP/1.1\r\na: \0\r\n\r\n", 400, "malformed"),
        ("\u{1}\u{2}\u{3}\r\n\r\n", 400, "malformed"),
        ("POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400, "malformed"),
        ("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400, "malformed"),
        (&format!("GET / HTTP/1.1\r\na: {long}\r\n\r\n"), 431, "head-too-large"),
        (&format!("GET / HTTP/1.1\r\n{many}\r\n"), 431, "head-too-large"),
        (&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)), 431, "head-too-large"),
    ];
    for (head, status, name) in cases {
        let mut client = served.client();
        client.try_send(head.as_bytes());
        let shown: String = head.chars().take(60).collect();
        let answer = client.answer().unwrap_or_else(|| panic!("no answer to {shown:?}"));
        answer.problem(status, name);
        assert!(client.is_closed(), "{shown:?}");
    }
    assert!((served.refused("malformed_head") - 11.0).abs() < 0.5);
    let counts = [served.answered(400), served.answered(431)];
    assert!((counts[0] - 8.0).abs() < 0.5 && (counts[1] - 3.0).abs() < 0.5, "{counts:?}");
}

#[test]
fn an_address_that_is_too_long_is_a_problem() {
    let served = reading(ServerLimits { head_bytes_max: 128 << 10, ..limits() });
    let path = "x".repeat(70_000);
    served.ask(&format!("GET /{path} HTTP/1.1\r\n\r\n")).problem(414, "address-too-long");
    assert!((served.answered(414) - 1.0).abs() < 0.5);
}

#[test]
fn another_protocol_is_ended_without_harm() {
    let served = reading(limits());
    let hellos: [&[u8]; 2] = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"];
    for hello in hellos {
        let mut client = served.client();
        client.send(hello);
        if let Some(answer) = client.answer() {
            answer.problem(400, "malformed");
        }
        assert!(client.is_closed());
    }
    assert_eq!(served.get("/livez").status, 200);
}

#[test]
fn a_burst_of_connections_finds_room_before_any_is_accepted() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let telemetry = rewake::telemetry::Exposition::new();
    let bound = runtime.block_on(rewake::http::Server::bind(local, limits(), telemetry));
    let server = bound.expect("a free port");
    // Nobody accepts: what the system has no room for never gets through.
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
    let most: usize = most.map_or(128, |text| text.trim().parse().expect("a number"));
    let connect = || {
        std::net::TcpStream::connect_timeout(&server.address(), Duration::from_secs(10))
            .expect("there is room")
    };
    let burst: Vec<_> = (0..most.min(1_000)).map(|_| connect()).collect();
    assert_eq!(burst.len(), most.min(1_000));
}

#[test]
fn connections_beyond_the_limit_are_told_so_and_room_is_made_again() {
    const MOST: usize = 50;
    let limits =
        ServerLimits { connections_max: MOST, idle_time_max: Duration::from_secs(3), ..limits() };
    let served = reading(limits);
    let mut clients: Vec<Client> = (0..MOST + 30).map(|_| served.client()).collect();
    for mut refused in clients.split_off(MOST) {
        let answer = refused.answer().expect("an answer");
        answer.problem(503, "too-many-connections");
        assert!(refused.is_closed());
    }
    assert!(clients.iter_mut().all(Client::is_closed), "idle connections are ended");
    eventually("there is room again", || served.get("/livez").status == 200);
    assert!(served.refused("connections") > 29.5);
    assert!(served.answered(503) > 29.5);
    eventually("the asking connection is the only one", || {
        served.metric("rewake_http_connections") < 1.5
    });
}
