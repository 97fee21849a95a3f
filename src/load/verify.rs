//! The verification: fetches what a node at rest has, and feeds it to the checks.
//!
//! History is fetched from the genesis block, one block at a time, even where it began before this run: the model
//! then rests on nothing that the node computed.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::generate::Model;
use crate::load::api::Reader;
use crate::load::check::accounts::Stated;
use crate::load::check::{
    Check, Finding, Findings, Place, Places, accounts, chain, contents, receipts,
};
use crate::load::settle::{self, Rest};
use crate::load::shared::Shared;
use crate::load::wire::Block;
use crate::load::{LoadError, join, opening};
use crate::machine::ledger::{Account, AccountState, applied_key, supply_key};
use crate::types::{Digest, TxId};

/// How often it begins again because the node moved meanwhile.
const ROUNDS_MAX: usize = 5;
/// Transactions in a page of the mempool.
const PAGE: u64 = 1_000;
/// Connections that read accounts.
const READERS: usize = 4;

/// What a node has.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) findings: Findings,
    /// Confirmed blocks, genesis among them.
    pub(super) blocks: u64,
    /// Transactions in blocks and in the mempool.
    pub(super) transactions: u64,
    pub(super) mempool: u64,
}

/// Checks all that a node has against what it acknowledged.
pub(super) async fn verify(shared: &Arc<Shared>) -> Result<Verified, LoadError> {
    let mut reader = shared.reader();
    let mut rest = settle::settle(&mut reader, &shared.options).await?;
    let mut history = History::default();
    for _ in 0..ROUNDS_MAX {
        history.read(&mut reader, rest, shared).await?;
        let waiting = mempool(&mut reader).await?;
        let mut accounts = history.accounts(shared).await?;
        accounts.extend(history.stated(&mut reader).await?);
        if settle::rests(&mut reader, rest).await? {
            return Ok(history.conclude(&waiting, accounts, shared));
        }
        rest = settle::settle(&mut reader, &shared.options).await?;
    }
    let waited_ms = u64::try_from(shared.options.patience.as_millis()).unwrap_or(u64::MAX);
    Err(LoadError::Unsettled { pending_blocks: 0, mempool: rest.mempool, waited_ms })
}

/// What the blocks say, from genesis on.
#[derive(Clone, Debug, Default)]
struct History {
    next_height: u64,
    parent: Option<Digest>,
    model: Model,
    opened: u128,
    places: Places,
    findings: Findings,
}

impl History {
    /// Reads the blocks that it does not have yet, up to the head.
    async fn read(
        &mut self,
        reader: &mut Reader,
        rest: Rest,
        shared: &Shared,
    ) -> Result<(), LoadError> {
        let head = rest.block_height.ok_or(LoadError::NoGenesis)?;
        while self.next_height <= head {
            let height = self.next_height;
            match reader.block(height).await? {
                Some(block) => self.add(&block, shared)?,
                None if height == 0 => return Err(LoadError::NoGenesis),
                None => {
                    self.findings.looked(Check::Chain, 1);
                    self.findings.add([Finding::BlockMissing { height, head }]);
                    // Nobody knows what the next one should follow.
                    self.parent = None;
                }
            }
            self.next_height = height.saturating_add(1);
        }
        Ok(())
    }

    fn add(&mut self, block: &Block, shared: &Shared) -> Result<(), LoadError> {
        let height = self.next_height;
        if height == 0 {
            self.model = Model::new(opening::accounts(block)?);
            self.opened = self.model.supply();
            self.parent = Some(Digest::ZERO);
        } else {
            opening::without_patches(block)?;
        }
        let parent = self.parent.replace(block.digest).unwrap_or(block.parent);
        self.findings.looked(Check::Chain, 1);
        self.findings.add(chain::follows(height, parent, block));
        self.findings.add(chain::counts(block));
        self.findings.looked(Check::Receipts, block.transactions.len());
        self.findings.add(receipts::execute(&mut self.model, block));
        for tx in &block.transactions {
            let place = Place { seq: tx.seq, height: Some(height) };
            self.findings.add(self.places.add(tx.id, place));
            if shared.acknowledged().seqs().contains_key(&tx.id) {
                self.findings.looked(Check::Contents, 1);
                self.findings.add(contents::unaltered(height, tx));
            }
        }
        Ok(())
    }

    /// Adds what was found beside the blocks, and holds every acknowledgement against all of it.
    fn conclude(self, waiting: &[(TxId, Place)], accounts: Findings, shared: &Shared) -> Verified {
        let Self { mut findings, mut places, .. } = self;
        findings.add(waiting.iter().filter_map(|(id, place)| places.add(*id, *place)));
        findings.looked(Check::Unique, places.len());
        findings.extend(kept(&places, shared));
        findings.extend(accounts);
        Verified {
            findings,
            blocks: self.next_height,
            transactions: u64::try_from(places.len()).unwrap_or(u64::MAX),
            mempool: u64::try_from(waiting.len()).unwrap_or(u64::MAX),
        }
    }

    /// Holds every account against the model, over a few connections.
    async fn accounts(&self, shared: &Arc<Shared>) -> Result<Findings, LoadError> {
        let mut expected: Vec<_> = self.model.balances().collect();
        expected.sort_unstable();
        let state = |(account, balance)| {
            (account, AccountState { balance, nonce: self.model.sent(account) })
        };
        let expected: Vec<_> = expected.into_iter().map(state).collect();
        let mut tasks = JoinSet::new();
        for share in expected.chunks(expected.len().div_ceil(READERS).max(1)) {
            tasks.spawn(compare(Arc::clone(shared), share.to_vec()));
        }
        let (mut findings, mut held) = (Findings::default(), 0u128);
        for (found, holds) in join::all(tasks).await? {
            findings.extend(found);
            held = held.saturating_add(holds);
        }
        findings.looked(Check::Supply, 1);
        findings.add(accounts::supply(self.opened, held));
        Ok(findings)
    }

    /// Holds the ledger's own supply and counter against the model.
    async fn stated(&self, reader: &mut Reader) -> Result<Findings, LoadError> {
        let expected = Stated { supply: self.opened, applied: self.model.applied().into() };
        let (supply, applied) =
            (reader.number(&supply_key()).await?, reader.number(&applied_key()).await?);
        let mut findings = Findings::default();
        findings.looked(Check::Supply, 2);
        findings.add(accounts::stated(expected, Stated { supply, applied }));
        Ok(findings)
    }
}

/// Reads some accounts; returns what is wrong with them, and what they hold together.
async fn compare(
    shared: Arc<Shared>,
    share: Vec<(Account, AccountState)>,
) -> Result<(Findings, u128), LoadError> {
    let mut reader = shared.reader();
    let (mut findings, mut held) = (Findings::default(), 0u128);
    for (account, expected) in share {
        let found = reader.account(account).await?.map(|found| found.state());
        findings.looked(Check::Accounts, 1);
        findings.add(accounts::compare(account, expected, found));
        let balance = found.map_or(0, |state| state.balance);
        held = held.saturating_add(u128::from(balance));
    }
    Ok((findings, held))
}

/// Holds every acknowledgement against the places.
fn kept(places: &Places, shared: &Shared) -> Findings {
    let acknowledged = shared.acknowledged();
    let mut findings = Findings::default();
    findings.looked(Check::Kept, acknowledged.seqs().len());
    let wrong = acknowledged.seqs().iter().filter_map(|(id, seq)| {
        let finding = places.keeps(*id, *seq)?;
        Some((*seq, finding))
    });
    let mut wrong: Vec<_> = wrong.collect();
    wrong.sort_by_key(|(seq, _)| *seq);
    findings.add(wrong.into_iter().map(|(_, finding)| finding));
    findings
}

/// Returns every transaction of the mempool.
async fn mempool(reader: &mut Reader) -> Result<Vec<(TxId, Place)>, LoadError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = reader.mempool(after, PAGE).await?;
        let last = page.page.last().map(|waiting| waiting.seq);
        found.extend(page.page.iter().map(|tx| (tx.id, Place { seq: tx.seq, height: None })));
        // A page that leads nowhere would be asked for again and again.
        if !page.has_more || last <= after {
            return Ok(found);
        }
        after = last;
    }
}
