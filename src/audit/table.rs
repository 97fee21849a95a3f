//! Compares the state table with the state that history gives, and with the digest that is kept beside it.

use crate::audit::base::{Base, Undone};
use crate::audit::compare::value_text;
use crate::audit::finding::{Finding, Findings, What};
use crate::audit::written::Written;
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

/// Compares the table with a state key by key, and its digest with the stored ones; `after` is the state that history
/// gives and the accumulator under its digest. Returns the entries that were read.
pub(super) fn compare(
    store: &Store,
    after: Option<(&Base<'_>, &StateDigest)>,
    head_digest: Option<Digest>,
    findings: &mut Findings,
) -> u64 {
    let scanned = match after {
        Some((Base::Memory(state), lanes)) => match entries_if_same(store, state) {
            // What has the same entries has the same digest.
            Some(entries) => {
                Ok(TableScan { entries, lanes: lanes.clone(), ..TableScan::default() })
            }
            None => compare_all(state, store, findings),
        },
        Some((Base::Undone(state), _)) => {
            compare_changed(state, store, findings);
            scan_vouched(store, |_, _| {}, findings)
        }
        None => scan_vouched(store, |_, _| {}, findings),
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

/// Returns how many entries the table has, where they are those of a state, and their tags vouch for them.
fn entries_if_same(store: &Store, state: &Written) -> Option<u64> {
    let (mut entries, mut is_same, mut last) = (0u64, true, None);
    let scanned = store.main().stored_entries(|key, value, is_vouched_for| {
        let is_next = last.as_ref().is_none_or(|last| last < key);
        is_same &= is_next
            && is_vouched_for
            && state.get(key).is_some_and(|held| held.as_ref() == Some(value));
        entries = entries.saturating_add(1);
        last = Some(key.clone());
    });
    scanned.ok()?;
    (is_same && entries == state.values()).then_some(entries)
}

/// Says on which keys the table and a state differ.
fn compare_all(
    state: &Written,
    store: &Store,
    findings: &mut Findings,
) -> Result<TableScan, StoreError> {
    let expected = state.scan(&[]).filter_map(|(key, value)| Some((key, value?)));
    let mut expected = expected.peekable();
    let (mut differing, mut unvouched) = (Findings::default(), Findings::default());
    let each = |key: &Bytes, value: &Bytes| {
        while let Some((missing, value)) = expected.next_if(|(next, _)| *next < key) {
            differing.add(entry(missing, Some(value), None));
        }
        let same = expected.next_if(|(next, _)| *next == key).map(|(_, value)| value);
        if same != Some(value) {
            differing.add(entry(key, same, Some(value)));
        }
    };
    let scanned = scan_vouched(store, each, &mut unvouched);
    if scanned.is_ok() {
        differing.extend(expected.map(|(missing, value)| entry(missing, Some(value), None)));
    }
    findings.join(differing);
    findings.join(unvouched);
    scanned
}

/// Scans the table, shows each entry, and names those that their tags do not vouch for.
fn scan_vouched(
    store: &Store,
    mut each: impl FnMut(&Bytes, &Bytes),
    findings: &mut Findings,
) -> Result<TableScan, StoreError> {
    TableScan::run(store, |key, value, is_vouched_for| {
        if !is_vouched_for {
            let finding = Finding::new(What::StateEntry, "the tag of its value", "another tag");
            findings.add(finding.at_key(key));
        }
        each(key, value);
    })
}

/// Compares the keys that history changed.
fn compare_changed(state: &Undone<'_>, store: &Store, findings: &mut Findings) {
    let main = store.main();
    // A key that cannot be read is named by the scan of the whole table.
    let compared = state.past.scan(&[]).filter_map(|(key, expected)| {
        let found = main.get(key).ok()?;
        (found.as_ref() != expected).then(|| entry(key, expected, found.as_ref()))
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
