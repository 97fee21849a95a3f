//! The program under signals and limits: how it ends, and how the next recovery goes on.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rewake::cli::{Output, run_with};
use rewake::exec::Outcome;
use rewake::machine::Registry;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cli::{program, rewake, run};
use crate::faulty::Faulty;
use crate::nodes::Node;
use crate::scripted::{faulty_node, options, ordered, script};

/// The data directory of the node that a child recovers.
const DATA: &str = "REWAKE_TEST_RECOVERS";

/// Entry of the processes that other tests start: `rewake recover` with the faulty machine; nothing without a node.
#[test]
fn child_entry() {
    let Ok(data) = std::env::var(DATA) else { return };
    let machine = Faulty::default();
    let probes = Arc::clone(&machine.probes);
    std::thread::spawn(move || {
        probes.await_started();
        eprintln!("child: it hangs");
    });
    let registry = Registry::built_in().with(machine);
    let exit =
        run_with(registry, ["rewake", "recover", "--json", "--data", &data], Output::standard());
    std::process::exit(exit.code().into());
}

/// A node whose second block holds a transaction that hangs in a child.
fn hanging() -> Node {
    let node = faulty_node(&Faulty::default());
    node.append(vec![
        script(1, "add n 1"),
        ordered(0, "", &[1]),
        script(2, "runaway; add n 1"),
        ordered(1, "", &[2]),
    ]);
    node
}

/// Starts a child and returns once its machine hangs.
fn start(node: &Node) -> Child {
    let this = std::env::current_exe().expect("this program");
    let mut child = Command::new(this)
        .args(["limits_signals::child_entry", "--exact", "--nocapture"])
        .env(DATA, node.dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let hangs = lines.any(|line| line.expect("text").ends_with("child: it hangs"));
    assert!(hangs, "the child ended before");
    // Whatever it says later must find a reader.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// Returns the report, which stands behind what the test harness prints.
fn object(text: &str) -> Value {
    let (_, fields) = text.split_once("{\"outcome\"").expect("an object");
    serde_json::from_str(&format!("{{\"outcome\"{fields}")).expect("an object")
}

fn signal(child: &Child, signal: Signal) {
    let process = Pid::from_child(child);
    kill_process(process, signal).expect("a signal can be sent to a child");
}

#[test]
fn a_signal_stops_a_recovery_and_the_next_one_goes_on() {
    for kind in [Signal::TERM, Signal::INT] {
        let node = hanging();
        let child = start(&node);
        signal(&child, kind);
        let output = child.wait_with_output().expect("an end");
        assert_eq!(output.status.code(), Some(8), "{kind:?}: {output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        let report = object(&text);
        assert_eq!(
            (&report["outcome"], &report["halt"]["cause"]),
            (&"halted".into(), &"stopped".into())
        );
        let patient = Faulty::default();
        patient.probes.release();
        let node = node.with(Registry::default().with(patient));
        let report = node.recover_with(options());
        assert_eq!((report.outcome, report.resumed_blocks), (Outcome::Recovered, 1));
        let twin = faulty_node(&Faulty::default());
        twin.append(vec![
            script(1, "add n 1"),
            ordered(0, "", &[1]),
            script(2, "add n 1"),
            ordered(1, "", &[2]),
        ]);
        assert_eq!(report.state_digest, twin.recover_with(options()).state_digest);
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let node = hanging();
    let mut child = start(&node);
    let status = loop {
        // Two that arrive together are one.
        signal(&child, Signal::TERM);
        if let Some(status) = child.try_wait().expect("a status") {
            break status;
        }
        std::thread::yield_now();
    };
    assert_eq!(status.code(), Some(128 + 15));
}

/// Makes a ledger with a backlog whose recovery, a commit for each block, takes far longer than a signal.
fn long_backlog(data: &Path) {
    rewake(
        "generate --accounts 50 --transfers 20000 --block-txs 5 --unconfirmed-blocks 4000 --mempool 0 --seed 5",
        data,
    )
    .expect(0);
}

#[test]
fn the_program_stops_in_the_middle_of_a_backlog() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (data, twin) = (scratch.path().join("node"), scratch.path().join("twin"));
    long_backlog(&data);
    long_backlog(&twin);
    let mut command = program();
    command.args(["recover", "--gate", "batch", "--batch-txs", "1", "--memory", "0", "--data"]);
    let started = command.arg(&data).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.expect("the program starts");
    let mut err = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    err.read_line(&mut line).expect("text");
    assert!(line.starts_with("4000 blocks with 20000 transactions"), "{line}");
    signal(&child, Signal::TERM);
    line.clear();
    err.read_line(&mut line).expect("text");
    assert!(line.starts_with("error: a stop was requested: of 4000 blocks"), "{line}");
    line.clear();
    err.read_line(&mut line).expect("text");
    assert!(line.starts_with("help: run `rewake recover` again"), "{line}");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.starts_with("stopped before the end: the next recovery goes on"), "{text}");
    let report = rewake("recover --json", &data).expect(0).json();
    let expected = rewake("recover --json", &twin).expect(0).json();
    assert_eq!(report["state_digest"], expected["state_digest"]);
    assert!(report["blocks"].as_u64() <= Some(4_000), "{report}");
}

#[test]
fn the_program_keeps_to_its_limits() {
    let node = hanging();
    for (option, cause, says) in [
        ("--time-max", "time_limit", "the time limit of 1s was reached"),
        ("--stall-max", "stalled", "no block was rehearsed or committed for 1s"),
    ] {
        let this = std::env::current_exe().expect("this program");
        let mut command = Command::new(this);
        command.args(["limits_signals::limited_entry", "--exact", "--nocapture"]);
        let ran = run(command.env(DATA, node.dir.path()).env(OPTION, option)).expect(8);
        let report = object(&ran.out);
        assert_eq!(report["halt"]["cause"], cause, "{report}");
        let reason = report["halt"]["reason"].as_str().expect("text");
        assert!(reason.starts_with(says), "{reason}");
        assert!(ran.err.contains("help: "), "{ran:?}");
    }
}

/// The option that a child is given with the value 1.
const OPTION: &str = "REWAKE_TEST_OPTION";

/// Entry of the processes that run into a limit; nothing without an option.
#[test]
fn limited_entry() {
    let Ok(option) = std::env::var(OPTION) else { return };
    let data = std::env::var(DATA).expect("a node");
    let registry = Registry::built_in().with(Faulty::default());
    let words = ["rewake", "recover", "--json", &option, "1", "--data", &data];
    let exit = run_with(registry, words, Output::standard());
    std::process::exit(exit.code().into());
}
