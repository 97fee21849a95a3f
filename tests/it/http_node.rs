//! `rewake node` as it runs: submissions, questions, signals.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::{Value, json};

use crate::cli::{generated, program, rewake};
use crate::http_client::{Answer, Client, eventually, post};

/// Returns the address in the line with which a program says where it listens.
pub fn address_in(line: &str) -> Option<SocketAddr> {
    line.trim_end().strip_prefix("listening on http://")?.parse().ok()
}

/// A program that serves a node; killed when it is dropped.
pub struct Running {
    child: Child,
    pub address: SocketAddr,
}

impl Running {
    pub fn start(words: &str, data: &Path) -> Self {
        let mut command = program();
        command.args(["node", "--listen", "127.0.0.1:0"]).args(words.split_whitespace());
        command.arg("--data").arg(data).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut line = String::new();
        let mut out = BufReader::with_capacity(1, child.stdout.take().expect("a pipe"));
        out.read_line(&mut line).expect("a line");
        child.stdout = Some(out.into_inner());
        let address = address_in(&line).unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { child, address }
    }

    /// Waits until transactions are taken.
    pub fn ready(self) -> Self {
        eventually("the node is ready", || self.get("/readyz").status == 200);
        self
    }

    pub fn ask(&self, request: &str) -> Answer {
        let mut client = Client::connect(self.address);
        client.send(request.as_bytes());
        client.answer().unwrap_or_else(|| panic!("no answer to {request:?}"))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nconnection: close\r\n\r\n"))
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.ask(&post(path, body))
    }

    pub fn submit(&self, body: &Value) -> Answer {
        self.post("/v1/transactions", &body.to_string())
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends a signal, expects an exit code, and returns what was printed after the first line.
    pub fn end(mut self, signal: Signal, code: i32) -> String {
        kill_process(self.pid(), signal).expect("it runs");
        let status = self.child.wait().expect("it ends");
        let mut printed = String::new();
        let out = self.child.stdout.as_mut().expect("a pipe");
        out.read_to_string(&mut printed).expect("text");
        let err = self.child.stderr.as_mut().expect("a pipe");
        err.read_to_string(&mut printed).expect("text");
        assert_eq!(status.code(), Some(code), "{printed}");
        printed
    }
}

impl Running {
    /// Connects.
    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Gets an address once, if it is answered.
    pub fn try_get(&self, path: &str) -> Option<Answer> {
        self.client().try_ask(&format!("GET {path} HTTP/1.1\r\nconnection: close\r\n\r\n"))
    }

    /// Kills it; says whether it lived until then, and that the signal was its end.
    pub fn kill(mut self) -> bool {
        use std::os::unix::process::ExitStatusExt as _;
        let lived = self.child.try_wait().expect("a status").is_none();
        self.child.kill().expect("a child can be killed");
        lived && self.child.wait().expect("it ends").signal() == Some(9)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where the test did not fail.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn transfer(nonce: u64, amount: u64) -> Value {
    json!({"from": 1, "to": 2, "amount": amount, "nonce": nonce})
}

/// Starts a node with three accounts in a directory that vanishes.
fn fresh(words: &str) -> (tempfile::TempDir, Running) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let words = format!("--create --accounts 3 --balance 100 {words}");
    let running = Running::start(&words, &scratch.path().join("node")).ready();
    (scratch, running)
}

#[test]
fn a_transfer_is_acknowledged_confirmed_and_shown() {
    let (_scratch, node) = fresh("--block-ms 10");
    let ack = node.submit(&transfer(0, 5));
    assert_eq!(ack.status, 200, "{ack:?}");
    let ack = ack.json();
    let again = node.submit(&transfer(0, 5)).json();
    assert_eq!((&again["id"], &again["seq"]), (&ack["id"], &ack["seq"]));
    assert_eq!((&ack["is_new"], &again["is_new"]), (&json!(true), &json!(false)));
    let path = format!("/v1/transactions/{}", ack["id"].as_str().expect("an identity"));
    eventually("it is applied", || node.get(&path).json()["status"] == "applied");
    let shown = node.get(&path).json();
    assert_eq!(shown["transaction"], transfer(0, 5));
    let account = node.get("/v1/accounts/2").json();
    assert_eq!(account, json!({"account": 2, "balance": 105, "nonce": 0}));
    let height = &shown["height"];
    let block = node.get(&format!("/v1/blocks/{height}")).json();
    assert_eq!((&block["height"], &block["applied"]), (height, &json!(1)));
    assert_eq!(block["transactions"][0]["id"], ack["id"]);
    assert_eq!(node.get("/v1/blocks/latest").json(), block);
    let state = node.get("/v1/state/610000000000000002").json();
    assert_eq!(state["value"], "69000000000000000000000000000000");
    let status = node.get("/v1/status").json();
    assert_eq!(status["machine"]["id"], "ledger");
    // The figures follow the commit a moment later.
    eventually("it is counted", || &node.get("/v1/status").json()["block_height"] == height);
    node.end(Signal::TERM, 0);
}

#[test]
fn an_array_is_taken_whole_or_not_at_all() {
    let (_scratch, node) = fresh("--block-ms 3600000 --submission-txs-max 4");
    let acks = node.submit(&json!([transfer(0, 1), transfer(1, 1), transfer(0, 1)])).json();
    let acks = acks.as_array().expect("an array");
    let news: Vec<_> = acks.iter().map(|ack| ack["is_new"] == true).collect();
    assert_eq!(news, [true, true, false]);
    assert_eq!(acks[0]["seq"], acks[2]["seq"]);
    let many: Vec<_> = (2..7).map(|nonce| transfer(nonce, 1)).collect();
    node.submit(&json!(many)).problem(413, "too-much");
    node.submit(&json!([transfer(2, 1), {"from": 1}])).problem(400, "malformed");
    node.submit(&json!([])).problem(400, "malformed");
    let mempool = node.get("/v1/mempool?limit=1").json();
    assert_eq!((&mempool["transactions"], &mempool["has_more"]), (&json!(2), &json!(true)));
    let first = &mempool["page"][0]["seq"];
    let rest = node.get(&format!("/v1/mempool?after={first}")).json();
    assert_eq!(rest["page"].as_array().map(Vec::len), Some(1));
    assert_eq!(rest["has_more"], false);
    let path = format!("/v1/transactions/{}", acks[0]["id"].as_str().expect("an identity"));
    assert_eq!(node.get(&path).json()["status"], "waiting");
    node.end(Signal::INT, 0);
}

#[test]
fn what_cannot_be_understood_is_a_problem_with_its_place() {
    let (_scratch, node) = fresh("--body-bytes-max 1000");
    let cases = [("{\"from\":1,\n  \"fee\":2}", 2, 7), ("[", 1, 1), ("\n\n x", 3, 2)];
    for (body, line, column) in cases {
        let problem = node.post("/v1/transactions", body).problem(400, "malformed");
        assert_eq!(
            (&problem["line"], &problem["column"]),
            (&line.into(), &column.into()),
            "{body}"
        );
    }
    let long = format!("{{\"from\":{}1}}", " ".repeat(2_000));
    node.post("/v1/transactions", &long).problem(413, "payload-too-large");
    let chunked = "POST /v1/transactions HTTP/1.1\r\ncontent-type: application/json\r\n\
                   transfer-encoding: chunked\r\n\r\n";
    let body = format!("800\r\n{}\r\n0\r\n\r\n", " ".repeat(0x800));
    node.ask(&format!("{chunked}{body}")).problem(413, "payload-too-large");
    let plain = "POST /v1/transactions HTTP/1.1\r\ncontent-type: text/plain\r\n\
                 content-length: 2\r\n\r\n{}";
    node.ask(plain).problem(415, "unsupported-media-type");
    node.post("/v1/transactions?wait=perhaps", "{}").problem(400, "malformed");
    node.post("/v1/transactions?later=1", "{}").problem(400, "malformed");
    let malformed = [
        "transactions/x",
        "accounts/x",
        "state/abc",
        "blocks/newest",
        "mempool?limit=1001",
        "mempool?limit=0",
        "mempool?after=x",
        "accounts/%ff",
    ];
    for path in malformed {
        node.get(&format!("/v1/{path}")).problem(400, "malformed");
    }
    let id = "ab".repeat(32);
    let missing =
        [&format!("transactions/{id}"), "accounts/9", "state/ff", "blocks/99", "others/1"];
    for path in missing {
        node.get(&format!("/v1/{path}")).problem(404, "not-found");
    }
    node.end(Signal::TERM, 0);
}

#[test]
fn a_node_that_stops_has_kept_what_it_acknowledged() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    let words = "--create --accounts 3 --balance 100 --block-ms 3600000";
    let node = Running::start(words, &data).ready();
    let id = node.submit(&transfer(0, 5)).json()["id"].clone();
    let path = format!("/v1/transactions/{}", id.as_str().expect("an identity"));
    let printed = node.end(Signal::TERM, 0);
    assert!(printed.contains("ready: ") && printed.contains("stopped at event"), "{printed}");
    assert!(rewake("status", &data).expect(0).out.contains("1 transactions received"));
    // `--create` makes nothing where a node is.
    let node = Running::start(words, &data).ready();
    assert_eq!(node.get(&path).json()["status"], "waiting");
    node.end(Signal::TERM, 0);
}

#[test]
fn a_node_that_was_killed_before_its_genesis_was_logged_gets_it_at_the_next_start() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    // What such a kill leaves is what `init` makes: a node whose log is empty.
    rewake("init", &data).expect(0);
    let words = "--create --accounts 3 --balance 100";
    for _ in 0..2 {
        let node = Running::start(words, &data).ready();
        eventually("genesis is confirmed", || node.get("/v1/accounts/1").status == 200);
        let account = node.get("/v1/accounts/1").json();
        assert_eq!(account, json!({"account": 1, "balance": 100, "nonce": 0}));
        let status = node.get("/v1/status").json();
        assert_eq!(status["log_head_seq"], 2, "genesis is logged once: {status}");
        node.end(Signal::TERM, 0);
    }
}

#[test]
fn a_node_that_is_behind_recovers_first() {
    let (_scratch, data) = generated();
    let node = Running::start("", &data).ready();
    assert_eq!(node.get("/v1/status").json()["pending_blocks"], 0);
    assert_eq!(node.get("/livez").json(), json!({"phase": "ready"}));
    let printed = node.end(Signal::TERM, 0);
    assert!(printed.contains("ready: 5 blocks recovered"), "{printed}");
}

#[test]
fn a_system_without_a_descriptor_to_spare_ends_nothing() {
    let (_scratch, node) = fresh("");
    // Made before, so that its own descriptor is there, and what it asks needs no other.
    let mut asked = Client::connect(node.address);
    let few = Rlimit { current: Some(40), maximum: Some(40) };
    prlimit(Some(node.pid()), Resource::Nofile, few).expect("a child may be given less");
    // They are held until the node has met its limit: one that left at once would give its descriptor back.
    let clients: Vec<Client> = (0..60).map(|_| Client::connect(node.address)).collect();
    let refused = || {
        asked.send(b"GET /metrics HTTP/1.1\r\nhost: here\r\n\r\n");
        let text = asked.answer().expect("a connection that was accepted is served").body;
        let series = "rewake_http_refused_total{reason=\"accept\"} ";
        text.lines().any(|line| line.strip_prefix(series).is_some_and(|count| count != "0"))
    };
    eventually("a connection could not be accepted", refused);
    drop(clients);
    eventually("others can be accepted", || node.get("/livez").status == 200);
    node.end(Signal::TERM, 0);
}

#[test]
fn a_probe_address_serves_probes_alone() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    // The first line names the address of the probes, as the last one that is printed before it is served.
    let mut command = program();
    let words = ["node", "--create", "--listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"];
    command.args(words).arg("--data").arg(&data).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut address = |lead: &str| -> SocketAddr {
        let line = lines.next().expect("a line").expect("text");
        line.strip_prefix(lead).and_then(|address| address.parse().ok()).expect("an address")
    };
    let probes = address("probes listen on http://");
    let main = address("listening on http://");
    let mut running = Running { child, address: main };
    eventually("the node is ready", || running.get("/readyz").status == 200);
    assert_eq!(running.get("/v1/status").status, 200);
    running.address = probes;
    assert_eq!(running.get("/readyz").status, 200);
    running.get("/v1/status").problem(404, "not-found");
    assert!(running.get("/metrics").body.contains("rewake_phase{phase=\"ready\"} 1"));
}
