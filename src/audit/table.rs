//! Compares the state table with the state that history gives, and with the digest that is kept beside it.

use crate::audit::base::{Base, Undone};
use crate::audit::compare::value_text;
use crate::audit::finding::{Finding, Findings, What};
use crate::state::{StateDigest, StateRead};
use crate::store::{Store, StoreError};
use crate::types::{Bytes, Digest};

/// Entries that are hashed at once.
const LOT: usize = 8_192;

/// What a scan of the whole state table gave.
#[derive(Default)]
pub(super) struct TableScan {
    /// Entries that were read.
    pub(super) entries: u64,
    pub(super) lanes: StateDigest,
    pending: Vec<(Bytes, Bytes)>,
}

impl TableScan {
    /// Scans the table and shows each entry, and whether its tag vouches for it.
    pub(super) fn run(
        store: &Store,
        mut each: impl FnMut(&Bytes, &Bytes, bool),
    ) -> Result<Self, StoreError> {
        let mut scan = Self::default();
        store.main().stored_entries(|key, value, is_vouched_for| {
            each(key, value, is_vouched_for);
            scan.entries = scan.entries.saturating_add(1);
            scan.pending.push((key.clone(), value.clone()));
            if scan.pending.len() >= LOT {
                scan.hash_pending();
            }
        })?;
        scan.hash_pending();
        Ok(scan)
    }

    fn hash_pending(&mut self) {
        self.lanes.add_all(&self.pending);
        self.pending.clear();
    }
}

/// Compares the table with a state key by key, and its digest with the stored ones. Returns the entries that were read.
pub(super) fn compare(
    store: &Store,
    base: Option<&Base<'_>>,
    head_digest: Option<Digest>,
    findings: &mut Findings,
) -> u64 {
    // They come behind the others, and may be as many as there are entries.
    let mut unvouched = Findings::default();
    let mut vouch = |key: &Bytes, is_vouched_for: bool| {
        if !is_vouched_for {
            let finding = Finding::new(What::StateEntry, "the tag of its value", "another tag");
            unvouched.add(finding.at_key(key));
        }
    };
    let scanned = match base {
        Some(Base::Memory(state)) => {
            let mut expected = state.entries().peekable();
            let scanned = TableScan::run(store, |key, value, is_vouched_for| {
                vouch(key, is_vouched_for);
                while let Some((missing, value)) = expected.next_if(|(next, _)| *next < key) {
                    findings.add(entry(missing, Some(value), None));
                }
                let same = expected.next_if(|(next, _)| *next == key).map(|(_, value)| value);
                if same != Some(value) {
                    findings.add(entry(key, same, Some(value)));
                }
            });
            if scanned.is_ok() {
                findings.extend(expected.map(|(missing, value)| entry(missing, Some(value), None)));
            }
            scanned
        }
        Some(Base::Undone(_)) | None => {
            if let Some(Base::Undone(state)) = base {
                compare_changed(state, store, findings);
            }
            TableScan::run(store, |key, _, is_vouched_for| vouch(key, is_vouched_for))
        }
    };
    findings.join(unvouched);
    match scanned {
        Ok(scan) => {
            compare_digests(store, &scan, head_digest, findings);
            scan.entries
        }
        Err(error) => {
            findings.add(Finding::new(What::Table, "the whole state table", error.to_string()));
            0
        }
    }
}

/// Compares the keys that history changed.
fn compare_changed(state: &Undone<'_>, store: &Store, findings: &mut Findings) {
    let mut keys: Vec<_> = state.past.iter().collect();
    keys.sort_unstable();
    let main = store.main();
    // A key that cannot be read is named by the scan of the whole table.
    let compared = keys.into_iter().filter_map(|(key, expected)| {
        let found = main.get(key).ok()?;
        (found != *expected).then(|| entry(key, expected.as_ref(), found.as_ref()))
    });
    findings.extend(compared);
}

fn compare_digests(
    store: &Store,
    scan: &TableScan,
    head_digest: Option<Digest>,
    findings: &mut Findings,
) {
    let scanned = scan.lanes.digest();
    match store.main().stored_lanes() {
        Ok(lanes) if lanes.digest() == scanned => {}
        Ok(lanes) => findings.add(Finding::digests(What::StateLanes, scanned, lanes.digest())),
        Err(error) => findings.add(Finding::new(What::Table, "the lanes", error.to_string())),
    }
    if let Some(head) = head_digest.filter(|head| *head != scanned) {
        findings.add(Finding::digests(What::StateLanes, scanned, head));
    }
}

fn entry(key: &[u8], expected: Option<&Bytes>, found: Option<&Bytes>) -> Finding {
    Finding::new(What::StateEntry, value_text(expected), value_text(found)).at_key(key)
}
