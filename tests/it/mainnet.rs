//! Real Ethereum blocks through the program: import, recovery in every way and through kills, audit, bundle.

use std::fs;
use std::path::Path;

use crate::program::{json, kill, real_data, start};
use crate::scripted::copy_files;
use rewake::reproduce::Bundle;
use rewake::store::DataDir;

const BLOCKS: u64 = 31;
const TXS: u64 = 7_454;
const LAST: &str = "19934116";

/// Imports every block into a fresh node; `None` where the data is not there.
fn imported(node: &Path) -> Option<()> {
    let data = real_data("mainnet")?;
    let mut files: Vec<_> = fs::read_dir(data)
        .expect("the data can be listed")
        .map(|entry| entry.expect("an entry").path().display().to_string())
        .collect();
    files.sort();
    let node = node.display().to_string();
    let mut arguments = vec!["import", "eth", "--data", &node];
    arguments.extend(files.iter().map(String::as_str));
    let done = json(&arguments, 0);
    assert_eq!((done["blocks"].as_u64(), done["txs"].as_u64()), (Some(BLOCKS), Some(TXS)));
    Some(())
}

fn copy(from: &Path, to: &Path) {
    copy_files(&DataDir::new(from), &DataDir::new(to));
}

#[test]
fn mainnet_blocks_recover_in_every_way_to_one_state() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let template = scratch.path().join("template");
    let Some(()) = imported(&template) else { return };
    let mut digests = Vec::new();
    for commit in ["restore", "reexecute"] {
        for gate in ["all", "batch"] {
            let node = scratch.path().join(format!("{commit}-{gate}"));
            copy(&template, &node);
            let node = node.display().to_string();
            let how = ["--commit", commit, "--gate", gate, "--batch-txs", "1000"];
            let report = json(&[&["recover", "--data", &node], &how[..]].concat(), 0);
            assert_eq!(report["outcome"], "recovered", "{report}");
            assert_eq!(report["applied"].as_u64(), Some(TXS), "{report}");
            assert!(report["batches"].as_u64() > Some(3), "{report}");
            digests.push(report["state_digest"].to_string());
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "{digests:?}");
}

#[test]
fn mainnet_blocks_survive_kills_in_either_phase() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let template = scratch.path().join("template");
    let Some(()) = imported(&template) else { return };
    let undisturbed = scratch.path().join("undisturbed");
    copy(&template, &undisturbed);
    let expected = json(&["recover", "--data", &undisturbed.display().to_string()], 0);
    for commit in ["restore", "reexecute"] {
        for gate in ["all", "batch"] {
            let node = scratch.path().join(format!("{commit}-{gate}"));
            copy(&template, &node);
            let how = ["--commit", commit, "--gate", gate, "--batch-txs", "300", "--memory", "0"];
            let data = node.display().to_string();
            let arguments = [&["recover", "--data", &data], &how[..]].concat();
            if gate == "all" {
                in_phase_1(&arguments, &node);
            }
            in_phase_2(&arguments, &node);
            let report = json(&arguments, 0);
            assert_eq!(report["state_digest"], expected["state_digest"], "{commit} {gate}");
            assert_eq!(json(&["recover", "--data", &data], 0)["outcome"], "in_sync");
            json(&["audit", "--data", &data], 0);
        }
    }
}

/// Kills a recovery once it has written what it rehearsed; the block table is as it was.
fn in_phase_1(arguments: &[&str], node: &Path) {
    let before = fs::read(node.join("main.db")).expect("a block table");
    let child = start(arguments);
    while size(&node.join("sandbox.db-wal")) == 0 {
        std::thread::yield_now();
    }
    assert!(kill(child), "the recovery was killed");
    assert_eq!(size(&node.join("main.db-wal")), 0, "nothing was committed yet");
    assert_eq!(fs::read(node.join("main.db")).expect("a block table"), before);
}

/// Kills a recovery once it has begun to commit; part of the blocks is confirmed, or none yet.
fn in_phase_2(arguments: &[&str], node: &Path) {
    let child = start(arguments);
    while size(&node.join("main.db-wal")) == 0 {
        std::thread::yield_now();
    }
    assert!(kill(child), "the recovery was killed");
    let status = json(&["status", "--data", &node.display().to_string()], 3);
    assert!(status["pending_blocks"].as_u64() > Some(0), "{status}");
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |data| data.len())
}

#[test]
fn a_bundle_of_a_mainnet_block_replays_with_nothing_else_there() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let node = scratch.path().join("node");
    let Some(()) = imported(&node) else { return };
    let data = node.display().to_string();
    json(&["recover", "--data", &data], 0);
    let bundle = scratch.path().join("block.rwb").display().to_string();
    json(&["bundle", "--data", &data, "--from", LAST, "--to", LAST, "-o", &bundle], 0);
    fs::remove_dir_all(&node).expect("the node can be deleted");
    let [block] = &*Bundle::load(Path::new(&bundle)).expect("a bundle").blocks else {
        panic!("it holds one block")
    };
    let known = block.dependencies.as_ref().expect("what execution recorded");
    assert!(known.longest_chain() > 1, "its transactions have to do with each other");
    for how in [&[][..], &["--workers", "1"], &["--workers", "2"], &["--steps"]] {
        json(&[&["replay", &bundle], how].concat(), 0);
    }
}

#[test]
fn what_is_no_block_of_a_known_fork_is_refused_and_makes_no_node() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (node, file) = (scratch.path().join("node"), scratch.path().join("block.json"));
    fs::write(&file, "{ \"block\": {\n  \"hash\": 7 } }").expect("a file");
    let (data, file) = (node.display().to_string(), file.display().to_string());
    for (fork, code, expected) in [
        ("mainnet", 2, "block.json: line 2, column"),
        ("Metropolis", 6, "fork \"Metropolis\" is unknown"),
        ("Constantinople", 6, "is not supported"),
    ] {
        let told = json(&["import", "eth", "--data", &data, "--fork", fork, &file], code);
        assert!(told["error"].as_str().expect("a sentence").contains(expected), "{told}");
        assert!(told["advice"].is_string(), "{told}");
        assert!(!node.exists(), "{fork}: a node was made");
    }
}
