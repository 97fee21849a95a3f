//! The program dies at, or fails at, each named step of the write protocol, and the node comes out as if it had not.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rewake::store::DataDir;
use rewake::types::{Digest, Seq};
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{generated, program, rewake};
use crate::older::bring_back;
use crate::scripted::copy_files;

const SOURCE: &str = include_str!("../../src/fail_point.rs");
const VARIABLE: &str = "REWAKE_FAIL_POINT";
const SIGABRT: i32 = 6;
const RECOVER: &str = "recover --rebuild-main --accept-log --memory 0 --batch-txs 40";

/// Returns the name of every point, as the source declares them.
fn points() -> Vec<&'static str> {
    let (_, list) = SOURCE.split_once("\npoints! {\n").expect("a list of points");
    let (list, _) = list.split_once("\n}\n").expect("its end");
    let declared = list.lines().filter(|line| !line.trim_start().starts_with("///"));
    let name = |line: &'static str| line.strip_suffix("\",")?.split_once(" = \"");
    declared.map(|line| name(line).unwrap_or_else(|| panic!("no point: {line}")).1).collect()
}

/// What a process does when it comes to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Init,
    Recover,
    /// A recovery without `main.db`.
    Rebuild,
    /// A recovery with the `main.db` of an older program.
    BringForward,
    Append,
}

impl Work {
    /// Returns each work that comes by a point.
    fn by(point: &str) -> &'static [Self] {
        match point.split('_').next() {
            Some("migrate") => &[Self::Init, Self::BringForward],
            Some("create" | "witness") => &[Self::Init],
            Some("rebuild") => &[Self::Rebuild],
            Some("append") => &[Self::Append],
            _ => &[Self::Recover],
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Init => "init --accounts 5",
            Self::Recover | Self::Rebuild | Self::BringForward => RECOVER,
            Self::Append => "torture-append --seed 7",
        }
    }
}

/// What work starts from, and what it comes to where nothing fails.
struct Bench {
    _scratch: TempDir,
    template: PathBuf,
    state_digest: Value,
}

fn start(words: &str, data: &Path, chosen: &str) -> Output {
    let mut command = without_core_file(&program());
    command.args(words.split_whitespace()).arg("--data").arg(data).env(VARIABLE, chosen);
    let output = command.output().expect("the program starts");
    assert!(!output.status.core_dumped(), "{chosen}: {output:?}");
    output
}

/// Returns the command to run a program that aborts on purpose, and so is to leave no image of its memory behind.
fn without_core_file(program: &Command) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -c 0 && exec "$0" "$@""#]).arg(program.get_program());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null());
    command
}

impl Bench {
    /// A node that was killed while it appended, with blocks to recover.
    fn new() -> Self {
        let (scratch, template) = generated();
        let output = start("torture-append --seed 1", &template, "append_witnessed:20:abort");
        assert_eq!(output.status.signal(), Some(SIGABRT), "{output:?}");
        assert!(template.join("log.db-wal").metadata().expect("a log").len() > 0);
        let undisturbed = scratch.path().join("undisturbed");
        copy_files(&DataDir::new(&template), &DataDir::new(&undisturbed));
        let report = rewake("recover --json", &undisturbed).expect(0).json();
        assert!(report["state_digest"].is_string(), "{report}");
        Self { _scratch: scratch, template, state_digest: report["state_digest"].clone() }
    }

    fn node(&self, work: Work, place: &Path) -> PathBuf {
        let data = place.join("node");
        if work != Work::Init {
            copy_files(&DataDir::new(&self.template), &DataDir::new(&data));
        }
        if work == Work::Rebuild {
            std::fs::remove_file(data.join("main.db")).expect("a file");
        }
        if work == Work::BringForward {
            bring_back(&data.join("main.db"));
        }
        data
    }

    /// Runs work that fails at a point, checks what is left of it, and says whether it came there.
    fn fails(&self, work: Work, point: &str, hit: u32, action: &str) -> bool {
        let name = format!("{point}:{hit}:{action}");
        let place = tempfile::tempdir().expect("a scratch directory");
        let data = self.node(work, place.path());
        let output = start(work.words(), &data, &name);
        let fired = match (action, output.status.code()) {
            (_, Some(0)) => false,
            ("abort", code) => code.is_none() && output.status.signal() == Some(SIGABRT),
            (_, code) => {
                let err = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(err.contains(&format!("the fail point {point}")), "{name}: {err}");
                // A rehearsal that panics halts the recovery; anything else ends the process.
                code == Some(1) || (action == "panic" && code == Some(8))
            }
        };
        assert!(fired || output.status.success(), "{name}: {output:?}");
        self.question(work, &data, &output, &name);
        fired
    }

    fn question(&self, work: Work, data: &Path, output: &Output, name: &str) {
        if work == Work::Init && !data.exists() {
            rewake(Work::Init.words(), data).expect(0);
        }
        let report = rewake(&format!("{RECOVER} --json"), data).expect(0).json();
        if work == Work::Append {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            acknowledged_is_there(data, &said, name);
        } else if work != Work::Init {
            assert_eq!(report["state_digest"], self.state_digest, "{name}");
        }
        if work != Work::Init {
            rewake("audit", data).expect(0);
        }
        let again = rewake("recover --json", data).expect(0).json();
        assert_eq!(again["outcome"], "in_sync", "{name}");
    }
}

fn acknowledged_is_there(data: &Path, said: &str, name: &str) {
    let Some(last) = said.lines().last() else { return };
    let words: Vec<_> = last.split_whitespace().collect();
    let seq = Seq::new(words[1].parse().expect("a number")).expect("a position");
    let chain: Digest = words[2].parse().expect("a digest");
    let store = DataDir::new(data).open().expect("a sound node");
    assert_eq!(store.log().event(seq).expect("it is there").chain, chain, "{name}: {last}");
}

#[test]
fn a_process_that_dies_or_fails_at_any_named_step_is_recovered_from() {
    let bench = Bench::new();
    let mut never = Vec::new();
    for name in points() {
        for work in Work::by(name).iter().copied() {
            let fired = bench.fails(work, name, 1, "abort") && bench.fails(work, name, 1, "error");
            bench.fails(work, name, 2, "abort");
            if !fired {
                never.push((name, work));
            }
        }
    }
    assert_eq!(never, [], "these points were never come to");
}

#[test]
fn a_panic_at_a_named_step_is_recovered_from() {
    let bench = Bench::new();
    for name in ["append_committed", "commit_committed", "sandbox_blocks"] {
        assert!(bench.fails(Work::by(name)[0], name, 1, "panic"), "{name}");
    }
}
