//! The generator: a seeded ledger workload whose every refusal is intended.
//!
//! The same [`Workload`] gives the same transfers on every platform: numbers come from `SplitMix64` and skew from
//! integer arithmetic, never from a float. Memory is 16 bytes an account, whatever the number of transfers.

mod events;
mod model;
mod random;
mod ranks;

pub use events::Events;
pub use model::Model;

use crate::event::Patch;
use crate::machine::ledger::{Account, AccountState, Balance, Ledger, Transfer};
pub(crate) use random::Random;
use ranks::Ranks;

/// What every account holds at genesis.
pub const GENESIS_BALANCE: Balance = 1_000_000_000;
/// The largest amount of a transfer that is meant to be applied.
pub const AMOUNT_MAX: Balance = 1_000;
/// A nonce that no account comes to: a transfer that is meant to be ahead bears this one or a later one.
const NONCE_AHEAD: u64 = 1 << 63;

/// A workload: what is to be generated. Accounts are numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Number of accounts, 2 to 2^32 - 1.
    pub accounts: u64,
    /// Number of transfers, those of the mempool among them.
    pub transfers: u64,
    /// Transfers in a block, at least 1; the last block may hold fewer.
    pub block_txs: u64,
    /// Number of blocks at the end that are ordered but not confirmed.
    pub unconfirmed_blocks: u64,
    /// Number of transfers at the end that no block orders; none of them is a refusal.
    pub mempool: u64,
    /// Exponent of the Zipf-like choice of accounts, in hundredths: 0 is uniform, 100 is the classic law.
    pub skew_percent: u16,
    /// How many of 100 ordered transfers are meant to be refused, 0 to 100.
    pub refusals_percent: u8,
    /// Chooses one of 2^64 workloads of this shape.
    pub seed: u64,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            accounts: 10_000,
            transfers: 100_000,
            block_txs: 1_000,
            unconfirmed_blocks: 10,
            mempool: 100,
            skew_percent: 80,
            refusals_percent: 2,
            seed: 1,
        }
    }
}

/// A number of a workload that is outside its limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("workload asks for {found} {what}, allowed are {least} to {most}")]
pub struct WorkloadError {
    /// What the number counts.
    pub what: &'static str,
    /// The number.
    pub found: u64,
    /// The least that is allowed.
    pub least: u64,
    /// The most that is allowed.
    pub most: u64,
}

impl Workload {
    /// Returns the workload where its numbers are within their limits.
    ///
    /// # Errors
    /// [`WorkloadError`] names the first number that is not.
    pub fn checked(self) -> Result<Self, WorkloadError> {
        let limits = [
            ("accounts", self.accounts, 2, u32::MAX.into()),
            ("transfers in a block", self.block_txs, 1, u32::MAX.into()),
            ("transfers in the mempool", self.mempool, 0, self.transfers),
            ("unconfirmed blocks", self.unconfirmed_blocks, 0, self.blocks()),
            ("percent of refusals", self.refusals_percent.into(), 0, 100),
        ];
        for (what, found, least, most) in limits {
            if !(least..=most).contains(&found) {
                return Err(WorkloadError { what, found, least, most });
            }
        }
        Ok(self)
    }

    /// Returns the number of transfers that blocks order: the first ones.
    #[must_use]
    pub const fn ordered(&self) -> u64 {
        self.transfers.saturating_sub(self.mempool)
    }

    /// Returns the number of blocks that hold transfers; genesis is none of them.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.ordered().div_ceil(self.block_txs.max(1))
    }

    /// Returns the number of blocks that are confirmed: the first ones.
    #[must_use]
    pub fn confirmed_blocks(&self) -> u64 {
        self.blocks().saturating_sub(self.unconfirmed_blocks)
    }

    /// Returns every account with what it holds at genesis, ascending.
    pub fn accounts(&self) -> impl Iterator<Item = (Account, Balance)> + use<> {
        (1..=self.accounts).map(|number| (Account(number), GENESIS_BALANCE))
    }

    /// Returns the patch of the genesis block.
    #[must_use]
    pub fn genesis(&self) -> Patch {
        Ledger::genesis_patch(self.accounts())
    }

    /// Returns the model at genesis.
    #[must_use]
    pub fn model(&self) -> Model {
        Model::new(self.accounts())
    }

    /// Returns the transfers in execution order. Numbers beyond their limits count as the nearest limit.
    ///
    /// No two transfers are equal, so that no two have one identity: applied ones differ in sender and nonce; refused
    /// ones bear their position in the amount or in the nonce, where no applied one comes to.
    #[must_use]
    pub fn transfers(&self) -> Transfers {
        let accounts = self.accounts.clamp(2, u32::MAX.into());
        let opened = AccountState { balance: GENESIS_BALANCE, nonce: 0 };
        Transfers {
            random: Random::new(self.seed),
            ranks: Ranks::new(accounts, self.skew_percent),
            states: vec![opened; usize::try_from(accounts).unwrap_or(usize::MAX)],
            accounts,
            workload: *self,
            index: 0,
        }
    }
}

/// The transfers of a workload, in execution order.
#[derive(Clone, Debug)]
pub struct Transfers {
    workload: Workload,
    random: Random,
    ranks: Ranks,
    accounts: u64,
    states: Vec<AccountState>,
    index: u64,
}

impl Iterator for Transfers {
    type Item = Transfer;

    fn next(&mut self) -> Option<Transfer> {
        let left = self.workload.transfers.checked_sub(self.index)?;
        if left == 0 {
            return None;
        }
        let is_ordered = self.index < self.workload.ordered();
        // The draw is made either way, so that the size of the mempool leaves the rest as it is.
        let refuses = self.random.below(100) < self.workload.refusals_percent.into();
        let transfer = if is_ordered && refuses { self.refused() } else { self.applied() };
        self.index = self.index.saturating_add(1);
        Some(transfer)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.workload.transfers.saturating_sub(self.index);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl Transfers {
    fn applied(&mut self) -> Transfer {
        let mut from = self.account();
        // The sum of all balances is not zero, so that the walk ends.
        while self.state(from).balance == 0 {
            from = self.neighbour(from);
        }
        let to = self.other_than(from);
        let (mut sender, mut receiver) = (self.state(from), self.state(to));
        let amount = 1 + self.random.below(sender.balance.min(AMOUNT_MAX));
        let transfer = Transfer { from, to, amount, nonce: sender.nonce };
        sender.balance = sender.balance.saturating_sub(amount);
        sender.nonce = sender.nonce.saturating_add(1);
        receiver.balance = receiver.balance.saturating_add(amount);
        self.set(from, sender);
        self.set(to, receiver);
        transfer
    }

    /// Half are overdrafts; of the others, the nonce is ahead or, where one is used, used already.
    fn refused(&mut self) -> Transfer {
        let from = self.account();
        let to = self.other_than(from);
        let nonce = self.state(from).nonce;
        let supply = self.accounts.saturating_mul(GENESIS_BALANCE);
        let uncovered = supply.saturating_add(1).saturating_add(self.index);
        match (self.random.below(4), nonce.checked_sub(1)) {
            (0 | 1, _) => Transfer { from, to, amount: uncovered, nonce },
            (2, Some(used)) => Transfer { from, to, amount: uncovered, nonce: used },
            _ => {
                let amount = 1 + self.random.below(AMOUNT_MAX);
                let nonce = NONCE_AHEAD.saturating_add(self.index);
                Transfer { from, to, amount, nonce }
            }
        }
    }

    fn account(&mut self) -> Account {
        Account(self.ranks.draw(&mut self.random).saturating_add(1))
    }

    fn other_than(&mut self, from: Account) -> Account {
        let to = self.account();
        if to == from { self.neighbour(to) } else { to }
    }

    const fn neighbour(&self, account: Account) -> Account {
        Account(if account.0 >= self.accounts { 1 } else { account.0.saturating_add(1) })
    }

    fn state(&self, account: Account) -> AccountState {
        self.states.get(place(account)).copied().unwrap_or_default()
    }

    fn set(&mut self, account: Account, state: AccountState) {
        if let Some(slot) = self.states.get_mut(place(account)) {
            *slot = state;
        }
    }
}

fn place(account: Account) -> usize {
    usize::try_from(account.0.saturating_sub(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_without_money_are_walked_past() {
        let workload = Workload { accounts: 4, refusals_percent: 0, ..Workload::default() };
        let mut transfers = workload.transfers();
        transfers.states = vec![AccountState::default(); 4];
        transfers.set(Account(3), AccountState { balance: 5, nonce: 7 });
        let first = transfers.next().expect("there are some");
        assert_eq!((first.from, first.nonce), (Account(3), 7));
        assert!((1..=5).contains(&first.amount), "{first:?}");
        let held: Balance = transfers.states.iter().map(|state| state.balance).sum();
        assert_eq!(held, 5);
    }
}
