//! What an execution recorded of a block is carried in its bundle, spares its replay work, and changes no result.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rewake::block::{Receipt, Receipts};
use rewake::cli::{Exit, Output, run_with};
use rewake::exec::{Dependencies, Executed, NewEvent, Scheduling};
use rewake::machine::{
    BlockInput, Context, ExecError, MachineVersion, OpenBlock, Registry, StateMachine,
};
use rewake::reproduce::{Bundle, BundleError, CutError, ReplayOptions, ReplayReport, replay};
use rewake::types::{Digest, TxId};

use crate::nodes::{Node, order};
use crate::reproduce::cut_from;
use crate::reproduce_golden::text;
use crate::scripted::sql;
use crate::steered::Steered;

const FIRST: [&str; 6] =
    ["put a 1", "add n 1", "copy a b", "add n 2", "copy b c; add n 3", "copy n d"];
const SECOND: [&str; 6] =
    ["copy d e", "copy e f", "put g 9", "copy g h", "chase h 1 i", "copy f j; copy h k"];

/// A node of the steered machine that has confirmed these blocks, the first of height 1.
fn node(blocks: &[&[&str]]) -> Node {
    let registry = Registry::built_in().with(Steered::default());
    let node = Node::new(registry, &MachineVersion::new("steered", 1));
    for (height, scripts) in (1..).zip(blocks) {
        let id = |script: &str| TxId(Digest::of(format!("{height} {script}").as_bytes()).0);
        let tx = |script: &&str| NewEvent::Tx { id: id(script), payload: script.as_bytes().into() };
        let ids: Vec<_> = scripts.iter().map(|script| id(script)).collect();
        node.append(scripts.iter().map(tx).chain([order(height, &ids)]).collect());
    }
    node.recover();
    node
}

fn record<const TXS: usize>(lists: [&[u32]; TXS]) -> Dependencies {
    Dependencies::new(lists.map(<[u32]>::to_vec).to_vec())
}

fn forced(workers: usize) -> ReplayOptions {
    let mut options = ReplayOptions::default();
    (options.executor.workers, options.executor.scheduling) = (workers, Scheduling::Parallel);
    options
}

/// Replays a bundle; returns what it found, without the time, and what each block gave.
fn replayed(bundle: &Bundle, workers: usize) -> (ReplayReport, Vec<Executed>) {
    let machine: Arc<dyn StateMachine> = Arc::new(Steered::default());
    let mut gave = Vec::new();
    let report = replay(bundle, &machine, forced(workers), &mut |block| {
        gave.extend(block.executed.cloned());
    });
    (ReplayReport { wall_ms: 0, ..report }, gave)
}

#[test]
fn a_record_is_carried_in_the_lines_of_the_transactions() {
    let node = node(&[&FIRST, &["put z 1"], &SECOND]);
    let bundle = cut_from(&node, "steered", 1, 3).expect("confirmed blocks");
    let expected = [
        Some(record([&[], &[], &[0], &[], &[2], &[4, 3, 1]])),
        None,
        Some(record([&[], &[0], &[], &[2], &[3], &[3, 1]])),
    ];
    let found: Vec<_> = bundle.blocks.iter().map(|block| block.dependencies.clone()).collect();
    assert_eq!(found, expected);
    let bytes = bundle.to_bytes().expect("bytes");
    let lines = text(&bytes);
    assert!(lines.contains("\"ruling\":null,\"depends_on\":[4,3,1]}}\n"), "{lines}");
    assert_eq!(lines.matches("\"depends_on\":[").count(), FIRST.len() + SECOND.len());
    assert_eq!(Bundle::from_reader(&*bytes), Ok(bundle));
}

#[test]
fn any_record_and_any_number_of_workers_replay_to_the_same() {
    let node = node(&[&FIRST, &SECOND]);
    let bundle = cut_from(&node, "steered", 1, 2).expect("confirmed blocks");
    let expected = replayed(&bundle, 1);
    assert_eq!((expected.0.findings.len(), expected.0.txs_executed), (0, 12));
    let own = |block: usize| bundle.blocks[block].dependencies.clone();
    let records = [
        [own(0), own(1)],
        [own(1), own(0)],
        [None, None],
        [Some(record([&[]; 6])), Some(record([&[], &[0], &[0, 1], &[0, 1, 2], &[3], &[4]]))],
        [Some(record([&[]; 5])), Some(record([&[]; 7]))],
    ];
    for records in records {
        let mut other = bundle.clone();
        for (block, record) in other.blocks.iter_mut().zip(records) {
            block.dependencies = record;
        }
        let carried = Bundle::from_reader(&*other.to_bytes().expect("bytes")).expect("a bundle");
        for workers in [1, 2, 3, 8] {
            assert_eq!(replayed(&other, workers), expected, "{workers} workers, {other:?}");
            assert_eq!(replayed(&carried, workers), expected, "{workers} workers, {carried:?}");
        }
    }
}

/// The steered machine, which counts how often each of the first transactions is executed.
#[derive(Clone, Default)]
struct Counted {
    machine: Steered,
    executions: Arc<[AtomicUsize; 3]>,
}

struct OpenCounted<'a> {
    open: Box<dyn OpenBlock + 'a>,
    executions: &'a [AtomicUsize; 3],
}

impl StateMachine for Counted {
    fn version(&self) -> MachineVersion {
        self.machine.version()
    }

    fn open_block<'a>(
        &'a self,
        block: &'a BlockInput,
    ) -> Result<Box<dyn OpenBlock + 'a>, ExecError> {
        let open = self.machine.open_block(block)?;
        Ok(Box::new(OpenCounted { open, executions: &self.executions }))
    }
}

impl OpenBlock for OpenCounted<'_> {
    fn begin(&self, context: &mut Context<'_>) -> Result<(), ExecError> {
        self.open.begin(context)
    }

    fn execute(&self, index: usize, context: &mut Context<'_>) -> Result<Receipt, ExecError> {
        self.executions[index].fetch_add(1, Ordering::Relaxed);
        self.open.execute(index, context)
    }

    fn end(&self, receipts: &Receipts, context: &mut Context<'_>) -> Result<(), ExecError> {
        self.open.end(receipts, context)
    }
}

#[test]
fn what_waits_for_its_dependencies_is_executed_once() {
    // The gate opens once the third transaction was executed ahead of its turn, which comes after the second.
    let scripts = ["gate; put k new", "copy k seen", "panic-if k old; put z 1"];
    let node = node(&[&["put k old"], &scripts]);
    let mut bundle = cut_from(&node, "steered", 2, 2).expect("a confirmed block");
    assert_eq!(bundle.blocks[0].dependencies, Some(record([&[], &[0], &[0]])));
    for (known, executions) in [(record([&[], &[0], &[]]), 1), (record([&[]; 3]), 2)] {
        bundle.blocks[0].dependencies = Some(known.clone());
        let counted = Counted::default();
        counted.machine.0.wait();
        let machine: Arc<dyn StateMachine> = Arc::new(counted.clone());
        let report = replay(&bundle, &machine, forced(2), &mut |_| {});
        assert_eq!(report.findings, [], "{known:?}");
        assert!(counted.machine.0.went_astray(), "{known:?}: nothing was executed ahead");
        assert_eq!(counted.executions[1].load(Ordering::Relaxed), executions, "{known:?}");
    }
}

/// Packs lines whose last one is made anew, so that it vouches for the others.
fn packed(lines: &str) -> Vec<u8> {
    let (lines, _) = lines.rsplit_once("{\"end\"").expect("a last line");
    let (count, digest) = (lines.lines().count(), Digest::of(lines.as_bytes()));
    let end = format!("{{\"end\":{{\"lines\":{count},\"digest\":\"{digest}\"}}}}\n");
    zstd::encode_all([lines, &end].concat().as_bytes(), 1).expect("a frame")
}

#[test]
fn lines_that_say_what_no_record_can_are_refused() {
    let node = node(&[&FIRST]);
    let bundle = cut_from(&node, "steered", 1, 1).expect("a confirmed block");
    let lines = text(&bundle.to_bytes().expect("bytes"));
    let read = |lines: &str| Bundle::from_reader(&*packed(lines));
    assert_eq!(read(&lines).as_ref(), Ok(&bundle), "an untouched one");
    let tx = |index: usize| {
        let at = lines.lines().position(|line| line.starts_with("{\"tx\"")).expect("a line");
        (at + 1 + index) as u64
    };
    let mixed = "depends_on is in some lines of the block and not in all";
    let wrong = "depends_on does not name earlier ones, nearest first";
    for (found, edited, line, expected) in [
        (",\"depends_on\":[4,3,1]", "", tx(5), mixed),
        (",\"depends_on\":[]", "", tx(1), mixed),
        ("[4,3,1]", "[4,1,3]", tx(5), wrong),
        ("[4,3,1]", "[4,3,3]", tx(5), wrong),
        ("[4,3,1]", "[5,3,1]", tx(5), wrong),
        ("\"depends_on\":[]", "\"depends_on\":[0]", tx(0), wrong),
    ] {
        let edited = lines.replacen(found, edited, 1);
        let what = expected.to_owned();
        assert_eq!(read(&edited), Err(BundleError::Corrupt { line, what }), "{edited}");
    }
    let negative = read(&lines.replacen("[4,3,1]", "[4,3,-1]", 1));
    assert!(matches!(&negative, Err(BundleError::Corrupt { line, .. }) if *line == tx(5)));
}

#[test]
fn a_record_can_be_edited_and_fields_that_nobody_knows_are_passed_over() {
    let node = node(&[&FIRST]);
    let mut bundle = cut_from(&node, "steered", 1, 1).expect("a confirmed block");
    let lines = text(&bundle.to_bytes().expect("bytes"));
    let newer = lines.replace("\"ruling\":null", "\"ruling\":null,\"of_the_future\":[1]");
    assert_eq!(Bundle::from_reader(&*packed(&newer)).as_ref(), Ok(&bundle));
    let edited = lines.replacen("[4,3,1]", "[4]", 1);
    bundle.blocks[0].dependencies = Some(record([&[], &[], &[0], &[], &[2], &[4]]));
    assert_eq!(Bundle::from_reader(&*packed(&edited)).as_ref(), Ok(&bundle));
}

#[test]
fn a_stored_record_that_cannot_be_read_is_said_and_one_of_another_block_is_left_out() {
    let node = node(&[&FIRST]);
    let store = |bytes: &[u8]| {
        let update = "UPDATE block_body SET dependencies = ?1 WHERE height = 1";
        sql(&node.dir, "main.db").execute(update, [bytes]).expect("a row");
    };
    store(&record([&[], &[0]]).encode());
    let bundle = cut_from(&node, "steered", 1, 1).expect("a confirmed block");
    assert_eq!(bundle.blocks[0].dependencies, None);
    assert_eq!(replayed(&bundle, 2).0.findings, []);
    store(&[6, 0xff]);
    let cut = cut_from(&node, "steered", 1, 1);
    assert!(matches!(&cut, Err(CutError::Store(error)) if error.to_string().contains("block 1")));
    let data = node.dir.path().to_string_lossy().into_owned();
    let words = ["rewake", "bundle", "--data", &data, "--from", "1", "--to", "1", "-o", "/nowhere"];
    let (output, _, err) = Output::captured();
    assert_eq!(run_with(node.registry.clone(), words, output), Exit::Corrupt, "{}", err.text());
}
