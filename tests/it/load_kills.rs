//! The load driver kills a child process under load and in recovery, and proves what is left.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rewake::load::{
    Driver, KillPlan, Launch, LoadError, LoadOptions, LoadReport, ManagedNode, NodeFault, Until,
    Verdict,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::load::{block_on, options};
use crate::load_node::{Fault, PaperNode};

/// What a child is told: `ADDRESS FAULT JOURNAL`.
const ORDERS: &str = "REWAKE_TEST_PAPER_NODE";

/// Entry of the nodes that other tests start; nothing without their orders.
#[test]
fn child_entry() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let mut words = orders.splitn(3, ' ');
    let mut word = || words.next().expect("three words");
    let (address, fault, journal) = (word(), Fault::named(word()), word());
    let node = Arc::new(PaperNode::with_journal(fault, journal.as_ref()));
    block_on(async {
        let mut terminate = signal(SignalKind::terminate()).expect("a handler");
        let listener = TcpListener::bind(address).expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut out = std::io::stdout().lock();
        writeln!(out, "listening on http://{address}").expect("a reader");
        out.flush().expect("a reader");
        drop(out);
        std::thread::spawn(move || node.serve(&listener));
        terminate.recv().await;
        std::process::exit(if fault == Fault::StopsBadly { 3 } else { 0 });
    });
}

fn launch(fault: Fault, journal: PathBuf) -> Launch {
    let this = std::env::current_exe().expect("this program");
    Box::new(move |address: SocketAddr| {
        let mut command = Command::new(&this);
        command.args(["load_kills::child_entry", "--exact", "--nocapture"]);
        command.env(ORDERS, format!("{address} {fault:?} {}", journal.display()));
        command
    })
}

/// Drives a child, kills it, and stops the last one.
fn kill(fault: Fault, plan: KillPlan, options: LoadOptions) -> Result<LoadReport, LoadError> {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let launch = launch(fault, scratch.path().join("journal"));
    block_on(async {
        let mut node = ManagedNode::start(launch, Duration::from_secs(20)).await?;
        let driver = Driver::new(node.address().into(), options).expect("a driver");
        let report = driver.run_killing(&mut node, plan).await?;
        node.stop(Duration::from_secs(20)).await?;
        Ok(report)
    })
}

fn stopped() -> LoadOptions {
    LoadOptions { until: Until::Stopped, ..options() }
}

#[test]
fn every_kill_hits_a_node_at_work_and_nothing_is_lost() {
    let plan = KillPlan { kills: 12, life_ms_max: 20 };
    let options = LoadOptions { seed: 3, ..stopped() };
    let report = kill(Fault::None, plan, options).expect("a verdict");
    assert_eq!((report.outcome, report.findings.as_slice()), (Verdict::Proved, [].as_slice()));
    let kills = report.kills.expect("kills");
    assert_eq!((kills.kills, kills.each.len()), (12, 12));
    assert_eq!(kills.under_load + kills.in_recovery, 12);
    assert!(kills.aimed_at_recovery > 0 && kills.in_recovery > 0, "{kills:?}");
    assert!(kills.acknowledged_min > 0 && kills.in_flight_min > 0, "{kills:?}");
    for kill in &kills.each {
        match kill.phase.as_str() {
            "ready" => assert!(kill.acknowledged > 0 && kill.in_flight > 0, "{kill:?}"),
            phase => assert_eq!((phase, kill.acknowledged), ("rehearsing", 0), "{kill:?}"),
        }
    }
    assert!(kills.each.iter().any(|kill| kill.cut_off > 0), "{kills:?}");
    assert!(kills.recovery_ms.is_some() && report.deaths_seen > 0, "{kills:?}");
    assert!(report.latency_disturbed.count > 0 && report.retries > 0);
}

#[test]
fn a_node_that_loses_something_under_kills_is_caught() {
    let plan = KillPlan { kills: 2, life_ms_max: 20 };
    let report = kill(Fault::Loses, plan, stopped()).expect("a verdict");
    assert_eq!(report.outcome, Verdict::Violated);
}

#[test]
fn a_child_that_does_something_else_is_named() {
    let plan = KillPlan { kills: 1, life_ms_max: 20 };
    let error = kill(Fault::StopsBadly, plan, stopped()).expect_err("a bad end");
    assert!(matches!(error, LoadError::Node(NodeFault::Stop(_))), "{error:?}");
    let options = LoadOptions { patience: Duration::from_millis(200), ..stopped() };
    let error = kill(Fault::IsAlwaysFull, plan, options).expect_err("no load");
    assert!(matches!(error, LoadError::Node(NodeFault::Idle { .. })), "{error:?}");
    let start = |words: &'static [&'static str]| {
        let launch: Launch = Box::new(move |_| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            command
        });
        let started = ManagedNode::start(launch, Duration::from_millis(300));
        block_on(started).err().expect("no node")
    };
    let fault = start(&["sh", "-c", "exit 4"]);
    assert!(matches!(fault, NodeFault::Ended(status) if status.code() == Some(4)), "{fault:?}");
    let fault = start(&["sleep", "600"]);
    assert!(matches!(fault, NodeFault::Silent { waited_ms: 300 }), "{fault:?}");
    let fault = start(&["/nowhere/rewake"]);
    assert!(matches!(fault, NodeFault::Process { verb: "started", .. }), "{fault:?}");
}

#[test]
fn a_child_does_not_outlive_its_driver() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let launch = launch(Fault::None, scratch.path().join("journal"));
    let node = block_on(ManagedNode::start(launch, Duration::from_secs(20))).expect("a node");
    let address = node.address();
    std::net::TcpStream::connect(address).expect("it lives");
    drop(node);
    std::net::TcpStream::connect(address).expect_err("it is gone");
}
