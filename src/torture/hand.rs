//! The hand that draws: what is chosen in a round, by its seed and number alone.

use std::time::Duration;

use crate::generate::Random;
use crate::types::Digest;

/// A stream of choices.
#[derive(Clone, Debug)]
pub(super) struct Hand(Random);

impl Hand {
    /// Begins the choices of a round.
    pub(super) fn of_round(seed: u64, round: u64) -> Self {
        let Digest(bytes) = Digest::of(format!("rewake torture 1 {seed} {round}").as_bytes());
        let first = bytes.first_chunk().copied().unwrap_or_default();
        Self(Random::new(u64::from_le_bytes(first)))
    }

    /// Chooses a number below a bound; 0 where that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// Chooses a number from one up to and with another; the first where the second is less.
    pub(super) fn within(&mut self, least: u64, most: u64) -> u64 {
        least.saturating_add(self.below(most.saturating_sub(least).saturating_add(1)))
    }

    /// Chooses a time below another.
    pub(super) fn time(&mut self, below: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(below.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Chooses one of several; `None` of none.
    pub(super) fn one<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let index = self.below(crate::codec::count(of.len()));
        of.get(usize::try_from(index).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_draws_what_it_drew_before_and_no_other_round_does() {
        let draw = |seed, round| {
            let mut hand = Hand::of_round(seed, round);
            [(); 4].map(|()| hand.below(1 << 40))
        };
        assert_eq!(draw(1, 1), draw(1, 1));
        for other in [draw(1, 2), draw(2, 1), draw(11, 1)] {
            assert_ne!(draw(1, 1), other);
        }
        let mut hand = Hand::of_round(1, 1);
        assert!((0..100).all(|_| (3..=5).contains(&hand.within(3, 5))));
        assert!((0..100).all(|_| hand.time(Duration::from_millis(1)) < Duration::from_millis(1)));
        assert_eq!(hand.within(9, 3), 9);
        assert_eq!(hand.one::<u8>(&[]), None);
    }
}
