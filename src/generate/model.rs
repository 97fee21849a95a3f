//! The model: the ledger's rules once more, so plainly that the machine can be held against them.
//!
//! It shares nothing with the machine but the words `Account` and `Transfer`: no bytes, no context, no overlay.

use std::collections::HashMap;

use crate::machine::ledger::{Account, Balance, Transfer};

/// The accounts in memory, and how many transfers were applied and refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    balances: HashMap<Account, Balance>,
    sent: HashMap<Account, u64>,
    applied: u64,
    refused: u64,
}

impl Model {
    /// Makes a model whose accounts hold what is given; of an account that comes twice the last balance counts.
    #[must_use]
    pub fn new(accounts: impl IntoIterator<Item = (Account, Balance)>) -> Self {
        Self { balances: accounts.into_iter().collect(), ..Self::default() }
    }

    /// Applies or refuses a transfer, and says whether it was applied.
    pub fn apply(&mut self, transfer: &Transfer) -> bool {
        let applied = self.try_apply(transfer).is_some();
        if applied {
            self.applied = self.applied.saturating_add(1);
        } else {
            self.refused = self.refused.saturating_add(1);
        }
        applied
    }

    /// Returns what an account holds; `None` where it has never held anything.
    #[must_use]
    pub fn balance(&self, account: Account) -> Option<Balance> {
        self.balances.get(&account).copied()
    }

    /// Returns the number of transfers that an account has sent.
    #[must_use]
    pub fn sent(&self, account: Account) -> u64 {
        self.sent.get(&account).copied().unwrap_or(0)
    }

    /// Returns the accounts with what they hold, in no order.
    pub fn balances(&self) -> impl Iterator<Item = (Account, Balance)> {
        self.balances.iter().map(|(account, balance)| (*account, *balance))
    }

    /// Returns the sum of all balances.
    #[must_use]
    pub fn supply(&self) -> u128 {
        self.balances.values().copied().map(u128::from).sum()
    }

    /// Returns the number of transfers that were applied.
    #[must_use]
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// Returns the number of transfers that were refused.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    fn try_apply(&mut self, transfer: &Transfer) -> Option<()> {
        let Transfer { from, to, amount, nonce } = *transfer;
        if amount == 0 || from == to || nonce != self.sent(from) {
            return None;
        }
        let left = self.balance(from)?.checked_sub(amount)?;
        let held = self.balance(to).unwrap_or(0).checked_add(amount)?;
        let next = nonce.checked_add(1)?;
        self.balances.insert(from, left);
        self.balances.insert(to, held);
        self.sent.insert(from, next);
        Some(())
    }
}
