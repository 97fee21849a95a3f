//! What execution on several threads would cost, and whether it pays.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::rest::RestOfBlocks;
use crate::codec::count;
use crate::exec::Scheduling;

/// Transactions that are executed in order first, where nothing is known of their cost.
pub(super) const SAMPLE_TXS: usize = 4;
/// Transactions below which there is nothing to share.
const TXS_MIN: usize = 8;
/// Work below which waking another thread costs more than it could save.
const WORK_MIN: Duration = Duration::from_micros(150);
/// What a transaction takes at least where executing it ahead of its turn, and looking at what it read, can pay.
const AHEAD_NANOS_MIN: u64 = 20_000;
/// What a transaction takes at least where executing it in a section, and looking at what it read, can pay.
const SECTION_NANOS_MIN: u64 = 1_500;
/// Work of which nobody tells what it touches below which waking threads for it, perhaps in vain, does not pay.
const UNDECLARED_WORK_MIN: Duration = Duration::from_millis(1);
/// What a transaction takes at least where executing it before its block, and looking at what it read, can pay.
const FORESIGHT_NANOS_MIN: u64 = 4_000;

/// One in so many transactions of a block counts as lost where nothing was won.
const NOTHING_WON: usize = 32;

/// What is known before a block is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outlook {
    /// Threads that may take part.
    pub(super) threads: usize,
    /// Transactions.
    pub(super) txs: usize,
    /// What one of them took so far; `None` where nobody knows.
    pub(super) nanos_per_tx: Option<u64>,
    /// Whether it is asked what pays.
    pub(super) scheduling: Scheduling,
}

/// How a block is to be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// In order, on the calling thread.
    InOrder,
    /// The first few in order, to see what they take.
    Sample,
    /// On several threads.
    Parallel,
}

/// How transactions are executed of which nobody tells what they touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    InOrder,
    /// Each ahead of its turn, on what those before it have written so far.
    Ahead,
    /// Some on each thread, as if those of the other threads before them were not.
    Sections,
}

/// Says how a block is to be executed.
pub(super) fn advise(outlook: Outlook) -> Advice {
    if outlook.threads < 2 {
        return Advice::InOrder;
    }
    if outlook.scheduling == Scheduling::Parallel {
        return Advice::Parallel;
    }
    if outlook.txs < TXS_MIN {
        return Advice::InOrder;
    }
    match outlook.nanos_per_tx {
        None => Advice::Sample,
        Some(nanos) if work(nanos, outlook.txs) < WORK_MIN => Advice::InOrder,
        Some(_) => Advice::Parallel,
    }
}

fn work(nanos_per_tx: u64, txs: usize) -> Duration {
    Duration::from_nanos(nanos_per_tx.saturating_mul(count(txs)))
}

/// Says whether shares of so many transactions are balanced well enough for their threads.
pub(super) fn pays(shares: &[usize]) -> bool {
    is_shorter(shares.iter().max().copied().unwrap_or(0), shares.iter().sum())
}

/// Says whether the most transactions that have to follow each other are so few of all that at least a quarter is won.
pub(super) fn is_shorter(longest: usize, all: usize) -> bool {
    longest.saturating_mul(5) <= all.saturating_mul(4)
}

/// Says whether a tenth was won on what would have been taken in order: what several threads execute takes each of them a
/// little longer.
pub(super) fn wins(time: Duration, in_order: Duration) -> bool {
    time.saturating_mul(10) < in_order.saturating_mul(9)
}

/// What blocks have cost so far. It changes how the next ones are executed, never what they give.
#[derive(Debug, Default)]
pub(in crate::exec) struct Costs {
    /// Nanoseconds of a transaction in order, in the mean of the last ones; zero where nobody knows.
    nanos_per_tx: AtomicU64,
    /// Blocks that are executed in order, because parallelism did not pay lately.
    rest: RestOfBlocks,
    /// Blocks during which the next one is not foreseen.
    foresight_rest: RestOfBlocks,
}

impl Costs {
    pub(super) fn nanos_per_tx(&self) -> Option<u64> {
        Some(self.nanos_per_tx.load(Ordering::Relaxed)).filter(|nanos| *nanos > 0)
    }

    /// Takes note of what transactions took in order.
    pub(super) fn took(&self, time: Duration, txs: usize) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let Some(new) = nanos.checked_div(count(txs)) else { return };
        let mean = self.nanos_per_tx().map_or(new, |old| old.midpoint(new));
        self.nanos_per_tx.store(mean.max(1), Ordering::Relaxed);
    }

    /// Returns how so many transactions are executed, where nobody tells what they touch.
    pub(super) fn way(&self, txs: usize) -> Way {
        let is_enough = |nanos: &u64| work(*nanos, txs) >= UNDECLARED_WORK_MIN;
        match self.nanos_per_tx().filter(is_enough) {
            Some(AHEAD_NANOS_MIN..) => Way::Ahead,
            Some(SECTION_NANOS_MIN..) => Way::Sections,
            _ => Way::InOrder,
        }
    }

    /// Says whether transactions that took so long together won on what they would have taken in order.
    pub(super) fn beats_order(&self, time: Duration, txs: usize) -> bool {
        self.nanos_per_tx().is_none_or(|nanos| wins(time, work(nanos, txs)))
    }

    /// Takes note of what a block of so many transactions took on several threads, and of what it would have taken in
    /// order. Where that did not pay, there is the less rest the less was lost.
    pub(super) fn compared(&self, time: Duration, in_order: Duration, txs: usize) {
        let nanos = u128::from(self.nanos_per_tx().unwrap_or(1));
        let lost = time.saturating_sub(in_order).as_nanos().checked_div(nanos).unwrap_or(0);
        // What nothing was lost on, and nothing won, is not tried all the time either.
        let lost = usize::try_from(lost).unwrap_or(usize::MAX).max(txs / NOTHING_WON);
        self.paid(wins(time, in_order), lost);
    }

    /// Says whether this block, of so many transactions, is one that rests; counts it if so.
    pub(super) fn rests(&self, txs: usize) -> bool {
        self.rest.has_block(count(txs))
    }

    /// Takes note of whether parallelism paid; where it did not, several times so many transactions are executed in order,
    /// ever more.
    pub(super) fn paid(&self, paid: bool, txs: usize) {
        self.rest.paid(paid, count(txs));
    }

    /// Says whether it can pay to execute transactions before their block's turn.
    pub(in crate::exec) fn may_foresee(&self) -> bool {
        self.nanos_per_tx().is_some_and(|nanos| nanos >= FORESIGHT_NANOS_MIN)
    }

    /// Says whether that is to be done while a block of so many transactions is executed; counts it.
    pub(in crate::exec) fn foresees(&self, txs: usize) -> bool {
        self.may_foresee() && self.is_enough(txs) && !self.foresight_rest.has_block(count(txs))
    }

    /// Says whether so many transactions are worth waking another thread.
    fn is_enough(&self, txs: usize) -> bool {
        txs >= TXS_MIN && self.nanos_per_tx().is_none_or(|nanos| work(nanos, txs) >= WORK_MIN)
    }

    /// Takes note of whether it paid, and of how many were foreseen and not taken over.
    pub(super) fn foresight_paid(&self, paid: bool, lost: usize) {
        self.foresight_rest.paid(paid, count(lost));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallelism_is_advised_where_it_pays() {
        let check = |threads, txs, nanos_per_tx, expected| {
            let advise = |scheduling| advise(Outlook { threads, txs, nanos_per_tx, scheduling });
            let what = format!("{threads} threads, {txs} transactions, {nanos_per_tx:?}");
            assert_eq!(advise(Scheduling::Adaptive), expected, "{what}");
            let always = if threads < 2 { Advice::InOrder } else { Advice::Parallel };
            assert_eq!(advise(Scheduling::Parallel), always, "{what}");
        };
        check(1, 1_000, Some(1_000_000), Advice::InOrder);
        check(2, 7, Some(1_000_000), Advice::InOrder);
        check(2, 8, Some(1_000_000), Advice::Parallel);
        check(2, 100, Some(1_000), Advice::InOrder);
        check(2, 1_000, Some(1_000), Advice::Parallel);
        check(2, 1_000, None, Advice::Sample);
        check(1, 1_000, None, Advice::InOrder);
        check(2, usize::MAX, Some(u64::MAX), Advice::Parallel);
    }

    #[test]
    fn unequal_shares_do_not_pay() {
        assert!(pays(&[500, 500]));
        assert!(pays(&[800, 200]));
        assert!(!pays(&[801, 199]));
        assert!(!pays(&[10]));
        assert!(is_shorter(1, 1_000) && is_shorter(4, 5) && !is_shorter(5, 5));
    }

    #[test]
    fn long_transactions_are_foreseen_unless_that_did_not_pay() {
        let costs = Costs::default();
        assert!(!costs.may_foresee() && !costs.foresees(1_000), "nothing is known");
        costs.took(Duration::from_micros(30), 1);
        assert!(costs.may_foresee() && costs.foresees(8));
        assert!(!costs.foresees(7), "few");
        costs.took(Duration::from_micros(2), 1);
        assert!(!costs.foresees(9), "short: 9 of 16 µs");
        assert!(costs.foresees(10));
        costs.foresight_paid(false, 1_000);
        assert!(costs.may_foresee() && !costs.foresees(1_000));
        costs.took(Duration::from_micros(2), 1);
        assert!(costs.may_foresee());
        costs.took(Duration::from_micros(2), 1);
        costs.took(Duration::from_micros(2), 1);
        costs.took(Duration::from_micros(2), 1);
        assert!(!costs.may_foresee());
    }

    #[test]
    fn what_was_won_is_seen_against_what_order_takes() {
        let costs = Costs::default();
        let time = Duration::from_micros(50);
        assert!(costs.beats_order(time, 1), "nothing is known");
        costs.took(Duration::from_micros(20), 1);
        assert!(costs.beats_order(time, 3) && !costs.beats_order(time, 2));
    }

    #[test]
    fn the_way_follows_what_transactions_take() {
        let ways = |nanos, txs: [usize; 3]| {
            let costs = Costs::default();
            costs.took(Duration::from_nanos(nanos), 1);
            txs.map(|txs| costs.way(txs))
        };
        assert_eq!(Costs::default().way(1_000), Way::InOrder, "nothing is known");
        assert_eq!(ways(20_000, [1_000, 50, 49]), [Way::Ahead, Way::Ahead, Way::InOrder]);
        assert_eq!(ways(19_999, [1_000, 51, 50]), [Way::Sections, Way::Sections, Way::InOrder]);
        assert_eq!(ways(1_500, [667, 666, 9]), [Way::Sections, Way::InOrder, Way::InOrder]);
        assert_eq!(ways(1_499, [1_000_000, 300, 9]), [Way::InOrder; 3]);
    }

    #[test]
    fn the_cost_follows_the_last_transactions() {
        let costs = Costs::default();
        assert_eq!(costs.nanos_per_tx(), None);
        costs.took(Duration::from_micros(1), 10);
        assert_eq!(costs.nanos_per_tx(), Some(100));
        costs.took(Duration::from_micros(2), 10);
        assert_eq!(costs.nanos_per_tx(), Some(150));
        costs.took(Duration::from_nanos(1), 0);
        assert_eq!(costs.nanos_per_tx(), Some(150));
    }
}
