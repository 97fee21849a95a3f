//! The difficulty that a block before the merge must have.

use alloy_consensus::Header;
use alloy_primitives::U256;

use super::fork::Fork;

const MINIMUM: u64 = 131_072;
const BOMB_PERIOD: u64 = 100_000;

/// Returns the difficulty of a block after `parent`, before the merge.
///
/// Frontier, Homestead (EIP-2) and Byzantium (EIP-100) differ in the adjustment; later forks only delay the bomb
/// (EIP-649, EIP-1234, EIP-2384, EIP-3554, EIP-4345, EIP-5133).
#[must_use]
pub fn next_difficulty(fork: Fork, parent: &Header, timestamp: u64) -> U256 {
    let step = parent.difficulty / U256::from(2048);
    let elapsed = timestamp.saturating_sub(parent.timestamp);
    // The adjustment counts steps: up to two upwards, down to 99 downwards.
    let (up, down) = match fork {
        Fork::Frontier if elapsed < 13 => (1, 0),
        Fork::Frontier => (0, 1),
        Fork::Homestead | Fork::Eip150 | Fork::Eip158 => balance(1, elapsed / 10),
        _ => balance(if parent.ommers_hash_is_empty() { 1 } else { 2 }, elapsed / 9),
    };
    let raised = parent.difficulty.saturating_add(step.saturating_mul(U256::from(up)));
    let adjusted = raised.saturating_sub(step.saturating_mul(U256::from(down)));
    let adjusted = adjusted.max(U256::from(MINIMUM));
    adjusted.saturating_add(bomb(parent.number.saturating_add(1).saturating_sub(bomb_delay(fork))))
}

fn balance(base: u64, slow: u64) -> (u64, u64) {
    (base.saturating_sub(slow), slow.saturating_sub(base).min(99))
}

fn bomb(number: u64) -> U256 {
    match (number / BOMB_PERIOD).checked_sub(2) {
        None => U256::ZERO,
        Some(exponent) => {
            let exponent = usize::try_from(exponent).unwrap_or(usize::MAX);
            U256::ONE.checked_shl(exponent).unwrap_or(U256::MAX)
        }
    }
}

const fn bomb_delay(fork: Fork) -> u64 {
    match fork {
        Fork::Frontier | Fork::Homestead | Fork::Eip150 | Fork::Eip158 => 0,
        Fork::Byzantium => 3_000_000,
        Fork::ConstantinopleFix | Fork::Istanbul => 5_000_000,
        Fork::MuirGlacier | Fork::Berlin => 9_000_000,
        Fork::London => 9_700_000,
        Fork::ArrowGlacier => 10_700_000,
        _ => 11_400_000,
    }
}

#[cfg(test)]
mod tests {
    use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
    use alloy_primitives::B256;

    use super::*;

    fn parent(number: u64, difficulty: u128, has_ommers: bool) -> Header {
        let ommers_hash = if has_ommers { B256::ZERO } else { EMPTY_OMMER_ROOT_HASH };
        let difficulty = U256::from(difficulty);
        Header { number, difficulty, timestamp: 1000, ommers_hash, ..Header::default() }
    }

    #[track_caller]
    fn check(fork: Fork, parent: &Header, elapsed: u64, expected: u128) {
        assert_eq!(next_difficulty(fork, parent, 1000 + elapsed), U256::from(expected));
    }

    #[test]
    fn the_adjustment_follows_the_fork() {
        let plain = parent(1, 2_048_000, false);
        check(Fork::Frontier, &plain, 12, 2_049_000);
        check(Fork::Frontier, &plain, 13, 2_047_000);
        check(Fork::Homestead, &plain, 9, 2_049_000);
        check(Fork::Homestead, &plain, 10, 2_048_000);
        check(Fork::Homestead, &plain, 35, 2_046_000);
        check(Fork::Homestead, &plain, 100_000, 1_949_000);
        check(Fork::Byzantium, &plain, 8, 2_049_000);
        check(Fork::Byzantium, &plain, 18, 2_047_000);
        check(Fork::Byzantium, &parent(1, 2_048_000, true), 8, 2_050_000);
        check(Fork::Frontier, &parent(1, 131_072, false), 13, 131_072);
    }

    #[test]
    fn the_bomb_is_delayed_by_each_fork() {
        let at = |number: u64| parent(number - 1, 2_048_000, false);
        check(Fork::Homestead, &at(200_000), 10, 2_048_000 + 1);
        check(Fork::Homestead, &at(199_999), 10, 2_048_000);
        for (fork, delay) in [
            (Fork::Byzantium, 3_000_000),
            (Fork::ConstantinopleFix, 5_000_000),
            (Fork::MuirGlacier, 9_000_000),
            (Fork::London, 9_700_000),
            (Fork::ArrowGlacier, 10_700_000),
            (Fork::GrayGlacier, 11_400_000),
        ] {
            check(fork, &at(delay + 199_999), 9, 2_048_000);
            check(fork, &at(delay + 1_000_000), 9, 2_048_000 + 256);
        }
        let late = Header { number: u64::MAX - 1, ..parent(1, 2_048_000, false) };
        assert_eq!(next_difficulty(Fork::London, &late, 1009), U256::MAX);
    }
}
