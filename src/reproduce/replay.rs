//! Replays a bundle: executes its blocks on the state that came with them and compares what that gives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::audit::{self, Finding, Findings, Place, What};
use crate::codec::count;
use crate::exec::{
    BlockFailure, Executed, Executor, ExecutorSettings, Rulings, STEP_TIME_MAX, Unchecked, watched,
};
use crate::machine::{BlockInput, MachineVersion, StateMachine};
use crate::reproduce::{Bundle, BundleBlock, Expected, ReportedFailure};
use crate::state::{ChangeSet, MemoryState};
use crate::types::{Digest, Height};

/// How a bundle is replayed.
#[derive(Clone)]
pub struct ReplayOptions {
    /// Whether transactions that verdicts keep out are executed as well.
    pub ignore_verdicts: bool,
    /// Longest time that one step may take before it is stopped at its next read or write.
    pub step_time_max: Duration,
    /// How blocks are executed; where it records access, in order.
    pub executor: ExecutorSettings,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            ignore_verdicts: false,
            step_time_max: STEP_TIME_MAX,
            executor: ExecutorSettings::default(),
        }
    }
}

/// A block as it was replayed, for whoever watches the steps.
#[derive(Clone, Copy, Debug)]
pub struct ReplayedBlock<'a> {
    /// What was executed.
    pub input: &'a BlockInput,
    /// Transactions that were kept out.
    pub rulings: &'a Rulings,
    /// What it gave; where it failed, what it gave up to the step that failed, as far as that could be had.
    pub executed: Option<&'a Executed>,
    /// Why it failed.
    pub failure: Option<&'a BlockFailure>,
}

/// What a replay did and found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// The machine that executed.
    pub machine: MachineVersion,
    /// The machine that had made the bundle.
    pub made_by: MachineVersion,
    /// The first block.
    pub from_height: Option<Height>,
    /// The last block.
    pub to_height: Option<Height>,
    /// Blocks that were executed to their end.
    pub blocks_executed: u64,
    /// Transactions in them that were executed.
    pub txs_executed: u64,
    /// The failure that the bundle was written for, if it came again.
    pub reproduced: Option<ReportedFailure>,
    /// How many places differ.
    pub finding_count: u64,
    /// The first of them: `expected` is what the bundle says, `found` what this replay gave.
    pub findings: Vec<Finding>,
    /// Milliseconds that it took.
    pub wall_ms: u64,
}

impl ReplayReport {
    /// Says whether everything came as the bundle says: the same effects, or the same failure.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        self.finding_count == 0
    }
}

/// Replays a bundle with a machine; `observer` sees each block, with the keys that its steps touched where they are
/// asked for.
///
/// After a difference it goes on from the recorded change set where its digest vouches for it, else from its own. What
/// the bundle says of dependencies among transactions, and the number of workers, change nothing but the time it takes.
pub fn replay(
    bundle: &Bundle,
    machine: &Arc<dyn StateMachine>,
    options: ReplayOptions,
    observer: &mut dyn FnMut(ReplayedBlock<'_>),
) -> ReplayReport {
    let started = Instant::now();
    let executor = Executor::new(Arc::clone(machine), options.executor);
    let watch = Arc::clone(executor.watch());
    let height = |block: Option<&BundleBlock>| block.map(|block| block.order.height);
    let report = ReplayReport {
        machine: machine.version(),
        made_by: bundle.machine.clone(),
        from_height: height(bundle.blocks.first()),
        to_height: height(bundle.blocks.last()),
        blocks_executed: 0,
        txs_executed: 0,
        reproduced: None,
        finding_count: 0,
        findings: Vec::new(),
        wall_ms: 0,
    };
    let state = bundle.state.clone();
    let mut run = Replay { executor, state, findings: Findings::default(), report };
    watched(&watch, options.step_time_max, || {
        for block in &bundle.blocks {
            if !run.block(block, options.ignore_verdicts, observer) {
                break;
            }
        }
    });
    let Replay { findings, report, .. } = run;
    let wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    ReplayReport { finding_count: findings.count, findings: findings.kept, wall_ms, ..report }
}

struct Replay {
    executor: Executor,
    state: MemoryState,
    findings: Findings,
    report: ReplayReport,
}

impl Replay {
    /// Replays a block; says whether the state after it is known, so that the next can be.
    fn block(
        &mut self,
        block: &BundleBlock,
        ignore_verdicts: bool,
        observer: &mut dyn FnMut(ReplayedBlock<'_>),
    ) -> bool {
        let none = Rulings::new();
        let rulings = if ignore_verdicts { &none } else { &block.rulings };
        let (input, known) = (&block.input, block.dependencies.as_ref());
        let result = self.executor.execute_known(input, rulings, &self.state, known);
        let (executed, failure) = match result {
            Ok(executed) => (Some(executed), None),
            Err(failure) => (self.up_to(&failure, input, rulings), Some(failure)),
        };
        let (executed, failure) = (executed.as_ref(), failure.as_ref());
        observer(ReplayedBlock { input, rulings, executed, failure });
        if failure.is_none() {
            self.report.blocks_executed = self.report.blocks_executed.saturating_add(1);
            let run = input.txs.iter().filter(|tx| !rulings.contains_key(&tx.seq)).count();
            self.report.txs_executed = self.report.txs_executed.saturating_add(count(run));
        }
        self.compare(block, executed, failure);
        self.go_forward(&block.expected, executed.filter(|_| failure.is_none()))
    }

    /// Executes what came before a failure once more, alone and without the last check.
    fn up_to(
        &self,
        failure: &BlockFailure,
        input: &BlockInput,
        rulings: &Rulings,
    ) -> Option<Executed> {
        let mut input = input.clone();
        if let BlockFailure::Poison { seq: Some(seq), .. } = failure {
            let at = input.txs.iter().position(|tx| tx.seq == *seq)?;
            input.txs.truncate(at);
        }
        let unchecked = Unchecked(Arc::clone(self.executor.machine()));
        self.executor.with(Arc::new(unchecked)).execute(&input, rulings, &self.state).ok()
    }

    fn compare(
        &mut self,
        block: &BundleBlock,
        executed: Option<&Executed>,
        failure: Option<&BlockFailure>,
    ) {
        let place = Place { height: block.input.height, txs: &block.input.txs };
        match (&block.expected, failure) {
            (Expected::Failure(expected), failure) => {
                self.compare_failure(place, expected, failure);
            }
            (Expected::Effects { .. }, Some(failure)) => {
                self.findings.add(audit::failure_finding(place, failure));
                if matches!(failure, BlockFailure::Check { .. }) {
                    self.compare_effects(place, &block.expected, executed);
                }
            }
            (Expected::Effects { .. }, None) => {
                self.compare_effects(place, &block.expected, executed);
            }
        }
    }

    fn compare_failure(
        &mut self,
        place: Place<'_>,
        expected: &ReportedFailure,
        failure: Option<&BlockFailure>,
    ) {
        let found = failure.map(|failure| ReportedFailure::of(failure, place.txs));
        if found.as_ref() == Some(expected) {
            self.report.reproduced = found;
            return;
        }
        let found = found.map_or_else(|| "no failure".to_owned(), |found| found.to_string());
        let index = expected.tx.and_then(|index| usize::try_from(index).ok());
        let finding = Finding::new(What::Execution, expected.to_string(), found);
        let tx = index.and_then(|index| place.tx(index));
        self.findings.add(finding.at_block(place.height).in_tx(tx));
    }

    fn compare_effects(
        &mut self,
        place: Place<'_>,
        expected: &Expected,
        executed: Option<&Executed>,
    ) {
        let (Expected::Effects { receipts, changes, receipts_digest, changes_digest }, Some(found)) =
            (expected, executed)
        else {
            return;
        };
        let mut differing = audit::receipts(place, receipts, &found.receipts);
        differing.extend(audit::changes(place, changes, &found.changes, Some(found)));
        if differing.is_empty() {
            let digests = [
                (What::ReceiptsDigest, *receipts_digest, Digest::of(&found.receipts.encode())),
                (What::ChangesDigest, *changes_digest, Digest::of(&found.changes.encode())),
            ];
            let differ = digests.into_iter().filter(|(_, expected, found)| expected != found);
            differing.extend(differ.map(|(what, expected, found)| {
                Finding::digests(what, expected, found).at_block(place.height)
            }));
        }
        self.findings.extend(differing);
    }

    fn go_forward(&mut self, expected: &Expected, executed: Option<&Executed>) -> bool {
        let recorded = match expected {
            Expected::Effects { changes, changes_digest, .. } => Some((changes, *changes_digest)),
            Expected::Failure(_) => None,
        };
        let vouched =
            |(changes, digest): &(&ChangeSet, Digest)| Digest::of(&changes.encode()) == *digest;
        let own = executed.map(|executed| &executed.changes);
        let Some(changes) = recorded.filter(vouched).map(|(changes, _)| changes).or(own) else {
            return false;
        };
        self.state.apply(changes);
        true
    }
}
