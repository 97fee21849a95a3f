//! What a block is stored as: receipts, change sets, positions, rehearsed blocks.

use rewake::block::{OrderRef, Receipt, Receipts};
use rewake::exec::{Dependencies, RehearsedBlock};
use rewake::state::{Change, ChangeSet, StateDigest, Writer};
use rewake::store::{BlockBody, Packed};
use rewake::types::{Bytes, Digest, Height, Seq};

use super::Target;
use super::reached::reach;

pub const TARGET: Target =
    Target { name: "block_codec", run, seeds, smoke_runs: 300_000, places: PLACES };
const PLACES: &[&str] =
    &["receipts", "changes", "positions", "a rehearsed block", "a compressed part"];

fn run(bytes: &[u8]) {
    if let Ok(receipts) = Receipts::decode(bytes) {
        reach(TARGET.name, "receipts");
        assert_eq!(receipts.encode(), bytes);
        let counts = receipts.counts();
        assert_eq!(counts.txs, counts.applied + counts.rejected + counts.quarantined);
    }
    if let Ok(changes) = ChangeSet::decode(bytes) {
        reach(TARGET.name, "changes");
        assert_eq!(changes.encode(), bytes);
        check_changes(&changes);
    }
    let body = BlockBody {
        txs: bytes.to_vec(),
        receipts: Packed::default(),
        changes: Packed::default(),
        dependencies: None,
    };
    if let Ok(txs) = body.tx_seqs() {
        reach(TARGET.name, "positions");
        assert_eq!(BlockBody::encode_txs(&txs), bytes);
    }
    if let Ok(block) = RehearsedBlock::decode(bytes) {
        reach(TARGET.name, "a rehearsed block");
        // Far more than its bytes, so that it was in a frame.
        if block.changes.encode().len() > 2 * bytes.len() {
            reach(TARGET.name, "a compressed part");
        }
        assert_eq!(RehearsedBlock::decode(&block.encode()), Ok(block));
    }
    if let Some(lanes) = StateDigest::from_bytes(bytes) {
        assert_eq!(lanes.to_bytes(), bytes);
    }
}

/// A change set that is taken back leaves the digest as it was, and every key is found where it is.
fn check_changes(changes: &ChangeSet) {
    let mut digest = StateDigest::default();
    digest.apply(changes);
    for change in changes.changes() {
        assert_eq!(changes.find(&change.key), Some(change));
        assert_ne!(change.before, change.after, "a change that changes nothing");
        if let Some(after) = &change.after {
            digest.remove(&change.key, after);
        }
        if let Some(before) = &change.before {
            digest.add(&change.key, before);
        }
    }
    assert_eq!(digest, StateDigest::default());
    let keys: Vec<_> = changes.changes().iter().map(|change| &change.key).collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "keys ascend");
}

fn seeds() -> Vec<Vec<u8>> {
    let text = |text: &str| Bytes::from(text.as_bytes());
    let seq = |number| Seq::new(number).expect("not zero");
    let receipts = Receipts(vec![
        Receipt::applied(*b"ok"),
        Receipt { output: text("gas"), ..Receipt::rejected("overdraft") },
        Receipt::quarantined("panicked"),
    ]);
    let change = |key, before: Option<&str>, after: Option<&str>| Change {
        key: text(key),
        before: before.map(text),
        after: after.map(text),
    };
    let changes = ChangeSet::new(vec![
        change("made", None, Some("1")),
        change("changed", Some("1"), Some("")),
        change("dropped", Some("1"), None),
    ]);
    let txs = vec![seq(2), seq(300), seq(1)];
    let block = RehearsedBlock {
        order: OrderRef { height: Height(4), seq: seq(9), chain: Digest([3; 32]) },
        header: text("head"),
        txs: txs.clone(),
        receipts: receipts.clone(),
        changes: changes.clone(),
        writers: vec![Writer::Tx(3); 3],
        received: vec![seq(2)],
        settled: vec![(seq(1), seq(8))],
        quarantined: Vec::new(),
        dependencies: Some(Dependencies::new(vec![vec![], vec![0], vec![1, 0]])),
    };
    let value = Bytes::from([7; 5_000]);
    let large =
        ChangeSet::new(vec![Change { key: text("large"), before: None, after: Some(value) }]);
    let packed = RehearsedBlock { changes: large, writers: vec![Writer::Patch], ..block.clone() };
    let blocks = [block.encode(), packed.encode()];
    [receipts.encode(), changes.encode(), BlockBody::encode_txs(&txs)]
        .into_iter()
        .chain(blocks)
        .collect()
}
