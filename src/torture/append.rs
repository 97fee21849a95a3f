//! What the appending process submits: lots of events that the node and a seed determine.

use crate::exec::{Examined, NewEvent, NextTxs};
use crate::machine::StateMachine as _;
use crate::machine::ledger::{Account, AccountState, Header, Ledger, Transfer, account_key};
use crate::state::{StateError, StateRead as _};
use crate::torture::hand::Hand;
use crate::types::{Bytes, Digest, TxId};

/// Lots that one process submits.
const LOTS: u64 = 200;
/// Accounts that send, numbered from 1.
const SENDERS: u64 = 32;
/// Most transactions of one lot.
const LOT_TXS_MAX: u64 = 6;
/// Every so many lots a block is ordered, where the machine is the ledger.
const BLOCK_LOTS: u64 = 4;
/// Most transactions of a block.
pub(super) const BLOCK_TXS_MAX: usize = 1_000;

/// The lots; with a ledger they order blocks, with another machine they are transactions that no block takes.
#[derive(Clone, Debug)]
pub struct Appends {
    hand: Hand,
    seed: u64,
    /// The next nonce of each sender; `None` where the machine is not the ledger.
    nonces: Option<Vec<u64>>,
    lot: u64,
    txs: u64,
}

impl Appends {
    /// Returns what is submitted to a node.
    ///
    /// # Errors
    /// [`StateError`] where its state cannot be read.
    pub fn of(node: &Examined, seed: u64) -> Result<Self, StateError> {
        let is_ledger = node.machine.version().id == Ledger.version().id;
        let nonces = is_ledger.then(|| nonces(node)).transpose()?;
        Ok(Self { hand: Hand::of_round(seed, 0), seed, nonces, lot: 0, txs: 0 })
    }

    /// Returns the same for another seed.
    pub(super) fn with_seed(&self, seed: u64) -> Self {
        Self { hand: Hand::of_round(seed, 0), seed, ..self.clone() }
    }

    fn tx(&mut self) -> NewEvent {
        self.txs = self.txs.saturating_add(1);
        let id = TxId(Digest::of(format!("torture {} {}", self.seed, self.txs).as_bytes()).0);
        let payload = match &mut self.nonces {
            Some(nonces) => transfer(&mut self.hand, nonces),
            None => self.txs.to_le_bytes().as_slice().into(),
        };
        NewEvent::Tx { id, payload }
    }
}

impl Iterator for Appends {
    type Item = Vec<NewEvent>;

    fn next(&mut self) -> Option<Vec<NewEvent>> {
        if self.lot >= LOTS {
            return None;
        }
        self.lot = self.lot.saturating_add(1);
        let txs = self.hand.within(1, LOT_TXS_MAX);
        let mut lot: Vec<_> = (0..txs).map(|_| self.tx()).collect();
        if self.nonces.is_some() && self.lot.is_multiple_of(BLOCK_LOTS) {
            let header = Header { time_ms: self.lot }.encode().into();
            lot.push(NewEvent::Next { header, txs: NextTxs::Waiting { txs_max: BLOCK_TXS_MAX } });
        }
        Some(lot)
    }
}

fn nonces(node: &Examined) -> Result<Vec<u64>, StateError> {
    let main = node.store.main();
    let nonce = |account| {
        let value = main.get(&account_key(Account(account)))?;
        let state = value.and_then(|value| AccountState::decode(&value).ok());
        Ok(state.unwrap_or_default().nonce)
    };
    (1..=SENDERS).map(nonce).collect()
}

fn transfer(hand: &mut Hand, nonces: &mut [u64]) -> Bytes {
    let sender = hand.below(SENDERS);
    let slot = usize::try_from(sender).ok().and_then(|index| nonces.get_mut(index));
    let nonce = slot.map_or(0, |next| std::mem::replace(next, next.saturating_add(1)));
    let from = Account(sender.saturating_add(1));
    let to = Account(hand.within(1, SENDERS.saturating_mul(2)));
    Transfer { from, to, amount: hand.within(1, 5), nonce }.encode().as_slice().into()
}
