//! Draws: numbers that a seed and a purpose determine.

/// A stream of numbers, the extended output of BLAKE3 over seed, purpose and index; not for secrets.
#[derive(Clone, Debug)]
pub(super) struct Draw {
    stream: blake3::OutputReader,
}

impl Draw {
    /// Starts the stream of one purpose; streams of other purposes or indexes have nothing to do with it.
    pub(super) fn new(seed: u64, purpose: &str, index: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("rewake load draw 1");
        hasher.update(&seed.to_le_bytes()).update(&index.to_le_bytes()).update(purpose.as_bytes());
        Self { stream: hasher.finalize_xof() }
    }

    /// Returns a number below `bound`, and 0 where that is 0; its bias is at most `bound` in 2^64.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.stream.fill(&mut bytes);
        let product = u128::from(u64::from_le_bytes(bytes)) * u128::from(bound);
        // The upper half of a product is below either factor.
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// Returns an index of a slice of this length.
    pub(super) fn index(&mut self, length: usize) -> usize {
        let bound = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(bound)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_its_seed_s_own_and_evenly_spread() {
        let numbers = |seed, purpose, index| {
            let mut draw = Draw::new(seed, purpose, index);
            [(); 4].map(|()| draw.below(1 << 32))
        };
        let base = numbers(1, "a", 0);
        assert_eq!(numbers(1, "a", 0), base);
        for other in [numbers(2, "a", 0), numbers(1, "b", 0), numbers(1, "a", 1)] {
            assert_ne!(other, base);
        }
        let (mut draw, mut seen) = (Draw::new(7, "spread", 0), [0u32; 3]);
        (0..3_000).for_each(|_| seen[draw.index(3)] += 1);
        assert!(seen.iter().all(|count| (900..1_100).contains(count)), "{seen:?}");
        assert_eq!(draw.below(0), 0);
    }
}
