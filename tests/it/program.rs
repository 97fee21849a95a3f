//! The program on real data and under signals, for tests that run it whole.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::cli::{program, run};

/// Runs the program with `--json`, expects an exit code, and returns the object on its last line.
pub fn json(arguments: &[&str], code: i32) -> Value {
    run(program().args(arguments).arg("--json")).expect(code).json()
}

/// Starts the program and leaves it running.
pub fn start(arguments: &[&str]) -> Child {
    let mut command = program();
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the program starts")
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
