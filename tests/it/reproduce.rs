//! Bundles: cut, carried elsewhere, replayed; and written by recovery itself where a block fails.

use std::sync::Arc;
use std::time::Duration;

use rewake::audit::What;
use rewake::cli::{Exit, Output, run_with};
use rewake::exec::{Outcome, Recovery, RecoveryOptions, Report};
use rewake::generate::Workload;
use rewake::machine::{MachineVersion, PoisonPolicy, Registry, StateMachine};
use rewake::reproduce::{
    Bundle, BundleError, CutError, Expected, ReplayOptions, ReplayReport, cut, replay,
    with_failure_bundles,
};
use rewake::types::{Height, Slice};

use crate::nodes::{Node, fill, order};
use crate::probe::{Probe, probe};

fn ledger() -> Node {
    let node = Node::ledger();
    let workload = Workload {
        accounts: 200,
        transfers: 205,
        block_txs: 10,
        mempool: 5,
        unconfirmed_blocks: 0,
        refusals_percent: 10,
        ..Workload::default()
    };
    fill(&node, &workload);
    node.recover();
    node
}

/// Cuts blocks out of a node of a machine.
pub fn cut_from(node: &Node, id: &str, from: u64, to: u64) -> Result<Bundle, CutError> {
    let store = Arc::new(node.dir.open().expect("it opens"));
    let machine = node.registry.find(id).expect("it is registered");
    cut(&store, &machine, (Height(from), Height(to)))
}

/// Replays a bundle with a machine.
pub fn replayed(bundle: &Bundle, machine: impl StateMachine + 'static) -> ReplayReport {
    let machine: Arc<dyn StateMachine> = Arc::new(machine);
    replay(bundle, &machine, ReplayOptions::default(), &mut |_| {})
}

fn command(arguments: &[&str]) -> (Exit, String, String) {
    let (output, out, err) = Output::captured();
    let exit = run_with(Registry::built_in(), arguments, output);
    (exit, out.text(), err.text())
}

#[test]
fn a_range_of_a_ledger_replays_equal_without_the_node() {
    let node = ledger();
    for (from, to) in [(0, 0), (0, 20), (5, 9), (20, 900)] {
        let bundle = cut_from(&node, "ledger", from, to).expect("confirmed blocks");
        assert_eq!(bundle.blocks.len() as u64, to.min(20) - from + 1);
        let carried = Bundle::from_reader(&*bundle.to_bytes().expect("bytes")).expect("a bundle");
        assert_eq!(carried, bundle);
        let report = replayed(&carried, rewake::machine::ledger::Ledger);
        assert_eq!(report.findings, [], "{from} to {to}");
        assert_eq!(report.blocks_executed, to.min(20) - from + 1);
        // Only what the blocks touch is in it.
        assert!(bundle.state.entries().count() <= 2 * 10 * bundle.blocks.len() + 2);
    }
    let above = cut_from(&node, "ledger", 21, 30);
    assert!(matches!(above, Err(CutError::NothingThere { .. })), "{above:?}");
}

#[test]
fn the_bytes_of_a_bundle_depend_on_nothing_but_its_content() {
    let (node, other) = (ledger(), ledger());
    let bytes = |node: &Node| {
        let mut bundle = cut_from(node, "ledger", 3, 12).expect("confirmed blocks");
        for tx in bundle.blocks.iter_mut().flat_map(|block| &mut block.input.txs) {
            // The two nodes received their transactions at different times.
            tx.created = None;
        }
        for block in &mut bundle.blocks {
            block.order.chain = rewake::types::Digest::ZERO;
        }
        bundle.to_bytes().expect("bytes")
    };
    assert_eq!(bytes(&node), bytes(&other));
    let bundle = cut_from(&node, "ledger", 3, 12).expect("confirmed blocks");
    assert_eq!(bundle.to_bytes(), cut_from(&node, "ledger", 3, 12).expect("blocks").to_bytes());
}

#[test]
fn an_altered_payload_differs_and_names_its_transaction() {
    let node = ledger();
    let mut bundle = cut_from(&node, "ledger", 5, 9).expect("confirmed blocks");
    let altered = &mut bundle.blocks[2].input.txs[4];
    altered.payload = b"no transfer".as_slice().into();
    let id = altered.id;
    let carried = Bundle::from_reader(&*bundle.to_bytes().expect("bytes")).expect("a bundle");
    let report = replayed(&carried, rewake::machine::ledger::Ledger);
    assert!(!report.is_equal());
    assert!(report.findings.iter().all(|f| f.height == Some(Height(7))), "{:?}", report.findings);
    let named = report.findings.iter().find(|f| f.what == What::Receipt).expect("a receipt");
    assert_eq!(named.tx.map(|tx| (tx.index, tx.id)), Some((4, id)));
}

#[test]
fn files_that_are_no_sound_bundle_are_refused() {
    let node = ledger();
    let bundle = cut_from(&node, "ledger", 5, 6).expect("confirmed blocks");
    let bytes = bundle.to_bytes().expect("bytes");
    let text = zstd::decode_all(&*bytes).expect("a frame");
    let packed = |text: &[u8]| zstd::encode_all(text, 1).expect("a frame");
    let read = |bytes: &[u8]| Bundle::from_reader(bytes).expect_err("no bundle");
    for length in 0..bytes.len() {
        let error = read(&bytes[..length]);
        let refused = matches!(error, BundleError::Corrupt { .. } | BundleError::Foreign { .. });
        assert!(refused, "{length}: {error:?}");
    }
    for foreign in [b"".as_slice(), b"{}", &packed(b"{}\n"), &packed(b"text\n"), &packed(b"")] {
        let error = read(foreign);
        assert!(matches!(error, BundleError::Foreign { .. }), "{error:?}");
    }
    let newer = String::from_utf8_lossy(&text).replacen("\"format\":1", "\"format\":2", 1);
    assert_eq!(read(&packed(newer.as_bytes())), BundleError::TooNew { found: 2, known: 1 });
    let altered = String::from_utf8_lossy(&text).replacen("\"seq\":", "\"seq\":1", 1);
    let lines = text.split(|byte| *byte == b'\n').count() as u64 - 1;
    let error = read(&packed(altered.as_bytes()));
    assert!(
        matches!(&error, BundleError::Corrupt { line, what } if *line == lines && what.contains("digest")),
        "{error:?}"
    );
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        // A bit of the compressed frame that says nothing may be flipped without any effect.
        let read = Bundle::from_reader(&*flipped);
        assert!(read.is_err() || read.as_ref() == Ok(&bundle), "byte {at}");
    }
    let trailing = [text.as_slice(), b"{}\n"].concat();
    assert!(matches!(read(&packed(&trailing)), BundleError::Corrupt { .. }));
    let bomb = packed(&vec![b' '; (1 << 30) + 1]);
    assert_eq!(read(&bomb), BundleError::TooLarge { line: 1, bytes_max: 1 << 30 });
}

#[test]
fn the_commands_cut_and_replay_with_the_documented_codes() {
    let node = ledger();
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let data = node.dir.path().to_string_lossy().into_owned();
    let file = scratch.path().join("cut.rwb").to_string_lossy().into_owned();
    let cut =
        command(&["rewake", "bundle", "--data", &data, "--from", "5", "--to", "7", "-o", &file]);
    assert_eq!(cut.0, Exit::Done, "{cut:?}");
    drop(node);
    let (exit, out, _) = command(&["rewake", "replay", &file, "--steps"]);
    assert_eq!(exit, Exit::Done, "{out}");
    assert!(out.contains("block 6: 10 transactions") && out.contains("    writes 61"), "{out}");
    for how in [&["--json"][..], &["--json", "--workers", "1"], &["--json", "--workers", "3"]] {
        let (exit, out, _) = command(&[&["rewake", "replay", &file], how].concat());
        let report: ReplayReport = serde_json::from_str(&out).expect("one JSON object");
        assert_eq!((exit, report.blocks_executed, report.is_equal()), (Exit::Done, 3, true));
    }
    for how in [&["--workers", "0"][..], &["--workers", "65"], &["--steps", "--workers", "2"]] {
        let refused = command(&[&["rewake", "replay", &file], how].concat());
        assert_eq!(refused.0, Exit::Usage, "{refused:?}");
    }
    let mut bundle = Bundle::load(std::path::Path::new(&file)).expect("a bundle");
    bundle.blocks[1].input.txs[0].payload = Slice::new();
    bundle.save(std::path::Path::new(&file)).expect("it is written");
    assert_eq!(command(&["rewake", "replay", &file]).0, Exit::Diverged);
    bundle.machine.id = "unheard".to_owned();
    bundle.save(std::path::Path::new(&file)).expect("it is written");
    assert_eq!(command(&["rewake", "replay", &file]).0, Exit::Machine);
    std::fs::write(&file, b"something else").expect("it is written");
    assert_eq!(command(&["rewake", "replay", &file]).0, Exit::Corrupt);
    assert_eq!(command(&["rewake", "replay", "/nowhere/at.rwb"]).0, Exit::Unexpected);
}

fn probe_node(machine: Probe) -> Node {
    let registry = Registry::built_in().with(machine);
    Node::new(registry, &MachineVersion { id: "probe".to_owned(), version: 1 })
}

fn recover(node: &Node, options: RecoveryOptions) -> Report {
    let examined = node.examine().expect("a sound node");
    let options = with_failure_bundles(options, &examined);
    Recovery::new(examined, options).run().expect("a recovery").1
}

fn block(node: &Node, height: u64, payloads: &[&[u8]]) {
    let (mut events, ids): (Vec<_>, Vec<_>) = payloads.iter().map(|payload| probe(payload)).unzip();
    events.push(order(height, &ids));
    node.append(events);
}

#[test]
fn a_panic_writes_a_bundle_that_panics_again() {
    for policy in [PoisonPolicy::Quarantine, PoisonPolicy::Halt] {
        let machine = Probe { policy, ..Probe::SOUND };
        let node = probe_node(machine);
        block(&node, 1, &[b"sa1"]);
        block(&node, 2, &[b"sb1", b"pa", b"sb2"]);
        let report = recover(&node, RecoveryOptions::default());
        let expected = [node.dir.file("bundles").join("block-2-tx-1.rwb")];
        assert_eq!(report.bundles, expected);
        let bundle = Bundle::load(&expected[0]).expect("a bundle");
        let [failed] = &*bundle.blocks else { panic!("{bundle:?}") };
        let Expected::Failure(failure) = &failed.expected else { panic!("{failed:?}") };
        assert_eq!((failure.tx, failure.reason.as_str()), (Some(1), "panicked: asked to"));
        let keys: Vec<_> = bundle.state.entries().map(|(key, _)| key.to_vec()).collect();
        assert_eq!(keys, [b"a"]);
        let again = replayed(&bundle, machine);
        assert_eq!((again.is_equal(), again.reproduced.as_ref()), (true, Some(failure)));
        let mended = replayed(&bundle, Probe { panics: false, ..machine });
        assert_eq!((mended.finding_count, mended.reproduced), (1, None));
        assert_eq!(mended.findings[0].tx.map(|tx| tx.index), Some(1));
        // Examined and recovered again, the node is as before: bundles are no part of it.
        assert!(node.examine().is_ok());
    }
}

#[test]
fn a_runaway_is_stopped_while_its_bundle_is_written_and_when_it_is_replayed() {
    let node = probe_node(Probe::SOUND);
    block(&node, 1, &[b"sa1", b"la"]);
    let step_time_max = Duration::from_millis(20);
    let report = recover(&node, RecoveryOptions { step_time_max, ..RecoveryOptions::default() });
    assert_eq!(report.outcome, Outcome::RecoveredWithQuarantine);
    let bundle = Bundle::load(&report.bundles[0]).expect("a bundle");
    let machine: Arc<dyn StateMachine> = Arc::new(Probe::SOUND);
    let options = ReplayOptions { step_time_max, ..ReplayOptions::default() };
    let mut steps = 0;
    let again = replay(&bundle, &machine, options, &mut |block| {
        // What came before the failure is shown.
        steps += block.executed.map_or(0, |executed| executed.receipts.0.len());
    });
    assert_eq!((again.is_equal(), again.reproduced.is_some(), steps), (true, true, 1));
}

#[test]
fn verdicts_are_followed_unless_they_are_to_be_ignored() {
    let node = probe_node(Probe::SOUND);
    block(&node, 1, &[b"sa1", b"pa", b"ra"]);
    recover(&node, RecoveryOptions::default());
    let bundle = cut_from(&node, "probe", 1, 1).expect("a confirmed block");
    assert_eq!(bundle.blocks[0].rulings.len(), 1);
    assert!(replayed(&bundle, Probe::SOUND).is_equal());
    let options = ReplayOptions { ignore_verdicts: true, ..ReplayOptions::default() };
    let machine: Arc<dyn StateMachine> = Arc::new(Probe::SOUND);
    let report = replay(&bundle, &machine, options, &mut |_| {});
    assert_eq!(report.findings[0].what, What::Execution);
    assert_eq!(report.findings[0].tx.map(|tx| tx.index), Some(1));
}
