//! The ledger through the executor: refusals, conservation, and the model as its oracle.

use std::sync::Arc;

use proptest::prelude::*;
use rewake::block::Status;
use rewake::event::Patch;
use rewake::exec::{BlockFailure, Executed, Executor, ExecutorSettings, Rulings};
use rewake::generate::{Model, Workload};
use rewake::machine::ledger::{
    Account, AccountState, Header, Ledger, LedgerKey, Refusal, Transfer, account_key, applied_key,
    supply_key,
};
use rewake::machine::{BlockInput, Registry, StateMachine, TxInput};
use rewake::state::{MemoryState, StateRead};
use rewake::types::{Bytes, Height, Seq};

const A: Account = Account(1);
const B: Account = Account(2);
const FULL: Account = Account(3);
const ABSENT: Account = Account(9);

/// A ledger in memory.
#[derive(Default)]
struct Node {
    state: MemoryState,
    height: u64,
}

impl Node {
    /// Starts with 100 in account 1, nothing in 2 and as much as a balance can say in 3.
    fn new() -> Self {
        let mut node = Self::default();
        let accounts = [(A, 100), (B, 0), (FULL, u64::MAX)];
        node.commit(vec![Ledger::genesis_patch(accounts)], &[]).expect("genesis is sound");
        node
    }

    fn execute(&self, patches: Vec<Patch>, payloads: &[Bytes]) -> Result<Executed, BlockFailure> {
        let id = rewake::types::TxId([0; 32]);
        let txs = payloads.iter().map(|payload| TxInput {
            seq: Seq::FIRST,
            id,
            payload: payload.to_vec().into(),
            created: None,
        });
        let header = Header { time_ms: self.height }.encode().into();
        let input = BlockInput { height: Height(self.height), header, patches, txs: txs.collect() };
        let executor = Executor::new(Arc::new(Ledger), ExecutorSettings::default());
        executor.execute(&input, &Rulings::new(), &self.state)
    }

    fn commit(&mut self, patches: Vec<Patch>, txs: &[Bytes]) -> Result<Executed, BlockFailure> {
        let executed = self.execute(patches, txs)?;
        self.state.apply(&executed.changes);
        self.height += 1;
        Ok(executed)
    }

    fn account(&self, account: Account) -> Option<AccountState> {
        let value = self.state.get(&account_key(account)).expect("memory can be read");
        value.map(|bytes| AccountState::decode(&bytes).expect("the ledger wrote it"))
    }

    fn number(&self, key: &[u8]) -> u128 {
        let value = self.state.get(key).expect("memory can be read").expect("it is there");
        u128::from_le_bytes(value.as_ref().try_into().expect("it has 16 bytes"))
    }
}

fn payload(from: Account, to: Account, amount: u64, nonce: u64) -> Bytes {
    Bytes::from(Transfer { from, to, amount, nonce }.encode())
}

fn put(key: &[u8], value: &[u8]) -> (Bytes, Option<Bytes>) {
    (key.into(), Some(value.into()))
}

fn put_account(account: Account, balance: u64, nonce: u64) -> (Bytes, Option<Bytes>) {
    put(&account_key(account), &AccountState { balance, nonce }.encode())
}

fn put_supply(supply: u128) -> (Bytes, Option<Bytes>) {
    put(&supply_key(), &supply.to_le_bytes())
}

#[test]
fn an_applied_transfer_moves_its_amount_and_takes_its_nonce() {
    let mut node = Node::new();
    let transfers = [payload(A, ABSENT, 30, 0), payload(A, B, 70, 1), payload(B, A, 1, 0)];
    let executed = node.commit(vec![], &transfers).expect("nothing fails");
    assert_eq!(executed.receipts.counts().applied, 3);
    let state = |balance, nonce| Some(AccountState { balance, nonce });
    assert_eq!(node.account(A), state(1, 2));
    assert_eq!(node.account(B), state(69, 1));
    assert_eq!(node.account(ABSENT), state(30, 0));
    assert_eq!(node.number(&applied_key()), 3);
    assert_eq!(node.number(&supply_key()), 100 + u128::from(u64::MAX));
}

#[test]
fn a_refused_transfer_has_its_reason_and_leaves_no_trace() {
    let spent = (account_key(ABSENT), AccountState { balance: 0, nonce: u64::MAX }.encode());
    let cases = [
        (Bytes::from(*b"nonsense"), Refusal::Malformed),
        (Bytes::default(), Refusal::Malformed),
        (payload(A, B, 0, 0), Refusal::ZeroAmount),
        (payload(A, A, 1, 0), Refusal::ToSelf),
        (payload(Account(77), A, 1, 0), Refusal::UnknownSender),
        (payload(FULL, A, 1, 0), Refusal::NonceUsed),
        (payload(A, B, 1, 1), Refusal::NonceAhead),
        (payload(ABSENT, B, 1, u64::MAX), Refusal::NonceExhausted),
        (payload(A, B, 101, 0), Refusal::Overdraft),
        (payload(B, A, 1, 0), Refusal::Overdraft),
        (payload(A, FULL, 1, 0), Refusal::ReceiverFull),
    ];
    assert!(Refusal::ALL.iter().all(|refusal| cases.iter().any(|(_, case)| case == refusal)));
    let mut node = Node::new();
    let patch = Patch::new("", false, [put(&spent.0, &spent.1), put_account(FULL, u64::MAX, 4)]);
    node.commit(vec![patch], &[]).expect("the patch mints nothing");
    for (payload, refusal) in cases {
        let executed = node.execute(vec![], &[payload]).expect("a refusal is no error");
        let status = executed.receipts.0.first().map(|receipt| receipt.status.clone());
        assert_eq!(status, Some(Status::Rejected(refusal.reason().to_owned())));
        assert_eq!(executed.changes.changes(), [], "{refusal:?}");
    }
}

#[test]
fn a_refused_transfer_does_not_consume_its_nonce() {
    let mut node = Node::new();
    let transfers = [payload(A, B, 101, 0), payload(A, B, 100, 0), payload(A, B, 1, 0)];
    let counts = node.commit(vec![], &transfers).expect("nothing fails").receipts.counts();
    assert_eq!((counts.applied, counts.rejected), (1, 2));
    assert_eq!(node.account(B), Some(AccountState { balance: 100, nonce: 0 }));
}

#[test]
fn the_reasons_are_short_and_differ() {
    let reasons = Refusal::ALL.map(Refusal::reason);
    assert_eq!(std::collections::BTreeSet::from(reasons).len(), reasons.len());
    assert!(reasons.iter().all(|reason| reason.len() <= 20), "{reasons:?}");
}

#[test]
fn a_block_that_does_not_conserve_is_found() {
    let supply = 100 + u128::from(u64::MAX);
    let sum = "the sum of all balance changes";
    let counter = "the change of the counter of applied transfers";
    let cases = [
        (vec![put_account(A, 105, 0)], sum, "+5"),
        (vec![put_account(A, 95, 0)], sum, "-5"),
        (vec![put_account(ABSENT, 7, 0)], sum, "+7"),
        (vec![(Bytes::from(account_key(A)), None)], sum, "-100"),
        (vec![put_supply(supply + 1)], sum, "+0"),
        (vec![(Bytes::from(supply_key()), None)], sum, "+0"),
        (vec![put_account(A, 105, 0), put_supply(supply + 4)], sum, "+5"),
        (vec![put(&applied_key(), &9u128.to_le_bytes())], counter, "+10"),
        (vec![put(b"x", b"")], "a changed key", "x"),
        (vec![put(&account_key(ABSENT), b"")], "the value of Account(Account(9))", "0 bytes"),
        (vec![put(&supply_key(), b"12")], "the value of Supply", "2 bytes"),
    ];
    for (entries, what, found) in cases {
        let patch = Patch::new("irregular", false, entries);
        let failed = Node::new().execute(vec![patch.clone()], &[payload(FULL, B, 1, 0)]);
        let Err(BlockFailure::Check { failure, .. }) = failed else {
            panic!("{patch:?}: {failed:?}")
        };
        assert_eq!((failure.what.as_str(), failure.found.as_str()), (what, found), "{patch:?}");
    }
}

#[test]
fn a_failed_check_reads_as_a_sentence() {
    let patch = Patch::new("irregular", false, [put_account(A, 105, 0)]);
    let failed = Node::new().execute(vec![patch], &[]).expect_err("it mints");
    let expected =
        "block 1: the sum of all balance changes is +5, expected +0, the change of the supply";
    assert_eq!(failed.to_string(), expected);
}

#[test]
fn a_patch_that_sets_the_supply_with_the_balances_may_mint_and_burn() {
    let supply = 100 + u128::from(u64::MAX);
    let mut node = Node::new();
    let mint = Patch::new("mint", false, [put_account(ABSENT, 50, 0), put_supply(supply + 50)]);
    node.commit(vec![mint], &[payload(ABSENT, B, 50, 0)]).expect("the supply follows");
    let burn = [(Bytes::from(account_key(FULL)), None), put_supply(150)];
    node.commit(vec![Patch::new("burn", false, burn)], &[payload(B, A, 1, 0)])
        .expect("so does this");
    assert_eq!((node.number(&supply_key()), node.number(&applied_key())), (150, 2));
}

#[test]
fn a_witness_of_a_few_accounts_is_where_the_check_starts() {
    let mut node = Node::new();
    node.commit(vec![], &[payload(A, B, 1, 0)]).expect("nothing fails");
    // What an isolated block needs: two accounts of many, and the counter; no supply.
    let entries =
        [put_account(A, 10, 7), put_account(B, 0, 0), put(&applied_key(), &40u128.to_le_bytes())];
    let witness = Patch::new("witness", true, entries);
    let executed = node.execute(vec![witness.clone()], &[payload(A, B, 10, 7)]);
    assert_eq!(executed.expect("nothing is created").receipts.counts().applied, 1);
    // The transfer brings B back to what it held before the witness: no change, and yet it counts.
    let executed = node.execute(vec![witness.clone()], &[payload(A, B, 1, 7)]);
    assert!(executed.expect("nothing is created").changes.find(&account_key(B)).is_none());
    let mint = Patch::new("mint", false, [put_account(B, 1, 0)]);
    let failed = node.execute(vec![witness, mint], &[]);
    assert!(matches!(failed, Err(BlockFailure::Check { .. })), "{failed:?}");
}

#[test]
fn an_account_that_a_patch_spoilt_is_poison_before_it_is_found_by_the_check() {
    let patch = Patch::new("irregular", false, [put(&account_key(A), b"short")]);
    let failed = Node::new().execute(vec![patch], &[payload(A, B, 1, 0)]);
    let Err(BlockFailure::Poison { reason, .. }) = failed else { panic!("{failed:?}") };
    assert_eq!(reason, "state of account 1: balance at byte 0 is cut short");
}

#[test]
fn a_header_that_is_none_is_poison() {
    let header = Bytes::from(*b"\x07");
    let input = BlockInput { height: Height(1), header, patches: vec![], txs: vec![] };
    let executor = Executor::new(Arc::new(Ledger), ExecutorSettings::default());
    let failed = executor.execute(&input, &Rulings::new(), &MemoryState::default());
    let Err(BlockFailure::Poison { reason, seq: None, .. }) = failed else { panic!("{failed:?}") };
    assert!(reason.starts_with("ledger block header: format at byte 0"), "{reason}");
}

#[test]
fn access_is_declared_for_what_can_be_applied() {
    let payloads = [payload(A, B, 1, 0), payload(A, A, 1, 0), Bytes::from(*b"nonsense")];
    let id = rewake::types::TxId([0; 32]);
    let txs = payloads.map(|payload| TxInput {
        seq: Seq::FIRST,
        id,
        payload: payload.to_vec().into(),
        created: None,
    });
    let input = BlockInput {
        height: Height(1),
        header: Bytes::default(),
        patches: vec![],
        txs: txs.to_vec(),
    };
    let block = Ledger.open_block(&input).expect("the header is empty");
    let declared = |index| {
        let mut keys = Vec::new();
        let is_declared = block.declared_access(index, &mut |key| keys.push(Bytes::from(key)));
        (is_declared, keys)
    };
    let keys = [A, B].map(|account| Bytes::from(account_key(account)));
    assert_eq!(declared(0), (true, keys.to_vec()));
    assert_eq!((declared(1), declared(2)), ((true, vec![]), (true, vec![])), "nothing is touched");
    assert_eq!(declared(3), (false, vec![]), "there is no such transaction");
}

#[test]
fn the_ledger_is_in_the_box() {
    let found = Registry::built_in().find("ledger").expect("it is built in");
    assert_eq!(found.version().to_string(), "ledger version 1");
}

/// Holds every account, the counter and the supply of a node against the model.
fn agree(node: &Node, model: &Model) {
    let mut accounts = 0;
    let mut visit = |key: &Bytes, value: &Bytes| match LedgerKey::read(key) {
        Some(LedgerKey::Account(account)) => {
            accounts += 1;
            let state = AccountState::decode(value).expect("the ledger wrote it");
            assert_eq!(Some(state.balance), model.balance(account), "{account}");
            assert_eq!(state.nonce, model.sent(account), "{account}");
        }
        Some(_) => {}
        None => panic!("{key:?} is no key of the ledger"),
    };
    node.state.scan(&[], &mut visit).expect("memory can be read");
    assert_eq!(accounts, model.balances().count());
    assert_eq!(node.number(&supply_key()), model.supply());
    if model.applied() > 0 {
        assert_eq!(node.number(&applied_key()), model.applied().into());
    }
}

fn hold_against_model(
    node: &mut Node,
    model: &mut Model,
    transfers: &[Transfer],
    block_txs: usize,
) {
    for block in transfers.chunks(block_txs) {
        let payloads: Vec<_> = block.iter().map(|one| Bytes::from(one.encode())).collect();
        let executed = node.commit(vec![], &payloads).expect("a refusal is no error");
        for (transfer, receipt) in block.iter().zip(&executed.receipts.0) {
            let applied = model.apply(transfer);
            assert_eq!(applied, receipt.status == Status::Applied, "{transfer:?} {receipt:?}");
        }
    }
    agree(node, model);
}

#[test]
fn a_generated_workload_ends_as_the_model_says() {
    let workload =
        Workload { accounts: 50, transfers: 5_000, refusals_percent: 10, ..Workload::default() };
    let (mut node, mut model) = (Node::default(), workload.model());
    node.commit(vec![workload.genesis()], &[]).expect("genesis is sound");
    let transfers: Vec<_> = workload.transfers().collect();
    hold_against_model(&mut node, &mut model, &transfers, 100);
    assert!(model.refused() > 300, "{}", model.refused());
}

prop_compose! {
    /// Few accounts and small numbers, so that every rule is met often.
    fn transfer()(from in 0..5u64, to in 0..6u64, amount in 0..40u64, nonce in 0..6u64) -> Transfer {
        Transfer { from: Account(from), to: Account(to), amount, nonce }
    }
}

fn fixed_seed() -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(1);
    ProptestConfig { rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(fixed_seed())]

    #[test]
    fn any_transfers_end_as_the_model_says(
        balances in prop::collection::vec(0..100u64, 1..5),
        transfers in prop::collection::vec(transfer(), 0..200),
        block_txs in 1..50usize,
    ) {
        let accounts: Vec<_> = (0..).map(Account).zip(balances).collect();
        let (mut node, mut model) = (Node::default(), Model::new(accounts.clone()));
        node.commit(vec![Ledger::genesis_patch(accounts)], &[]).expect("genesis is sound");
        hold_against_model(&mut node, &mut model, &transfers, block_txs);
    }

    #[test]
    fn any_bytes_are_a_transfer_or_refused(payload in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(transfer) = Transfer::decode(&payload) {
            prop_assert_eq!(&transfer.encode()[..], &payload[..]);
        } else {
            let executed = Node::new().execute(vec![], &[payload.into()]).expect("it is refused");
            prop_assert_eq!(executed.receipts.counts().rejected, 1);
        }
    }
}
