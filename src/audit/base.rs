//! The state that history is executed on: empty and in memory, or the state table with later blocks undone.
//!
//! Both are held in memory: from genesis the whole state, from a height the keys that were changed since. The node's
//! own sandbox is not used, because an audit must leave the directory as it is.

use crate::audit::written::Written;
use crate::block::BlockRow;
use crate::state::{Change, ChangeSet, KeyMap, StateError, StateRead, scan_layered};
use crate::store::{Store, StoredRow};
use crate::types::{Bytes, Height};

/// A state of the node's past.
pub(crate) enum Base<'a> {
    /// From genesis.
    Memory(Written),
    /// From a height: what differs from the state table, above it.
    Undone(Undone<'a>),
}

/// The state table, and the keys that have another value in the past.
pub(crate) struct Undone<'a> {
    store: &'a Store,
    pub(crate) past: Written,
}

/// How far blocks could be undone.
pub(crate) struct UndoneTo<'a> {
    pub(crate) state: Undone<'a>,
    /// The first block that can be executed on it.
    pub(crate) first: Height,
    /// What was undone, as changes from the past to the present.
    pub(crate) undone: ChangeSet,
    /// Blocks that were undone.
    pub(crate) blocks: u64,
}

impl<'a> Undone<'a> {
    /// Undoes the blocks of the table from the head down to `first`.
    ///
    /// A change set that cannot be decoded ends it there: that block and those below are a past out of reach. One that
    /// can be decoded is used even where its digest says that it is damaged; the comparison tells its own block then.
    pub(crate) fn to(
        store: &'a Store,
        first: Height,
        each: &mut dyn FnMut(Height),
    ) -> UndoneTo<'a> {
        let mut net: KeyMap<(Option<Bytes>, Option<Bytes>)> = KeyMap::default();
        let mut reached = None;
        let mut blocks = 0u64;
        let mut next = store.main().stored_head().unwrap_or(None);
        while let Some(StoredRow { row, .. }) = next.filter(|next| next.row.order.height >= first) {
            let height = row.order.height;
            let Some(changes) = stored_changes(store, &row) else { break };
            for Change { key, before, after } in changes.changes() {
                let entry = net.entry(key.clone());
                entry.or_insert_with(|| (None, after.clone())).0.clone_from(before);
            }
            each(height);
            (reached, blocks) = (Some(height), blocks.saturating_add(1));
            next = match height.get().checked_sub(1) {
                Some(below) => store.main().stored_block_to(Height(below)).unwrap_or(None),
                None => None,
            };
        }
        let past = net.iter().map(|(key, (before, _))| (key.clone(), before.clone()));
        let past = Written::of_digested(past);
        let changes = net.into_iter().map(|(key, (before, after))| Change { key, before, after });
        let undone = ChangeSet::new(changes.collect());
        let state = Self { store, past };
        UndoneTo { state, first: reached.unwrap_or(Height(u64::MAX)), undone, blocks }
    }
}

fn stored_changes(store: &Store, row: &BlockRow) -> Option<ChangeSet> {
    store.main().body(row.order.height).ok()?.changes().ok()
}

impl Base<'_> {
    /// Returns the changes that the values after a block make to what is here.
    pub(crate) fn made_by(&self, changes: &ChangeSet) -> Result<ChangeSet, StateError> {
        let mut made = Vec::with_capacity(changes.changes().len());
        for Change { key, after, .. } in changes.changes() {
            made.push(Change { key: key.clone(), before: self.get(key)?, after: after.clone() });
        }
        Ok(ChangeSet::new(made))
    }

    /// Takes over the values after a block.
    pub(crate) fn apply(&mut self, changes: &ChangeSet) {
        let written = self.written();
        changes.changes().iter().for_each(|change| written.put(change));
    }

    /// Returns what has changed since the state was digested, which it is now.
    pub(crate) fn digest(&mut self) -> ChangeSet {
        self.written().digest()
    }

    const fn written(&mut self) -> &mut Written {
        match self {
            Self::Memory(state) => state,
            Self::Undone(state) => &mut state.past,
        }
    }
}

impl StateRead for Base<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        match self {
            Self::Memory(state) => Ok(state.get(key).cloned().flatten()),
            Self::Undone(state) => match state.past.get(key) {
                Some(value) => Ok(value.clone()),
                None => state.store.main().get(key),
            },
        }
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        match self {
            Self::Memory(state) => {
                let entries = state.scan(prefix).filter_map(|(key, value)| Some((key, value?)));
                entries.for_each(|(key, value)| visit(key, value));
                Ok(())
            }
            Self::Undone(state) => {
                let above = state.past.scan(prefix);
                let above = above.map(|(key, value)| (key.clone(), value.cloned())).collect();
                scan_layered(&*state.store.main(), above, prefix, visit)
            }
        }
    }
}
