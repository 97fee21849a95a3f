//! Every fuzz target on mutated inputs, by a plain mutator on a stable toolchain.
//!
//! The seed and the number of the input are said with a failure; `REWAKE_FUZZ_SEED` chooses another seed than the usual
//! one, `REWAKE_FUZZ_TIMES` multiplies the number of inputs.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rewake::types::{Digest, encode_hex};

use crate::fuzz_targets::{TARGETS, Target, find};
use crate::scripted::Numbers;

/// Longest input that mutation makes.
const INPUT_BYTES_MAX: usize = 16 << 10;

/// Words at which parsers of JSON tell their cases apart.
const WORDS: [&str; 16] = [
    "null",
    "true",
    "[",
    "]",
    "{",
    "}",
    "\"",
    ",",
    ":",
    "-1",
    "1e9",
    "18446744073709551616",
    "0x",
    "\\u0000",
    "\n",
    "{\"id\":0}",
];

fn corpus_dir(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name)
}

/// Returns the inputs that are kept, in the order of their names, and then the seeds.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    // Most targets have no folder: an input is kept where it once was too much.
    let entries = fs::read_dir(corpus_dir(target)).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let kept = files.iter().map(|file| fs::read(file).expect("an input"));
    kept.chain((target.seeds)()).collect()
}

fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

fn place(numbers: &mut Numbers, count: usize) -> usize {
    usize::try_from(numbers.below(count.max(1) as u64)).expect("64 bits")
}

fn byte(numbers: &mut Numbers) -> u8 {
    u8::try_from(numbers.below(256)).expect("a byte")
}

/// Changes an input in one place.
fn mutate(input: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    let at = place(numbers, input.len() + 1);
    let end = (at + place(numbers, 24)).min(input.len());
    let near = at.min(input.len().saturating_sub(1));
    match numbers.below(9) {
        0 => input.iter_mut().skip(near).take(1).for_each(|byte| *byte ^= 1 << (at % 8)),
        1 => {
            let value = byte(numbers);
            input.iter_mut().skip(near).take(1).for_each(|byte| *byte = value);
        }
        2 => {
            let extreme = [0, 1, 0x7f, 0x80, 0xff][place(numbers, 5)];
            input.iter_mut().skip(near).take(1 << (at % 4)).for_each(|byte| *byte = extreme);
        }
        3 => drop(input.drain(at..end)),
        4 => {
            let again = input[at..end].to_vec();
            drop(input.splice(at..at, again));
        }
        5 => {
            let from = place(numbers, other.len());
            let part = other[from..(from + place(numbers, 64)).min(other.len())].to_vec();
            drop(input.splice(at..end, part));
        }
        6 => {
            let word = WORDS[place(numbers, WORDS.len())].bytes();
            drop(input.splice(at..end.min(at + 4).max(at), word));
        }
        7 => {
            let drawn: Vec<u8> = (0..place(numbers, 12)).map(|_| byte(numbers)).collect();
            drop(input.splice(at..at, drawn));
        }
        _ => input.truncate(at),
    }
    input.truncate(INPUT_BYTES_MAX);
}

/// Looks at one input; what does not hold is said with all that reproduces it.
fn look(target: &Target, input: &[u8], which: &str) {
    let looked = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let hex = encode_hex(input.get(..2_000).unwrap_or(input));
    assert!(looked.is_ok(), "{}, {which}: {} bytes, {hex}", target.name, input.len());
}

fn smoke(name: &str) {
    let target = find(name);
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{name} starts from nothing");
    for (place, input) in corpus.iter().enumerate() {
        look(target, input, &format!("input {place} of the corpus"));
    }
    let seed = number("REWAKE_FUZZ_SEED", 7);
    println!("{name}: REWAKE_FUZZ_SEED={seed}");
    for run in 0..target.smoke_runs * number("REWAKE_FUZZ_TIMES", 1) {
        // Drawn for each input, so that one can be looked at without those before it.
        let drawn = Digest::of(format!("{name} {seed} {run}").as_bytes());
        let mut numbers = Numbers(u64::from_le_bytes(*drawn.0.first_chunk().expect("32 bytes")));
        let mut input = corpus[place(&mut numbers, corpus.len())].clone();
        let other = &corpus[place(&mut numbers, corpus.len())];
        for _ in 0..=numbers.below(4) {
            mutate(&mut input, other, &mut numbers);
        }
        look(target, &input, &format!("REWAKE_FUZZ_SEED={seed}, input {run}"));
    }
    for place in target.places {
        let times = target.reached(place);
        println!("{name}: {place}: {times}");
        assert!(times > 0, "{name}: no input came to: {place}");
    }
}

#[test]
fn stored_blocks_are_read_in_one_form() {
    smoke("block_codec");
}

#[test]
fn an_altered_node_is_refused_or_repaired_and_never_answered_from() {
    smoke("database");
}

#[test]
fn events_are_read_in_one_form() {
    smoke("event_codec");
}

#[test]
fn bodies_of_requests_are_read_as_they_are_shown() {
    smoke("http_body");
}

#[cfg(feature = "evm")]
#[test]
fn imported_blocks_are_logged_as_they_are_read() {
    smoke("import_eth");
}

#[test]
fn lines_and_requests_say_the_same() {
    smoke("import_jsonl");
}

#[test]
fn sequences_of_operations_with_crashes_follow_the_model() {
    smoke("operations");
}

#[test]
fn a_witness_is_believed_as_its_layout_says() {
    smoke("witness");
}

#[test]
fn every_target_has_its_program_and_its_seeds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for target in TARGETS {
        let program = root.join("fuzz_targets").join(format!("{}.rs", target.name));
        let program = fs::read_to_string(&program).expect("a program for each target");
        for call in ["run", "write_seeds"] {
            assert!(program.contains(&format!("{call}(\"{}\"", target.name)), "{program}");
        }
        assert!(!(target.seeds)().is_empty(), "{} has no seeds", target.name);
    }
}
