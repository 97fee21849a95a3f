//! A recovering process is killed again and again, and the node comes out as if it had never been.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rewake::exec::{CommitMode, Gate, Outcome, Recovery, RecoveryOptions, examine};
use rewake::generate::Workload;
use rewake::machine::Registry;
use rewake::machine::ledger::LedgerKey;
use rewake::plan::BatchLimits;
use rewake::state::StateRead as _;
use rewake::store::{DataDir, Repairs};
use rewake::types::Seq;

use crate::nodes::{Node, fill};
use crate::scripted::{Numbers, assert_same_files, files};

/// What a child is told: `COMMAND MODE GATE BATCH_TXS MEMORY_BYTES DIRECTORY`.
const ORDERS: &str = "REWAKE_TEST_CHILD";
/// After how many notices a recovering child holds still, so that the signal cannot come too late.
const HOLD: &str = "REWAKE_TEST_HOLD";
const SEED: u64 = 0x7265_7761_6b65;

/// Entry of the processes that other tests start; nothing without their orders.
#[test]
fn child_entry() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let mut words = orders.splitn(6, ' ');
    let mut word = || words.next().expect("six words");
    let command = word();
    let commit = if word() == "restore" { CommitMode::Restore } else { CommitMode::Reexecute };
    let gate = if word() == "all" { Gate::All } else { Gate::Batch };
    let txs_max = word().parse().expect("a number");
    let memory_bytes = word().parse().expect("a number");
    let dir = DataDir::new(word());
    let batch = BatchLimits { txs_max, ..BatchLimits::default() };
    let options =
        RecoveryOptions { commit, gate, batch, memory_bytes, ..RecoveryOptions::default() };
    match command {
        "recover" => recover(&dir, options),
        "append" => append(&dir),
        "examine" => count_reads(&dir),
        "submit" => crate::node_faults::submit(&dir),
        other => panic!("{other} is no command of a child"),
    }
    // The rest of the harness has nothing to say about this.
    std::process::exit(0);
}

/// Writes past the capture of the test harness, at once.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // The reader may be gone already.
    let _ = writeln!(out, "child: {line}");
    let _ = out.flush();
}

fn recover(dir: &DataDir, options: RecoveryOptions) {
    let registry = Registry::built_in().with(crate::faulty::Faulty::default());
    let node = examine(dir, &registry, Repairs::default()).expect("a sound node");
    let held_at = std::env::var(HOLD).ok().and_then(|notices| notices.parse().ok());
    let told = Arc::new(AtomicU64::new(0));
    let notice = move |told: &AtomicU64, what: &str, height: u64| {
        say(&format!("{what} {height}"));
        if Some(told.fetch_add(1, Ordering::Relaxed) + 1) == held_at {
            // In the middle of its work, until the signal arrives.
            loop {
                std::thread::park();
            }
        }
    };
    let tell = (notice, Arc::clone(&told));
    options.rehearsed.subscribe(move |block| tell.0(&tell.1, "rehearsed", block.height.get()));
    options.committed.subscribe(move |block| notice(&told, "committed", block.height.get()));
    let (_, report) = Recovery::new(node, options).run().expect("a recovery");
    say(&format!("resumed {}", report.resumed_blocks));
}

fn append(dir: &DataDir) {
    let node = examine(dir, &Registry::built_in(), Repairs::default()).expect("a sound node");
    let mut intake =
        rewake::exec::Intake::new(&node, std::sync::Arc::new(rewake::exec::SystemClock));
    let events = vec![crate::scripted::script(1, "anything")];
    match intake.append(events) {
        Ok(_) => say("acknowledged"),
        Err(error) => say(&format!("{error:?}")),
    }
}

/// Says how many bytes looking at a node reads, those of cached pages included.
fn count_reads(dir: &DataDir) {
    let read = || {
        let io = std::fs::read_to_string("/proc/self/io").expect("a process table");
        let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
        line.expect("a counter").parse::<u64>().expect("a number")
    };
    let registry = Registry::built_in();
    let before = read();
    let node = examine(dir, &registry, Repairs::default()).expect("a sound node");
    let after = read();
    say(&format!("{:?} {}", node.label, after - before));
}

/// Starts this program again as a child, under another program where one is given.
fn start(under: &[&str], orders: &str, hold: Option<u64>, dir: &Path) -> Child {
    let this = std::env::current_exe().expect("this program");
    let this = this.to_string_lossy().into_owned();
    let mut line: Vec<String> = under.iter().map(|word| (*word).to_owned()).collect();
    line.extend([this, "kill::child_entry".into(), "--exact".into(), "--nocapture".into()]);
    let (program, arguments) = line.split_first().expect("a program");
    Command::new(program)
        .args(arguments)
        .env(ORDERS, format!("{orders} {}", dir.display()))
        .envs(hold.map(|notices| (HOLD, notices.to_string())))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child")
}

/// Runs a child to its end and returns what it said.
pub fn run(under: &[&str], orders: &str, dir: &Path) -> (Vec<String>, std::process::ExitStatus) {
    let output = start(under, orders, None, dir).wait_with_output().expect("an end");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = text.lines().filter_map(|line| line.split_once("child: ").map(|(_, said)| said));
    (said.map(str::to_owned).collect(), output.status)
}

/// What one child did before it was killed or ended.
struct Run {
    said: Vec<String>,
    killed: bool,
}

/// Kills a child after so many notices; it goes on until the signal arrives, or holds still.
fn run_until(orders: &str, dir: &Path, notices: u64, holds: bool) -> Run {
    let mut child = start(&[], orders, holds.then_some(notices), dir);
    let out = child.stdout.take().expect("a pipe");
    let mut said = Vec::new();
    for line in BufReader::new(out).lines() {
        let line = line.expect("text");
        said.extend(line.split_once("child: ").map(|(_, said)| said.to_owned()));
        if said.len() as u64 == notices {
            child.kill().expect("a signal");
        }
    }
    let status = child.wait().expect("an end");
    Run { said, killed: status.signal() == Some(9) }
}

fn workload() -> Workload {
    Workload { accounts: 40, transfers: 620, block_txs: 20, mempool: 20, ..Workload::default() }
}

#[test]
fn a_node_that_is_killed_again_and_again_recovers_as_if_it_had_never_been() {
    let undisturbed = Node::ledger();
    fill(&undisturbed, &workload());
    let template = undisturbed.copy();
    let expected = undisturbed.recover();
    let mut numbers = Numbers(SEED);
    let (mut kills, mut resumed) = (0, 0);
    for orders in [
        "recover restore all 60 0",
        "recover restore batch 60 0",
        "recover reexecute all 60 0",
        "recover reexecute batch 60 0",
    ] {
        let node = disturb(orders, &template, &mut numbers, (&mut kills, &mut resumed));
        check(&node, &undisturbed, expected.state_digest);
    }
    assert!(kills >= 8, "seed {SEED:#x}: {kills} kills hit a running child");
    assert!(resumed > 0, "seed {SEED:#x}: no rehearsal was ever gone on with");
}

fn disturb(
    orders: &str,
    template: &Node,
    numbers: &mut Numbers,
    (kills, resumed): (&mut u32, &mut u64),
) -> Node {
    let node = template.copy();
    let blocks = workload().blocks();
    let mut rehearsed = false;
    for attempt in 0..6 {
        // The last attempt is left alone; a rehearsal gives one notice a block, the commit another.
        let notices = if attempt == 5 { u64::MAX } else { 1 + numbers.below(blocks) };
        let before = files(&node.dir);
        let run = run_until(orders, node.dir.path(), notices, attempt % 2 == 0);
        let at = format!("seed {SEED:#x}, {orders}, attempt {attempt}, {notices} notices");
        *kills += u32::from(run.killed);
        rehearsed |= run.said.iter().any(|said| *said == format!("rehearsed {blocks}"));
        if orders.contains("all") && run.killed && !rehearsed {
            let main = |mut files: std::collections::BTreeMap<String, Vec<u8>>| {
                files.retain(|name, _| name.starts_with("main.db"));
                files
            };
            assert_same_files(&main(before), &main(files(&node.dir)), &at);
        }
        let count = run.said.iter().find_map(|said| said.strip_prefix("resumed "));
        if let Some(count) = count {
            *resumed += count.parse::<u64>().expect("a number");
            break;
        }
        assert!(run.killed, "{at}: the child failed: {:?}", run.said);
    }
    node
}

/// Compares a node with one that was never disturbed, and looks for transfers that were applied twice.
pub fn check(node: &Node, undisturbed: &Node, digest: rewake::types::Digest) {
    let read = |node: &Node| {
        let examined = node.examine().expect("a sound node");
        let rows: Vec<_> = crate::scripted::blocks(&examined.store)
            .iter()
            .map(rewake::block::BlockRow::digest)
            .collect();
        (rows, examined.backlog.mempool.iter().map(Seq::get).collect::<Vec<_>>())
    };
    let before = files(&node.dir);
    let report = node.recover();
    assert_eq!((report.outcome, report.state_digest), (Outcome::InSync, digest));
    assert_same_files(&before, &files(&node.dir), "a second recovery writes nothing");
    assert_eq!(read(node), read(undisturbed), "blocks and mempool");
    check_sums(node);
}

/// Looks for transfers of a ledger that were applied twice, or for money that came from nowhere.
pub fn check_sums(node: &Node) {
    let examined = node.examine().expect("a sound node");
    let (mut balances, mut supply, mut applied) = (0u128, 0u128, 0u128);
    let number = |value: &[u8]| u128::from_le_bytes(value.try_into().expect("16 bytes"));
    let main = examined.store.main();
    main.scan(&[], &mut |key, value| match LedgerKey::read(key).expect("a ledger's key") {
        LedgerKey::Account(_) => balances += number(value) & u128::from(u64::MAX),
        LedgerKey::Supply => supply += number(value),
        LedgerKey::Applied => applied += number(value),
    })
    .expect("a readable state");
    drop(main);
    assert_eq!(balances, supply, "nothing is created and nothing is lost");
    let receipts =
        crate::scripted::blocks(&examined.store).iter().map(|row| row.counts.applied).sum::<u64>();
    assert_eq!(applied, u128::from(receipts), "every transfer is applied once");
}
