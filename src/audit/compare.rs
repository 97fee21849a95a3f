//! Comparing: the receipts and changes of one block against those of another execution of it.

use crate::audit::finding::{Finding, TxPlace, What};
use crate::block::{Receipt, Receipts, Status};
use crate::codec::count;
use crate::exec::Executed;
use crate::machine::TxInput;
use crate::state::{Change, ChangeSet, Writer};
use crate::types::{Bytes, Height, encode_hex};

/// How many findings of one kind are named in one block; of the others the last of them says how many there are.
const NAMED_MAX: usize = 8;
/// How many bytes of a value a finding shows.
const SHOWN_BYTES: usize = 128;

/// The block whose results are compared.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) height: Height,
    pub(crate) txs: &'a [TxInput],
}

impl Place<'_> {
    pub(crate) fn tx(&self, index: usize) -> Option<TxPlace> {
        let id = self.txs.get(index)?.id;
        Some(TxPlace { index: u32::try_from(index).ok()?, id })
    }

    fn writer(&self, executed: Option<&Executed>, key: &[u8]) -> Option<TxPlace> {
        let executed = executed?;
        match executed.writers.get(executed.changes.position(key)?)? {
            Writer::Tx(index) => self.tx(usize::try_from(*index).ok()?),
            Writer::Patch | Writer::Begin | Writer::End => None,
        }
    }
}

/// Compares receipts one by one.
pub(crate) fn receipts(place: Place<'_>, expected: &Receipts, found: &Receipts) -> Vec<Finding> {
    if expected == found {
        return Vec::new();
    }
    let differing = (0..expected.0.len().max(found.0.len())).filter_map(|index| {
        let (expected, found) = (expected.0.get(index), found.0.get(index));
        (expected != found).then(|| {
            Finding::new(What::Receipt, receipt_text(expected), receipt_text(found))
                .at_block(place.height)
                .in_tx(place.tx(index))
        })
    });
    named(differing)
}

/// Compares change sets key by key; `executed` knows which transaction wrote a key last.
pub(crate) fn changes(
    place: Place<'_>,
    expected: &ChangeSet,
    found: &ChangeSet,
    executed: Option<&Executed>,
) -> Vec<Finding> {
    if expected == found {
        return Vec::new();
    }
    let changed =
        expected.changes().iter().filter(|change| found.find(&change.key) != Some(*change));
    let extra = found.changes().iter().filter(|change| expected.find(&change.key).is_none());
    let mut keys: Vec<_> = changed.chain(extra).map(|change| &change.key).collect();
    keys.sort_unstable();
    named(keys.into_iter().map(|key| {
        let (expected, found) = (expected.find(key), found.find(key));
        let with_before = matches!((expected, found), (Some(a), Some(b)) if a.before != b.before);
        let text = |change| change_text(change, with_before);
        Finding::new(What::Change, text(expected), text(found))
            .at_block(place.height)
            .in_tx(place.writer(executed, key))
            .at_key(key)
    }))
}

/// Names the first findings, and counts the rest in the last that is named.
fn named(findings: impl Iterator<Item = Finding>) -> Vec<Finding> {
    let mut named: Vec<Finding> = Vec::new();
    let mut more = 0usize;
    for finding in findings {
        if named.len() < NAMED_MAX {
            named.push(finding);
        } else {
            more = more.saturating_add(1);
        }
    }
    if let Some(last) = named.last_mut() {
        last.more = count(more);
    }
    named
}

/// Says what a receipt says, for people.
pub(crate) fn receipt_text(receipt: Option<&Receipt>) -> String {
    let Some(Receipt { status, output }) = receipt else { return "no receipt".to_owned() };
    let status = match status {
        Status::Applied => "applied".to_owned(),
        Status::Rejected(reason) => format!("rejected ({reason})"),
        Status::Quarantined(reason) => format!("quarantined ({reason})"),
    };
    if output.is_empty() { status } else { format!("{status} {}", bytes_text(output)) }
}

/// Writes a value as hexadecimal digits, or says that there is none.
pub(crate) fn value_text(value: Option<&Bytes>) -> String {
    value.map_or_else(|| "no value".to_owned(), |value| bytes_text(value))
}

fn change_text(change: Option<&Change>, with_before: bool) -> String {
    let Some(change) = change else { return "no change".to_owned() };
    let after = match &change.after {
        Some(value) => bytes_text(value),
        None => "deleted".to_owned(),
    };
    if with_before {
        return format!("{after} in place of {}", value_text(change.before.as_ref()));
    }
    after
}

fn bytes_text(bytes: &[u8]) -> String {
    match bytes.get(..SHOWN_BYTES) {
        Some(shown) if bytes.len() > SHOWN_BYTES => {
            format!("{}… ({} bytes)", encode_hex(shown), bytes.len())
        }
        _ if bytes.is_empty() => "empty".to_owned(),
        _ => encode_hex(bytes),
    }
}
