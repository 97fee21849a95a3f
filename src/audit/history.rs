//! The past as the audit executes it: the state, the changes since the last state digest, and that digest.

use std::collections::HashMap;

use crate::audit::base::Base;
use crate::audit::finding::{Finding, Findings, What};
use crate::block::BlockRow;
use crate::state::{Change, ChangeSet, StateDigest, StateError};
use crate::types::{Bytes, Height};

/// A state that goes forward block by block.
pub(super) struct History<'a> {
    base: Base<'a>,
    /// The first block that can be executed on the state.
    first: Height,
    /// Set where a block's effects could be had neither from execution nor from the store.
    lost: bool,
    lanes: StateDigest,
    /// Changes that the lanes do not have yet.
    net: HashMap<Bytes, (Option<Bytes>, Option<Bytes>)>,
    /// Whether the last digest that was compared differed: it is reported where it begins to.
    differed: bool,
}

impl<'a> History<'a> {
    pub(super) fn new(base: Base<'a>, first: Height, lanes: StateDigest) -> Self {
        Self { base, first, lost: false, lanes, net: HashMap::new(), differed: false }
    }

    /// Returns the state before a block, where it can be executed.
    pub(super) fn before(&self, height: Height) -> Option<&Base<'a>> {
        (height >= self.first && !self.lost).then_some(&self.base)
    }

    /// Goes forward by changes whose values before are those of the state.
    pub(super) fn advance(&mut self, changes: &ChangeSet) {
        for Change { key, before, after } in changes.changes() {
            if let Some((_, held)) = self.net.get_mut(key) {
                held.clone_from(after);
            } else {
                self.net.insert(key.clone(), (before.clone(), after.clone()));
            }
        }
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
        let net = self.net.drain().map(|(key, (before, after))| Change { key, before, after });
        self.lanes.apply(&ChangeSet::new(net.collect()));
        let computed = self.lanes.digest();
        let differs = computed != stored;
        if differs && !self.differed {
            let finding = Finding::digests(What::StateDigest, computed, stored);
            findings.add(finding.at_block(row.order.height));
        }
        self.differed = differs;
    }
}
