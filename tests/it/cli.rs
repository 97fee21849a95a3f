//! The program from outside: its streams, its help, and the way of a node from made to recovered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rewake::store::DataDir;
use serde_json::Value;
use tempfile::TempDir;

/// What a run of the program gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Returns the JSON object on the last line of standard output.
    pub(crate) fn json(&self) -> Value {
        let line = self.out.lines().last().unwrap_or_else(|| panic!("no line: {self:?}"));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Expects an exit code.
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

/// Returns the program, ready for arguments.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rewake"));
    command.env_remove("REWAKE_LOG").env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

/// Runs a prepared program; whatever happens, it must neither panic nor print a backtrace.
pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is text");
    let code = output.status.code().expect("the program ends by itself");
    let ran = Ran { code, out: text(output.stdout), err: text(output.stderr) };
    for word in ["panicked", "internal failure", "stack backtrace"] {
        assert!(!ran.err.contains(word), "{ran:#?}");
    }
    ran
}

/// Runs the program with words and, last, a data directory.
pub(crate) fn rewake(words: &str, data: &Path) -> Ran {
    run(program().args(words.split_whitespace()).arg("--data").arg(data))
}

/// Makes a node with 15 blocks, the last 5 of which wait, in a directory that vanishes.
pub(crate) fn generated() -> (TempDir, PathBuf) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    rewake(GENERATE, &data).expect(0);
    (scratch, data)
}

pub(crate) const GENERATE: &str = "generate --accounts 20 --transfers 305 --block-txs 20 \
     --unconfirmed-blocks 5 --mempool 5 --skew 0.5 --refusals 10 --seed 3";

/// Returns every file of a directory with its bytes; an empty write-ahead log counts as none.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(dir) else { return BTreeMap::new() };
    let files = entries.map(|entry| {
        let entry = entry.expect("the directory can be listed");
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, std::fs::read(entry.path()).expect("a file"))
    });
    files.filter(|(name, bytes)| !(name.ends_with("-wal") && bytes.is_empty())).collect()
}

#[test]
fn a_generated_node_is_behind_until_it_is_recovered() {
    let (_scratch, data) = generated();
    let before = files(&data);
    let status = rewake("status --json", &data).expect(3).json();
    let expected = serde_json::json!({
        "decision": "behind", "block_height": 10, "last_ordered_height": 15,
        "pending_blocks": 5, "pending_txs": 100, "mempool": 5, "quarantined": 0,
        "log_head_seq": 305 + 1 + 16,
        "machine": { "id": "ledger", "version": 1 },
        "state_digest": status["state_digest"],
    });
    assert_eq!(status, expected);
    let plan = rewake("plan --json --batch-txs 50", &data).expect(0).json();
    for (field, expected) in
        [("blocks", 5), ("txs", 100), ("mempool", 5), ("verdicts", 0), ("batches_estimate", 2)]
    {
        assert_eq!(plan[field], expected, "{field}: {plan}");
    }
    assert_eq!((&plan["from_height"], &plan["to_height"]), (&11.into(), &15.into()));
    assert_eq!(files(&data), before, "status and plan change nothing");

    let report = rewake("recover --json --batch-txs 50", &data).expect(0).json();
    for (field, expected) in [
        ("outcome", Value::from("recovered")),
        ("decision", "behind".into()),
        ("from_height", 11.into()),
        ("to_height", 15.into()),
        ("blocks", 5.into()),
        ("txs", 100.into()),
        ("quarantined", 0.into()),
        ("mempool", 5.into()),
        ("log_head_seq", 322.into()),
        ("batches", 2.into()),
    ] {
        assert_eq!(report[field], expected, "{field}: {report}");
    }
    for field in ["applied", "rejected", "rehearse_ms", "commit_ms", "wall_ms", "peak_rss_bytes"] {
        assert!(report[field].is_u64(), "{field}: {report}");
    }
    assert!(report["rejected"].as_u64() > Some(0), "some transfers are meant to be refused");
    let status = rewake("status --json", &data).expect(0).json();
    assert_eq!(status["decision"], "in_sync");
    assert_eq!(status["state_digest"], report["state_digest"]);
    let again = rewake("recover --json", &data).expect(0).json();
    assert_eq!(again["outcome"], "in_sync");
    assert_eq!(again["state_digest"], report["state_digest"]);
}

#[test]
fn every_way_of_recovering_gives_the_same_digest() {
    let mut digests = Vec::new();
    for options in [
        "--commit restore --gate all",
        "--commit reexecute --gate all --batch-txs 30",
        "--commit restore --gate batch --batch-txs 1 --memory 0",
        "--commit reexecute --gate batch --retries 0 --step-time-max 60000",
    ] {
        let (_scratch, data) = generated();
        let report = rewake(&format!("recover --json {options}"), &data).expect(0).json();
        digests.push(report["state_digest"].clone());
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

#[test]
fn batches_grow_as_long_as_a_crash_may_repeat_them_and_the_report_says_so() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    let words = "generate --transfers 56000 --accounts 20000 --block-txs 1000";
    rewake(&format!("{words} --unconfirmed-blocks 56 --mempool 0"), &data).expect(0);
    let copy = |name: &str| {
        let copy = scratch.path().join(name);
        crate::scripted::copy_files(&DataDir::new(&data), &DataDir::new(&copy));
        copy
    };
    let (twin, gated) = (copy("twin"), copy("gated"));
    let first_change = |words: &str, node: &Path| {
        let report = rewake(words, node).expect(0).json();
        let change = &report["paces"][0];
        assert_eq!(change["why"], "room_for_more", "{report}");
        (change["batch"]["txs_max"].clone(), change["after"].clone(), report)
    };
    // What was rehearsed says how large the first batch may be; where nothing was, the first batch says it of the next.
    let (txs_max, after, paced) = first_change("recover --json --repeat-max 3600", &data);
    assert_eq!((txs_max, after), (1_000_000.into(), serde_json::Value::Null));
    let (txs_max, after, _) = first_change("recover --json --gate batch --repeat-max 3600", &gated);
    assert_eq!((txs_max, after), (100_000.into(), 50.into()));
    let steady = rewake("recover --batch-txs 50000", &twin).expect(0).out;
    assert!(!steady.contains("\npace"), "{steady}");
    assert_eq!(
        rewake("status --json", &twin).expect(0).json()["state_digest"],
        paced["state_digest"]
    );
}

#[test]
fn a_lost_block_table_is_made_again_from_the_log() {
    let (_scratch, data) = generated();
    let digest = rewake("recover --json", &data).expect(0).json()["state_digest"].clone();
    for file in ["main.db", "main.db-wal"] {
        std::fs::remove_file(data.join(file)).expect("the file is there");
    }
    let report = rewake("recover --json --rebuild-main", &data).expect(0).json();
    assert_eq!((&report["decision"], &report["blocks"]), (&"never_committed".into(), &16.into()));
    assert_eq!(report["state_digest"], digest);
    std::fs::remove_file(data.join("WITNESS")).expect("the file is there");
    let report = rewake("recover --json --accept-log", &data).expect(0).json();
    assert_eq!(report["outcome"], "in_sync");
}

#[test]
fn text_for_people_says_what_happened_and_what_to_do() {
    let (_scratch, data) = generated();
    for (words, code, expected) in [
        ("status", 3, "run `rewake recover` to confirm the waiting blocks"),
        ("status", 3, "5 blocks with 100 transactions"),
        ("plan", 0, "5 blocks (11 to 15) with 100 transactions"),
        ("recover", 0, "recovered: every ordered block is confirmed"),
        ("recover", 0, "in sync: nothing was left to recover"),
        ("status", 0, "nothing: every ordered block is confirmed"),
        ("quarantine list", 0, "no transaction is held"),
    ] {
        let ran = rewake(words, &data).expect(code);
        assert!(ran.out.contains(expected), "{words}: {ran:#?}");
        // A recovery that has something to do says beforehand what it may cost.
        let announced = ran.err.lines().count();
        assert_eq!(announced, usize::from(expected.starts_with("recovered")), "{words}: {ran:#?}");
    }
}

#[test]
fn every_command_has_help_and_completions_name_it() {
    let help = run(program().arg("--help")).expect(0).out;
    let listed = help.split("Commands:").nth(1).expect("a list of commands");
    let listed = listed.split("Options:").next().expect("the end of the list");
    let word = |line: &str| {
        let line = line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?;
        line.split_whitespace().next().map(str::to_owned)
    };
    let commands: Vec<_> = listed.lines().filter_map(word).filter(|name| name != "help").collect();
    for name in ["init", "import", "generate", "status", "plan", "recover", "quarantine", "demo"] {
        assert!(commands.iter().any(|command| command == name), "{name} is not in {commands:?}");
    }
    assert!(!commands.iter().any(|command| command == "demo-node"), "it is for the demo alone");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(program().args(["completions", shell])).expect(0).out;
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell} does not know {command}");
        }
    }
    for command in commands {
        let help = run(program().args([command.as_str(), "--help"])).expect(0).out;
        assert!(help.contains("Usage:") && help.contains("--json"), "{command}: {help}");
    }
    assert!(run(program().arg("--version")).expect(0).out.starts_with("rewake "));
}

#[test]
fn a_command_line_that_cannot_be_followed_is_a_usage_error() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    for (words, expected) in [
        ("bogus", "unrecognized subcommand 'bogus'"),
        ("recover --commit never", "invalid value 'never'"),
        ("recover --batch-txs 0", "0 is not in 1.."),
        ("recover --batch-txs 9 --repeat-max 9", "cannot be used with '--repeat-max"),
        ("recover --memory x", "invalid value 'x'"),
        ("recover --workers 0", "0 is not in 1..=64"),
        ("generate --skew 1.234", "at most two decimal places"),
        ("generate --accounts 1", "workload asks for 1 accounts, allowed are 2 to"),
        ("generate --transfers 50 --unconfirmed-blocks 9", "allowed are 0 to 0"),
        ("quarantine show nonsense", "64 hexadecimal digits"),
    ] {
        let ran = rewake(&format!("{words} --json"), &data).expect(2);
        let told = ran.json();
        let text = format!("{} {}", told["error"], ran.err);
        assert!(text.contains(expected), "{words}: {ran:#?}");
        assert_eq!(told["exit_code"], 2, "{words}");
        assert!(!data.exists(), "{words} makes nothing");
    }
    assert!(run(&mut program()).expect(2).err.contains("Usage:"), "no command is a usage error");
}

#[test]
fn a_node_is_made_once_and_only_for_a_machine_that_is_known() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("new").join("node");
    let ran = rewake("init --machine nonsense --json", &data).expect(6);
    assert!(ran.err.contains("\"nonsense\" is not built into this program"), "{ran:#?}");
    assert!(!data.exists());
    rewake("init --machine ledger --accounts 5 --balance 7", &data).expect(0);
    let before = files(&data);
    let ran = rewake("init --machine ledger", &data).expect(2);
    assert!(ran.err.contains("is not empty") && ran.err.contains("help: "), "{ran:#?}");
    assert_eq!(files(&data), before);
    let report = rewake("recover --json", &data).expect(0).json();
    assert_eq!((&report["blocks"], &report["txs"]), (&1.into(), &0.into()));
}

#[test]
fn a_reader_that_leaves_changes_nothing_and_lost_output_is_an_error() {
    let (_scratch, data) = generated();
    let mut command = program();
    command
        .args(["recover", "--quiet", "--data"])
        .arg(&data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else {
        eprintln!("skipped: there is no /dev/full");
        return;
    };
    let ran = run(program().args(["status", "--data"]).arg(&data).stdout(full)).expect(1);
    assert!(ran.err.contains("error: writing to standard output failed"), "{ran:#?}");
}

#[test]
fn logging_goes_to_standard_error_alone() {
    let (_scratch, data) = generated();
    let mut command = program();
    command.args(["recover", "--json", "--data"]).arg(&data);
    let ran = run(command.env("REWAKE_LOG", "trace")).expect(0);
    assert_eq!(ran.out.lines().count(), 1, "{ran:#?}");
    let ran = run(command.env("REWAKE_LOG", "no=filter=")).expect(0);
    assert!(ran.err.contains("REWAKE_LOG is no filter"), "{ran:#?}");
    assert_eq!(ran.json()["outcome"], "in_sync");
}
