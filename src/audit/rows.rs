//! Walks the block table: each row held against its own digest and the row before it.

use crate::audit::finding::{Finding, Findings, What};
use crate::block::BlockRow;
use crate::store::{Store, StoreError, StoredRow};
use crate::types::{Digest, Height};

/// A walk through the rows of a range of heights.
pub(super) struct Rows<'a> {
    store: &'a Store,
    next: Height,
    last: Height,
    peeked: Option<BlockRow>,
    /// What the parent of the next row may be; empty where it is not known.
    parents: Vec<Digest>,
    /// Heights whose rows cannot be read.
    lost: Vec<(Height, Height)>,
    ended: bool,
}

impl<'a> Rows<'a> {
    /// Starts at the first row of a range; `before` is the row that precedes it.
    pub(super) fn new(
        store: &'a Store,
        (first, last): (Height, Height),
        before: Option<StoredRow>,
    ) -> Self {
        let parents = match before {
            Some(StoredRow { row, digest, .. }) => vec![digest, row.digest()],
            None => vec![Digest::ZERO],
        };
        let lost = Vec::new();
        Self { store, next: first, last, peeked: None, parents, lost, ended: false }
    }

    /// Returns the next row without passing it.
    pub(super) fn peek(&mut self, findings: &mut Findings) -> Option<&BlockRow> {
        if self.peeked.is_none() && !self.ended {
            self.peeked = self.read(findings);
            self.ended = self.peeked.is_none();
        }
        self.peeked.as_ref()
    }

    /// Passes the row that was last peeked at.
    pub(super) fn take(&mut self) -> Option<BlockRow> {
        self.peeked.take()
    }

    /// Says whether the row of a height cannot be read.
    pub(super) fn is_lost(&self, height: Height) -> bool {
        self.lost.iter().any(|(first, last)| (*first..=*last).contains(&height))
    }

    fn read(&mut self, findings: &mut Findings) -> Option<BlockRow> {
        if self.next > self.last
            || (planted!("audit_skips_the_last_block") && self.next == self.last)
        {
            return None;
        }
        // Bound first: a guard in the head of a match would be held in its arms, which read the table again.
        let read = self.store.main().stored_block_from(self.next);
        let StoredRow { row, digest, tag_holds } = match read {
            Ok(found) => found?,
            Err(error) => self.read_beyond(&error, findings)?,
        };
        let height = row.order.height;
        if height > self.last {
            return None;
        }
        self.next = after(height, 1);
        let computed = row.digest();
        if computed != digest {
            let finding = Finding::digests(What::RowDigest, computed, digest);
            findings.add(finding.at_block(height));
        }
        if !tag_holds {
            let finding = Finding::new(What::RowDigest, "the tag of the row", "another tag");
            findings.add(finding.at_block(height));
        }
        if let Some(expected) = self.parents.first()
            && !self.parents.contains(&row.parent)
        {
            let finding = Finding::digests(What::ParentLink, *expected, row.parent);
            findings.add(finding.at_block(height));
        }
        self.parents = vec![digest, computed];
        Some(row)
    }

    /// Tries ever farther above a row that cannot be read.
    fn read_beyond(&mut self, error: &StoreError, findings: &mut Findings) -> Option<StoredRow> {
        let first = self.next;
        let (mut from, mut step) = (after(first, 1), 1u64);
        let mut found = None;
        while found.is_none() && from <= self.last {
            if let Ok(row) = self.store.main().stored_block_from(from) {
                found = row;
                break;
            }
            from = after(from, step);
            step = step.saturating_mul(2);
        }
        let next = found.as_ref().map(|found| found.row.order.height.get().saturating_sub(1));
        let last = Height(next.unwrap_or(self.last.get()).min(self.last.get()));
        let expected = format!("rows of blocks {} to {}", first.get(), last.get());
        findings.add(Finding::new(What::RowLost, expected, error.to_string()).at_block(first));
        self.lost.push((first, last));
        self.parents.clear();
        found
    }
}

const fn after(height: Height, step: u64) -> Height {
    Height(height.get().saturating_add(step))
}
