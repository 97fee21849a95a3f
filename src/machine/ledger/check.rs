//! The check of a ledger block: nothing is created and nothing is lost.
//!
//! The sums of what changed before and after are compared, which takes as long as there are changes. A block whose
//! patch replaces the whole state (the witness of an isolated block) starts from that patch instead: such a patch
//! may hold a few accounts of many, and is checked against nothing itself.

use std::fmt;

use crate::event::Patch;
use crate::machine::ledger::{AccountState, LedgerKey};
use crate::machine::{BlockInput, BlockOutcome, CheckFailure};
use crate::state::ChangeSet;

/// Compares the changes of balances, supply and counter with each other and with the receipts.
pub(super) fn check(block: &BlockInput, outcome: &BlockOutcome<'_>) -> Result<(), CheckFailure> {
    let totals = match block.patches.iter().rfind(|patch| patch.replaces_state) {
        None => of_changes(outcome.changes)?,
        Some(patch) => since_patch(patch, outcome)?,
    };
    let (balances, supply) = (totals.balances.delta(), totals.supply.delta());
    if balances != supply {
        return Err(CheckFailure {
            what: "the sum of all balance changes".to_owned(),
            expected: format!("{supply}, the change of the supply"),
            found: balances.to_string(),
            tx: None,
        });
    }
    let counted = totals.applied.delta();
    let receipts = Span { before: 0, after: outcome.receipts.counts().applied.into() }.delta();
    if counted != receipts {
        return Err(CheckFailure {
            what: "the change of the counter of applied transfers".to_owned(),
            expected: format!("{receipts}, the number of applied receipts"),
            found: counted.to_string(),
            tx: None,
        });
    }
    Ok(())
}

fn of_changes(changes: &ChangeSet) -> Result<Totals, CheckFailure> {
    let mut totals = Totals::default();
    for change in changes.changes() {
        let key = read_key(&change.key)?;
        let span = totals.span(key);
        span.before = span.before.saturating_add(read_number(key, change.before.as_deref())?);
        span.after = span.after.saturating_add(read_number(key, change.after.as_deref())?);
    }
    Ok(totals)
}

/// Sums up all that is left of a state which the patch has dropped; the patch has visited as many keys already.
fn since_patch(patch: &Patch, outcome: &BlockOutcome<'_>) -> Result<Totals, CheckFailure> {
    let mut totals = Totals::default();
    for (key, value) in &patch.entries {
        let key = read_key(key)?;
        let span = totals.span(key);
        span.before = span.before.saturating_add(read_number(key, value.as_deref())?);
    }
    let mut seen = Ok(());
    let scanned = outcome.state.scan(&[], &mut |key, value| {
        if seen.is_ok() {
            seen = totals.count_after(key, value);
        }
    });
    scanned.map_err(|error| unlike("the state after the block", "readable", error.to_string()))?;
    seen.map(|()| totals)
}

#[derive(Default)]
struct Totals {
    balances: Span,
    supply: Span,
    applied: Span,
}

impl Totals {
    const fn span(&mut self, key: LedgerKey) -> &mut Span {
        match key {
            LedgerKey::Account(_) => &mut self.balances,
            LedgerKey::Supply => &mut self.supply,
            LedgerKey::Applied => &mut self.applied,
        }
    }

    fn count_after(&mut self, key: &[u8], value: &[u8]) -> Result<(), CheckFailure> {
        let key = read_key(key)?;
        let span = self.span(key);
        span.after = span.after.saturating_add(read_number(key, Some(value))?);
        Ok(())
    }
}

/// A sum before and after. Balances are 64 bits wide, so that no number of accounts makes their sum saturate.
#[derive(Default)]
struct Span {
    before: u128,
    after: u128,
}

impl Span {
    const fn delta(&self) -> Delta {
        Delta { falls: self.after < self.before, by: self.after.abs_diff(self.before) }
    }
}

/// A difference of two sums, which no signed type of 128 bits can hold.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Delta {
    falls: bool,
    by: u128,
}

impl fmt::Display for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.falls { '-' } else { '+' }, self.by)
    }
}

fn read_key(key: &[u8]) -> Result<LedgerKey, CheckFailure> {
    let foreign = || unlike("a changed key", "one of the ledger's", key.escape_ascii().to_string());
    LedgerKey::read(key).ok_or_else(foreign)
}

fn read_number(key: LedgerKey, value: Option<&[u8]>) -> Result<u128, CheckFailure> {
    let Some(value) = value else { return Ok(0) };
    let number = match key {
        LedgerKey::Account(_) => AccountState::decode(value).map(|state| state.balance.into()).ok(),
        LedgerKey::Supply | LedgerKey::Applied => value.try_into().map(u128::from_le_bytes).ok(),
    };
    let foreign =
        || unlike(&format!("the value of {key:?}"), "16 bytes", format!("{} bytes", value.len()));
    number.ok_or_else(foreign)
}

fn unlike(what: &str, expected: &str, found: String) -> CheckFailure {
    CheckFailure { what: what.to_owned(), expected: expected.to_owned(), found, tx: None }
}
