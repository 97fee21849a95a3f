//! The oracle: what a node holds, read after the process that made it so is gone.

use crate::exec::{Examined, examine};
use crate::machine::Registry;
use crate::recovery::Label;
use crate::state::{StateDigest, StateRead as _};
use crate::store::{DataDir, LogHead, Repairs};
use crate::torture::finding::Finding;
use crate::types::{Digest, Height, Seq};

/// What a node in sync holds, as far as it must not depend on what happened on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observed {
    /// The last confirmed block.
    height: Option<Height>,
    /// Its digest, which covers every block before it.
    head: Option<Digest>,
    /// Digest of every entry of the state table.
    state: Digest,
    /// Events in the log.
    events: u64,
    /// Received transactions that are in no block.
    mempool: Vec<Seq>,
}

/// Opens a node that must be sound and in sync, and reads what it holds.
pub(super) fn observe(dir: &DataDir, registry: &Registry) -> Result<(Observed, Examined), Finding> {
    let node = examine(dir, registry, Repairs::default())?;
    if node.label != Label::InSync {
        let label = node.label.name();
        return Err(Finding(format!("after a recovery that ended well the node is {label}")));
    }
    let LogHead { seq, .. } = node.log_head;
    let observed = Observed {
        height: node.checkpoint.as_ref().map(|row| row.order.height),
        head: node.checkpoint.as_ref().map(crate::block::BlockRow::digest),
        state: scan(&node)?,
        events: seq,
        mempool: node.backlog.mempool.iter().collect(),
    };
    Ok((observed, node))
}

/// Digests the state table, which must have the digest that is stored beside it.
fn scan(node: &Examined) -> Result<Digest, Finding> {
    let main = node.store.main();
    let mut scanned = StateDigest::default();
    main.scan(&[], &mut |key, value| scanned.add(key, value))?;
    let (scanned, stored) = (scanned.digest(), main.lanes()?.digest());
    if scanned == stored {
        return Ok(scanned);
    }
    Err(Finding(format!("the state has digest {scanned}, stored is {stored}")))
}

impl Observed {
    /// Returns how many events the log holds.
    pub(super) const fn events(&self) -> u64 {
        self.events
    }

    /// Compares with what an undisturbed run left.
    pub(super) fn check(&self, undisturbed: &Self) -> Result<(), Finding> {
        if self == undisturbed {
            return Ok(());
        }
        let of = |observed: &Self| {
            let Self { height, state, events, mempool, .. } = observed;
            let height = height.map_or_else(|| "none".to_owned(), |height| height.0.to_string());
            let waiting = mempool.len();
            format!("block {height}, state {state}, {events} events, {waiting} waiting")
        };
        let (found, expected) = (of(self), of(undisturbed));
        Err(Finding(format!("the node is not that of an undisturbed run: {found}; {expected}")))
    }
}
