//! The command line with a machine of one's own: quarantine, halts and differences, through the library.

use std::path::PathBuf;
use std::sync::Arc;

use rewake::cli::{Exit, Output, run_with};
use rewake::exec::NewEvent;
use rewake::machine::{PoisonPolicy, Registry, StateMachine as _};
use rewake::types::{Bytes, Height, TxId};
use serde_json::Value;

use crate::faulty::{Faulty, Probes};
use crate::nodes::Node;

/// A node of the faulty machine, and the commands for it.
struct Bench {
    node: Node,
}

impl Bench {
    fn new(policy: PoisonPolicy) -> Self {
        let machine = Faulty { policy, probes: Arc::new(Probes::default()), ..Faulty::default() };
        let version = machine.version();
        Self { node: Node::new(Registry::default().with(machine), &version) }
    }

    /// Logs transactions and the block of them; the first transaction of block 1 is 10, of block 2 is 20.
    fn block(&self, height: u64, header: &str, payloads: &[&str]) -> &Self {
        let mut events = Vec::new();
        let mut txs = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            let id = id(height * 10 + index as u64);
            events.push(NewEvent::Tx { id, payload: Bytes::from(payload.as_bytes()) });
            txs.push(id);
        }
        events.push(NewEvent::Order {
            height: Height(height),
            header: Bytes::from(header.as_bytes()),
            txs,
        });
        self.node.append(events);
        self
    }

    fn run(&self, words: &str) -> (Exit, String, String) {
        let (output, out, err) = Output::captured();
        let data: PathBuf = self.node.dir.path().to_owned();
        let words = words.split_whitespace().map(Into::into);
        let arguments = std::iter::once("node".into()).chain(words);
        let arguments = arguments.chain(["--data".into(), data.into_os_string()]);
        let arguments: Vec<std::ffi::OsString> = arguments.collect();
        let exit = run_with(self.node.registry.clone(), arguments, output);
        (exit, out.text(), err.text())
    }

    fn json(&self, words: &str, expected: Exit) -> Value {
        let (exit, out, err) = self.run(&format!("{words} --json"));
        assert_eq!(exit, expected, "{words}: {out}{err}");
        assert_eq!(out.lines().count(), 1, "{words}: {out}");
        serde_json::from_str(&out).expect("one JSON object")
    }
}

fn id(number: u64) -> TxId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    TxId(bytes)
}

#[test]
fn a_quarantined_transaction_is_listed_shown_retried_and_discarded() {
    let bench = Bench::new(PoisonPolicy::Quarantine);
    bench.block(1, "", &["put a 1", "poison bad luck", "put b 2", "panic oh no"]);
    let report = bench.json("recover", Exit::Quarantined);
    assert_eq!(report["outcome"], "recovered_with_quarantine", "{report}");
    assert_eq!((&report["applied"], &report["quarantined"]), (&2.into(), &2.into()), "{report}");
    assert_eq!(bench.json("status", Exit::Done)["quarantined"], 2);

    let list = bench.json("quarantine list", Exit::Done);
    let rows = list["transactions"].as_array().expect("a list");
    assert_eq!(rows.len(), 2, "{list}");
    assert_eq!((&rows[0]["seq"], &rows[0]["height"]), (&2.into(), &1.into()), "{list}");
    assert_eq!(
        (&rows[0]["reason"], &rows[1]["reason"]),
        (&"bad luck".into(), &"panicked: oh no".into())
    );
    let (_, text, _) = bench.run("quarantine list");
    assert!(text.contains("bad luck") && text.contains("panicked: oh no"), "{text}");

    let by_seq = bench.json("quarantine show 4", Exit::Done);
    let by_id = bench.json(&format!("quarantine show {}", id(13)), Exit::Done);
    assert_eq!(by_seq, by_id);
    assert_eq!(by_seq["payload"], "70616e6963206f68206e6f", "the bytes of `panic oh no`");

    bench.json("quarantine retry 2", Exit::Done);
    bench.json("quarantine discard 4", Exit::Done);
    let status = bench.json("status", Exit::Done);
    assert_eq!((&status["quarantined"], &status["mempool"]), (&0.into(), &1.into()), "{status}");
    // The released transaction may be ordered again; it fails again, and is held once more.
    let again = NewEvent::Order { height: Height(2), header: Bytes::default(), txs: vec![id(11)] };
    bench.node.append(vec![again]);
    assert_eq!(bench.json("recover", Exit::Quarantined)["quarantined"], 1);
    let list = bench.json("quarantine list", Exit::Done);
    assert_eq!(list["transactions"][0]["height"], 2, "{list}");
    assert_eq!(list["quarantined"], 1, "{list}");
    assert_eq!(bench.json("audit", Exit::Done)["finding_count"], 0);
}

#[test]
fn only_what_is_held_can_be_settled() {
    let bench = Bench::new(PoisonPolicy::Quarantine);
    bench.block(1, "", &["put a 1", "poison bad luck"]);
    bench.json("recover", Exit::Quarantined);
    bench.json("quarantine discard 2", Exit::Done);
    let head = bench.json("status", Exit::Done)["log_head_seq"].clone();
    for (tx, expected) in [
        ("1", "the transaction at event 1 is not held"),
        ("2", "the transaction at event 2 is not held"),
        ("999", "the transaction at event 999 is not held"),
        (&id(10).to_string(), "the transaction at event 1 is not held"),
        (&id(77).to_string(), "no transaction of the log is 4d00"),
    ] {
        for action in ["show", "retry", "discard"] {
            let told = bench.json(&format!("quarantine {action} {tx}"), Exit::Usage);
            let error = told["error"].as_str().expect("a text");
            assert!(error.contains(expected), "{action} {tx}: {told}");
            let advice = told["advice"].as_str().expect("a text");
            assert!(advice.contains("quarantine list"), "{action} {tx}: {told}");
        }
    }
    assert_eq!(bench.json("status", Exit::Done)["log_head_seq"], head, "nothing was logged");
}

#[test]
fn a_verdict_whose_block_is_not_confirmed_is_held_too() {
    let bench = Bench::new(PoisonPolicy::Quarantine);
    bench.block(1, "", &["poison early"]).block(2, "check-fail", &["put a 1"]);
    let report = bench.json("recover --gate batch --batch-txs 1", Exit::Halted);
    assert_eq!((&report["quarantined"], &report["to_height"]), (&1.into(), &1.into()), "{report}");
    let list = bench.json("quarantine list", Exit::Done);
    assert_eq!(
        (&list["quarantined"], &list["transactions"][0]["height"]),
        (&1.into(), &1.into()),
        "{list}"
    );
    bench.json("quarantine retry 1", Exit::Done);
    let list = bench.json("quarantine list", Exit::Done);
    assert_eq!(list["quarantined"], 0, "settled, although no later block is confirmed: {list}");
}

#[test]
fn a_recovery_that_halts_says_at_which_block_and_why() {
    let cases = [
        (PoisonPolicy::Halt, "", "poison bad luck", "poison", "bad luck"),
        (PoisonPolicy::Quarantine, "check-fail", "put b 2", "check", "the header is check-fail"),
        (
            PoisonPolicy::Quarantine,
            "end-panic",
            "put b 2",
            "poison",
            "panicked: the closing panics",
        ),
    ];
    for (policy, header, payload, cause, reason) in cases {
        let bench = Bench::new(policy);
        bench.block(1, "", &["put a 1"]).block(2, header, &[payload]);
        let report = bench.json("recover", Exit::Halted);
        assert_eq!(report["outcome"], "halted", "{report}");
        assert_eq!(report["to_height"], 1, "the verified prefix is confirmed: {report}");
        assert_eq!(
            (&report["halt"]["cause"], &report["halt"]["height"]),
            (&cause.into(), &2.into())
        );
        let bundle = report["bundles"][0].as_str().expect("the path of a bundle");
        let words = ["node", "replay", bundle, "--json"];
        let (output, replayed, _) = Output::captured();
        let exit = run_with(bench.node.registry.clone(), words, output);
        assert_eq!(exit, Exit::Done, "the failure is reproduced: {}", replayed.text());
        let (exit, out, err) = bench.run("recover");
        assert_eq!(exit, Exit::Halted, "{out}{err}");
        assert!(out.contains("halted before the end"), "{out}");
        assert!(err.contains(reason) && err.contains("\nhelp: "), "{err}");
    }
}

#[test]
fn two_executions_that_differ_are_a_divergence() {
    let bench = Bench::new(PoisonPolicy::Quarantine);
    bench.block(1, "", &["put a 1"]).block(2, "", &["differ k"]);
    let report = bench.json("recover --commit reexecute --batch-txs 1", Exit::Diverged);
    assert_eq!(
        (&report["outcome"], &report["halt"]["cause"]),
        (&"halted".into(), &"difference".into())
    );
    assert_eq!(report["to_height"], 1, "{report}");
}

#[test]
fn a_machine_that_the_program_lacks_is_named() {
    let bench = Bench::new(PoisonPolicy::Quarantine);
    let (output, out, _) = Output::captured();
    let data = bench.node.dir.path().display().to_string();
    let arguments = ["rewake", "status", "--json", "--data", data.as_str()];
    let exit = run_with(Registry::built_in(), arguments, output);
    assert_eq!(exit, Exit::Machine);
    let told: Value = serde_json::from_str(&out.text()).expect("one JSON object");
    assert_eq!(told["decision"], "machine_unknown", "{told}");
    let init = ["rewake", "init", "--machine", "faulty", "--data", "/proc/no"];
    assert_eq!(run_with(Registry::built_in(), init, Output::captured().0), Exit::Machine);
}

#[test]
fn transient_failures_are_repeated_as_often_as_is_allowed() {
    let bench = Bench::new(PoisonPolicy::Quarantine);
    bench.block(1, "", &["transient 2; put a 1"]);
    let report = bench.json("recover --retries 2", Exit::Done);
    assert_eq!(report["retries"], 2, "{report}");
    let bench = Bench::new(PoisonPolicy::Quarantine);
    bench.block(1, "", &["transient 2; put a 1"]);
    let report = bench.json("recover --retries 1", Exit::Quarantined);
    assert_eq!(report["quarantined"], 1, "{report}");
}
