//! A recovering process dies at, or is refused, one system call after the other.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use rewake::generate::Workload;

use crate::kill::{check, run};
use crate::nodes::{Node, fill};

const STRACE: &str = "/usr/bin/strace";
/// The calls by which a process changes files.
const CALLS: [&str; 6] = ["pwrite64", "fdatasync", "fsync", "ftruncate", "unlink", "rename"];

/// Says on the terminal that something was not tested, which the harness would keep to itself.
fn skipped(why: &str) {
    // Nothing depends on whether anybody reads it.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

fn has_strace() -> bool {
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

/// Counts how often each call is made by a recovery that nothing disturbs.
fn count_calls(node: &Node, orders: &str) -> Vec<(&'static str, usize)> {
    let scratch = tempfile::NamedTempFile::new().expect("a scratch file");
    let to = scratch.path().to_string_lossy().into_owned();
    let trace = format!("trace={}", CALLS.join(","));
    let (_, status) = run(&[STRACE, "-f", "-o", &to, "-e", &trace], orders, node.dir.path());
    assert!(status.success(), "{status:?}");
    let text = std::fs::read_to_string(&to).expect("a trace");
    let count =
        |call: &str| text.lines().filter(|line| line.contains(&format!(" {call}("))).count();
    CALLS.into_iter().map(|call| (call, count(call))).filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_recovery_that_dies_at_any_system_call_is_recovered_from() {
    let suite = std::env::var("REWAKE_CRASH_SUITE").unwrap_or_default();
    let points_max = match &*suite {
        "full" => usize::MAX,
        "quick" => 60,
        _ => {
            return skipped(
                "system calls are not enumerated: set REWAKE_CRASH_SUITE to quick or full",
            );
        }
    };
    if !has_strace() {
        return;
    }
    let template = template();
    let undisturbed = template.copy();
    let digest = undisturbed.recover().state_digest;
    for orders in ["recover restore all 4", "recover reexecute batch 4"] {
        let calls = count_calls(&template.copy(), orders);
        let points: Vec<_> = calls
            .iter()
            .flat_map(|(call, count)| (1..=*count).map(move |number| (*call, number)))
            .collect();
        assert!(points.len() > 40, "{points:?}");
        let step = points.len().div_ceil(points_max / 2).max(1);
        let mut killed = 0;
        for (call, number) in points.iter().step_by(step) {
            killed += usize::from(die_at(call, *number, orders, &template, &undisturbed, digest));
        }
        assert!(killed > 20, "{orders}: {killed} children died");
    }
}

/// Lets a child die at a call, recovers, and says whether the child did die there.
fn die_at(
    call: &str,
    number: usize,
    orders: &str,
    template: &Node,
    undisturbed: &Node,
    digest: rewake::types::Digest,
) -> bool {
    let node = template.copy();
    let inject = format!("inject={call}:signal=SIGKILL:when={number}");
    let trace = format!("trace={call}");
    let under = [STRACE, "-f", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let (_, status) = run(&under, orders, node.dir.path());
    // The child's signal is strace's own end.
    let killed = status.signal() == Some(9);
    assert!(killed || status.success(), "{orders} {inject}: {status:?}");
    let report = node.recover();
    assert_eq!(report.state_digest, digest, "{orders} {inject}");
    check(&node, undisturbed, digest);
    killed
}

#[test]
fn an_append_that_the_disk_refuses_is_not_acknowledged() {
    if !has_strace() {
        return;
    }
    // The write of the log's frames, the sync of its commit.
    for (call, error, expected) in [
        ("pwrite64", "ENOSPC", "DiskFull"),
        ("pwrite64", "EIO", "Io {"),
        ("fdatasync", "EIO", "OutcomeUnknown"),
        ("fdatasync", "EIO", "Io {"),
    ] {
        let template = template();
        let found: Vec<_> = (1..=12)
            .map(|number| refuse(&template, call, error, number))
            .take_while(|answer| answer != "acknowledged")
            .collect();
        let hit = found.iter().any(|answer| answer.contains(expected));
        assert!(hit, "{call} {error} never gave {expected}: {found:?}");
    }
}

/// Lets one call of an appending child fail and returns the child's answer.
fn refuse(template: &Node, call: &str, error: &str, number: usize) -> String {
    let node = template.copy();
    let inject = format!("inject={call}:error={error}:when={number}");
    let trace = format!("trace={call}");
    let under = [STRACE, "-f", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let (said, _) = run(&under, "append restore all 1", node.dir.path());
    let answer = said.first().cloned().unwrap_or_default();
    let examined = node.examine().expect("a sound node");
    let known = examined.backlog.mempool.len();
    match &*answer {
        "acknowledged" => assert_eq!(known, 3, "{inject}: acknowledged and lost"),
        other if other.contains("DiskFull") => assert_eq!(known, 2, "{inject}: {other}"),
        other => assert!((2..=3).contains(&known), "{inject}: {other}"),
    }
    answer
}
