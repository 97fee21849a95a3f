//! Audits one block: executes it again where that is possible, and compares everything that is stored about it.

use std::sync::Arc;

use crate::audit::cases::Case;
use crate::audit::compare::{self, Place};
use crate::audit::finding::{Finding, Findings, What};
use crate::audit::history::History;
use crate::audit::log::{LogWalk, LoggedBlock};
use crate::audit::stored::Stored;
use crate::exec::{BlockFailure, Dependencies, Executed, Executor, Rulings, Unchecked};
use crate::machine::{BlockInput, TxInput};
use crate::state::ChangeSet;
use crate::types::{Bytes, Height, Seq};

/// Audits blocks one after the other.
pub(super) struct BlockAudit<'a> {
    pub(super) executor: Executor,
    pub(super) history: History<'a>,
    pub(super) totals: Totals,
}

/// How much was done.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) blocks_executed: u64,
    pub(super) txs_executed: u64,
    pub(super) blocks_compared: u64,
}

impl BlockAudit<'_> {
    /// Audits a block that the log orders.
    pub(super) fn audit(&mut self, case: &Case, findings: &mut Findings) {
        let Case { height, input, stored, rulings, .. } = case;
        let (height, stored) = (*height, stored.as_ref());
        let known = stored.and_then(|stored| stored.dependencies.as_ref());
        let executed =
            input.as_ref().and_then(|input| self.execute(input, rulings, known, findings));
        if let Some(stored) = stored {
            self.totals.blocks_compared = self.totals.blocks_compared.saturating_add(1);
            let txs = input.as_ref().map(|input| input.txs.as_slice()).unwrap_or_default();
            compare_effects(Place { height, txs }, executed.as_ref(), stored, findings);
        }
        self.go_forward(height, executed.as_ref(), stored, findings);
        if let Some(stored) = stored {
            self.history.hold_digest(&stored.row, findings);
        }
    }

    fn execute(
        &mut self,
        input: &BlockInput,
        rulings: &Rulings,
        known: Option<&Dependencies>,
        findings: &mut Findings,
    ) -> Option<Executed> {
        let place = Place { height: input.height, txs: &input.txs };
        let below = self.history.before(input.height)?;
        let executed = match self.executor.execute_known(input, rulings, below, known) {
            Ok(executed) => Some(executed),
            Err(failure) => {
                findings.add(failure_finding(place, &failure));
                // What the block did tells where it went wrong, even if its header does not allow it.
                let unchecked = matches!(failure, BlockFailure::Check { .. }).then(|| {
                    self.executor.with(Arc::new(Unchecked(Arc::clone(self.executor.machine()))))
                });
                unchecked.and_then(|executor| executor.execute(input, rulings, below).ok())
            }
        }?;
        self.totals.blocks_executed = self.totals.blocks_executed.saturating_add(1);
        let run = input.txs.iter().filter(|tx| !rulings.contains_key(&tx.seq)).count();
        self.totals.txs_executed =
            self.totals.txs_executed.saturating_add(crate::codec::count(run));
        Some(executed)
    }

    /// Brings the state to after the block: by the stored change set where its digest vouches for it, else by the one
    /// that execution gave. So one damaged place is found where it is, and not again in every block after it.
    fn go_forward(
        &mut self,
        height: Height,
        executed: Option<&Executed>,
        stored: Option<&Stored>,
        findings: &mut Findings,
    ) {
        if self.history.before(height).is_none() {
            return;
        }
        let changes = stored.and_then(|stored| stored.changes.as_ref());
        let sound = changes.filter(|_| stored.is_some_and(|stored| stored.changes_sound));
        match (executed, sound.or(changes.filter(|_| executed.is_none()))) {
            (Some(executed), Some(changes)) if executed.changes == *changes => {
                self.history.advance(changes);
            }
            (_, Some(changes)) => self.advance_to(height, changes, findings),
            (Some(executed), None) => self.history.advance(&executed.changes),
            (None, None) => self.history.lose(),
        }
    }

    fn advance_to(&mut self, height: Height, changes: &ChangeSet, findings: &mut Findings) {
        if let Err(error) = self.history.advance_to(changes) {
            let finding = Finding::new(What::Table, "the state below", error.to_string());
            findings.add(finding.at_block(height));
            self.history.lose();
        }
    }
}

pub(super) fn height_of(logged: &LoggedBlock, stored: Option<&Stored>) -> Height {
    let stored = stored.map(|stored| stored.row.order.height);
    let ordered = logged.order.as_ref().map(|order| order.height);
    stored.or(ordered).unwrap_or_default()
}

/// Puts together what the machine was handed: as the log orders it where its chain vouches for that, else as stored.
pub(super) fn input(
    walk: &LogWalk<'_>,
    logged: LoggedBlock,
    stored: Option<&Stored>,
    findings: &mut Findings,
) -> Option<BlockInput> {
    let height = height_of(&logged, stored);
    let (header, txs) = ordered(&logged, stored)?;
    let found: Result<Vec<TxInput>, Seq> =
        txs.iter().map(|seq| walk.tx(*seq).ok_or(*seq)).collect();
    match found {
        Ok(txs) => Some(BlockInput { height, header, patches: logged.patches, txs }),
        Err(seq) => {
            let found = format!("event {} is no transaction that can be read", seq.get());
            let finding = Finding::new(What::Execution, "a block that can be executed", found);
            findings.add(finding.at_block(height).at_event(seq));
            None
        }
    }
}

fn ordered(logged: &LoggedBlock, stored: Option<&Stored>) -> Option<(Bytes, Vec<Seq>)> {
    let as_stored = || {
        let stored = stored?;
        Some((stored.row.header.clone(), stored.txs.clone()?))
    };
    let as_ordered =
        || logged.order.as_ref().map(|order| (order.header.clone(), order.txs.clone()));
    if logged.linked { as_ordered().or_else(as_stored) } else { as_stored().or_else(as_ordered) }
}

fn compare_effects(
    place: Place<'_>,
    executed: Option<&Executed>,
    stored: &Stored,
    findings: &mut Findings,
) {
    let Some(executed) = executed else { return };
    if let Some(receipts) = &stored.receipts {
        findings.extend(compare::receipts(place, &executed.receipts, receipts));
    }
    if let Some(changes) = &stored.changes {
        findings.extend(compare::changes(place, &executed.changes, changes, Some(executed)));
    }
    let counts = executed.receipts.counts();
    // Receipts that match their digest were held against the counts already.
    if !stored.receipts_sound && counts != stored.row.counts {
        let (expected, found) = (format!("{counts:?}"), format!("{:?}", stored.row.counts));
        findings.add(Finding::new(What::Counts, expected, found).at_block(place.height));
    }
}

/// Says why a block could not be executed, in the words of an audit.
pub(crate) fn failure_finding(place: Place<'_>, failure: &BlockFailure) -> Finding {
    match failure {
        BlockFailure::Check { failure, .. } => {
            let what = format!("{} {}", failure.what, failure.expected);
            let tx = failure.tx.and_then(|index| place.tx(index));
            Finding::new(What::HeaderCheck, what, failure.found.clone()).in_tx(tx)
        }
        BlockFailure::Poison { seq, .. } => {
            let index = place.txs.iter().position(|tx| Some(tx.seq) == *seq);
            Finding::new(What::Execution, "a block that can be executed", failure.to_string())
                .in_tx(index.and_then(|index| place.tx(index)))
        }
        BlockFailure::State(_) => {
            Finding::new(What::Execution, "a block that can be executed", failure.to_string())
        }
    }
    .at_block(place.height)
}
