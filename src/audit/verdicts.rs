//! Holds the rows about quarantined transactions against the verdicts of the log.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::finding::{Finding, Findings, What};
use crate::audit::stored::Stored;
use crate::block::{Receipts, Status};
use crate::diff::Verdicts;
use crate::event::{EventBody, Ruling};
use crate::exec::Rulings;
use crate::machine::TxInput;
use crate::store::{QuarantineRow, Store, StoredRow};
use crate::types::{Height, Seq};

/// The rows that were seen, for the comparison with all verdicts at the end.
#[derive(Default)]
pub(super) struct SeenRows {
    rows: Vec<QuarantineRow>,
}

impl SeenRows {
    /// Returns what keeps transactions out of a block: its rows, with the reasons from their verdict events.
    ///
    /// Where a row or its verdict is damaged, a sound receipt stands in for it, so that the block is executed as it was.
    pub(super) fn rulings(
        &mut self,
        store: &Store,
        stored: &Stored,
        txs: &[TxInput],
        findings: &mut Findings,
    ) -> Rulings {
        let height = stored.row.order.height;
        let rows = match store.main().stored_quarantine(height) {
            Ok(rows) => rows,
            Err(error) => {
                let finding = Finding::new(What::Table, "rows of quarantine", error.to_string());
                findings.add(finding.at_block(height));
                Vec::new()
            }
        };
        let said = receipts_say(stored, txs);
        let mut rulings = Rulings::new();
        for (row, tag_holds) in &rows {
            if !tag_holds {
                let finding = Finding::new(What::Quarantine, "the tag of its row", "another tag");
                findings.add(finding.at_block(height).at_event(row.entry.tx));
            }
            let (tx, verdict) = (row.entry.tx, row.entry.verdict);
            match verdict_reason(store, tx, verdict) {
                Ok(reason) => drop(rulings.insert(tx, reason)),
                Err(found) => {
                    let expected = format!("a verdict that keeps event {} out", tx.get());
                    let finding = Finding::new(What::Quarantine, expected, found);
                    findings.add(finding.at_block(height).at_event(verdict));
                    rulings.extend(said.get_key_value(&tx).map(|(tx, said)| (*tx, said.clone())));
                }
            }
        }
        for (tx, reason) in said {
            if let std::collections::btree_map::Entry::Vacant(entry) = rulings.entry(tx) {
                entry.insert(reason);
                let finding = Finding::new(What::Quarantine, "a row of quarantine", "none");
                findings.add(finding.at_block(height).at_event(tx));
            }
        }
        self.rows.extend(rows.into_iter().map(|(row, _)| row));
        rulings
    }

    /// Compares the rows with every verdict of the log, which was read up to its end.
    pub(super) fn hold_against_log(
        &self,
        store: &Store,
        verdicts: &Verdicts,
        (first, confirmed): (Seq, Seq),
        findings: &mut Findings,
    ) {
        for row in &self.rows {
            let expected = verdicts.settled(row.entry.tx, row.entry.verdict);
            let expected = expected.filter(|seq| *seq <= confirmed);
            if expected != row.settled {
                let text = |settled: Option<Seq>| match settled {
                    Some(seq) => format!("settled by event {}", seq.get()),
                    None => "held".to_owned(),
                };
                let finding = Finding::new(What::Quarantine, text(expected), text(row.settled));
                findings.add(finding.at_block(row.entry.height).at_event(row.entry.tx));
            }
        }
        let seen: BTreeSet<_> = self.rows.iter().map(|row| row.entry.verdict).collect();
        for (tx, verdict) in verdicts.quarantines().filter(|(_, verdict)| !seen.contains(verdict)) {
            if let Some(height) = block_kept_out_of(store, verdicts, tx, verdict, first) {
                let expected = format!("a row of quarantine for event {}", tx.get());
                let finding = Finding::new(What::Quarantine, expected, "none");
                findings.add(finding.at_block(height).at_event(verdict));
            }
        }
    }
}

/// What sound receipts say about transactions that were kept out.
fn receipts_say(stored: &Stored, txs: &[TxInput]) -> BTreeMap<Seq, String> {
    let receipts = stored.receipts.as_ref().filter(|_| stored.receipts_sound);
    let receipts = receipts.map(|Receipts(receipts)| receipts.iter()).into_iter().flatten();
    let said = receipts.zip(txs).filter_map(|(receipt, tx)| match &receipt.status {
        Status::Quarantined(reason) => Some((tx.seq, reason.clone())),
        _ => None,
    });
    said.collect()
}

fn verdict_reason(store: &Store, tx: Seq, verdict: Seq) -> Result<String, String> {
    match store.log().body(verdict) {
        Ok(EventBody::Verdict(body)) if body.tx == tx => match body.ruling {
            Ruling::Quarantine { reason, .. } => Ok(reason),
            Ruling::Release => Err("a release".to_owned()),
            Ruling::Discard => Err("a discard".to_owned()),
        },
        Ok(EventBody::Verdict(body)) => Err(format!("a verdict on event {}", body.tx.get())),
        Ok(_) => Err("an event that is no verdict".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Finds the confirmed block that a verdict without a row belongs to, from the newest block down to the event `first`.
///
/// Reads every block on the way: such a verdict is rare. One was either logged right before a crash, or its row is lost.
fn block_kept_out_of(
    store: &Store,
    verdicts: &Verdicts,
    tx: Seq,
    verdict: Seq,
    first: Seq,
) -> Option<Height> {
    let mut next = store.main().stored_head().ok().flatten();
    while let Some(StoredRow { row, .. }) = next.filter(|next| next.row.order.seq >= first) {
        let order = &row.order;
        if verdicts.quarantine(order.seq, tx).is_some_and(|(seq, _)| seq == verdict) {
            let txs = store.main().body(order.height).ok().and_then(|body| body.tx_seqs().ok());
            if txs.is_some_and(|txs| txs.contains(&tx)) {
                return Some(order.height);
            }
        }
        let below = Height(order.height.get().checked_sub(1)?);
        next = store.main().stored_block_to(below).ok().flatten();
    }
    None
}
