//! `rewake torture`: what it reaches, that it finds what is wrong, and how it ends.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rewake::cli::{Output, run_with};
use rewake::exec::StopSignal;
use rewake::machine::Registry;
use rewake::store::{DataDir, Problem};
use rewake::torture::{
    Extent, Fault, Kind, Launch, Leavings, Outcome, Source, Subject, Torture, TortureError,
    TortureOptions, TortureReport, Verdict,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cli::{files, generated, program, rewake, run};
use crate::faulty::Faulty;
use crate::scripted::{faulty_node, ordered, script};

/// The arguments of a child, one a line.
const ORDERS: &str = "REWAKE_TEST_TORTURED";
/// What a child does wrongly.
const FLAW: &str = "REWAKE_TEST_FLAW";
/// What a child does wrongly also before the first round.
const EARLY: &str = "alters a receipt";

/// Entry of the processes that a campaign strikes; nothing without their orders.
#[test]
fn child_entry() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let words: Vec<_> = orders.lines().collect();
    let is_round = orders.contains("/round");
    let flaw = std::env::var(FLAW).unwrap_or_default();
    let flaw = if is_round || flaw == EARLY { flaw } else { String::new() };
    if (flaw.as_str(), words[0]) == ("swallows an error", "torture-recover") {
        std::process::exit(0);
    }
    let machine = Faulty::default();
    if words[0] == "torture" {
        let probes = Arc::clone(&machine.probes);
        std::thread::spawn(move || {
            probes.await_started();
            eprintln!("child: it hangs");
        });
    }
    let registry = Registry::built_in().with(machine);
    let arguments = std::iter::once("rewake").chain(words.iter().copied());
    let exit = run_with(registry, arguments, Output::standard());
    let data = words.iter().skip_while(|word| **word != "--data").nth(1).expect("a node");
    spoil(&flaw, words[0], Path::new(data));
    std::process::exit(exit.code().into());
}

/// Does what no process of ours may do.
fn spoil(flaw: &str, verb: &str, data: &Path) {
    let dir = DataDir::new(data);
    match (flaw, verb) {
        ("alters the state", "recover") => {
            let sql = crate::scripted::sql(&dir, "main.db");
            let last = "(SELECT max(key) FROM state)";
            let text = format!("UPDATE state SET value = zeroblob(16) WHERE key = {last}");
            sql.execute(&text, []).expect("an entry");
        }
        (EARLY, "recover") => {
            let sql = crate::scripted::sql(&dir, "main.db");
            let text = "UPDATE block_body SET receipts = zeroblob(16) WHERE height = 3";
            assert_eq!(sql.execute(text, []).expect("a block"), 1);
        }
        ("refuses what it changed", "recover") => {
            let file = std::fs::File::options().append(true).open(data.join("WITNESS"));
            file.expect("a file").write_all(b"again\n").expect("a file");
            std::process::exit(4);
        }
        ("acknowledges too much", "torture-append") => {
            let line = format!("acknowledged 999999 {}\n", "ab".repeat(32));
            std::io::stdout().lock().write_all(line.as_bytes()).expect("a reader");
        }
        ("writes again", "recover") => {
            let mut how = std::fs::File::options();
            let file = how.append(true).create(true).open(data.join("notes"));
            let mut file = file.expect("a file");
            file.write_all(b"again\n").expect("a file");
        }
        ("exits", "recover") => std::process::exit(3),
        ("fails within", "recover") => {
            eprintln!("error: internal failure at nowhere");
            std::process::exit(1);
        }
        ("hangs", "recover") => loop {
            std::thread::park();
        },
        ("finds nothing", "audit") => std::process::exit(1),
        _ => {}
    }
}

fn launch(flaw: &'static str) -> Launch {
    let this = std::env::current_exe().expect("this program");
    Arc::new(move |arguments: &[OsString]| {
        let mut command = Command::new(&this);
        command.args(["torture::child_entry", "--exact", "--nocapture"]);
        let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
        command.env(ORDERS, words.join("\n")).env(FLAW, flaw);
        command
    })
}

fn options(scratch: &Path, launch: Launch, extent: Extent) -> TortureOptions {
    TortureOptions {
        source: Source::Fresh,
        scratch: scratch.to_owned(),
        seed: 1,
        extent,
        patience: Duration::from_mins(1),
        launch,
        command: "rewake torture --fresh".to_owned(),
        stop: StopSignal::default(),
        leavings: Leavings::default(),
    }
}

fn registry() -> Registry {
    Registry::built_in().with(Faulty::default())
}

fn campaign(options: TortureOptions) -> Result<TortureReport, TortureError> {
    Torture::prepare(options, registry())?.run(&mut |_| {})
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).expect("a directory").next().is_none()
}

#[test]
fn a_fresh_node_survives_every_kind_of_fault() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut command = program();
    command.args(["torture", "--fresh", "--json", "--rounds", "120", "--seed", "5"]);
    // A loaded machine is slow, and nothing here asks how slow.
    command.args(["--patience", "600", "--scratch"]);
    let report = run(command.arg(scratch.path())).expect(0).json();
    assert_eq!(report["outcome"], "survived", "{report}");
    assert_eq!(report["never_reached"], Value::Array(Vec::new()), "{report}");
    let kinds = report["kinds"].as_array().expect("a list");
    // What the rest comes to depends on the clock and on the salts of write-ahead logs.
    assert!(kinds.len() >= 50, "{report}");
    for outcome in ["recovered", "refused"] {
        let seen = kinds.iter().any(|kind| kind["outcomes"][outcome].is_u64());
        assert!(seen, "{outcome}: {report}");
    }
    assert!(kinds.iter().all(|kind| kind["reached"].as_u64() > Some(0)), "{report}");
    assert!(report["kills"].as_u64() >= Some(6), "{report}");
    assert!(is_empty(scratch.path()), "the scratch directory is deleted");
}

#[test]
fn the_node_itself_is_left_alone() {
    let (place, data) = generated();
    let before = files(&data);
    let ran = rewake("torture --rounds 1", &data).expect(10);
    assert!(ran.out.contains("incomplete: some kinds of fault were never reached"), "{ran:?}");
    assert!(ran.out.contains("never reached") && ran.err.contains("note: "), "{ran:?}");
    assert_eq!(files(&data), before);
    let names: Vec<_> = std::fs::read_dir(place.path()).expect("a directory").collect();
    assert_eq!(names.len(), 1, "only the node is there: {names:?}");
    let _store = DataDir::new(&data).open().expect("a sound node");
    let told = rewake("torture --rounds 1 --json", &data).expect(7).json();
    assert!(told["error"].as_str().is_some_and(|text| text.contains("another process")), "{told}");
}

#[test]
fn a_node_that_is_refused_is_not_tortured() {
    let (place, data) = generated();
    let nothing = place.path().join("nothing");
    rewake("torture --rounds 1", &nothing).expect(2);
    std::fs::remove_file(data.join("WITNESS")).expect("a file");
    let ran = rewake("torture --rounds 1", &data).expect(4);
    assert!(ran.err.contains("WITNESS"), "{ran:?}");
    rewake("torture --fresh", &data).expect(2);
    run(program().arg("torture")).expect(2);
}

#[test]
fn one_round_can_be_repeated() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let repeat = |round: &str, seed: &str| {
        let mut command = program();
        command.args(["torture", "--fresh", "--json", "--round", round, "--seed", seed]);
        let report = run(command.arg("--scratch").arg(scratch.path())).expect(0).json();
        assert_eq!((&report["outcome"], &report["rounds"]), (&"repeated".into(), &1.into()));
        report["repeated"].as_str().expect("text").to_owned()
    };
    let first = repeat("19", "3");
    assert!(first.contains("flip a bit: log.db: bit "), "{first}");
    assert_eq!(repeat("19", "3"), first);
    assert_ne!(repeat("19", "4"), first);
}

#[test]
fn a_signal_ends_a_campaign_and_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut command = program();
    command.args(["torture", "--fresh", "--seconds", "600", "--json", "--scratch"]);
    let child = command.arg(scratch.path()).stdout(Stdio::piped()).spawn().expect("the program");
    let deadline = Instant::now() + Duration::from_mins(5);
    let begun = || {
        let mut entries = std::fs::read_dir(scratch.path()).expect("a directory");
        let made = entries.next().and_then(Result::ok);
        made.is_some_and(|entry| entry.path().join("round").exists())
    };
    while !begun() {
        assert!(Instant::now() < deadline, "no round began");
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).expect("a signal");
    let output = child.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.starts_with("{\"outcome\":\"stopped\""), "{text}");
    assert!(is_empty(scratch.path()), "the scratch directory is deleted");
}

#[test]
fn a_machine_of_ones_own_is_tortured_as_well() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let node = faulty_node(&Faulty::default());
    let block =
        |number: u8| [script(number + 1, "add n 1"), ordered(number.into(), "", &[number + 1])];
    node.append((0..12).flat_map(block).collect());
    let options = options(scratch.path(), launch(""), Extent::Rounds(60));
    let source = Source::Node(DataDir::new(node.dir.path()));
    let report = campaign(TortureOptions { source, ..options }).expect("a verdict");
    assert_eq!(report.outcome, Verdict::Survived, "{report:#?}");
}

/// Runs the rounds of one kind, which a flawed child takes part in, and returns the first thing that is wrong.
fn violation(flaw: &'static str, kind: Kind) -> String {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    // The number of its first round is its place in the list, for a node that offers all kinds before it.
    let place = Kind::all().iter().position(|other| *other == kind).expect("a kind");
    let extent = Extent::Only(place as u64 + 1);
    let mut options = options(scratch.path(), launch(flaw), extent);
    if flaw == "hangs" {
        options.patience = Duration::from_secs(1);
    }
    let report = campaign(options).expect("a verdict");
    assert_eq!(report.outcome, Verdict::Violated, "{flaw}: {report:#?}");
    let [violation] = report.violations.as_slice() else { panic!("{flaw}: {report:#?}") };
    assert_eq!(violation.kind, kind);
    let repeat = format!("rewake torture --fresh --seed 1 --round {}", place + 1);
    assert_eq!(violation.reproduce, repeat);
    assert!(violation.kept.join("log.db").exists(), "{violation:?}");
    assert!(violation.kept.starts_with(report.scratch.expect("it is kept")));
    let outcomes = report.kinds.iter().find(|other| other.kind == kind).expect("a kind");
    assert_eq!(outcomes.outcomes.get(&Outcome::Violated), Some(&1));
    violation.what.clone()
}

#[test]
fn what_is_wrong_is_found() {
    let kind = |fault, subject| Kind { fault, subject };
    let rebuild = kind(Fault::Kill, Subject::Rebuild);
    for (flaw, kind, expected) in [
        ("alters the state", rebuild, "is not what was written"),
        ("writes again", rebuild, "a second recovery wrote into {\"notes\"}"),
        ("exits", rebuild, "exit code 3"),
        ("hangs", rebuild, "no end within the time"),
        ("fails within", kind(Fault::FlipBit, Subject::Main), "failed internally"),
        ("exits", kind(Fault::FlipBit, Subject::Log), "the damage was not named: exit code 3"),
        ("exits", kind(Fault::Terminate, Subject::Resume), "exit code 3"),
        ("acknowledges too much", kind(Fault::FileLimitError, Subject::Append), "was acknowledged"),
        ("finds nothing", kind(Fault::Kill, Subject::Append), "the audit did not end well"),
        (
            "swallows an error",
            kind(Fault::FileLimitError, Subject::Resume),
            "ended well the node is ",
        ),
        (
            "refuses what it changed",
            kind(Fault::FlipBit, Subject::Log),
            "refused the node wrote into",
        ),
    ] {
        let found = violation(flaw, kind);
        assert!(found.contains(expected), "{flaw}, {kind}: {found}");
    }
}

#[test]
fn a_second_signal_ends_a_campaign_that_does_not_heed_the_first_and_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let node = faulty_node(&Faulty::default());
    node.append(vec![script(1, "runaway"), ordered(0, "", &[1])]);
    let words = ["torture".as_ref(), "--data".as_ref(), node.dir.path().as_os_str()];
    let place = ["--scratch".as_ref(), scratch.path().as_os_str()];
    let words: Vec<_> = words.into_iter().chain(place).map(OsString::from).collect();
    let mut child = launch("")(&words).stderr(Stdio::piped()).spawn().expect("a child");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("text").ends_with("child: it hangs")), "it ended before");
    assert!(!is_empty(scratch.path()));
    // Two of a kind could be heard as one.
    for signal in [Signal::INT, Signal::TERM] {
        kill_process(Pid::from_child(&child), signal).expect("a signal");
    }
    let code = child.wait().expect("an end").code();
    assert!(matches!(code, Some(130 | 143)), "{code:?}");
    assert!(is_empty(scratch.path()), "the scratch directory is deleted");
}

#[test]
fn copies_are_not_made_in_the_node() {
    let (_place, data) = generated();
    let before = files(&data);
    let ran = rewake(&format!("torture --rounds 1 --scratch {}", data.display()), &data).expect(2);
    assert!(ran.err.contains("copies cannot be made within"), "{ran:?}");
    assert_eq!(files(&data), before);
}

#[test]
fn an_undisturbed_run_that_the_audit_has_something_against_is_no_measure() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let found = campaign(options(scratch.path(), launch(EARLY), Extent::Rounds(1)));
    let found = found.expect_err("no verdict");
    let TortureError::Undisturbed { what: "rebuild", how } = &found else { panic!("{found:?}") };
    assert!(how.starts_with("the audit finds places that differ: block 3"), "{how}");
    assert!(is_empty(scratch.path()), "nothing is left behind");
}

#[test]
fn what_keeps_a_campaign_from_a_verdict_is_named() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let begin = || options(scratch.path(), launch(""), Extent::Rounds(1));
    let error = |options| campaign(options).expect_err("no verdict");
    let nowhere: Launch = Arc::new(|_| Command::new("/nowhere/rewake"));
    let found = error(TortureOptions { launch: nowhere, ..begin() });
    assert!(matches!(found, TortureError::Child { verb: "started", .. }), "{found:?}");
    let fails: Launch = Arc::new(|_| Command::new("false"));
    let found = error(TortureOptions { launch: fails, ..begin() });
    assert!(matches!(found, TortureError::Undisturbed { what: "rebuild", .. }), "{found:?}");
    let found = error(TortureOptions { scratch: "/nowhere".into(), ..begin() });
    assert!(matches!(found, TortureError::Scratch { operation: "creating", .. }), "{found:?}");
    let nothing = Source::Node(DataDir::new(scratch.path().join("nothing")));
    let found = error(TortureOptions { source: nothing, ..begin() });
    let TortureError::Store(store) = &found else { panic!("{found:?}") };
    assert_eq!(store.problem, Problem::NotInitialized);
    let options = begin();
    options.stop.request();
    let found = error(options);
    assert!(matches!(found, TortureError::Stopped), "{found:?}");
    let found = Torture::prepare(begin(), Registry::default()).err().expect("no machine");
    assert!(matches!(found, TortureError::Refused(_)), "{found:?}");
    assert!(is_empty(scratch.path()), "nothing is left behind");
}
