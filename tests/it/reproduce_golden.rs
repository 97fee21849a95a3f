//! Golden bundles: files that were released are read and replayed, and what is written has the lines that they have.

use std::fs;
use std::path::{Path, PathBuf};

use rewake::block::{OrderRef, Receipt, Receipts};
use rewake::event::Patch;
use rewake::exec::{Dependencies, Rulings};
use rewake::machine::{BlockInput, MachineVersion, TxInput};
use rewake::reproduce::{Bundle, BundleBlock, Expected, FailureKind, ReportedFailure};
use rewake::state::{Change, ChangeSet, MemoryState};
use rewake::types::{Bytes, Digest, Height, TxId, UnixMillis};

use crate::scripted::seq;

const RELEASED: &str =
    "a released format changed: bundles that exist could no longer be read; add a new one instead";

/// A bundle that was released, and what is in it.
type Golden = (&'static str, Bundle);

fn golden() -> [Golden; 2] {
    let mut with_record = bundle();
    let lists = vec![vec![], vec![], vec![0], vec![2, 0]];
    with_record.blocks[0].dependencies = Some(Dependencies::new(lists));
    [("bundle-v1.rwb", bundle()), ("bundle-v1-dependencies.rwb", with_record)]
}

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.as_bytes())
}

fn tx(number: u64, payload: &str, created: Option<u64>) -> TxInput {
    TxInput {
        seq: seq(number),
        id: TxId([number.to_le_bytes()[0]; 32]),
        payload: payload.as_bytes().to_vec().into(),
        created: created.map(UnixMillis),
    }
}

fn block(height: u64, order: u64, txs: Vec<TxInput>, expected: Expected) -> BundleBlock {
    let chain = Digest([height.to_le_bytes()[0]; 32]);
    let order = OrderRef { height: Height(height), seq: seq(order), chain };
    let input = BlockInput { height: Height(height), header: bytes(""), patches: vec![], txs };
    BundleBlock { order, input, rulings: Rulings::new(), dependencies: None, expected }
}

/// A bundle of the probe with a line of every kind: a patch, a verdict, every receipt, and a block that failed.
fn bundle() -> Bundle {
    let mut state = MemoryState::default();
    state.set(bytes("a"), Some(bytes("0")));
    state.set(bytes("q"), Some(bytes("")));
    let change = |key: &str, before: Option<&str>, after: Option<&str>| Change {
        key: bytes(key),
        before: before.map(bytes),
        after: after.map(bytes),
    };
    let txs = vec![
        tx(4, "sa1", Some(1_700_000_000_123)),
        tx(5, "pa", None),
        tx(6, "ra", Some(1_700_000_000_124)),
        tx(7, "xx", None),
    ];
    let receipts = Receipts(vec![
        Receipt::applied(bytes("")),
        Receipt::quarantined("panicked: ü"),
        Receipt::applied(bytes("1")),
        Receipt::rejected("unknown"),
    ]);
    let changes = ChangeSet::new(vec![
        change("a", Some("0"), Some("1")),
        change("p", None, Some("new")),
        change("q", Some(""), None),
    ]);
    let receipts_digest = Digest::of(&receipts.encode());
    let changes_digest = Digest::of(&changes.encode());
    let effects = Expected::Effects { receipts, changes, receipts_digest, changes_digest };
    let mut first = block(8, 12, txs, effects);
    first.rulings.insert(seq(5), "panicked: ü".to_owned());
    first.input.header = Bytes::from([2u8]);
    let entries = [(bytes("p"), Some(bytes("new"))), (bytes("q"), None)];
    first.input.patches = vec![Patch::new("fork", false, entries)];
    let failure = ReportedFailure {
        kind: FailureKind::Poison,
        step: Some("transaction 0".to_owned()),
        tx: Some(0),
        reason: "panicked: asked to".to_owned(),
    };
    let second = block(9, 14, vec![tx(13, "pa", Some(5))], Expected::Failure(failure));
    let machine = MachineVersion { id: "probe".to_owned(), version: 1 };
    Bundle { machine, state, blocks: vec![first, second] }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Returns the lines of a bundle.
pub fn text(packed: &[u8]) -> String {
    String::from_utf8(zstd::decode_all(packed).expect("a frame")).expect("lines of JSON")
}

#[test]
fn released_bundles_are_read_and_written_with_the_same_lines() {
    for (name, expected) in golden() {
        let file = fs::read(fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let read = Bundle::from_reader(&*file);
        assert_eq!(read.as_ref(), Ok(&expected), "{name}: {RELEASED}");
        let written = expected.to_bytes().expect("bytes");
        assert_eq!(text(&written), text(&file), "{name}: {RELEASED}");
    }
}

#[test]
fn released_bundles_replay_equal() {
    for (name, _) in golden() {
        let bundle = Bundle::load(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let report = crate::reproduce::replayed(&bundle, crate::probe::Probe::SOUND);
        assert_eq!(report.findings, [], "{name}");
        assert_eq!((report.blocks_executed, report.txs_executed), (1, 3), "{name}");
        assert!(report.reproduced.is_some(), "{name}");
    }
}

/// Makes the bundles anew, beside the other fixtures; run by hand when a format is added.
#[test]
fn bundles_are_written_on_request_only() {
    let Ok(to) = std::env::var("REWAKE_WRITE_FIXTURES") else { return };
    fs::create_dir_all(&to).expect("a directory");
    for (name, bundle) in golden() {
        bundle.save(&Path::new(&to).join(name)).expect("a file");
    }
}
