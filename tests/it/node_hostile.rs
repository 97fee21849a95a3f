//! The real node in hostile surroundings: whatever they do, one honest client is acknowledged throughout.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{rewake, run};
use crate::http_client::{Answer, Client, eventually};
use crate::http_node::Running;

/// Most memory that a node may ever have had, in KiB.
const MEMORY_KIB_MAX: u64 = 400 << 10;

fn transfer(from: u64, nonce: u64) -> Value {
    json!({"from": from, "to": from + 1, "amount": 1, "nonce": nonce})
}

fn post(body: &str) -> String {
    format!(
        "POST /v1/transactions HTTP/1.1\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Makes a node with accounts and starts it.
fn node(words: &str) -> (TempDir, Running) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let words = format!("--create --accounts 100 --block-ms 20 {words}");
    let node = Running::start(&words, &scratch.path().join("node")).ready();
    (scratch, node)
}

/// Returns a line of what the kernel says of a process, in KiB.
fn memory_kib(node: &Running, what: &str) -> u64 {
    let path = format!("/proc/{}/status", node.pid().as_raw_nonzero());
    let text = fs::read_to_string(path).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.expect("a line").parse().expect("a number")
}

fn metric(text: &str, series: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
}

/// A client that submits one transfer after the other on a connection of its own, from before to after.
struct Honest {
    acknowledged: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Honest {
    fn start(node: &Running) -> Self {
        let (acknowledged, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, over) = (Arc::clone(&acknowledged), Arc::clone(&is_over));
        let mut client = Client::connect(node.address);
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let nonce = count.load(Ordering::Relaxed);
                let began = Instant::now();
                client.send(post(&transfer(50, nonce).to_string()).as_bytes());
                let answer = client.answer().expect("an answer");
                assert_eq!((answer.status, &answer.json()["is_new"]), (200, &json!(true)));
                longest = longest.max(began.elapsed());
                count.fetch_add(1, Ordering::Relaxed);
            }
            longest
        });
        let honest = Self { acknowledged, is_over, thread };
        honest.goes_on();
        honest
    }

    /// Waits until some more are acknowledged.
    fn goes_on(&self) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        eventually("an honest client is acknowledged", || {
            assert!(!self.thread.is_finished(), "the honest client was not acknowledged");
            self.acknowledged.load(Ordering::Relaxed) > before + 20
        });
    }

    /// Checks that all of it is there, ends the node in an orderly way, and holds its memory against the limit.
    fn end(self, what: &str, node: Running) {
        self.goes_on();
        self.is_over.store(true, Ordering::Relaxed);
        let longest = self.thread.join().expect("each was acknowledged");
        let count = self.acknowledged.load(Ordering::Relaxed);
        eventually("each of them is applied", || {
            node.get("/v1/accounts/50").json()["nonce"] == count
        });
        let (most, now) = (memory_kib(&node, "VmHWM"), memory_kib(&node, "VmRSS"));
        println!(
            "{what}: {count} acknowledged, the slowest in {longest:?}; memory {most} KiB at most, \
             {now} KiB at the end"
        );
        assert!(most < MEMORY_KIB_MAX, "{what}: {most} KiB");
        node.end(Signal::TERM, 0);
    }
}

/// Lets this process open as many files as it may, and returns how many idle connections that is enough for.
fn room() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Where that is not allowed, the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(1_000)).unwrap_or(usize::MAX).min(10_000)
}

#[test]
fn idle_connections_are_held_up_to_the_limit_and_the_rest_is_turned_away() {
    let most = room();
    let limit = most * 6 / 10;
    let (_scratch, node) = node(&format!("--connections-max {limit} --idle-seconds 600"));
    let honest = Honest::start(&node);
    // Asks while no other connection gets in.
    let mut watcher = node.client();
    let mut figures = || {
        watcher.send(b"GET /metrics HTTP/1.1\r\n\r\n");
        watcher.answer().expect("an answer").body
    };
    let refused = "rewake_http_refused_total{reason=\"connections\"}";
    figures();
    let before = memory_kib(&node, "VmRSS");
    let began = Instant::now();
    let mut idle: Vec<Client> = Vec::with_capacity(most);
    while idle.len() < most {
        idle.extend((0..(most - idle.len()).min(500)).map(|_| node.client()));
        // More at once than the system queues for a listener would have to ask again, a second later.
        let opened = f64::from(u32::try_from(idle.len()).expect("not many"));
        eventually("each of them is seen", || {
            let text = figures();
            metric(&text, "rewake_http_connections") + metric(&text, refused) > opened
        });
    }
    let expected = u32::try_from(most - limit).expect("not many");
    eventually("each is held or turned away", || {
        metric(&figures(), refused) > f64::from(expected) - 0.5
    });
    let text = figures();
    // The honest client and the watcher hold two of the places.
    assert!((metric(&text, refused) - f64::from(expected) - 2.0).abs() < 2.5, "{refused}");
    let held = f64::from(u32::try_from(limit).expect("not many"));
    assert!((metric(&text, "rewake_http_connections") - held).abs() < 0.5, "all places are taken");
    println!(
        "{most} connections, {limit} held, {} turned away, after {:?}; memory from {before} KiB",
        metric(&text, refused),
        began.elapsed()
    );
    honest.goes_on();
    drop(idle);
    eventually("there is room again", || {
        node.try_get("/livez").is_some_and(|answer| answer.status == 200)
    });
    honest.end("idle connections", node);
}

#[test]
fn clients_that_are_slow_are_cut_off() {
    let (_scratch, node) = node("--header-seconds 2 --request-seconds 3");
    let honest = Honest::start(&node);
    let begins: [&[u8]; 2] = [
        b"GET /livez HTTP/1.1\r\nx-header: ",
        b"POST /v1/transactions HTTP/1.1\r\ncontent-type: application/json\r\n\
          content-length: 10000\r\n\r\n",
    ];
    std::thread::scope(|scope| {
        for begin in begins.into_iter().cycle().take(20) {
            let mut client = node.client();
            scope.spawn(move || {
                client.send(begin);
                client.trickle(b'x').expect("an answer").problem(408, "timed-out");
                assert!(client.is_closed());
            });
        }
    });
    let text = node.get("/metrics").body;
    for reason in ["head_time", "request_time"] {
        let series = format!("rewake_http_refused_total{{reason=\"{reason}\"}}");
        assert!((metric(&text, &series) - 10.0).abs() < 0.5, "{series}");
    }
    honest.end("slow clients", node);
}

#[test]
fn a_gibibyte_is_taken_neither_as_announced_nor_in_chunks_without_end() {
    let (_scratch, node) = node("");
    let honest = Honest::start(&node);
    let announced = b"POST /v1/transactions HTTP/1.1\r\ncontent-type: application/json\r\n\
        content-length: 1073741824\r\n\r\n";
    let endless = b"POST /v1/transactions HTTP/1.1\r\ncontent-type: application/json\r\n\
        transfer-encoding: chunked\r\n\r\n";
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (mut large, mut long, chunk) = (node.client(), node.client(), &chunk);
            scope.spawn(move || {
                large.send(announced);
                large.answer().expect("an answer").problem(413, "payload-too-large");
                long.send(endless);
                // What comes after the answer is read for a while and thrown away.
                let taken = (0..65_536).take_while(|_| long.try_send(chunk.as_bytes())).count();
                assert!(taken < 65_536, "the node reads for ever");
            });
        }
    });
    honest.end("bodies without end", node);
}

#[test]
fn bodies_that_never_end_take_no_more_memory_than_they_may_together() {
    let (_scratch, node) = node("--drain-seconds 1");
    let honest = Honest::start(&node);
    let answered_busy = || {
        let text = node.get("/metrics").body;
        let lines = text.lines().filter(|line| line.contains("status=\"503\""));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    // Whoever asked whether it is ready before it was got the same status.
    let before = answered_busy();
    let refused_in_all = || answered_busy() - before;
    let head = "POST /v1/transactions HTTP/1.1\r\ncontent-type: application/json\r\n";
    let large = " ".repeat((4 << 20) - 1);
    let (mut held, mut refused) = (Vec::new(), 0);
    // Each of them lacks its last byte: 800 MiB of bodies that would have to be kept until their time is over.
    for _ in 0..200 {
        let mut client = node.client();
        client.send(format!("{head}content-length: {}\r\n\r\n", 4 << 20).as_bytes());
        if client.try_send(large.as_bytes()) {
            held.push(client);
        } else {
            refused += 1;
        }
    }
    eventually("most of them are refused", || refused_in_all() > 150.0);
    // A body that is small is taken all the same.
    let several = json!([transfer(1, 0), transfer(1, 1)]).to_string();
    assert_eq!(node.ask(&post(&several)).status, 200);
    println!("{refused} were cut off while they sent, {} refused in all", refused_in_all());
    // It ends in an orderly way although they do not.
    honest.end("bodies that never end", node);
    drop(held);
}

#[test]
fn clients_that_read_no_answer_are_not_answered_without_end() {
    let (_scratch, node) = node("--drain-seconds 1");
    let honest = Honest::start(&node);
    let many = "GET /v1/blocks/0 HTTP/1.1\r\n\r\n".repeat(1_000);
    let mut unread: Vec<Client> = (0..100).map(|_| node.client()).collect();
    for client in &mut unread {
        client.send(many.as_bytes());
    }
    honest.goes_on();
    honest.end("answers that are not read", node);
    drop(unread);
}

/// Makes a ledger that is far behind; returns where it is, and where its twin is.
fn behind() -> (TempDir, PathBuf, PathBuf) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (data, twin) = (scratch.path().join("behind"), scratch.path().join("twin"));
    let generate = "generate --accounts 1000 --transfers 60000 --block-txs 30 \
         --unconfirmed-blocks 1900 --mempool 0 --seed 4";
    for place in [&data, &twin] {
        rewake(generate, place).expect(0);
    }
    (scratch, data, twin)
}

fn recovered(data: &Path) -> Value {
    rewake("recover --json", data).expect(0).json()
}

#[test]
fn a_large_recovery_beside_it_holds_nothing_up() {
    let (_behind, data, _) = behind();
    let (_scratch, node) = node("");
    let honest = Honest::start(&node);
    let before = honest.acknowledged.load(Ordering::Relaxed);
    let mut recover = crate::cli::program();
    recover.args(["recover", "--batch-txs", "30", "--json", "--data"]).arg(&data);
    let report = run(&mut recover).expect(0).json();
    let during = honest.acknowledged.load(Ordering::Relaxed) - before;
    println!("{during} acknowledged in a recovery with commits of {} ms", report["commit_ms"]);
    assert!(during > 0 && report["batches"].as_u64() > Some(1_000), "{during} beside {report}");
    honest.end("a recovery beside it", node);
}

#[test]
fn a_recovery_that_is_asked_to_stop_ends_well_and_the_next_start_goes_on() {
    let (_behind, data, twin) = behind();
    let node = Running::start("--batch-txs 30", &data);
    let rehearses = |readiness: &Value| {
        readiness["phase"] == "rehearsing" && readiness["done"]["blocks"].as_u64() > Some(0)
            || readiness["phase"] == "committing"
    };
    eventually("it recovers", || {
        let readiness = node.get("/readyz").json()["readiness"].clone();
        assert!(readiness["phase"] != "ready", "it was up before it was asked to stop");
        rehearses(&readiness)
    });
    let printed = node.end(Signal::TERM, 0);
    assert!(printed.contains("stopped before the recovery ended"), "{printed}");
    let resumed = {
        let copy = data.with_file_name("copy");
        fs::create_dir(&copy).expect("a directory");
        for (name, bytes) in crate::cli::files(&data) {
            fs::write(copy.join(name), bytes).expect("a file");
        }
        let report = recovered(&copy);
        let number = |what: &str| report[what].as_u64().expect("a number");
        assert!(number("resumed_blocks") > 0 || number("blocks") < 1_900, "{report}");
        (number("resumed_blocks"), number("blocks"))
    };
    let node = Running::start("--batch-txs 30", &data).ready();
    node.end(Signal::TERM, 0);
    let (report, expected) = (recovered(&data), recovered(&twin));
    assert_eq!(report["outcome"], "in_sync", "{report}");
    assert_eq!(report["state_digest"], expected["state_digest"]);
    println!("asked to stop: {} blocks were rehearsed already of {} left", resumed.0, resumed.1);
}

#[test]
fn a_node_that_is_asked_to_stop_under_load_has_kept_what_it_acknowledged() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    let node = Running::start("--create --accounts 100 --block-ms 20", &data).ready();
    let count = Arc::<AtomicU64>::default();
    let submit = |from: u64| {
        let (mut client, count) = (node.client(), Arc::clone(&count));
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for nonce in 0.. {
                if !client.try_send(post(&transfer(from, nonce).to_string()).as_bytes()) {
                    break;
                }
                // Whoever is told nothing, or that the node ends, was promised nothing.
                let Some(answer) = client.answer().filter(|answer| answer.status == 200) else {
                    break;
                };
                kept.push(answer.json());
                count.fetch_add(1, Ordering::Relaxed);
            }
            kept
        })
    };
    let threads: Vec<_> = (1..=8).map(submit).collect();
    eventually("it is under load", || count.load(Ordering::Relaxed) > 500);
    node.end(Signal::TERM, 0);
    let kept: Vec<_> = threads.into_iter().flat_map(|it| it.join().expect("it ends")).collect();
    assert!(kept.len() > 500);
    let node = Running::start("", &data).ready();
    let mut client = node.client();
    for ack in &kept {
        let path = format!("/v1/transactions/{}", ack["id"].as_str().expect("an identity"));
        client.send(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes());
        let found: Answer = client.answer().expect("an answer");
        assert_eq!((found.status, &found.json()["seq"]), (200, &ack["seq"]), "{found:?}");
    }
    println!("asked to stop under load: {} were acknowledged, each is there", kept.len());
    node.end(Signal::TERM, 0);
}

#[test]
fn a_second_instance_is_refused_and_the_first_goes_on() {
    let (scratch, node) = node("");
    let honest = Honest::start(&node);
    let data = scratch.path().join("node");
    for words in ["node --listen 127.0.0.1:0", "recover", "status"] {
        rewake(words, &data).expect(7);
        honest.goes_on();
    }
    honest.end("a second instance", node);
}
