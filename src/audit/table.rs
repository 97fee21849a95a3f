//! Compares the state table with the state that history gives, and with the digest that is kept beside it.

use rayon::prelude::*;

use crate::audit::base::{Base, Undone};
use crate::audit::compare::value_text;
use crate::audit::finding::{Finding, Findings, What};
use crate::state::{StateDigest, StateError, StateRead};
use crate::store::Store;
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
    /// Scans the table and shows each entry.
    pub(super) fn run(
        store: &Store,
        mut each: impl FnMut(&Bytes, &Bytes),
    ) -> Result<Self, StateError> {
        let mut scan = Self::default();
        store.main().scan(&[], &mut |key, value| {
            each(key, value);
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
        let parts = self.pending.par_chunks(256).map(|part| {
            let mut lanes = StateDigest::default();
            for (key, value) in part {
                lanes.add(key, value);
            }
            lanes
        });
        let sum = parts.reduce(StateDigest::default, |mut sum, part| {
            sum.merge(&part);
            sum
        });
        self.lanes.merge(&sum);
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
    let scanned = match base {
        Some(Base::Memory(state)) => {
            let mut expected = state.entries().peekable();
            let scanned = TableScan::run(store, |key, value| {
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
        Some(Base::Undone(state)) => {
            findings.extend(differing(state, store));
            TableScan::run(store, |_, _| {})
        }
        None => TableScan::run(store, |_, _| {}),
    };
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
fn differing(state: &Undone<'_>, store: &Store) -> Vec<Finding> {
    let mut keys: Vec<_> = state.past.iter().collect();
    keys.sort_unstable();
    let main = store.main();
    // A key that cannot be read ends the scan of the whole table as well, which says so.
    let compared = keys.into_iter().filter_map(|(key, expected)| {
        let found = main.get(key).ok()?;
        (found != *expected).then(|| entry(key, expected.as_ref(), found.as_ref()))
    });
    compared.collect()
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
