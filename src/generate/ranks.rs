//! Skew: draws places with a Zipf-like law, in integer arithmetic.
//!
//! Ranks are grouped in octaves: octave `b` holds the ranks from `2^b` up to `2^(b+1)`. Within an octave the choice is
//! uniform, and a rank of octave `b` weighs `2^(-s·b)`, where `s` is the exponent. That is Zipf's law `rank^-s` with
//! each rank rounded down to a power of two; it takes 32 weights, whatever the number of ranks. Weights are
//! fixed-point numbers, so that no platform's `powf` is asked.

use super::random::Random;

/// 1 with 63 bits after the point.
const ONE: u64 = 1 << 63;
/// `2^(-1/100)` with 63 bits after the point, rounded.
const HUNDREDTH: u64 = 0x7f1d_a7a6_e70d_7715;

/// Draws places below a count; the heavy ones are spread over all of them.
#[derive(Clone, Debug)]
pub(super) struct Ranks {
    count: u64,
    stride: u64,
    octaves: Vec<Octave>,
    total: u64,
}

#[derive(Clone, Copy, Debug)]
struct Octave {
    first: u64,
    size: u64,
    weight: u64,
}

impl Ranks {
    /// Makes the weights of `count` places, 1 to 2^32 - 1, for an exponent in hundredths.
    pub(super) fn new(count: u64, skew_percent: u16) -> Self {
        let ratio = (0..skew_percent).fold(ONE, |product, _| times(product, HUNDREDTH));
        let mut octaves = Vec::new();
        let (mut first, mut density) = (1u64, ONE);
        while first <= count {
            let size = first.min(count - first + 1);
            // `size` has at most 32 bits and so has the sum of all sizes: the sum of the weights has at most 64.
            let weight = u64::try_from((u128::from(size) * u128::from(density)) >> 32);
            octaves.push(Octave { first, size, weight: weight.unwrap_or(u64::MAX) });
            first = first.saturating_mul(2);
            density = times(density, ratio);
        }
        let total = octaves.iter().fold(0u64, |sum, octave| sum.saturating_add(octave.weight));
        Self { count, stride: stride(count), octaves, total }
    }

    /// Draws a place from 0 up to the count.
    pub(super) fn draw(&self, random: &mut Random) -> u64 {
        let mut point = random.below(self.total);
        let mut rank = 1;
        for octave in &self.octaves {
            if let Some(beyond) = point.checked_sub(octave.weight) {
                point = beyond;
            } else {
                rank = octave.first.saturating_add(random.below(octave.size));
                break;
            }
        }
        let spread = u128::from(rank - 1) * u128::from(self.stride) % u128::from(self.count);
        u64::try_from(spread).unwrap_or(0)
    }
}

/// Multiplies two numbers with 63 bits after the point, neither above 1; rounds down.
fn times(a: u64, b: u64) -> u64 {
    u64::try_from((u128::from(a) * u128::from(b)) >> 63).unwrap_or(ONE)
}

/// Returns a step near the golden section that visits every place: neighbours in rank are not neighbours in place.
fn stride(count: u64) -> u64 {
    let mut stride = (count.saturating_mul(618) / 1_000).max(1);
    while greatest_common_divisor(stride, count) != 1 {
        stride = stride.saturating_add(1);
    }
    stride
}

const fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(count: u64, skew_percent: u16) -> Vec<u32> {
        let ranks = Ranks::new(count, skew_percent);
        let mut random = Random::new(7);
        let mut seen = vec![0; usize::try_from(count).expect("it is small")];
        for _ in 0..100_000 {
            seen[usize::try_from(ranks.draw(&mut random)).expect("it is below the count")] += 1;
        }
        seen
    }

    #[test]
    fn without_skew_every_place_is_as_likely() {
        for count in [1, 2, 3, 100] {
            let seen = drawn(count, 0);
            let even = 100_000 / u32::try_from(count).expect("it is small");
            let (least, most) = (even * 8 / 10, even * 12 / 10);
            assert!(seen.iter().all(|times| (least..=most).contains(times)), "{seen:?}");
        }
    }

    #[test]
    fn with_skew_the_first_rank_gets_its_share() {
        let share = |skew_percent| drawn(1_000, skew_percent).into_iter().max().unwrap_or(0);
        // Octaves 0 to 9 weigh 1 each at exponent 1, but for the last, which is cut at 1,000: about a tenth.
        assert!((9_500..10_700).contains(&share(100)), "{}", share(100));
        // At exponent 2 they weigh 1, 1/2, 1/4 and so on: about a half.
        assert!((49_000..51_000).contains(&share(200)), "{}", share(200));
        assert!(share(0) < 200, "{}", share(0));
    }

    #[test]
    fn the_stride_visits_every_place() {
        for count in 1..200 {
            assert_eq!(greatest_common_divisor(stride(count), count), 1, "{count}");
        }
    }
}
