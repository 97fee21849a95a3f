//! The machine on blocks that are made here: a block is sealed by taking over what its check asks for.

use std::sync::Arc;

use alloy_consensus::constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH};
use alloy_consensus::transaction::SignerRecoverable;
use alloy_consensus::{Header, Signed, TxEip1559, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip4895::Withdrawal;
use alloy_eips::{eip2935, eip6110, eip7002, eip7251};
use alloy_primitives::{
    Address, B256, Bytes as Hex, KECCAK256_EMPTY, Signature, TxKind, U256, address, hex, keccak256,
};

use super::layout::*;
use super::tx::Envelope;
use super::*;
use crate::event::Patch;
use crate::exec::{BlockFailure, Executed, Executor, ExecutorSettings, Rulings};
use crate::state::{MemoryState, StateRead};
use crate::types::{Bytes, Height, Seq, TxId};

const BENEFICIARY: Address = address!("00000000000000000000000000000000000000cb");
const CONTRACT: Address = address!("00000000000000000000000000000000000000c0");
const GAS_PRICE: u64 = 10_000_000_000;

/// A chain with its whole state, and the block that is next on it.
struct Chain {
    executor: Executor,
    state: MemoryState,
    fork: Fork,
    number: u64,
}

/// Spoils a header.
type Change = fn(&mut Header);

/// A block under construction.
#[derive(Clone)]
struct Draft {
    order: OrderHeader,
    txs: Vec<Vec<u8>>,
}

fn account(nonce: u64, code: &[u8]) -> AccountRecord {
    let code_hash = if code.is_empty() { KECCAK256_EMPTY } else { keccak256(code) };
    AccountRecord { nonce, code_hash, ..AccountRecord::default() }
}

impl Chain {
    fn new(fork: Fork) -> Self {
        let mut chain = Self {
            executor: Executor::new(Arc::new(Evm::default()), ExecutorSettings::default()),
            state: MemoryState::default(),
            fork,
            number: 1,
        };
        let since = |first: Fork| fork >= first;
        let header = Header {
            gas_limit: 30_000_000,
            timestamp: 1000,
            difficulty: U256::from(if since(Fork::Paris) { 0 } else { 131_072 }),
            base_fee_per_gas: since(Fork::London).then_some(1_000_000_000),
            withdrawals_root: since(Fork::Shanghai).then_some(EMPTY_ROOT_HASH),
            blob_gas_used: since(Fork::Cancun).then_some(0),
            excess_blob_gas: since(Fork::Cancun).then_some(0),
            ..Header::default()
        };
        let hash = header.hash_slow();
        let genesis = Ancestor {
            fork,
            dao: DaoRule::None,
            hash,
            requests: Requests::None,
            header,
            ommers: vec![],
        };
        chain.set(&header_key(0), genesis.encode());
        chain.set(&block_hash_key(0), hash.to_vec());
        chain.set(&CONFIG_KEY, Config { complete: true }.encode());
        if since(Fork::Prague) {
            chain.deploy(eip2935::HISTORY_STORAGE_ADDRESS, &eip2935::HISTORY_STORAGE_CODE);
            let code = &eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_CODE;
            chain.deploy(eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, code);
            let code = &eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_CODE;
            chain.deploy(eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, code);
        }
        chain
    }

    fn set(&mut self, key: &[u8], value: Vec<u8>) {
        self.state.set(key.into(), Some(value.into()));
    }

    fn deploy(&mut self, address: Address, code: &[u8]) {
        self.set(&account_key(&address), account(1, code).encode());
        self.set(&code_key(&keccak256(code)), code.to_vec());
    }

    fn parent(&self) -> Ancestor {
        let key = header_key(self.number - 1);
        Ancestor::decode(&self.state.get(&key).expect("readable").expect("kept")).expect("valid")
    }

    fn record(&self, address: Address) -> Option<AccountRecord> {
        let bytes = self.state.get(&account_key(&address)).expect("readable")?;
        Some(AccountRecord::decode(&bytes).expect("valid"))
    }

    fn slot(&self, address: Address, incarnation: u64, slot: u64) -> U256 {
        let key = storage_key(&address, incarnation, &U256::from(slot));
        let bytes = self.state.get(&key).expect("readable").unwrap_or_default();
        decode_word(&bytes).expect("a word")
    }

    /// Makes a transaction of a sender of its own, who gets the money for it.
    ///
    /// Any signature is that of somebody: the sender is whoever it recovers to.
    fn tx(&mut self, to: Address, value: u64, input: &[u8]) -> Vec<u8> {
        let fee = u128::from(GAS_PRICE);
        let (to, value, input) = (TxKind::Call(to), U256::from(value), Hex::copy_from_slice(input));
        let signature = Signature::new(U256::from(2), U256::from(self.number), false);
        let envelope: Envelope = if self.fork < Fork::London {
            let (chain_id, gas_limit) = (None, 500_000);
            let tx = TxLegacy { chain_id, nonce: 0, gas_price: fee, gas_limit, to, value, input };
            Signed::new_unhashed(tx, signature).into()
        } else {
            let tx = TxEip1559 {
                chain_id: 1,
                gas_limit: 500_000,
                max_fee_per_gas: fee,
                max_priority_fee_per_gas: fee,
                to,
                value,
                input,
                ..TxEip1559::default()
            };
            Signed::new_unhashed(tx, signature).into()
        };
        let sender = envelope.recover_signer().expect("somebody");
        let rich = AccountRecord { balance: U256::from(1u64 << 60), ..AccountRecord::default() };
        self.set(&account_key(&sender), rich.encode());
        envelope.encoded_2718()
    }

    fn draft(&self, txs: Vec<Vec<u8>>) -> Draft {
        let (parent, fork) = (self.parent(), self.fork);
        let since = |first: Fork| fork >= first;
        let timestamp = parent.header.timestamp + 10;
        let header = Header {
            parent_hash: parent.hash,
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: BENEFICIARY,
            difficulty: if since(Fork::Paris) {
                U256::ZERO
            } else {
                next_difficulty(fork, &parent.header, timestamp)
            },
            number: self.number,
            gas_limit: parent.header.gas_limit,
            timestamp,
            base_fee_per_gas: since(Fork::London).then(|| next_base_fee(&parent.header)),
            withdrawals_root: since(Fork::Shanghai).then_some(EMPTY_ROOT_HASH),
            blob_gas_used: since(Fork::Cancun).then_some(0),
            excess_blob_gas: since(Fork::Cancun).then_some(0),
            parent_beacon_block_root: since(Fork::Cancun).then_some(B256::repeat_byte(5)),
            requests_hash: since(Fork::Prague).then_some(B256::ZERO),
            ..Header::default()
        };
        let order = OrderHeader {
            fork,
            dao: DaoRule::None,
            chain_id: 1,
            header,
            ommers: Ommers::Headers(vec![]),
            withdrawals: since(Fork::Shanghai).then(Vec::new),
        };
        Draft { order, txs }
    }

    fn execute(&self, draft: &Draft) -> Result<Executed, BlockFailure> {
        let txs = draft.txs.iter().enumerate().map(|(index, payload)| TxInput {
            seq: Seq::new(index as u64 + 1).expect("not zero"),
            id: TxId(keccak256(payload).0),
            payload: payload.clone().into(),
            created: None,
        });
        let header = draft.order.encode().into();
        let (height, txs) = (Height(draft.order.header.number), txs.collect());
        let input = BlockInput { height, header, patches: Vec::<Patch>::new(), txs };
        self.executor.execute(&input, &Rulings::new(), &self.state)
    }

    /// Takes over the results into the header until the block passes its check.
    fn seal(&self, mut draft: Draft) -> Draft {
        for _ in 0..10 {
            let failure = match self.execute(&draft) {
                Ok(_) => return draft,
                Err(BlockFailure::Check { failure, .. }) => failure,
                Err(other) => panic!("{other}"),
            };
            let header = &mut draft.order.header;
            let hash = || failure.found.parse().expect("a hash");
            match failure.what.as_str() {
                "transactions root" => header.transactions_root = hash(),
                "withdrawals root" => header.withdrawals_root = Some(hash()),
                "gas used" => header.gas_used = failure.found.parse().expect("a number"),
                "logs bloom" => header.logs_bloom = failure.found.parse().expect("a bloom"),
                "receipts root" => header.receipts_root = hash(),
                "requests hash" => header.requests_hash = Some(hash()),
                "state root" => header.state_root = hash(),
                _ => panic!("{failure}"),
            }
        }
        panic!("the block does not settle");
    }

    /// Seals and applies a block.
    fn extend(&mut self, txs: Vec<Vec<u8>>) -> (Draft, Executed) {
        let draft = self.seal(self.draft(txs));
        let executed = self.execute(&draft).unwrap_or_else(|failure| panic!("{failure}"));
        self.state.apply(&executed.changes);
        self.number += 1;
        (draft, executed)
    }

    /// Asserts that a changed block fails its check, and says what is found fault with.
    #[track_caller]
    fn refuses(&self, sealed: &Draft, what: &str, change: impl FnOnce(&mut Draft)) {
        let mut draft = sealed.clone();
        change(&mut draft);
        match self.execute(&draft) {
            Err(BlockFailure::Check { failure, .. }) => assert_eq!(failure.what, what, "{failure}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn a_header_that_does_not_follow_its_parent_is_refused() {
    let mut chain = Chain::new(Fork::London);
    let tx = chain.tx(CONTRACT, 1, &[]);
    let sealed = chain.seal(chain.draft(vec![tx]));
    let header = |change: Change| move |draft: &mut Draft| change(&mut draft.order.header);
    chain.refuses(&sealed, "parent hash", header(|header| header.parent_hash = B256::ZERO));
    chain.refuses(&sealed, "timestamp", header(|header| header.timestamp = 1000));
    chain.refuses(&sealed, "gas limit", header(|header| header.gas_limit += 30_000));
    chain.refuses(&sealed, "gas limit", header(|header| header.gas_limit = u64::MAX));
    chain.refuses(&sealed, "gas used", header(|header| header.gas_used = header.gas_limit + 1));
    chain.refuses(&sealed, "gas used", header(|header| header.gas_used += 1));
    chain.refuses(&sealed, "difficulty", header(|header| header.difficulty += U256::ONE));
    chain.refuses(&sealed, "base fee", header(|header| header.base_fee_per_gas = Some(7)));
    chain.refuses(
        &sealed,
        "header field base fee",
        header(|header| header.base_fee_per_gas = None),
    );
    chain.refuses(
        &sealed,
        "length of the extra data",
        header(|header| {
            header.extra_data = vec![0; 33].into();
        }),
    );
    chain.refuses(
        &sealed,
        "header field withdrawals root",
        header(|header| {
            header.withdrawals_root = Some(EMPTY_ROOT_HASH);
        }),
    );
    chain.refuses(
        &sealed,
        "transactions root",
        header(|header| {
            header.transactions_root = B256::ZERO;
        }),
    );
    chain.refuses(&sealed, "receipts root", header(|header| header.receipts_root = B256::ZERO));
    chain.refuses(&sealed, "logs bloom", header(|header| header.logs_bloom.0[0] = 1));
    chain.refuses(&sealed, "state root", header(|header| header.state_root = B256::ZERO));
    chain.refuses(&sealed, "ommers hash", header(|header| header.ommers_hash = B256::ZERO));
    chain.refuses(&sealed, "withdrawals", |draft| draft.order.withdrawals = Some(vec![]));
    chain.refuses(&sealed, "extra data of the DAO fork", |draft| {
        draft.order.dao = DaoRule::ExtraData;
    });
    chain.refuses(&sealed, "parent", header(|header| header.number = 9));
}

#[test]
fn a_header_of_a_later_fork_bears_its_fields() {
    let chain = Chain::new(Fork::Osaka);
    let mut draft = chain.draft(vec![]);
    draft.order.withdrawals = Some(vec![Withdrawal { amount: 3, ..Withdrawal::default() }]);
    let sealed = chain.seal(draft);
    let header = |change: Change| move |draft: &mut Draft| change(&mut draft.order.header);
    let one = U256::ONE;
    let cases: [(&str, Change); 7] = [
        ("excess blob gas", |header| header.excess_blob_gas = Some(1)),
        ("blob gas used", |header| header.blob_gas_used = Some(131_072)),
        ("requests hash", |header| header.requests_hash = Some(B256::ZERO)),
        ("header field requests hash", |header| header.requests_hash = None),
        ("withdrawals root", |header| header.withdrawals_root = Some(B256::ZERO)),
        ("nonce after the merge", |header| header.nonce = [1; 8].into()),
        ("ommers hash after the merge", |header| header.ommers_hash = B256::ZERO),
    ];
    for (what, change) in cases {
        chain.refuses(&sealed, what, header(change));
    }
    chain.refuses(&sealed, "difficulty after the merge", |draft| {
        draft.order.header.difficulty = one;
    });
    chain.refuses(&sealed, "withdrawals", |draft| draft.order.withdrawals = None);
}

#[test]
fn a_transaction_that_must_not_be_in_its_block_is_named() {
    let mut chain = Chain::new(Fork::Osaka);
    let good = chain.tx(CONTRACT, 0, &[]);
    let check = |bad: Vec<u8>, gas_limit: u64, reason: &str| {
        let mut draft = chain.draft(vec![good.clone(), bad]);
        let mut parent = chain.parent();
        parent.header.gas_limit = gas_limit;
        draft.order.header.gas_limit = gas_limit;
        let payloads: Vec<&[u8]> = draft.txs.iter().map(Vec::as_slice).collect();
        draft.order.header.transactions_root =
            alloy_trie::root::ordered_trie_root_encoded(&payloads);
        // The parent's limit is brought in line, so that only the transaction is at fault.
        let mut state = chain.state.clone();
        state.set(header_key(0)[..].into(), Some(parent.encode().into()));
        let chain = Chain { executor: chain.executor.clone(), state, ..Chain::new(chain.fork) };
        let Err(BlockFailure::Check { failure, .. }) = chain.execute(&draft) else {
            panic!("{reason}");
        };
        assert_eq!(failure.tx, Some(1), "{failure}");
        assert!(failure.to_string().contains(reason), "{failure}");
    };
    check(vec![2, 0xc0], 30_000_000, "cannot be read");
    check(good.clone(), 30_000_000, "nonce");
    check(good.clone(), 520_000, "nonce");
    let tx = TxEip1559 { chain_id: 1, gas_limit: 1 << 25, ..TxEip1559::default() };
    let signature = Signature::new(U256::from(2), U256::from(3), false);
    let over_cap: Envelope = Signed::new_unhashed(tx.clone(), signature).into();
    check(over_cap.encoded_2718(), 60_000_000, "cap");
    let foreign: Envelope = Signed::new_unhashed(TxEip1559 { chain_id: 5, ..tx }, signature).into();
    check(foreign.encoded_2718(), 60_000_000, "chain");
}

#[test]
fn gas_that_is_not_left_in_the_block_is_the_transactions_fault() {
    let mut chain = Chain::new(Fork::London);
    let mut genesis = chain.parent();
    genesis.header.gas_limit = 510_000;
    genesis.hash = genesis.header.hash_slow();
    chain.set(&header_key(0), genesis.encode());
    let txs = vec![chain.tx(CONTRACT, 0, &[1]), chain.tx(CONTRACT, 0, &[2])];
    let mut draft = chain.draft(txs);
    let payloads: Vec<&[u8]> = draft.txs.iter().map(Vec::as_slice).collect();
    draft.order.header.transactions_root = alloy_trie::root::ordered_trie_root_encoded(&payloads);
    let Err(BlockFailure::Check { failure, .. }) = chain.execute(&draft) else { panic!("refused") };
    assert_eq!(failure.tx, Some(1), "{failure}");
    assert!(failure.expected.contains("a gas limit of at most"), "{failure}");
}

#[test]
fn a_header_that_cannot_be_read_is_poison() {
    let chain = Chain::new(Fork::London);
    let input =
        BlockInput { height: Height(1), header: Bytes::default(), patches: vec![], txs: vec![] };
    let failure = chain.executor.execute(&input, &Rulings::new(), &chain.state);
    assert!(matches!(&failure, Err(BlockFailure::Poison { .. })), "{failure:?}");
}

#[test]
fn a_destroyed_contract_comes_back_without_its_storage() {
    // Runtime code: give everything to the caller. Creation: slot 2 = 7, then that runtime code.
    let (runtime, creation) = (hex!("33ff"), hex!("60076002556133ff6000526002601ef3"));
    let factory = [&hex!("6f")[..], &creation, &hex!("600052600060106010 6000f500")].concat();
    let mut chain = Chain::new(Fork::London);
    chain.deploy(CONTRACT, &factory);
    let created = CONTRACT.create2(B256::ZERO, keccak256(creation));
    chain.deploy(created, &runtime);
    let old = AccountRecord { has_storage: true, ..account(1, &runtime) };
    chain.set(&account_key(&created), old.encode());
    chain.set(&storage_key(&created, 0, &U256::from(1)), vec![5]);

    let destroy = chain.tx(created, 0, &[1]);
    let before = chain.state.clone();
    let (sealed, _) = chain.extend(vec![destroy]);
    let tombstone = chain.record(created).expect("a tombstone");
    assert_eq!((tombstone.exists, tombstone.incarnation), (false, 1));
    assert_eq!(chain.slot(created, 0, 1), U256::from(5), "slots stay behind");
    let again = chain.tx(CONTRACT, 0, &[]);
    chain.extend(vec![again]);
    let record = chain.record(created).expect("created again");
    assert_eq!((record.exists, record.incarnation, record.has_storage), (true, 1, true));
    assert_eq!((chain.slot(created, 1, 1), chain.slot(created, 1, 2)), (U256::ZERO, U256::from(7)));

    // The root is that of a state in which the old storage never was.
    let mut fresh = chain.state.clone();
    fresh.set(storage_key(&created, 0, &U256::from(1))[..].into(), None);
    assert_eq!(state_root(&fresh).ok(), state_root(&chain.state).ok());
    assert_ne!(state_root(&before).ok(), Some(sealed.order.header.state_root));
}

#[test]
fn a_contract_is_not_created_over_storage() {
    let creation = hex!("60076002556133ff6000526002601ef3");
    let factory = [&hex!("6f")[..], &creation, &hex!("600052600060106010 6000f500")].concat();
    let mut chain = Chain::new(Fork::Cancun);
    chain.deploy(CONTRACT, &factory);
    let target = CONTRACT.create2(B256::ZERO, keccak256(creation));
    let odd = AccountRecord { has_storage: true, balance: U256::ONE, ..AccountRecord::default() };
    chain.set(&account_key(&target), odd.encode());
    chain.set(&storage_key(&target, 0, &U256::from(1)), vec![5]);
    let tx = chain.tx(CONTRACT, 0, &[]);
    chain.extend(vec![tx]);
    assert_eq!(chain.record(target), Some(odd));
    assert_eq!((chain.slot(target, 0, 1), chain.slot(target, 0, 2)), (U256::from(5), U256::ZERO));
}

#[test]
fn fees_are_seen_by_whoever_looks_at_the_beneficiary() {
    // Stores the beneficiary's balance in slot 0.
    let mut chain = Chain::new(Fork::Cancun);
    chain.deploy(CONTRACT, &hex!("41316000 5500"));
    let txs = vec![
        chain.tx(Address::repeat_byte(9), 1, &[]),
        chain.tx(CONTRACT, 0, &[]),
        chain.tx(Address::repeat_byte(9), 2, &[]),
    ];
    let (draft, executed) = chain.extend(txs);
    let base_fee = draft.order.header.base_fee_per_gas.expect("London");
    let tip = U256::from(GAS_PRICE - base_fee);
    assert_eq!(chain.slot(CONTRACT, 0, 0), tip * U256::from(21_000));
    let record = chain.record(BENEFICIARY).expect("paid");
    assert_eq!(record.balance, tip * U256::from(draft.order.header.gas_used));
    assert!(executed.changes.find(&FEES_KEY).is_none(), "no fees are left beside the account");
}

#[test]
fn transactions_that_do_not_meet_share_no_account() {
    let mut chain = Chain::new(Fork::Cancun);
    let settings = ExecutorSettings { records_access: true, ..ExecutorSettings::default() };
    chain.executor = Executor::new(Arc::new(Evm::default()), settings);
    let txs =
        vec![chain.tx(Address::repeat_byte(8), 1, &[]), chain.tx(Address::repeat_byte(9), 1, &[])];
    let (_, executed) = chain.extend(txs);
    let beneficiary: Bytes = account_key(&BENEFICIARY)[..].into();
    for access in &executed.access[1..3] {
        assert!(!access.reads.contains(&beneficiary), "{:?}", access.step);
        assert_eq!(access.writes.len(), 3, "sender, recipient, fees");
    }
}

#[test]
fn prague_keeps_hashes_and_collects_requests() {
    let mut chain = Chain::new(Fork::Prague);
    // Logs its input as a deposit event.
    let topic = hex!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");
    let deposits = [&hex!("365f5f37 7f")[..], &topic, &hex!("365fa1 00")].concat();
    chain.deploy(eip6110::MAINNET_DEPOSIT_CONTRACT_ADDRESS, &deposits);
    let mut event = vec![0; 576];
    for (index, (at, length)) in
        [(160, 48u8), (256, 32), (320, 8), (384, 96), (512, 8)].into_iter().enumerate()
    {
        event[index * 32 + 30..index * 32 + 32].copy_from_slice(&u16::to_be_bytes(at));
        event[usize::from(at) + 31] = length;
        event[usize::from(at) + 32] = 7;
    }
    let genesis = chain.parent().hash;
    let request = [3; 56];
    let txs = vec![
        chain.tx(eip6110::MAINNET_DEPOSIT_CONTRACT_ADDRESS, 0, &event),
        chain.tx(eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, 1, &request),
    ];
    let (draft, executed) = chain.extend(txs.clone());
    for receipt in &executed.receipts.0 {
        assert!(EvmReceipt::decode(&receipt.output).expect("an output").success);
    }
    assert_eq!(chain.slot(eip2935::HISTORY_STORAGE_ADDRESS, 0, 0), U256::from_be_bytes(genesis.0));
    let sender = tx::decode(&txs[1]).expect("readable").recover_signer().expect("somebody");
    let sha = |bytes: &[u8]| revm::precompile::interface::crypto().sha256(bytes);
    let mut deposit = vec![0; 193];
    for at in [0, 48, 80, 88, 184] {
        deposit[at + 1] = 7;
    }
    let withdrawal = [&[1][..], sender.as_slice(), &request].concat();
    let expected = sha(&[sha(&deposit), sha(&withdrawal)].concat());
    assert_eq!(draft.order.header.requests_hash, Some(B256::from(expected)));
}

#[test]
fn prague_without_its_contracts_is_refused_where_the_state_is_whole() {
    let mut chain = Chain::new(Fork::Prague);
    let key: Bytes = account_key(&eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS)[..].into();
    chain.state.set(key, None);
    let draft = chain.draft(vec![]);
    let mut sealed = draft.clone();
    sealed.order.header.transactions_root = EMPTY_ROOT_HASH;
    sealed.order.header.receipts_root = EMPTY_ROOT_HASH;
    chain.refuses(&sealed, "requests", |_| {});
    chain.set(&CONFIG_KEY, Config { complete: false }.encode());
    assert!(chain.execute(&sealed).is_ok(), "a witness need not hold them");
}

#[test]
fn rewards_and_withdrawals_are_paid() {
    for (fork, ether) in [(Fork::Eip158, 5u64), (Fork::Byzantium, 3), (Fork::Istanbul, 2)] {
        let mut chain = Chain::new(fork);
        chain.extend(vec![]);
        let reward = U256::from(ether) * U256::from(1_000_000_000_000_000_000u64);
        assert_eq!(chain.record(BENEFICIARY).expect("paid").balance, reward, "{fork:?}");
    }
    let mut chain = Chain::new(Fork::Shanghai);
    let mut draft = chain.draft(vec![]);
    let to = |address, amount| Withdrawal { address, amount, ..Withdrawal::default() };
    let (one, none) = (Address::repeat_byte(1), Address::repeat_byte(2));
    draft.order.withdrawals = Some(vec![to(one, 3), to(none, 0)]);
    let sealed = chain.seal(draft);
    let executed = chain.execute(&sealed).unwrap_or_else(|failure| panic!("{failure}"));
    chain.state.apply(&executed.changes);
    assert_eq!(chain.record(one).expect("paid").balance, U256::from(3_000_000_000u64));
    assert_eq!(chain.record(none), None, "nothing makes no account");
    assert_eq!(chain.record(BENEFICIARY), None, "no reward after the merge");
}
