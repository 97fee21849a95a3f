//! The proof of the demonstration: against a node that was never killed, and against an independent model.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::cli::App;
use crate::cli::demo::open;
use crate::cli::generate::LOT;
use crate::event::Kind;
use crate::exec::{Examined, Intake, Recovery, RecoveryOptions, Report, SystemClock};
use crate::generate::{Model, Workload};
use crate::machine::StateMachine as _;
use crate::machine::ledger::{AccountState, Ledger, LedgerKey};
use crate::state::StateRead as _;
use crate::store::DataDir;
use crate::types::{Digest, Height, Seq};

/// Bytes of events that are read at once.
const READ_BYTES: usize = 4 << 20;

/// Transfers that the log has kept.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Kept {
    /// Of those that were acknowledged.
    pub(super) acknowledged: u64,
    /// All of them.
    pub(super) logged: u64,
    /// Whether they are those that were sent, in that order, none twice, and none of the acknowledged is missing.
    pub(super) is_whole: bool,
}

/// What was compared, and how it came out.
#[derive(Debug, Serialize)]
pub(super) struct Proof {
    /// Whether everything is as it must be.
    pub(super) holds: bool,
    #[serde(flatten)]
    pub(super) kept: Kept,
    /// State digest of the node that was never killed.
    pub(super) undisturbed_digest: Digest,
    pub(super) digests_equal: bool,
    /// Accounts that were compared with the model.
    pub(super) accounts: u64,
    pub(super) balances_equal: bool,
    /// Transfers that the recovered node has applied in all of its history.
    pub(super) applied: u128,
    /// Transfers that the model has applied.
    pub(super) applied_by_model: u64,
}

/// Compares the transfers in the log with those that were sent.
pub(super) fn kept(node: &Examined, workload: &Workload, acknowledged: u64) -> Result<Kept> {
    let mut sent = workload.transfers();
    let (mut logged, mut is_whole) = (0u64, true);
    let mut next = Seq::FIRST;
    while next.get() <= node.log_head.seq {
        let events = node.store.log().read(next, READ_BYTES)?;
        let Some(last) = events.last() else { bail!("event {} is missing", next.get()) };
        next = last.seq.next();
        for event in events.iter().filter(|event| event.kind == Kind::Tx) {
            let id = sent.next().map(|transfer| transfer.id());
            is_whole &= id.is_some_and(|id| event.body.starts_with(&id.0));
            logged = logged.saturating_add(1);
        }
    }
    is_whole &= logged >= acknowledged;
    Ok(Kept { acknowledged: acknowledged.min(logged), logged, is_whole })
}

/// Holds a recovered node against both.
pub(super) fn prove(
    node: &Examined,
    recovered: &Report,
    workload: &Workload,
    kept: Kept,
    scratch: &Path,
    app: &App,
) -> Result<Proof> {
    let undisturbed = run_undisturbed(node.log_head.seq, workload, scratch, app)?;
    let digests_equal = undisturbed.state_digest == recovered.state_digest
        && undisturbed.mempool == recovered.mempool;
    let last = node.checkpoint.as_ref().map_or(Height::GENESIS, |row| row.order.height);
    let model = run_model(last, workload);
    let found = Found::of(node, &model)?;
    let balances_equal = found.equal == workload.accounts && found.accounts == workload.accounts;
    let applied_equal = found.applied == u128::from(model.applied());
    Ok(Proof {
        holds: kept.is_whole && digests_equal && balances_equal && applied_equal,
        kept,
        undisturbed_digest: undisturbed.state_digest,
        digests_equal,
        accounts: found.accounts,
        balances_equal,
        applied: found.applied,
        applied_by_model: model.applied(),
    })
}

/// Gives a fresh node the events that the killed one had logged, and confirms them without any interruption.
fn run_undisturbed(events: u64, workload: &Workload, dir: &Path, app: &App) -> Result<Report> {
    DataDir::new(dir).create(&Ledger.version())?;
    let node = open(dir, app)?;
    let mut intake = Intake::new(&node, Arc::new(SystemClock));
    let mut source = workload.events().take(usize::try_from(events)?).peekable();
    while source.peek().is_some() {
        intake.append(source.by_ref().take(LOT).collect())?;
    }
    drop((intake, node));
    let (_, report) = Recovery::new(open(dir, app)?, RecoveryOptions::default()).run()?;
    Ok(report)
}

/// Applies the transfers of the confirmed blocks by the plainest rules there are.
fn run_model(last: Height, workload: &Workload) -> Model {
    let mut model = workload.model();
    let ordered = last.get().saturating_mul(workload.block_txs);
    for transfer in workload.transfers().take(usize::try_from(ordered).unwrap_or(usize::MAX)) {
        model.apply(&transfer);
    }
    model
}

/// What the state of a node holds.
#[derive(Default)]
struct Found {
    accounts: u64,
    /// Those whose balance and nonce are those of the model.
    equal: u64,
    applied: u128,
}

impl Found {
    fn of(node: &Examined, model: &Model) -> Result<Self> {
        let mut found = Self::default();
        node.store.main().scan(b"", &mut |key, value| match LedgerKey::read(key) {
            Some(LedgerKey::Account(account)) => {
                found.accounts = found.accounts.saturating_add(1);
                let balance = model.balance(account).unwrap_or_default();
                let expected = AccountState { balance, nonce: model.sent(account) };
                if AccountState::decode(value) == Ok(expected) {
                    found.equal = found.equal.saturating_add(1);
                }
            }
            Some(LedgerKey::Applied) => {
                let bytes = <[u8; 16]>::try_from(&**value);
                found.applied = bytes.map(u128::from_le_bytes).unwrap_or_default();
            }
            Some(LedgerKey::Supply) | None => {}
        })?;
        Ok(found)
    }
}
