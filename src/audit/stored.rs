//! What the block table says about one block: its large parts read, and held against the digests in its row.

use crate::audit::finding::{Finding, Findings, What};
use crate::block::{BlockRow, Receipt, Receipts};
use crate::codec::CodecError;
use crate::event::Order;
use crate::exec::Dependencies;
use crate::state::{Change, ChangeSet};
use crate::store::Store;
use crate::types::{Digest, Height, Seq};

/// A confirmed block as it is stored, as far as it can be read.
pub(super) struct Stored {
    pub(super) row: BlockRow,
    pub(super) txs: Option<Vec<Seq>>,
    pub(super) receipts: Option<Receipts>,
    /// Whether the receipts match the digest in the row.
    pub(super) receipts_sound: bool,
    pub(super) changes: Option<ChangeSet>,
    /// What an earlier execution recorded, as far as it can be read; it may be wrong.
    pub(super) dependencies: Option<Dependencies>,
    /// Whether the change set matches the digest in the row.
    pub(super) changes_sound: bool,
    /// Bytes of its receipts and change set.
    body_bytes: usize,
}

impl Stored {
    /// Reads the parts of a block.
    pub(super) fn read(store: &Store, row: BlockRow, findings: &mut Findings) -> Self {
        let height = row.order.height;
        let mut stored = Self {
            row,
            txs: None,
            receipts: None,
            receipts_sound: false,
            changes: None,
            dependencies: None,
            changes_sound: false,
            body_bytes: 0,
        };
        let body = match store.main().body(height) {
            Ok(body) => body,
            Err(error) => {
                let finding = Finding::new(What::Body, "the parts of a block", error.to_string());
                findings.add(finding.at_block(height));
                return stored;
            }
        };
        let receipts = body.receipts_bytes();
        let receipts = decoded(receipts, height, "its receipts", findings);
        let changes = body.changes_bytes();
        let changes = decoded(changes, height, "its change set", findings);
        let (receipts, changes) = (receipts.as_deref(), changes.as_deref());
        stored.body_bytes =
            receipts.map_or(0, <[u8]>::len).saturating_add(changes.map_or(0, <[u8]>::len));
        stored.hold_against_row(receipts, changes, findings);
        stored.txs = decoded(body.tx_seqs(), height, "its transactions", findings);
        stored.receipts = receipts
            .and_then(|bytes| decoded(Receipts::decode(bytes), height, "its receipts", findings));
        stored.changes = changes.and_then(|bytes| {
            decoded(ChangeSet::decode(bytes), height, "its change set", findings)
        });
        stored.dependencies = body.dependencies.as_ref().and_then(|bytes| {
            decoded(Dependencies::decode(bytes), height, "its dependencies", findings)
        });
        stored.count(findings);
        stored
    }

    /// Returns about how many bytes of memory it takes: what is long is shared, and what is short is in place.
    pub(super) fn memory(&self) -> usize {
        let changes = self.changes.as_ref().map_or(0, |changes| changes.changes().len());
        let receipts = self.receipts.as_ref().map_or(0, |receipts| receipts.0.len());
        self.body_bytes
            .saturating_add(changes.saturating_mul(size_of::<Change>()))
            .saturating_add(receipts.saturating_mul(size_of::<Receipt>()))
    }

    /// Compares the row with the order that the log has for it.
    pub(super) fn hold_against_order(
        &self,
        seq: Seq,
        chain: Option<Digest>,
        order: Option<&Order>,
        findings: &mut Findings,
    ) {
        let height = self.row.order.height;
        let mut add = |what, expected: String, found: String| {
            findings.add(Finding::new(what, expected, found).at_block(height).at_event(seq));
        };
        if self.row.order.seq != seq {
            let found = format!("event {}", self.row.order.seq.get());
            add(What::OrderLink, format!("event {}", seq.get()), found);
        }
        if let Some(chain) = chain.filter(|chain| *chain != self.row.order.chain) {
            add(What::OrderLink, chain.to_string(), self.row.order.chain.to_string());
        }
        let Some(order) = order else { return };
        if order.height != height {
            let (ordered, found) = (order.height.get(), height.get());
            add(What::OrderLink, format!("block {ordered}"), format!("block {found}"));
        }
        if order.header != self.row.header {
            let text = |header: &[u8]| format!("{} bytes, {}", header.len(), Digest::of(header));
            add(What::Header, text(&order.header), text(&self.row.header));
        }
        if let Some(txs) = self.txs.as_ref().filter(|txs| **txs != order.txs) {
            let (expected, found) = list_texts(&order.txs, txs);
            add(What::TxList, expected, found);
        }
    }

    fn hold_against_row(
        &mut self,
        receipts: Option<&[u8]>,
        changes: Option<&[u8]>,
        findings: &mut Findings,
    ) {
        let height = self.row.order.height;
        let mut holds = |what, bytes: Option<&[u8]>, stored: Digest| {
            let Some(computed) = bytes.map(Digest::of) else { return false };
            if computed != stored {
                findings.add(Finding::digests(what, computed, stored).at_block(height));
            }
            computed == stored
        };
        self.receipts_sound = holds(What::ReceiptsDigest, receipts, self.row.receipts_digest);
        self.changes_sound = holds(What::ChangesDigest, changes, self.row.changes_digest);
    }

    fn count(&self, findings: &mut Findings) {
        let Some(receipts) = self.receipts.as_ref().filter(|_| self.receipts_sound) else { return };
        let counts = receipts.counts();
        if counts != self.row.counts {
            let (expected, found) = (format!("{counts:?}"), format!("{:?}", self.row.counts));
            let finding = Finding::new(What::Counts, expected, found);
            findings.add(finding.at_block(self.row.order.height));
        }
    }
}

fn decoded<T>(
    result: Result<T, CodecError>,
    height: Height,
    part: &str,
    findings: &mut Findings,
) -> Option<T> {
    result
        .map_err(|error| {
            let finding = Finding::new(What::Body, "canonical bytes", format!("{part}: {error}"));
            findings.add(finding.at_block(height));
        })
        .ok()
}

/// Says where two transaction lists part.
fn list_texts(expected: &[Seq], found: &[Seq]) -> (String, String) {
    let parting = expected.iter().zip(found).position(|(a, b)| a != b);
    let parting = parting.unwrap_or(expected.len().min(found.len()));
    let text = |list: &[Seq]| match list.get(parting) {
        Some(seq) => format!("event {} at index {parting} of {}", seq.get(), list.len()),
        None => format!("{} transactions", list.len()),
    };
    (text(expected), text(found))
}
