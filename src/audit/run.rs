//! The audit from its range to its report.

use std::sync::Arc;
use std::time::Instant;

use crate::audit::ahead::{Ahead, Read};
use crate::audit::base::{Base, Undone, UndoneTo};
use crate::audit::block::{BlockAudit, Totals};
use crate::audit::cases::{Case, Cases};
use crate::audit::finding::{Finding, Findings, What};
use crate::audit::history::History;
use crate::audit::log::{LogWalk, WalkStart};
use crate::audit::report::AuditReport;
use crate::audit::rows::Rows;
use crate::audit::structure;
use crate::audit::table::{self, TableScan};
use crate::audit::written::Written;
use crate::exec::{Executor, ExecutorSettings, STEP_TIME_MAX, watched};
use crate::machine::StateMachine;
use crate::mempool::Mempool;
use crate::state::{Change, ChangeSet, StateDigest};
use crate::store::{LogHead, Store, StoredRow};
use crate::types::{Height, Seq};

/// The blocks that are audited, both ends included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditRange {
    /// The first block; `None` for all of history, from an empty state.
    pub from: Option<Height>,
    /// The last block; `None` for the head, and the whole log with what is not confirmed.
    pub to: Option<Height>,
}

/// Why a range cannot be audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditError {
    /// No confirmed block is in the range.
    #[error("no confirmed block is in the range: the head is {}", head_text(*head))]
    NothingThere {
        /// The last confirmed block.
        head: Option<Height>,
    },
}

fn head_text(head: Option<Height>) -> String {
    head.map_or_else(|| "no block".to_owned(), |head| format!("block {}", head.get()))
}

/// What an audit is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Taking back change sets, from the head down.
    Undo,
    /// Executing and comparing blocks.
    Execute,
    /// Scanning the state table.
    Scan,
}

/// How far an audit has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// The block that it has just done.
    pub height: Height,
    /// The last block that it will come to in this stage.
    pub last: Height,
}

/// Audits a range of confirmed blocks. What cannot be read becomes a finding, and the audit goes on behind it.
///
/// Memory: from genesis the whole state, from a height the keys that were changed since.
///
/// # Errors
/// [`AuditError`] where the range holds no confirmed block.
pub fn audit(
    store: &Arc<Store>,
    machine: &Arc<dyn StateMachine>,
    range: AuditRange,
    observer: &mut dyn FnMut(Progress),
) -> Result<AuditReport, AuditError> {
    let started = Instant::now();
    let executor = Executor::new(Arc::clone(machine), ExecutorSettings::default());
    let watch = Arc::clone(executor.watch());
    let mut findings = Findings::default();
    let mut report = watched(&watch, STEP_TIME_MAX, || {
        let (run, cases) = Run::start(store, executor, range, observer, &mut findings)?;
        Ok(run.finish(cases, &mut findings))
    })?;
    report.finding_count = findings.count;
    report.findings = findings.kept;
    report.wall_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(report)
}

struct Run<'a> {
    store: &'a Store,
    last: Height,
    blocks: BlockAudit<'a>,
    observer: &'a mut dyn FnMut(Progress),
    report: AuditReport,
}

/// What was found about the tables as a whole.
#[derive(Default)]
struct Tables {
    state: Findings,
    structure: Findings,
}

impl<'a> Run<'a> {
    fn start(
        store: &'a Store,
        executor: Executor,
        range: AuditRange,
        observer: &'a mut dyn FnMut(Progress),
        findings: &mut Findings,
    ) -> Result<(Self, Cases<'a>), AuditError> {
        // A head that cannot be read is found again, and reported, by the walk through the rows.
        let head_row = store.main().stored_head();
        let head = match &head_row {
            Ok(head) => head.as_ref().map(|head| head.row.order.height),
            Err(_) => Some(Height::MAX),
        };
        let first = range.from.unwrap_or(Height::GENESIS);
        let last = range.to.unwrap_or(Height::MAX).min(head.unwrap_or(Height::MAX));
        let nothing = head.map_or(range != AuditRange::default(), |_| first > last);
        if nothing {
            return Err(AuditError::NothingThere { head });
        }
        let before = row_before(store, range.from);
        let mut report = empty_report(store, &executor);
        report.from_genesis = range.from.is_none();
        report.reached_head = head.is_none_or(|head| last >= head);
        let history = match range.from {
            None => {
                let empty = Base::Memory(Written::default());
                History::new(empty, Height::GENESIS, StateDigest::default())
            }
            Some(from) => {
                let mut each =
                    |height| observer(Progress { stage: Stage::Undo, height, last: from });
                let undone = Undone::to(store, from, &mut each);
                report.blocks_undone = undone.blocks;
                let lanes = lanes_before(store, &undone, findings);
                History::new(Base::Undone(undone.state), undone.first, lanes)
            }
        };
        let after = before.as_ref().map_or(LogHead::EMPTY, |before| LogHead {
            seq: before.row.order.seq.get(),
            chain: before.row.order.chain,
        });
        let height = before.as_ref().map(|before| before.row.order.height);
        let walk = LogWalk::new(store, &WalkStart { after, height });
        let rows = Rows::new(store, (first, last), before);
        let cases = Cases::new(store, rows, walk, range.to.is_some());
        let blocks = BlockAudit { executor, history, totals: Totals::default() };
        Ok((Self { store, last, blocks, observer, report }, cases))
    }

    /// Executes while another thread reads, and scans the state while that one looks at the log as a whole.
    fn finish(mut self, cases: Cases<'a>, findings: &mut Findings) -> AuditReport {
        let reaches_head = self.report.reached_head;
        let mut tables = Tables::default();
        let Read { mut cases, log_end } = std::thread::scope(|scope| {
            let mut cases = Ahead::start(scope, cases, reaches_head);
            while let Some(case) = cases.next_case() {
                self.case(case, findings);
            }
            if reaches_head {
                self.scan_tables(&mut tables);
            }
            cases.end()
        });
        findings.join(std::mem::take(&mut cases.findings));
        if let Some(log_end) = log_end {
            findings.join(tables.state);
            self.compare_mempool(&cases, findings);
            self.compare_held(findings);
            findings.join(log_end.index);
            self.compare_quarantine(&cases, findings);
            self.compare_witness(findings);
            findings.join(log_end.structure);
            findings.join(tables.structure);
        }
        let Totals { blocks_executed, txs_executed, blocks_compared } = self.blocks.totals;
        AuditReport {
            blocks_executed,
            txs_executed,
            blocks_compared,
            blocks_unconfirmed: cases.blocks_unconfirmed,
            first_seq: cases.walk.first().get(),
            last_seq: cases.walk.next().get().saturating_sub(1),
            events_verified: cases.walk.verified,
            ..self.report
        }
    }

    fn case(&mut self, mut case: Case, findings: &mut Findings) {
        findings.join(std::mem::take(&mut case.findings));
        self.blocks.audit(&case, findings);
        let Some(stored) = &case.stored else { return };
        let height = case.height;
        self.report.from_height = self.report.from_height.or(Some(height));
        self.report.to_height = Some(height);
        self.report.state_digest = stored.row.state_digest;
        (self.observer)(Progress { stage: Stage::Execute, height, last: self.last });
    }

    /// Holds the state table against the state that was executed, and looks at the database that it is in.
    fn scan_tables(&mut self, tables: &mut Tables) {
        let head = self.report.to_height.unwrap_or_default();
        (self.observer)(Progress { stage: Stage::Scan, height: head, last: head });
        let after = self.blocks.history.after(head);
        let head_digest = self.report.state_digest;
        self.report.state_entries =
            table::compare(self.store, after, head_digest, &mut tables.state);
        structure::check_main(self.store, &mut tables.structure);
    }

    fn compare_held(&self, findings: &mut Findings) {
        if let Err(error) = self.store.main().held() {
            let expected = "every row that is held";
            findings.add(Finding::new(What::Quarantine, expected, error.to_string()));
        }
    }

    fn compare_quarantine(&self, cases: &Cases<'_>, findings: &mut Findings) {
        let Some(confirmed) = cases.confirmed else { return };
        let (walk, events) = (&cases.walk, (cases.walk.first(), confirmed));
        let verdicts = &walk.backlog().verdicts;
        cases.quarantine.hold_against_log(self.store, verdicts, events, findings);
    }

    fn compare_mempool(&self, cases: &Cases<'_>, findings: &mut Findings) {
        let main = self.store.main();
        let stored = match main.stored_unordered() {
            Ok(stored) => stored,
            Err(error) => {
                findings.add(Finding::new(What::Table, "the mempool", error.to_string()));
                return;
            }
        };
        let first = cases.walk.first();
        let mut table = Mempool::default();
        for seq in stored.into_iter().filter(|seq| *seq >= first) {
            table.insert(seq);
        }
        if table == cases.mempool {
            // Its rows are those that had to be there, so that their sum is what is wrong.
            if let Err(error) = main.unordered() {
                findings.add(Finding::new(What::Table, "the mempool", error.to_string()));
            }
            return;
        }
        for seq in cases.mempool.iter().filter(|seq| *seq >= first && !table.contains(*seq)) {
            findings.add(Finding::new(What::Mempool, "waiting", "not in the table").at_event(seq));
        }
        for seq in table.iter().filter(|seq| !cases.mempool.contains(*seq)) {
            findings.add(Finding::new(What::Mempool, "not waiting", "in the table").at_event(seq));
        }
    }

    fn compare_witness(&self, findings: &mut Findings) {
        let log = self.store.log();
        let (mark, head) = (log.witness(), log.head());
        let Some(seq) = Seq::new(mark.seq) else { return };
        if mark.seq > head.seq {
            let found = format!("a log that ends at event {}", head.seq);
            let finding = Finding::new(What::Witness, format!("event {}", mark.seq), found);
            findings.add(finding.at_event(seq));
        } else if let Ok(event) = log.event(seq)
            && event.chain != mark.chain
        {
            findings.add(Finding::digests(What::Witness, mark.chain, event.chain).at_event(seq));
        }
    }
}

/// Returns the row before a range.
fn row_before(store: &Store, from: Option<Height>) -> Option<StoredRow> {
    let below = Height(from?.get().checked_sub(1)?);
    store.main().stored_block_to(below).ok().flatten()
}

/// Computes the accumulator under the state digest as it was before the blocks that were undone.
///
/// It starts from the stored one where the head's row vouches for it, so that a damaged state entry is found by the
/// scan alone; else from the table.
fn lanes_before(store: &Store, undone: &UndoneTo<'_>, findings: &mut Findings) -> StateDigest {
    let head = store.main().stored_head().ok().flatten().and_then(|head| head.row.state_digest);
    let stored = store.main().stored_lanes().ok().filter(|lanes| Some(lanes.digest()) == head);
    let mut lanes = stored.unwrap_or_else(|| match TableScan::run(store, |_, _, _| {}) {
        Ok(scan) => scan.lanes,
        Err(error) => {
            findings.add(Finding::new(What::Table, "the whole state table", error.to_string()));
            StateDigest::default()
        }
    });
    let back = undone.undone.changes().iter().map(|change| Change {
        key: change.key.clone(),
        before: change.after.clone(),
        after: change.before.clone(),
    });
    lanes.apply(&ChangeSet::new(back.collect()));
    lanes
}

fn empty_report(store: &Store, executor: &Executor) -> AuditReport {
    AuditReport {
        machine: executor.machine().version(),
        made_by: store.main().machine().clone(),
        from_height: None,
        to_height: None,
        from_genesis: false,
        blocks_executed: 0,
        txs_executed: 0,
        blocks_compared: 0,
        blocks_undone: 0,
        first_seq: 0,
        last_seq: 0,
        events_verified: 0,
        blocks_unconfirmed: 0,
        reached_head: false,
        state_entries: 0,
        state_digest: None,
        finding_count: 0,
        findings: Vec::new(),
        wall_ms: 0,
    }
}
