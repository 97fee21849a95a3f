//! The demonstration and a full disk: what needs a process that dies or a medium that ends.

use std::process::Command;

use crate::cli::{program, rewake, run};

#[test]
fn the_demonstration_proves_itself() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut command = program();
    command.args(["demo", "--json", "--seed", "5"]).env("TMPDIR", scratch.path());
    let told = run(&mut command).expect(0).json();
    assert_eq!((&told["outcome"], &told["seed"]), (&"proved".into(), &5.into()), "{told}");
    let number = |pointer: &str| told.pointer(pointer).and_then(serde_json::Value::as_u64);
    let acknowledged = number("/crash/last_seen/accepted").expect("a number");
    assert!(acknowledged > 0 && number("/proof/acknowledged") == Some(acknowledged), "{told}");
    assert!(number("/proof/logged") >= Some(acknowledged), "{told}");
    assert_eq!(told.pointer("/proof/holds"), Some(&true.into()), "{told}");
    assert_eq!(told["state_digest"], told["proof"]["undisturbed_digest"], "{told}");
    let left = std::fs::read_dir(scratch.path()).expect("it is there").count();
    assert_eq!(left, 0, "the nodes are removed");
}

#[test]
fn the_demonstration_tells_its_story_and_keeps_its_nodes_when_asked() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut command = program();
    command.args(["demo", "--keep"]).env("TMPDIR", scratch.path());
    let ran = run(&mut command).expect(0);
    for expected in ["(seed ", "SIGKILL", "what the crash left on disk", "recovery:", "proved: "] {
        assert!(ran.out.contains(expected), "{expected}: {ran:#?}");
    }
    let kept = std::fs::read_dir(scratch.path()).expect("it is there").next();
    let kept = kept.expect("a directory").expect("a directory").path();
    for node in ["killed", "never-killed"] {
        rewake("status", &kept.join(node)).expect(0);
    }
}

/// Runs in a mount namespace of its own: a small file system is filled by a recovery, then grows, and the same
/// command ends what the first began.
const FULL_DISK: &str = r#"
mount -t tmpfs -o size="$3"k tmpfs "$2" || exit 77
cp -r "$4" "$2/node" || exit 78
"$1" recover --json --data "$2/node"; echo "code $?"
mount -o remount,size=64m "$2" || exit 79
"$1" recover --json --data "$2/node"; echo "code $?"
"$1" status --json --data "$2/node"; echo "code $?"
"#;

#[test]
fn a_full_disk_halts_recovery_which_goes_on_when_there_is_room() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node");
    let words =
        "generate --accounts 2000 --transfers 20000 --block-txs 1000 --unconfirmed-blocks 19";
    rewake(words, &data).expect(0);
    let bytes: u64 = std::fs::read_dir(&data)
        .expect("it is there")
        .map(|entry| {
            entry.and_then(|entry| entry.metadata()).expect("a file").len().div_ceil(4096) * 4096
        })
        .sum();
    let room_kib = bytes / 1024 + 256;
    let mount = scratch.path().join("mount");
    std::fs::create_dir(&mount).expect("a directory");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", FULL_DISK, "sh", env!("CARGO_BIN_EXE_rewake")]);
    command.arg(&mount).arg(room_kib.to_string()).arg(&data).env("REWAKE_LOG", "error");
    let Ok(output) = command.output() else {
        eprintln!("skipped: there is no `unshare` here");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        eprintln!("skipped: no file system can be mounted here: {error}");
        return;
    }
    let lines: Vec<&str> = text.lines().collect();
    let [full, "code 8", recovered, "code 0", status, "code 0"] = lines[..] else {
        panic!("{text}{error}");
    };
    assert!(full.contains("the disk is full") && full.contains("free some space"), "{full}");
    assert!(full.contains(r#""outcome":"halted""#), "{full}");
    let json = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    let expected = rewake("recover --json", &data).expect(0).json()["state_digest"].clone();
    assert_eq!(json(recovered)["state_digest"], expected, "{recovered}");
    assert_eq!(json(status)["state_digest"], expected, "{status}");
}
