//! The program as a user runs it, and the real data that it is run on.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// Prepares a run of the program.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rewake"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the program runs")
}

/// Runs the program with `--json`, expects an exit code, and returns the object on its last line.
pub fn json(arguments: &[&str], code: i32) -> Value {
    let output = run(&[arguments, &["--json"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}{said}");
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

/// Starts the program and leaves it running.
pub fn start(arguments: &[&str]) -> Child {
    let mut command = command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

/// Kills a program that is still running; says whether it was, and that the signal was its end.
pub fn kill(mut child: Child) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    child.kill().expect("a child can be killed");
    let status = child.wait().expect("a child ends");
    status.signal() == Some(9)
}

/// Returns a path below the real data; says that the test is skipped where there is none.
pub fn real_data(path: &str) -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(path);
    if found.exists() {
        return Some(found);
    }
    let demanded = std::env::var_os("REWAKE_REQUIRE_REAL_DATA").is_some_and(|value| value == "1");
    assert!(!demanded, "{} is not there", found.display());
    println!("skipped: {} is not there", found.display());
    None
}
