//! The preparation: which accounts a node has, whose they are, and where their nonces stand.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::load::client::Client;
use crate::load::draw::Draw;
use crate::load::shared::Shared;
use crate::load::transfers::{ClientTransfers, Sender};
use crate::load::{LoadError, join, opening, settle};
use crate::machine::ledger::{Account, AccountState};

/// Returns the clients, each with its share of the accounts of the genesis block.
///
/// The node comes to rest first, so that no transfer of an earlier run is still to be applied.
pub(super) async fn clients(shared: &Arc<Shared>) -> Result<Vec<Client>, LoadError> {
    let mut reader = shared.reader();
    settle::settle(&mut reader, &shared.options).await?;
    let genesis = reader.block(0).await?.ok_or(LoadError::NoGenesis)?;
    let accounts = opening::accounts(&genesis)?.into_iter().map(|(account, _)| account);
    let accounts: Arc<[Account]> = accounts.collect();
    let clients = shared.options.clients.max(1);
    if accounts.len() < clients.max(2) {
        return Err(LoadError::TooFewAccounts { found: accounts.len(), clients });
    }
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        tasks.spawn(client(Arc::clone(shared), Arc::clone(&accounts), number));
    }
    join::all(tasks).await
}

/// Makes a client: of so many accounts, each so-manieth is its own.
async fn client(
    shared: Arc<Shared>,
    accounts: Arc<[Account]>,
    number: usize,
) -> Result<Client, LoadError> {
    let mut reader = shared.reader();
    let mut senders = Vec::new();
    for account in accounts.iter().skip(number).step_by(shared.options.clients.max(1)) {
        let state = reader.account(*account).await?.map(|found| found.state());
        senders.push(Sender { account: *account, state: state.unwrap_or_default() });
    }
    let draw = |purpose| {
        Draw::new(shared.options.seed, purpose, u64::try_from(number).unwrap_or(u64::MAX))
    };
    let transfers = ClientTransfers::new(draw("transfers"), senders, accounts);
    let draw = draw("resubmissions");
    Ok(Client::new(shared, transfers, draw))
}

impl crate::load::wire::AccountAnswer {
    /// Returns what the node says of the account.
    pub(super) const fn state(&self) -> AccountState {
        AccountState { balance: self.balance, nonce: self.nonce }
    }
}
