//! Counted checks: how much each check looked at, and what it found.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::load::check::{Check, Finding};

/// Findings of each check that are kept in full; the others are counted.
pub const FINDINGS_MAX: usize = 5;

/// One check with its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// What is checked.
    pub check: Check,
    /// How many it looked at.
    pub checked: u64,
    /// How many of them are wrong.
    pub findings: u64,
}

/// What the checks found so far.
#[derive(Clone, Debug, Default)]
pub(in crate::load) struct Findings {
    counts: BTreeMap<Check, Count>,
}

#[derive(Clone, Debug, Default)]
struct Count {
    checked: u64,
    findings: u64,
    kept: Vec<Finding>,
}

impl Count {
    fn keep(&mut self, findings: impl IntoIterator<Item = Finding>) {
        let room = FINDINGS_MAX.saturating_sub(self.kept.len());
        self.kept.extend(findings.into_iter().take(room));
    }
}

impl Findings {
    /// Counts what a check looked at.
    pub(in crate::load) fn looked(&mut self, check: Check, count: usize) {
        let looked = u64::try_from(count).unwrap_or(u64::MAX);
        let count = self.counts.entry(check).or_default();
        count.checked = count.checked.saturating_add(looked);
    }

    /// Adds what checks found.
    pub(in crate::load) fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            let count = self.counts.entry(finding.check()).or_default();
            count.findings = count.findings.saturating_add(1);
            count.keep([finding]);
        }
    }

    /// Adds what was found elsewhere.
    pub(in crate::load) fn extend(&mut self, other: Self) {
        for (check, other) in other.counts {
            let own = self.counts.entry(check).or_default();
            own.checked = own.checked.saturating_add(other.checked);
            own.findings = own.findings.saturating_add(other.findings);
            own.keep(other.kept);
        }
    }

    /// Says whether nothing was found.
    pub(in crate::load) fn is_empty(&self) -> bool {
        self.counts.values().all(|count| count.findings == 0)
    }

    /// Returns every check with its counts, and the first findings of each.
    pub(in crate::load) fn into_parts(mut self) -> (Vec<Checked>, Vec<Finding>) {
        let mut all = Vec::new();
        let checked = Check::ALL.map(|check| {
            let Count { checked, findings, kept } = self.counts.remove(&check).unwrap_or_default();
            all.extend(kept);
            Checked { check, checked, findings }
        });
        (checked.to_vec(), all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_findings_are_counted_and_the_first_are_kept() {
        let lost = |height| Finding::BlockMissing { height, head: 99 };
        let (mut findings, mut other) = (Findings::default(), Findings::default());
        assert!(findings.is_empty());
        findings.looked(Check::Chain, 30);
        findings.add((0..3).map(lost));
        other.looked(Check::Chain, 12);
        other.add((3..27).map(lost));
        findings.extend(other);
        let (checked, kept) = findings.into_parts();
        assert_eq!(kept, (0..5).map(lost).collect::<Vec<_>>());
        let chain = Checked { check: Check::Chain, checked: 42, findings: 27 };
        assert_eq!(checked.len(), Check::ALL.len());
        assert_eq!(checked.iter().find(|checked| checked.check == Check::Chain), Some(&chain));
    }
}
