//! A recovering process dies at, or is refused, one system call after the other.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use rewake::block::BlockRow;
use rewake::exec::Outcome;
use rewake::generate::Workload;

use crate::faulty::Faulty;
use crate::kill::{check, run};
use crate::nodes::{Node, fill};
use crate::scripted::{await_unlocked, blocks, faulty_node, with_a_poisonous_one};

pub const STRACE: &str = "/usr/bin/strace";
/// The calls by which a process changes files.
const CALLS: [&str; 5] = ["pwrite64", "fdatasync", "fsync", "ftruncate", "unlink"];

/// Says on the terminal that something was not tested, which the harness would keep to itself.
fn skipped(why: &str) {
    // Nothing depends on whether anybody reads it.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

pub fn has_strace() -> bool {
    let found = Path::new(STRACE).exists();
    if !found {
        skipped("system calls are not interfered with: there is no strace");
    }
    found
}

/// A node that is killed at system calls: three blocks and a mempool.
fn template() -> Node {
    let node = Node::ledger();
    let workload =
        Workload { accounts: 6, transfers: 14, block_txs: 4, mempool: 2, ..Workload::default() };
    fill(&node, &workload);
    node
}

#[test]
fn a_recovery_that_dies_at_any_system_call_is_recovered_from() {
    let full = std::env::var("REWAKE_CRASH_SUITE").is_ok_and(|suite| suite == "full");
    let stride = if full { 1 } else { 3 };
    if !has_strace() {
        return;
    }
    let template = template();
    let undisturbed = template.copy();
    let digest = undisturbed.recover().state_digest;
    // Calls are counted by thread: the rehearsing one makes none where memory suffices, so that those of the
    // committing one are reached.
    for orders in
        ["recover restore all 4 0", "recover restore all 4 1000000", "recover reexecute batch 4 0"]
    {
        let killed = enumerate(orders, &template, stride, &|node| {
            assert_eq!(node.recover().state_digest, digest, "{orders}");
            check(node, &undisturbed, digest);
        });
        assert!(killed > 10, "{orders}: {killed} children died");
    }
}

#[test]
fn a_verdict_is_logged_once_wherever_recovery_dies() {
    if !has_strace() {
        return;
    }
    let template = faulty_node(&Faulty::default());
    template.append(with_a_poisonous_one());
    let undisturbed = template.copy();
    let expected = undisturbed.recover();
    assert_eq!(expected.outcome, Outcome::RecoveredWithQuarantine);
    let rows = |node: &Node| {
        let rows = blocks(&node.dir.open().expect("a node"));
        rows.iter().map(BlockRow::digest).collect::<Vec<_>>()
    };
    let killed = enumerate("recover restore all 1 0", &template, 2, &|node| {
        let report = node.recover();
        assert_eq!(report.state_digest, expected.state_digest);
        assert_eq!(report.log_head_seq, 7, "one verdict and not two");
        assert_eq!(rows(node), rows(&undisturbed));
        assert_eq!(node.recover().outcome, Outcome::InSync);
    });
    assert!(killed > 10, "{killed} children died");
}

/// Lets a child die at one call after the other, checks each time what it left, and says how often one died.
fn enumerate(orders: &str, template: &Node, stride: usize, check: &dyn Fn(&Node)) -> usize {
    let dies = |call: &str, number: usize| {
        let node = template.copy();
        let inject = format!("inject={call}:signal=SIGKILL:when={number}");
        let trace = format!("trace={call}");
        let under = [STRACE, "-f", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let (_, status) = run(&under, orders, node.dir.path());
        // The child's signal is strace's own end.
        let killed = status.signal() == Some(9);
        assert!(killed || status.success(), "{orders} {inject}: {status:?}");
        // The tracer may be gone before the last thread of the child is.
        await_unlocked(&node);
        check(&node);
        killed
    };
    // The first number beyond the calls of every thread is survived.
    let count = |call| (1..).step_by(stride).take_while(|number| dies(call, *number)).count();
    CALLS.into_iter().map(count).sum()
}

#[test]
fn an_append_that_the_disk_refuses_is_not_acknowledged() {
    if !has_strace() {
        return;
    }
    // The write of the log's frames, the sync of its commit.
    for (call, error, expected) in [
        ("pwrite64", "ENOSPC", ["problem: DiskFull", "OutcomeUnknown"]),
        ("fsync", "EIO", ["Io {", "OutcomeUnknown"]),
    ] {
        let template = template();
        let found: Vec<_> = (1..=12).map(|number| refuse(&template, call, error, number)).collect();
        for problem in expected {
            let hit = found.iter().any(|answer| answer.contains(problem));
            assert!(hit, "{call} {error} never gave {problem}: {found:?}");
        }
    }
}

/// Lets one call of an appending child fail and returns the child's answer.
fn refuse(template: &Node, call: &str, error: &str, number: usize) -> String {
    let node = template.copy();
    let inject = format!("inject={call}:error={error}:when={number}");
    let trace = format!("trace={call}");
    let under = [STRACE, "-f", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let (said, _) = run(&under, "append restore all 1 0", node.dir.path());
    let answer = said.first().cloned().unwrap_or_default();
    let examined = node.examine().expect("a sound node");
    let known = examined.backlog.mempool.len();
    match &*answer {
        "acknowledged" => assert_eq!(known, 3, "{inject}: acknowledged and lost"),
        other if other.contains("problem: DiskFull") => assert_eq!(known, 2, "{inject}: {other}"),
        other => assert!((2..=3).contains(&known), "{inject}: {other}"),
    }
    answer
}
