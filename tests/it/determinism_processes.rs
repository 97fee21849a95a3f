//! One log gives one result in processes of any number of workers, and in builds of any profile.

use std::path::Path;

use rewake::exec::examine;
use rewake::machine::Registry;
use rewake::store::{DataDir, Repairs};

use crate::cli::{program, run};
use crate::determinism::{Whole, logged};
use crate::program::real_data;
use crate::scripted::copy_files;

/// Recovers a copy of a node in a process of its own, whose hash maps have seeds of their own.
fn in_a_process(template: &DataDir, workers: &str, how: &str) -> Whole {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let dir = DataDir::new(scratch.path().join("node"));
    copy_files(template, &dir);
    let mut command = program();
    command.env("RAYON_NUM_THREADS", workers).args(["recover", "--workers", workers, "--data"]);
    command.arg(dir.path());
    run(command.args(how.split_whitespace())).expect(0);
    let registry = Registry::built_in();
    Whole::of(&examine(&dir, &registry, Repairs::default()).expect("a sound node"))
}

const HOW: [&str; 5] = [
    "--commit restore --gate all",
    "--commit restore --gate batch --batch-txs 1",
    "--commit reexecute --gate batch --repeat-max 1",
    "--commit reexecute --gate all --batch-txs 140 --memory 0",
    "--commit reexecute --gate batch --batch-txs 40 --memory 0",
];

#[test]
fn workers_and_processes_give_what_was_released() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let template = DataDir::new(scratch.path().join("node"));
    logged(&template);
    for workers in ["1", "2", "8"] {
        for how in HOW {
            let found = in_a_process(&template, workers, how);
            found.check_released(&format!("{workers} workers, {how}"));
        }
    }
}

/// The digests to which any build of the program comes, by the name of the history.
fn released(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/state-digests.txt");
    let text = std::fs::read_to_string(path).expect("the digests");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.expect("a line for each history").to_owned()
}

#[test]
fn a_generated_history_gives_the_digest_that_every_build_gives() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = scratch.path().join("node").display().to_string();
    // `.ci/run` gives the release build the same words.
    let words = "generate --accounts 500 --transfers 4000 --block-txs 50 --unconfirmed-blocks 40 --seed 7 --data";
    run(program().args(words.split_whitespace()).arg(&data)).expect(0);
    let report = run(program().args(["recover", "--json", "--data", &data])).expect(0).json();
    assert_eq!(report["state_digest"], released("ledger"), "{report}");
}

#[test]
fn mainnet_blocks_give_one_result_with_any_number_of_workers() {
    let Some(data) = real_data("mainnet") else { return };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let template = DataDir::new(scratch.path().join("node"));
    let files = std::fs::read_dir(data).expect("the data can be listed");
    let mut files: Vec<_> = files.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let mut import = program();
    run(import.args(["import", "eth", "--data"]).arg(template.path()).args(files)).expect(0);
    let one = in_a_process(&template, "1", "--commit restore --gate all");
    let eight = in_a_process(&template, "8", HOW[3]);
    assert_eq!(one, eight);
    assert_eq!(one.state[0].to_string(), released("mainnet"));
}
