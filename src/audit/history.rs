//! The past as the audit executes it: a state that goes forward, and its digest.

use crate::audit::base::Base;
use crate::audit::finding::{Finding, Findings, What};
use crate::block::BlockRow;
use crate::state::{ChangeSet, StateDigest, StateError};
use crate::types::Height;

/// A state that goes forward block by block.
pub(super) struct History<'a> {
    base: Base<'a>,
    /// The first block that can be executed on the state.
    first: Height,
    /// Set where a block's effects could be had neither from execution nor from the store.
    lost: bool,
    /// The accumulator under the digest, as of the last one that was compared.
    lanes: StateDigest,
    /// Whether the last digest that was compared differed: it is reported where it begins to.
    differed: bool,
}

impl<'a> History<'a> {
    pub(super) fn new(base: Base<'a>, first: Height, lanes: StateDigest) -> Self {
        Self { base, first, lost: false, lanes, differed: false }
    }

    /// Returns the state before a block, where it can be executed.
    pub(super) fn before(&self, height: Height) -> Option<&Base<'a>> {
        (height >= self.first && !self.lost).then_some(&self.base)
    }

    /// Returns the state after a block with the accumulator under its digest, where both are known.
    pub(super) fn after(&mut self, height: Height) -> Option<(&Base<'a>, &StateDigest)> {
        self.before(Height(height.get().saturating_add(1)))?;
        self.lanes.apply(&self.base.digest());
        Some((&self.base, &self.lanes))
    }

    /// Goes forward by changes whose values before are those of the state.
    pub(super) fn advance(&mut self, changes: &ChangeSet) {
        self.base.apply(changes);
    }

    /// Goes forward by the values after of changes that another state may have had before.
    pub(super) fn advance_to(&mut self, changes: &ChangeSet) -> Result<(), StateError> {
        let made = self.base.made_by(changes)?;
        self.advance(&made);
        Ok(())
    }

    /// Gives up: the effects of a block are not known.
    pub(super) const fn lose(&mut self) {
        self.lost = true;
    }

    /// Compares the digest of the state with the one of a row that carries one.
    pub(super) fn hold_digest(&mut self, row: &BlockRow, findings: &mut Findings) {
        let Some(stored) = row.state_digest else { return };
        if self.before(row.order.height).is_none() {
            return;
        }
        self.lanes.apply(&self.base.digest());
        let computed = self.lanes.digest();
        let differs = computed != stored;
        if differs && !self.differed {
            let finding = Finding::digests(What::StateDigest, computed, stored);
            findings.add(finding.at_block(row.order.height));
        }
        self.differed = differs;
    }
}
