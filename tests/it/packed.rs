//! Large parts of blocks are kept compressed: they are read, verified, rehearsed and committed as any other.

use std::collections::BTreeMap;
use std::sync::Arc;

use rewake::audit::{AuditRange, What, audit};
use rewake::exec::{CommitMode, HaltCause, Outcome, RecoveryOptions, StopSignal};
use rewake::generate::Workload;
use rewake::machine::Registry;
use rewake::store::Problem;
use rewake::types::{Digest, Height};
use rusqlite::params;

use crate::nodes::{Node, fill};
use crate::scripted::{blocks, sql};

const BLOCKS: u64 = 3;

/// A ledger with so large blocks that their receipts are compressed as well as their changes.
fn backlog() -> Node {
    let node = Node::ledger();
    let block_txs = 3_000;
    let workload = Workload {
        accounts: 500,
        transfers: BLOCKS * block_txs,
        block_txs,
        refusals_percent: 5,
        mempool: 0,
        ..Workload::default()
    };
    fill(&node, &Workload { unconfirmed_blocks: BLOCKS, ..workload });
    node
}

fn confirmed() -> Node {
    let node = backlog();
    assert_eq!(node.recover().outcome, Outcome::Recovered);
    node
}

/// Returns the digest of the last block, which covers all before it.
fn head(node: &Node) -> Digest {
    node.examine().expect("a sound node").checkpoint.expect("blocks").digest()
}

/// How many parts of bodies are compressed, and their bytes before and after.
fn packed(node: &Node) -> [u64; 3] {
    let parts = "SELECT receipts_length AS length, receipts AS kept FROM block_body
                 UNION ALL SELECT changes_length, changes FROM block_body";
    let query = format!(
        "SELECT count(length), sum(length), sum(length(kept)) FROM ({parts}) WHERE length > 0"
    );
    let row = |row: &rusqlite::Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?]);
    sql(&node.dir, "main.db").query_row(&query, [], row).expect("a row")
}

#[test]
fn large_receipts_and_change_sets_are_kept_in_less_and_are_what_their_digests_say() {
    let node = confirmed();
    let [parts, before, after] = packed(&node);
    // Those of the transfers, and the changes of genesis.
    assert_eq!(parts, 2 * BLOCKS + 1);
    assert!(after < before / 2, "{before} bytes became {after}");
    let store = node.dir.open().expect("a node");
    for row in blocks(&store) {
        let body = store.main().body(row.order.height).expect("a body");
        assert_eq!(Digest::of(&body.receipts_bytes().expect("receipts")), row.receipts_digest);
        assert_eq!(Digest::of(&body.changes_bytes().expect("changes")), row.changes_digest);
        let receipts = store.main().receipts(&row).expect("sound receipts");
        assert_eq!(receipts.counts(), row.counts);
        assert_eq!(receipts, body.receipts().expect("the same"));
    }
    let machine = Registry::built_in().find("ledger").expect("it is built in");
    let report = audit(&Arc::new(store), &machine, AuditRange::default(), &mut |_| {});
    assert_eq!(report.expect("an audit").findings, []);
}

/// The sandbox database holds them as they will be committed, and whoever resumes reads them.
#[test]
fn compressed_blocks_are_resumed_and_committed_either_way() {
    let backlog = backlog();
    let undisturbed = backlog.copy();
    assert_eq!(undisturbed.recover().outcome, Outcome::Recovered);
    for commit in [CommitMode::Restore, CommitMode::Reexecute] {
        let node = backlog.copy();
        let how = || RecoveryOptions { commit, memory_bytes: 0, ..RecoveryOptions::default() };
        let options = how();
        stop_after(2, &options);
        let halt = node.recover_with(options).halt.expect("it was stopped");
        assert_eq!(halt.cause, HaltCause::Stopped);
        let report = node.recover_with(how());
        assert_eq!((report.outcome, report.resumed_blocks), (Outcome::Recovered, 2), "{commit:?}");
        assert_eq!(head(&node), head(&undisturbed), "{commit:?}");
        assert_eq!(packed(&node)[0], 2 * BLOCKS + 1, "{commit:?}");
    }
}

fn stop_after(blocks: u64, options: &RecoveryOptions) {
    let stop: StopSignal = options.stop.clone();
    options.rehearsed.subscribe(move |block| {
        // Genesis is block 0.
        if block.height.get() + 1 == blocks {
            stop.request();
        }
    });
}

/// Whatever becomes of a frame, no other bytes are taken for what was in it.
#[test]
fn a_damaged_frame_is_an_error_for_who_asks_and_a_finding_of_the_audit() {
    let node = confirmed();
    let machine = Registry::built_in().find("ledger").expect("it is built in");
    let read = "SELECT receipts FROM block_body WHERE height = 2";
    let frame: Vec<u8> =
        sql(&node.dir, "main.db").query_row(read, [], |row| row.get(0)).expect("a frame");
    let flipped = |at: usize| {
        let mut bytes = frame.clone();
        bytes[at] ^= 0x55;
        bytes
    };
    let cases: [(&str, Vec<u8>, i64); 7] = [
        ("its first byte", flipped(0), 0),
        ("its size", flipped(5), 0),
        ("its middle", flipped(frame.len() / 2), 0),
        ("its end is missing", frame[..frame.len() - 3].to_vec(), 0),
        ("nothing is left", Vec::new(), 0),
        ("a longer one is promised", frame.clone(), 1),
        ("a negative length", frame.clone(), i64::MIN),
    ];
    let mut says = BTreeMap::new();
    for (name, bytes, longer) in cases {
        let node = node.copy();
        let update = "UPDATE block_body SET receipts = ?1, receipts_length =
                      CASE ?2 WHEN 0 THEN receipts_length WHEN 1 THEN receipts_length + 1 ELSE ?2 END
                      WHERE height = 2";
        sql(&node.dir, "main.db").execute(update, params![bytes, longer]).expect("an update");
        let store = Arc::new(node.dir.open().expect("a node"));
        let row = store.main().block_from(Height(2)).expect("a row").expect("block 2");
        let error = store.main().receipts(&row).expect_err(name);
        assert!(error.to_string().contains("main.db"), "{name}: {error}");
        says.insert(name, (error.to_string(), matches!(error.problem, Problem::Codec { .. })));
        let report = audit(&store, &machine, AuditRange::default(), &mut |_| {}).expect(name);
        let found: Vec<_> =
            report.findings.iter().map(|found| (found.what, found.height)).collect();
        let is_named = |(what, height): &(What, Option<Height>)| {
            matches!(what, What::Body | What::ReceiptsDigest | What::Receipt)
                && *height == Some(Height(2))
        };
        assert!(!found.is_empty() && found.iter().all(is_named), "{name}: {found:?}");
    }
    let (text, is_codec) = &says["its first byte"];
    assert!(*is_codec && text.contains("block 2") && text.contains("cannot be unpacked"), "{text}");
    let (text, is_codec) = &says["a longer one is promised"];
    assert!(*is_codec && text.contains("in its frame"), "{text}");
}

/// The sandbox is disposable: what a program of another version left in it is neither read nor in the way.
#[test]
fn what_an_earlier_program_rehearsed_is_rehearsed_again() {
    let node = backlog();
    let undisturbed = node.copy();
    assert_eq!(undisturbed.recover().outcome, Outcome::Recovered);
    let options = RecoveryOptions { memory_bytes: 0, ..RecoveryOptions::default() };
    stop_after(2, &options);
    assert!(node.recover_with(options).halt.is_some());
    let sandbox = sql(&node.dir, "sandbox.db");
    sandbox.pragma_update(None, "user_version", 1).expect("a pragma");
    drop(sandbox);
    let report = node.recover();
    assert_eq!((report.outcome, report.resumed_blocks), (Outcome::Recovered, 0));
    assert_eq!(head(&node), head(&undisturbed));
}
