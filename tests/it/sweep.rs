//! The program's system calls, one after the other: it is killed at each, refused by each, and lied to by each sync.
//!
//! `REWAKE_SWEEP_PROGRAM` names another build of the program, such as the released one; of that, `REWAKE_CRASH_SUITE`
//! chooses how much is done.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rewake::exec::{NewEvent, Outcome};
use rewake::generate::Workload;
use rewake::store::Problem;
use rewake::types::{Digest, TxId};

use crate::crash_points::{STRACE, has_strace};
use crate::http_client::{Client, post};
use crate::http_node::address_in;
use crate::kill::{check, check_sums};
use crate::nodes::{Node, fill};
use crate::older::older;
use crate::scripted::{await_unlocked, blocks};
use crate::suite::Suite;

/// Names another build of the program than that of the tests.
const PROGRAM: &str = "REWAKE_SWEEP_PROGRAM";

/// The calls by which the program changes files, and what it opens.
const CALLS: [&str; 8] =
    ["pwrite64", "write", "fsync", "ftruncate", "unlink", "rename", "mkdir", "openat"];
const FILES: [&str; 8] = [
    "",
    "log.db",
    "log.db-wal",
    "main.db",
    "main.db-wal",
    "sandbox.db",
    "sandbox.db-wal",
    "WITNESS",
];
const THREADS: usize = 2;
const CLIENTS: u64 = 4;

/// What is done to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Kill,
    IoOnce,
    IoForEver,
    FullOnce,
    FullForEver,
    /// It says that it did what it did not.
    Lie,
}

const FAULTS: [Fault; 6] =
    [Fault::Kill, Fault::IoOnce, Fault::IoForEver, Fault::FullOnce, Fault::FullForEver, Fault::Lie];

impl Fault {
    /// Returns what strace is told; `None` where such a call cannot have this fault.
    fn inject(self, call: &str, number: usize) -> Option<String> {
        let takes_room = matches!(call, "pwrite64" | "openat" | "mkdir" | "rename");
        let what = match self {
            Self::Kill => format!("signal=SIGKILL:when={number}"),
            // A terminal that takes nothing is no matter of the disk.
            _ if call == "write" => return None,
            Self::IoOnce => format!("error=EIO:when={number}"),
            Self::IoForEver => format!("error=EIO:when={number}+"),
            Self::FullOnce if takes_room => format!("error=ENOSPC:when={number}"),
            Self::FullForEver if takes_room => format!("error=ENOSPC:when={number}+"),
            // Without a loss of power nobody sees the difference, so that it has to end well.
            Self::Lie if call == "fsync" => format!("retval=0:when={number}+"),
            Self::FullOnce | Self::FullForEver | Self::Lie => return None,
        };
        Some(format!("inject={call}:{what}"))
    }
}

/// A command of the program, and what there is before it.
struct Work {
    words: &'static str,
    template: Option<Node>,
    faults: &'static [Fault],
    judge: Judge,
}

/// Says what is wrong with what a command left; whether that ended well is known.
type Judge = Box<dyn Fn(&Node, bool) + Sync>;

fn workload(transfers: u64) -> Workload {
    Workload { accounts: 6, transfers, block_txs: 4, mempool: 2, ..Workload::default() }
}

/// A node that is behind: blocks of four transfers, and a mempool.
fn behind(transfers: u64) -> Node {
    let node = Node::ledger();
    fill(&node, &workload(transfers));
    node
}

/// A node whose first blocks an older program confirmed.
fn half_recovered_by_an_older() -> Node {
    let node = Node::ledger();
    let mut orders = 0;
    let (before, after) = workload(14).events().partition(|event| {
        let is_before = orders < 2;
        orders += u64::from(matches!(event, NewEvent::Order { .. }));
        is_before
    });
    node.append(before);
    node.recover();
    node.append(after);
    older(&node)
}

/// The recovery of a node that is behind.
fn recovery(words: &'static str, transfers: u64, faults: &'static [Fault]) -> Work {
    recovery_of(behind(transfers), words, faults)
}

fn recovery_of(template: Node, words: &'static str, faults: &'static [Fault]) -> Work {
    let undisturbed = template.copy();
    let digest = undisturbed.recover().state_digest;
    // Only one can have it open.
    let undisturbed = Mutex::new(undisturbed);
    let judge = move |node: &Node, ended_well: bool| {
        let report = node.recover();
        assert!(!ended_well || report.outcome == Outcome::InSync, "it left work undone");
        assert_eq!(report.state_digest, digest);
        check(node, &lock(&undisturbed), digest);
    };
    Work { words, template: Some(template), faults, judge: Box::new(judge) }
}

fn works() -> Vec<Work> {
    let mut works = vec![
        Work {
            words: "init --accounts 3",
            template: None,
            faults: &FAULTS,
            judge: Box::new(|node, _| {
                if let Some(rows) = made(node) {
                    assert!(rows.len() <= 1, "genesis alone: {rows:?}");
                }
            }),
        },
        {
            let words = "generate --accounts 6 --transfers 14 --block-txs 4 --mempool 2 \
                 --unconfirmed-blocks 2";
            let undisturbed = Node::nowhere();
            let ended = command(words, undisturbed.dir.path()).status().expect("it runs");
            assert!(ended.success(), "{words}: {ended:?}");
            undisturbed.recover();
            let whole = made(&undisturbed).expect("it was made");
            let judge = move |node: &Node, ended_well: bool| {
                let rows = made(node).unwrap_or_default();
                assert!(whole.starts_with(&rows), "{rows:?} of {whole:?}");
                assert!(!ended_well || rows.len() == whole.len(), "it left blocks out");
            };
            Work { words, template: None, faults: &FAULTS, judge: Box::new(judge) }
        },
    ];
    for words in [
        "recover --commit restore --gate all",
        "recover --commit restore --gate all --memory 0",
        "recover --commit restore --gate batch --batch-txs 4 --memory 0",
        "recover --commit reexecute --gate all",
        "recover --commit reexecute --gate batch --batch-txs 4 --memory 0",
    ] {
        works.push(recovery(words, 14, &FAULTS));
    }
    // Many batches one after the other, each with its commit.
    for words in [
        "recover --commit restore --gate batch --batch-txs 1",
        "recover --commit restore --gate all --batch-txs 1 --memory 0",
        "recover --commit reexecute --gate batch --batch-txs 1",
        "recover --commit reexecute --gate all --batch-txs 1 --memory 0",
    ] {
        works.push(recovery(words, 242, &[Fault::Kill]));
    }
    // A block table that an older program left, which is brought forward and then written to.
    works.push(recovery_of(half_recovered_by_an_older(), "recover --batch-txs 4", &FAULTS));
    works.push({
        let undisturbed = behind(14);
        let digest = undisturbed.recover().state_digest;
        let template = undisturbed.copy();
        std::fs::remove_file(template.dir.file("main.db")).expect("it is there");
        let _ = std::fs::remove_file(template.dir.file("main.db-wal"));
        let undisturbed = Mutex::new(undisturbed);
        let judge = move |node: &Node, _: bool| {
            // Where it was not made again yet, it has to be asked for again.
            let again = command("recover --rebuild-main", node.dir.path()).status();
            assert!(again.expect("it runs").success(), "it cannot be made again");
            check(node, &lock(&undisturbed), digest);
        };
        let words = "recover --rebuild-main";
        Work { words, template: Some(template), faults: &FAULTS, judge: Box::new(judge) }
    });
    works
}

/// Returns what each block of a node changed, as a digest, once it is recovered; `None` where there is no node.
fn made(node: &Node) -> Option<Vec<Digest>> {
    match node.dir.open() {
        Err(error) if error.problem == Problem::NotInitialized => return None,
        opened => drop(opened.expect("a whole node or none")),
    }
    node.recover();
    let again = node.recover();
    assert_eq!(again.outcome, Outcome::InSync, "a second recovery finds nothing to do");
    let rows = blocks(&node.dir.open().expect("a sound node"));
    Some(rows.iter().map(|row| row.changes_digest).collect())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn binary() -> PathBuf {
    let named = std::env::var_os(PROGRAM);
    named.map_or_else(|| env!("CARGO_BIN_EXE_rewake").into(), PathBuf::from)
}

fn command(words: &str, data: &Path) -> Command {
    let mut command = Command::new(binary());
    command.args(words.split_whitespace()).arg("--data").arg(data);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Does one thing to one call; says whether it came to that.
fn hit(work: &Work, call: &str, fault: Fault, number: usize) -> Option<bool> {
    let inject = fault.inject(call, number)?;
    let node = work.template.as_ref().map_or_else(Node::nowhere, Node::copy);
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let trace = scratch.path().join("trace");
    let mut traced = Command::new(STRACE);
    traced.args(["-f", "-qq", "-e", &format!("trace={call}"), "-e", &inject, "-o"]).arg(&trace);
    if call == "openat" {
        // What the system opens to start a program is none of its own.
        for name in FILES {
            traced.arg("-P").arg(node.dir.file(name));
        }
    }
    traced.arg(binary()).args(work.words.split_whitespace()).arg("--data").arg(node.dir.path());
    let output = traced.stdin(Stdio::null()).output().expect("it runs");
    let at = format!("{} {inject}", work.words);
    let (status, said) = (output.status, String::from_utf8_lossy(&output.stderr).into_owned());
    let fired = match fault {
        Fault::Kill => status.signal() == Some(9),
        _ => std::fs::read_to_string(&trace).expect("a trace").contains("(INJECTED)"),
    };
    let is_killed = fault == Fault::Kill && fired;
    assert!(is_killed || status.code().is_some(), "{at}: {status:?}");
    assert!(!said.contains("panicked"), "{at}: {said}");
    let ended_well = status.success();
    assert!(ended_well || fired, "{at}: {status:?} {said}");
    assert!(ended_well || fault != Fault::Lie, "{at}: {status:?} {said}");
    if node.dir.file("LOCK").exists() {
        // The tracer may be gone before the last thread of the program is.
        let is_busy = node.dir.open().is_err_and(|error| error.problem == Problem::Busy);
        if is_busy {
            await_unlocked(&node);
        }
    }
    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        (work.judge)(&node, ended_well);
    }));
    assert!(judged.is_ok(), "to see it again: strace -f -e {inject} rewake {}", work.words);
    Some(fired)
}

/// Runs a node whose clients submit until it dies at a call; returns the identities that it acknowledged, and whether it
/// died there.
fn serve_until(data: &Path, call: &str, number: usize) -> (Vec<TxId>, bool) {
    let inject = Fault::Kill.inject(call, number).expect("any call can be the last one");
    let mut traced = Command::new(STRACE);
    traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
    traced.arg(binary()).args(["node", "--listen", "127.0.0.1:0", "--block-ms", "2"]);
    traced.args(["--block-txs", "8", "--data"]).arg(data);
    let mut child = traced.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let told = lines.next().and_then(Result::ok).unwrap_or_default();
    let acknowledged = Mutex::new(Vec::new());
    if let Some(address) = address_in(&told) {
        std::thread::scope(|scope| {
            for from in 1..=CLIENTS {
                let acknowledged = &acknowledged;
                scope.spawn(move || {
                    let mut nonce = 0;
                    let ask = |nonce| {
                        let request = post("/v1/transactions", &transfer(from, nonce));
                        Client::try_connect(address)?.try_ask(&request)
                    };
                    while let Some(answer) = ask(nonce) {
                        // Until it is ready it says so and takes nothing.
                        if answer.status == 200 {
                            let id = answer.json()["id"].as_str().expect("a name").to_owned();
                            lock(acknowledged).push(id.parse().expect("an identity"));
                            nonce += 1;
                        }
                    }
                });
            }
        });
    }
    let died = child.wait().expect("it ends").signal() == Some(9);
    (acknowledged.into_inner().expect("no holder panics"), died)
}

fn transfer(from: u64, nonce: u64) -> String {
    serde_json::json!({"from": from, "to": from % CLIENTS + 1, "amount": 1, "nonce": nonce})
        .to_string()
}

#[test]
fn the_node_survives_its_death_at_a_system_call_under_load() {
    if !has_strace() {
        return;
    }
    let numbers = |call: &str| match (Suite::chosen(), call) {
        (Suite::Every, _) => (20..=60).step_by(40),
        (Suite::Quick, "fsync") => (1..=60).step_by(10),
        (Suite::Quick, _) => (1..=400).step_by(50),
        (_, "fsync") => (1..=60).step_by(1),
        _ => (1..=400).step_by(5),
    };
    let template = Node::nowhere();
    let ended = command("init --accounts 4", template.dir.path()).status().expect("it runs");
    assert!(ended.success(), "{ended:?}");
    let (mut deaths, mut known) = (0, 0);
    for (call, number) in ["fsync", "pwrite64"]
        .into_iter()
        .flat_map(|call| numbers(call).map(move |number| (call, number)))
    {
        let node = template.copy();
        let (acknowledged, died) = serve_until(node.dir.path(), call, number);
        let at = format!("{call} {number}");
        assert!(died, "{at}: it did not come to that");
        await_unlocked(&node);
        node.recover();
        assert_eq!(node.recover().outcome, Outcome::InSync, "{at}: a second recovery");
        let store = node.dir.open().expect("a sound node");
        for id in &acknowledged {
            let found = store.log().find_tx(id).expect("a sound log");
            assert!(found.is_some(), "{at}: {id} was acknowledged and is lost");
        }
        drop(store);
        check_sums(&node);
        deaths += 1;
        known += acknowledged.len();
    }
    println!("node under load: {deaths} deaths, {known} transactions acknowledged, none lost");
    assert!(known > 0, "no client was ever answered");
}

#[test]
fn the_program_survives_a_fault_in_any_of_its_system_calls() {
    if !has_strace() {
        return;
    }
    let stride = match Suite::chosen() {
        // The build that the tests themselves make is looked at in passing.
        _ if std::env::var_os(PROGRAM).is_none() => 1_000,
        Suite::Every => 1_000,
        Suite::Quick => 8,
        Suite::Long | Suite::Full => 1,
    };
    let works = works();
    let mut rows = Vec::new();
    for (work, call) in works.iter().flat_map(|work| CALLS.map(|call| (work, call))) {
        rows.extend(work.faults.iter().map(|fault| (work, call, *fault)));
    }
    let (next, reached) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let slowest = Mutex::new((Duration::ZERO, String::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((work, call, fault)) = rows.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    // The first number beyond the calls of every thread meets none.
                    let numbers = (1..).step_by(stride);
                    let timed = |number| {
                        let began = Instant::now();
                        let fired = hit(work, call, *fault, number);
                        let what = format!("{fault:?} at {call} {number} of {:?}", work.words);
                        let mut slowest = lock(&slowest);
                        *slowest = (began.elapsed(), what).max(std::mem::take(&mut *slowest));
                        fired
                    };
                    let hits = numbers.map_while(timed).take_while(|fired| *fired).count();
                    *lock(&reached).entry((*fault, *call)).or_insert(0) += hits;
                }
            });
        }
    });
    let reached = reached.into_inner().expect("no holder panics");
    let points: usize = reached.values().sum();
    println!("system calls of {}: {points} points {reached:?}", binary().display());
    println!("the slowest: {:?}", lock(&slowest));
    for ((fault, call), hits) in &reached {
        let is_possible = fault.inject(call, 1).is_some();
        assert_eq!(*hits > 0, is_possible, "{fault:?} at {call} was never reached");
    }
}
