//! The state above the checkpoint: what uncommitted blocks wrote, over the block table's own state, which is only read.
//!
//! No table is copied. Reading main.db between two commits sees the checkpoint; and a key that an uncommitted block
//! wrote is answered from above it, so a commit of earlier blocks changes nothing that is read through here, not even
//! while it is half-written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::codec::CodecError;
use crate::exec::below::{Below, entry_bytes};
use crate::state::{Change, ChangeSet, KeyMap, StateError, StateRead, scan_layered};
use crate::store::{Problem, SandboxBase, SandboxDb, Store, StoreError};
use crate::types::{Bytes, Digest, Height};

/// The sandbox database, made when it is first needed.
pub(crate) struct Spill {
    store: Arc<Store>,
    held: Mutex<Held>,
    /// Set when the thread that fills it was given up on: that thread must not write any more.
    abandoned: AtomicBool,
}

struct Held {
    /// What the next block to be rehearsed or committed stands on.
    base: SandboxBase,
    database: Option<SandboxDb>,
}

impl Spill {
    pub(crate) const fn new(
        store: Arc<Store>,
        base: SandboxBase,
        found: Option<SandboxDb>,
    ) -> Self {
        let held = Mutex::new(Held { base, database: found });
        Self { store, held, abandoned: AtomicBool::new(false) }
    }

    /// Uses the database, which is made where there is none yet.
    pub(crate) fn write<R>(
        &self,
        body: impl FnOnce(&mut SandboxDb) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        let mut held = self.held();
        if self.is_abandoned() {
            let problem = Problem::Io { operation: "rehearsing", detail: "given up on".to_owned() };
            return Err(StoreError { file: self.store.dir().path().to_owned(), problem });
        }
        let Held { base, database } = &mut *held;
        if let Some(database) = database {
            return body(database);
        }
        let mut made = self.store.new_sandbox()?;
        made.start(base)?;
        body(database.insert(made))
    }

    /// Uses the database where there is one.
    pub(crate) fn read<R>(
        &self,
        body: impl FnOnce(&SandboxDb) -> Result<R, StoreError>,
    ) -> Result<Option<R>, StoreError> {
        self.held().database.as_ref().map(body).transpose()
    }

    /// Takes note that every block up to one with this digest is committed.
    pub(crate) fn stand_on(&self, parent: Digest) {
        if !planted!("sandbox_base_stays") {
            self.held().base.parent = parent;
        }
    }

    /// Writes what the rest of the rehearsal stands on, so that the next recovery finds that it fits.
    pub(crate) fn write_base(&self) -> Result<(), StoreError> {
        let base = self.held().base.clone();
        self.write(|database| database.rebase(&base))
    }

    /// Takes the database away from the thread that fills it.
    pub(crate) fn abandon(&self) -> Option<SandboxDb> {
        let mut held = self.held();
        self.abandoned.store(true, Ordering::Relaxed);
        held.database.take()
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Takes the database away for good and deletes it, where there is one: whoever still fills it must not make another.
    pub(crate) fn remove(&self) -> Result<(), StoreError> {
        let Some(database) = self.abandon() else { return Ok(()) };
        drop(database);
        self.store.drop_sandbox()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What uncommitted blocks wrote, in memory as far as the budget goes, above the state at the checkpoint.
pub(crate) struct AboveCheckpoint {
    below: Arc<Below>,
    spill: Arc<Spill>,
    /// What was written since the last batch was handed out.
    written: KeyMap<Written>,
    /// What was written before, and need not be committed yet.
    handed_out: KeyMap<Written>,
    written_bytes: usize,
    handed_out_bytes: usize,
    spilled: Spilled,
    /// Whether what came and went is forgotten.
    forgets: bool,
    bytes_max: usize,
}

/// What uncommitted blocks made of a key.
struct Written {
    value: Option<Bytes>,
    /// Whether nothing below has the key, or will before this is committed: once it is deleted again, nothing needs to be
    /// known of it.
    is_new: bool,
}

/// What of it is in the sandbox database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spilled {
    Nothing,
    /// What was handed out, alone.
    HandedOut,
    /// What was written since, besides.
    Written,
}

impl AboveCheckpoint {
    /// Opens the state; `memory_bytes` bounds what was written and, once more, what is cached of the state below.
    pub(crate) fn new(store: Arc<Store>, spill: Arc<Spill>, memory_bytes: usize) -> Self {
        Self {
            below: Arc::new(Below::new(store, memory_bytes)),
            spill,
            written: KeyMap::default(),
            handed_out: KeyMap::default(),
            written_bytes: 0,
            handed_out_bytes: 0,
            spilled: Spilled::Nothing,
            forgets: true,
            bytes_max: memory_bytes,
        }
    }

    /// Never moves what was written out of memory: for batches, which have a limit of their own.
    pub(crate) const fn without_spilling(mut self) -> Self {
        self.bytes_max = usize::MAX;
        self
    }

    /// Keeps that a key came and went: for a state that is read while what was handed out is committed, perhaps in several
    /// batches. The key may be there between two of them.
    pub(crate) const fn without_forgetting(mut self) -> Self {
        self.forgets = false;
        self
    }

    /// Takes over the values after a block.
    pub(crate) fn apply(&mut self, changes: &ChangeSet) -> Result<(), StoreError> {
        let bytes = entry_bytes::<Written>;
        for Change { key, before, after } in changes.changes() {
            let added = bytes(key, after.as_ref());
            let Some(held) = self.written.get_mut(key) else {
                let is_new = before.is_none()
                    && self.forgets
                    && self.spilled == Spilled::Nothing
                    && !self.handed_out.contains_key(key);
                self.written_bytes = self.written_bytes.saturating_add(added);
                self.written.insert(key.clone(), Written { value: after.clone(), is_new });
                continue;
            };
            let freed = bytes(key, held.value.as_ref());
            self.written_bytes = self.written_bytes.saturating_sub(freed);
            if held.is_new && after.is_none() {
                self.written.remove(key);
            } else {
                self.written_bytes = self.written_bytes.saturating_add(added);
                held.value.clone_from(after);
            }
        }
        if self.written_bytes.saturating_add(self.handed_out_bytes) > self.bytes_max {
            let entries = self.entries().map(|(key, written)| (key, &written.value));
            self.spill.write(|database| database.add_overlay(entries))?;
            self.handed_out.clear();
            self.written.clear();
            (self.written_bytes, self.handed_out_bytes) = (0, 0);
            self.spilled = Spilled::Written;
        }
        Ok(())
    }

    /// Takes note that the blocks so far are handed out to be committed. Those before them are committed.
    pub(crate) fn hand_out(&mut self) {
        self.handed_out = std::mem::take(&mut self.written);
        self.handed_out_bytes = std::mem::take(&mut self.written_bytes);
        if self.spilled == Spilled::Written {
            self.spilled = Spilled::HandedOut;
        }
    }

    /// Forgets what was handed out, all of which the checkpoint holds by now.
    pub(crate) fn committed(&mut self) -> Result<(), StoreError> {
        if self.spilled == Spilled::HandedOut {
            self.spill.write(SandboxDb::clear_overlay)?;
            self.below.forget();
            self.spilled = Spilled::Nothing;
        }
        self.handed_out_bytes = 0;
        let entries = std::mem::take(&mut self.handed_out).into_iter();
        self.below.committed(entries.map(|(key, written)| (key, written.value)));
        Ok(())
    }

    /// Returns the state at the checkpoint.
    pub(crate) const fn below(&self) -> &Arc<Below> {
        &self.below
    }

    /// Names a block whose bytes are not canonical.
    pub(crate) fn codec(&self, height: Height, error: CodecError) -> StoreError {
        self.below.store().main().codec(height, error)
    }

    /// Returns what is in memory; of two values of a key, the later one comes last.
    fn entries(&self) -> impl Iterator<Item = (&Bytes, &Written)> {
        self.handed_out.iter().chain(&self.written)
    }

    fn read_below(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        if self.spilled != Spilled::Nothing
            && let Some(Some(entry)) = self.spill.read(|database| database.overlay(key))?
        {
            return Ok(entry);
        }
        self.below.get(key)
    }
}

impl StateRead for AboveCheckpoint {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        let written = self.written.get(key).or_else(|| self.handed_out.get(key));
        match written {
            Some(written) if !planted!("sandbox_reads_the_checkpoint") => Ok(written.value.clone()),
            _ => self.read_below(key),
        }
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&Bytes, &Bytes)) -> Result<(), StateError> {
        let spilled = self.spill.read(|database| database.overlay_scan(prefix))?;
        let is_spilled = self.spilled != Spilled::Nothing;
        let spilled = spilled.unwrap_or_default().into_iter().filter(|_| is_spilled);
        let mut above: std::collections::BTreeMap<_, _> = spilled.collect();
        let written = self.entries().filter(|(key, _)| key.starts_with(prefix));
        above.extend(written.map(|(key, written)| (key.clone(), written.value.clone())));
        scan_layered(&*self.below.store().main_amid_batch(), above, prefix, visit)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::machine::MachineVersion;
    use crate::state::StateDigest;
    use crate::store::{Batch, DataDir};

    fn change(key: &str, before: Option<&str>, after: Option<&str>) -> ChangeSet {
        let bytes = |text: &str| Bytes::from(text.as_bytes());
        let (before, after) = (before.map(bytes), after.map(bytes));
        ChangeSet::new(vec![Change { key: bytes(key), before, after }])
    }

    /// A new node, and what shares the sandbox database that it has not yet.
    pub(in crate::exec) fn spill() -> (tempfile::TempDir, Arc<Store>, Arc<Spill>) {
        let machine = MachineVersion::new("none", 1);
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = DataDir::new(scratch.path().join("node"));
        dir.create(&machine).expect("a node");
        let store = Arc::new(dir.open().expect("a node"));
        let base = SandboxBase { machine, parent: Digest::ZERO };
        let spill = Arc::new(Spill::new(Arc::clone(&store), base, None));
        (scratch, store, spill)
    }

    /// A key that came, a batch of which is committed, and went.
    fn came_and_went(is_remembered: bool) -> AboveCheckpoint {
        let (_scratch, store, spill) = spill();
        let state = AboveCheckpoint::new(Arc::clone(&store), spill, 1 << 20);
        let mut state = if is_remembered { state.without_forgetting() } else { state };
        let came = change("k", None, Some("1"));
        state.apply(&came).expect("it is held");
        state.apply(&change("k", Some("1"), None)).expect("it is held");
        if is_remembered {
            state.hand_out();
            let batch = Batch { net: came, machine_version: 1, ..Batch::default() };
            let staged = store.stage(&batch).expect("rows");
            staged.commit(&StateDigest::default()).expect("a commit");
        }
        state
    }

    #[test]
    fn a_key_that_came_and_went_takes_no_memory() {
        let state = came_and_went(false);
        assert_eq!((state.written.len(), state.written_bytes), (0, 0));
        assert_eq!(state.get(b"k").expect("a table"), None);
    }

    #[test]
    fn a_key_that_came_and_went_is_not_read_between_two_batches() {
        let mut state = came_and_went(true);
        assert_eq!(state.get(b"k").expect("a table"), None);
        state.scan(b"", &mut |key, _| panic!("{key:?} is gone")).expect("a table");
        state.committed().expect("a table");
        assert_eq!(state.get(b"k").expect("a table"), None);
    }
}
