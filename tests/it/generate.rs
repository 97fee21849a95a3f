//! What the generator promises: the same on every platform, refusals exactly as meant, skew.

use std::collections::{HashMap, HashSet};

use rewake::generate::{AMOUNT_MAX, Workload, WorkloadError};
use rewake::machine::ledger::{Account, Transfer};

const SMALL: Workload = Workload {
    accounts: 100,
    transfers: 20_000,
    block_txs: 128,
    unconfirmed_blocks: 3,
    mempool: 500,
    skew_percent: 100,
    refusals_percent: 20,
    seed: 1,
};

#[test]
fn the_first_transfers_of_a_seed_are_pinned() {
    let workload = Workload { accounts: 1_000, refusals_percent: 25, ..Workload::default() };
    let first: Vec<_> = workload.transfers().take(8).collect();
    // A second implementation, in Python, gives the same.
    let golden = [
        (358, 330, 763, 0),
        (140, 603, 606, 0),
        (711, 96, 816, 0),
        (118, 620, 124, 0),
        (1, 655, 998, 0),
        (564, 902, 530, 0),
        (217, 704, 709, 0),
        (323, 112, 1_000_000_000_008, 0),
    ];
    let numbers = |t: &Transfer| (t.from.0, t.to.0, t.amount, t.nonce);
    assert_eq!(first.iter().map(numbers).collect::<Vec<_>>(), golden);
    let last = workload.transfers().last().expect("there are some");
    assert_eq!(numbers(&last), (111, 477, 985, 25));
}

#[test]
fn a_workload_repeats_itself_and_another_seed_does_not() {
    let other = Workload { seed: 2, ..SMALL };
    assert!(SMALL.transfers().eq(SMALL.transfers()));
    assert!(SMALL.transfers().ne(other.transfers()));
    let longer_mempool = Workload { mempool: 1_000, ..SMALL };
    let both = SMALL.transfers().zip(longer_mempool.transfers()).take(19_000);
    assert!(both.into_iter().all(|(a, b)| a == b), "the mempool leaves the rest as it is");
}

/// Says what a transfer was meant to be, by what the generator writes into it.
fn is_meant_to_be_applied(transfer: &Transfer) -> bool {
    transfer.amount <= AMOUNT_MAX && transfer.nonce < 1 << 63
}

#[test]
fn exactly_the_meant_transfers_are_refused() {
    for workload in [SMALL, Workload { accounts: 2, skew_percent: 0, ..SMALL }] {
        let mut model = workload.model();
        let mut kinds: HashMap<&str, u32> = HashMap::new();
        for (index, transfer) in (0..).zip(workload.transfers()) {
            let kind = match transfer {
                _ if is_meant_to_be_applied(&transfer) => "applied",
                Transfer { nonce, from, .. } if nonce < model.sent(from) => "nonce used",
                Transfer { nonce, from, .. } if nonce > model.sent(from) => "nonce ahead",
                _ => "overdraft",
            };
            *kinds.entry(kind).or_default() += 1;
            let applied = model.apply(&transfer);
            assert_eq!(applied, kind == "applied", "{index}: {transfer:?}");
            assert!(applied || index < workload.ordered(), "the mempool holds no refusal");
        }
        assert_eq!(model.supply(), u128::from(workload.accounts) * 1_000_000_000);
        // A fifth of 19,500, of which half are overdrafts and a quarter each have a bad nonce.
        assert!((3_700..4_100).contains(&model.refused()), "{}", model.refused());
        assert!((1_800..2_100).contains(&kinds["overdraft"]), "{kinds:?}");
        assert!((850..1_100).contains(&kinds["nonce used"]), "{kinds:?}");
        assert!((850..1_150).contains(&kinds["nonce ahead"]), "{kinds:?}");
    }
}

#[test]
fn refusals_range_from_none_to_all() {
    for (refusals_percent, refused) in [(0, 0), (100, 19_500)] {
        let workload = Workload { refusals_percent, ..SMALL };
        let mut model = workload.model();
        for transfer in workload.transfers() {
            model.apply(&transfer);
        }
        assert_eq!((model.refused(), model.applied()), (refused, 20_000 - refused));
    }
}

#[test]
fn no_two_transfers_have_one_identity() {
    let workload = Workload { accounts: 3, refusals_percent: 60, ..SMALL };
    let mut seen = HashSet::new();
    assert!(workload.transfers().all(|transfer| seen.insert(transfer.id())));
    assert_eq!(seen.len(), 20_000);
}

#[test]
fn skew_makes_some_accounts_hot() {
    let hottest = |skew_percent| {
        let workload = Workload { accounts: 1_000, skew_percent, refusals_percent: 0, ..SMALL };
        let mut sent: HashMap<Account, u32> = HashMap::new();
        workload.transfers().for_each(|transfer| *sent.entry(transfer.from).or_default() += 1);
        assert!(sent.keys().all(|account| (1..=1_000).contains(&account.0)));
        sent.into_values().max().expect("there are some")
    };
    let [uniform, classic, steep] = [0, 100, 200].map(hottest);
    assert!((20..60).contains(&uniform), "{uniform}");
    assert!((1_700..2_300).contains(&classic), "{classic}");
    assert!((9_500..10_500).contains(&steep), "{steep}");
}

#[test]
fn blocks_are_counted_from_what_is_ordered() {
    assert_eq!((SMALL.ordered(), SMALL.blocks(), SMALL.confirmed_blocks()), (19_500, 153, 150));
    assert_eq!(SMALL.transfers().size_hint(), (20_000, Some(20_000)));
}

#[test]
fn numbers_outside_their_limits_are_named() {
    assert_eq!(SMALL.checked(), Ok(SMALL));
    assert_eq!(Workload::default().checked(), Ok(Workload::default()));
    let cases = [
        (Workload { accounts: 1, ..SMALL }, "accounts"),
        (Workload { block_txs: 0, ..SMALL }, "transfers in a block"),
        (Workload { mempool: 20_001, ..SMALL }, "transfers in the mempool"),
        (Workload { unconfirmed_blocks: 154, ..SMALL }, "unconfirmed blocks"),
        (Workload { refusals_percent: 101, ..SMALL }, "percent of refusals"),
    ];
    for (workload, expected) in cases {
        let refused = workload.checked();
        assert!(
            matches!(refused, Err(WorkloadError { what, .. }) if what == expected),
            "{refused:?}"
        );
    }
    let error = Workload { accounts: 1, ..SMALL }.checked().expect_err("one is too few");
    assert_eq!(error.to_string(), "workload asks for 1 accounts, allowed are 2 to 4294967295");
}
