//! Conformance: each case of `ethereum/tests` through log, sandbox and commit in a fresh store.
//!
//! The blocks of a case form a tree. Every path from genesis to a leaf is a chain of its own and gets a store of its own:
//! all of it is logged, then recovered, and the machine's halt says which block it refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::exec::{
    Intake, IntakeError, NewEvent, Recovery, RecoveryOptions, Report, SystemClock, examine,
};
use crate::import::eth::{CasePlan, ConformanceCase, PlannedBlock, plan_case};
use crate::machine::Registry;
use crate::store::{DataDir, Repairs, Store};
use crate::types::Height;

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "reason")]
pub enum Verdict {
    /// Every block was accepted or refused as the case says, and head and state are those of the case.
    Passed,
    /// Something was otherwise.
    Failed(String),
    /// The case cannot be run by this program.
    Skipped(String),
}

/// The store, the registry or a directory failed: the case has no verdict.
#[derive(Debug, thiserror::Error)]
#[error("the case cannot be run: {0}")]
pub struct ConformanceError(String);

impl ConformanceError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Runs a case.
///
/// # Errors
/// [`ConformanceError`] where a store fails.
pub fn run_case(
    case: &ConformanceCase,
    registry: &Registry,
    options: &RecoveryOptions,
) -> Result<Verdict, ConformanceError> {
    let plan = plan_case(case);
    let mut run =
        Run { case, registry, options, accepted: BTreeSet::new(), refused: BTreeMap::new() };
    let mut end = None;
    for branch in &plan.branches {
        let ended = run.chain(branch)?;
        end = end.or(ended);
    }
    let verdict = run.blocks(&plan).and_then(|()| run.head(&plan)).and_then(|()| match end {
        Some(checked) => checked,
        // No block was accepted: the end is genesis, whose state is known to be that of the case's own root.
        None if case.last_hash == case.genesis_hash => Ok(()),
        None => Err("the head was not executed".to_owned()),
    });
    Ok(verdict.map_or_else(Verdict::Failed, |()| Verdict::Passed))
}

struct Run<'a> {
    case: &'a ConformanceCase,
    registry: &'a Registry,
    options: &'a RecoveryOptions,
    accepted: BTreeSet<usize>,
    refused: BTreeMap<usize, String>,
}

impl Run<'_> {
    /// Runs one chain in a fresh store; returns the comparison of its state where it ends with the case's last block.
    fn chain(
        &mut self,
        branch: &[PlannedBlock],
    ) -> Result<Option<Result<(), String>>, ConformanceError> {
        let scratch = tempfile::tempdir().map_err(ConformanceError::new)?;
        let dir = DataDir::new(scratch.path().join("node"));
        let machine = self.registry.find(crate::machine::evm::MACHINE_ID);
        dir.create(&machine.map_err(ConformanceError::new)?.version())
            .map_err(ConformanceError::new)?;
        let logged = self.log(&dir, branch)?;
        let node = examine(&dir, self.registry, Repairs::default());
        let recovery = Recovery::new(node.map_err(ConformanceError::new)?, self.options.clone());
        let (node, report) = recovery.run().map_err(ConformanceError::new)?;
        let accepted = self.note(branch.get(..logged).unwrap_or(branch), &report);
        let ends_here = accepted.is_some_and(|block| block.hash == self.case.last_hash);
        Ok(ends_here.then(|| self.state(&node.store)))
    }

    /// Logs a chain block by block; returns how many blocks the intake took.
    fn log(&mut self, dir: &DataDir, branch: &[PlannedBlock]) -> Result<usize, ConformanceError> {
        let node = examine(dir, self.registry, Repairs::default());
        let node = node.map_err(ConformanceError::new)?;
        let mut intake = Intake::new(&node, Arc::new(SystemClock));
        let mut events = vec![NewEvent::Patch(self.case.genesis_patch.clone())];
        for (at, block) in branch.iter().enumerate() {
            let txs = block.txs.iter().cloned();
            events.extend(txs.map(|(id, payload)| NewEvent::Tx { id, payload }));
            events.push(NewEvent::Order {
                height: block.height,
                header: block.header.clone(),
                txs: block.txs.iter().map(|(id, _)| *id).collect(),
            });
            match intake.append(std::mem::take(&mut events)) {
                Ok(_) => {}
                Err(error @ IntakeError::Store(_)) => return Err(ConformanceError::new(error)),
                Err(error) => {
                    self.refused.insert(block.index, error.to_string());
                    return Ok(at);
                }
            }
        }
        Ok(branch.len())
    }

    /// Notes which blocks were accepted and which one was refused; returns the last accepted one.
    fn note<'b>(
        &mut self,
        logged: &'b [PlannedBlock],
        report: &Report,
    ) -> Option<&'b PlannedBlock> {
        let is_committed =
            |block: &&PlannedBlock| report.to_height.is_some_and(|to| block.height <= to);
        let accepted = logged.iter().take_while(is_committed);
        self.accepted.extend(accepted.clone().map(|block| block.index));
        if let Some(halt) = &report.halt {
            let at = halt.height.unwrap_or(Height::GENESIS);
            if let Some(block) = logged.iter().find(|block| block.height == at) {
                self.refused.insert(block.index, halt.reason.clone());
            }
        }
        accepted.last()
    }

    fn state(&self, store: &Store) -> Result<(), String> {
        self.case.check_state(&*store.main())
    }

    /// Every block must be accepted or refused as the case says.
    fn blocks(&self, plan: &CasePlan) -> Result<(), String> {
        for (index, block) in self.case.blocks.iter().enumerate() {
            let first = plan.repeats.get(&index).unwrap_or(&index);
            match (&block.exception, self.accepted.contains(first)) {
                (None, false) => {
                    let why = self.refused.get(&index).map_or("its chain", String::as_str);
                    return Err(format!("block {index} is refused: {why}"));
                }
                (Some(exception), true) => {
                    return Err(format!("block {index} is accepted, expected {exception}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn head(&self, plan: &CasePlan) -> Result<(), String> {
        let head = plan.head(self.case, |index| self.accepted.contains(&index));
        if head == self.case.last_hash {
            return Ok(());
        }
        Err(format!("the head is {head}, expected {}", self.case.last_hash))
    }
}
