//! The transfers of one client: its own senders, whose nonces nobody else uses, and receivers from all accounts.

use std::sync::Arc;

use crate::generate::AMOUNT_MAX;
use crate::load::draw::Draw;
use crate::machine::ledger::{Account, AccountState, Transfer};

/// How many of 100 transfers are meant to be refused.
const REFUSALS_PERCENT: u64 = 2;
/// An amount that no account holds: one that is meant to be refused is this or more, each another.
const UNCOVERED: u64 = 1 << 63;

/// A sender with its next nonce and what it holds at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) account: Account,
    pub(super) state: AccountState,
}

/// The endless transfers of one client.
#[derive(Debug)]
pub(super) struct ClientTransfers {
    draw: Draw,
    senders: Vec<Sender>,
    receivers: Arc<[Account]>,
    refused: u64,
}

impl ClientTransfers {
    /// Makes the stream of a client; nothing comes of no senders or of fewer than two receivers.
    pub(super) const fn new(draw: Draw, senders: Vec<Sender>, receivers: Arc<[Account]>) -> Self {
        Self { draw, senders, receivers, refused: 0 }
    }

    fn refusal(&mut self, sender: Sender, to: Account) -> Transfer {
        let amount = UNCOVERED.saturating_add(self.refused);
        self.refused = self.refused.saturating_add(1);
        // Half are overdrafts; the others bear a used nonce, where one is used.
        let back = self.draw.below(2);
        let nonce = sender.state.nonce.saturating_sub(back);
        Transfer { from: sender.account, to, amount, nonce }
    }

    fn receiver(&mut self, from: Account) -> Option<Account> {
        let index = self.draw.index(self.receivers.len());
        let found = self.receivers.get(index).copied()?;
        if found != from {
            return Some(found);
        }
        let next = self.receivers.get(index.saturating_add(1)).or(self.receivers.first());
        next.copied().filter(|next| *next != from)
    }
}

impl Iterator for ClientTransfers {
    type Item = Transfer;

    fn next(&mut self) -> Option<Transfer> {
        let index = self.draw.index(self.senders.len());
        let sender = self.senders.get(index).copied()?;
        let to = self.receiver(sender.account)?;
        let refuses = self.draw.below(100) < REFUSALS_PERCENT;
        if refuses || sender.state.balance == 0 {
            return Some(self.refusal(sender, to));
        }
        let AccountState { balance, nonce } = sender.state;
        let amount = 1 + self.draw.below(balance.min(AMOUNT_MAX));
        // What others send it is not counted: it holds at least this.
        let left = AccountState {
            balance: balance.saturating_sub(amount),
            nonce: nonce.saturating_add(1),
        };
        self.senders.get_mut(index)?.state = left;
        Some(Transfer { from: sender.account, to, amount, nonce })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::generate::Model;

    fn transfers(seed: u64, balance: u64) -> ClientTransfers {
        let state = AccountState { balance, nonce: 0 };
        let senders = [3, 5].map(|number| Sender { account: Account(number), state });
        let receivers = (1..=6).map(Account).collect();
        ClientTransfers::new(Draw::new(seed, "client", 0), senders.to_vec(), receivers)
    }

    #[test]
    fn all_but_a_small_share_are_applied_and_no_two_are_equal() {
        let transfers: Vec<_> = transfers(1, 1_000_000_000).take(5_000).collect();
        let mut model = Model::new((1..=6).map(|number| (Account(number), 1_000_000_000)));
        for transfer in &transfers {
            let applies = model.apply(transfer);
            assert_eq!(applies, transfer.amount <= AMOUNT_MAX, "{transfer:?}");
            assert!([3, 5].contains(&transfer.from.0) && transfer.to != transfer.from);
        }
        assert!((50..200).contains(&model.refused()), "{}", model.refused());
        let ids: HashSet<_> = transfers.iter().map(Transfer::id).collect();
        assert_eq!(ids.len(), transfers.len());
    }

    #[test]
    fn a_drained_sender_is_refused_and_nobody_sends_without_accounts() {
        let drained = transfers(2, 3).skip(100).take(50).all(|next| next.amount >= UNCOVERED);
        assert!(drained, "two senders of 3 hold nothing after 100 transfers");
        let receivers: Arc<[Account]> = [Account(1)].into();
        let none = ClientTransfers::new(Draw::new(1, "", 0), Vec::new(), receivers).next();
        assert_eq!(none, None);
    }
}
