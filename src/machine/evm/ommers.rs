//! Whether a block may name its ommers.

use alloy_consensus::Header;
use alloy_primitives::B256;

use super::failure::{differs, ensure};
use super::layout::Ancestor;
use super::validity;
use crate::machine::CheckFailure;

const OMMERS_MAX: usize = 2;
/// Generations that an ommer's parent may lie back, the block's own parent counted.
const GENERATIONS_MAX: usize = 7;

/// Checks the ommers of a block; `ancestors` are its parent, its parent's parent, and so on.
pub(super) fn check_ommers(
    header: &Header,
    ommers: &[Header],
    ancestors: &[Ancestor],
) -> Result<(), CheckFailure> {
    ensure(ommers.len() <= OMMERS_MAX, "number of ommers", "at most 2", ommers.len())?;
    let ancestors = ancestors.get(..GENERATIONS_MAX).unwrap_or(ancestors);
    let mut seen: Vec<B256> = Vec::with_capacity(ommers.len());
    for (index, ommer) in ommers.iter().enumerate() {
        let hash = ommer.hash_slow();
        let refuse = |expected| Err(differs(&format!("ommer {index}"), expected, hash));
        if seen.contains(&hash) || ancestors.iter().any(|block| block.ommers.contains(&hash)) {
            return refuse("named once");
        }
        if ancestors.iter().any(|block| block.hash == hash) {
            return refuse("no ancestor");
        }
        let parent = ancestors.iter().position(|block| block.hash == ommer.parent_hash);
        let Some(position @ 1..) = parent else {
            return refuse("child of an ancestor two to seven generations back");
        };
        let (Some(parent), Some(peer)) = (ancestors.get(position), ancestors.get(position - 1))
        else {
            return refuse("child of an ancestor two to seven generations back");
        };
        // The ancestor of the ommer's own number was governed by the ommer's fork.
        let name = |failure: CheckFailure| CheckFailure {
            what: format!("{} of ommer {index} of block {}", failure.what, header.number),
            ..failure
        };
        validity::check_alone(ommer, peer.fork, peer.dao).map_err(name)?;
        validity::check_against_parent(ommer, peer.fork, &parent.header, parent.hash)
            .map_err(name)?;
        seen.push(hash);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
    use alloy_primitives::{Address, U256};

    use super::*;
    use crate::machine::evm::difficulty::next_difficulty;
    use crate::machine::evm::fork::Fork;
    use crate::machine::evm::header::DaoRule;
    use crate::machine::evm::layout::Requests;

    fn child(parent: &Header, miner: u8) -> Header {
        let timestamp = parent.timestamp + 10;
        Header {
            parent_hash: parent.hash_slow(),
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: Address::repeat_byte(miner),
            number: parent.number + 1,
            gas_limit: parent.gas_limit,
            timestamp,
            difficulty: next_difficulty(Fork::Byzantium, parent, timestamp),
            ..Header::default()
        }
    }

    /// Returns ten ancestors, the youngest first, and the block after them.
    fn chain() -> (Vec<Ancestor>, Header) {
        let mut header = Header {
            gas_limit: 5_000_000,
            difficulty: U256::from(1u64 << 30),
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            ..Header::default()
        };
        let mut ancestors = Vec::new();
        for _ in 0..10 {
            let next = child(&header, 1);
            let hash = header.hash_slow();
            let (fork, dao, requests) = (Fork::Byzantium, DaoRule::None, Requests::None);
            ancestors.insert(0, Ancestor { fork, dao, hash, requests, header, ommers: vec![] });
            header = next;
        }
        (ancestors, header)
    }

    #[track_caller]
    fn refuses(block: &Header, ommers: &[Header], ancestors: &[Ancestor], words: &str) {
        let failure = check_ommers(block, ommers, ancestors).expect_err(words);
        assert!(failure.to_string().contains(words), "{failure}");
    }

    #[test]
    fn ommers_are_children_of_the_second_to_seventh_ancestor() {
        let (ancestors, block) = chain();
        for (back, accepted) in [(0, false), (1, true), (6, true), (7, false)] {
            let ommer = child(&ancestors[back].header, 2);
            let result = check_ommers(&block, &[ommer], &ancestors);
            assert_eq!(result.is_ok(), accepted, "{back}: {result:?}");
        }
        let two = [child(&ancestors[1].header, 2), child(&ancestors[2].header, 3)];
        assert_eq!(check_ommers(&block, &two, &ancestors), Ok(()));
    }

    #[test]
    fn ommers_that_may_not_be_named_are_refused() {
        let (mut ancestors, block) = chain();
        let ommer = child(&ancestors[1].header, 2);
        let three = [2, 3, 4].map(|miner| child(&ancestors[1].header, miner));
        refuses(&block, &three, &ancestors, "at most 2");
        refuses(&block, &[ommer.clone(), ommer.clone()], &ancestors, "named once");
        refuses(&block, &[ancestors[1].header.clone()], &ancestors, "no ancestor");
        refuses(&block, &[child(&ommer, 2)], &ancestors, "child of an ancestor");
        let light = Header { difficulty: U256::ONE, ..ommer.clone() };
        refuses(&block, &[light], &ancestors, "difficulty of ommer 0");
        let early = Header { timestamp: 0, ..ommer.clone() };
        refuses(&block, &[early], &ancestors, "timestamp of ommer 0");
        let long = Header { extra_data: vec![0; 33].into(), ..ommer.clone() };
        refuses(&block, &[long], &ancestors, "length of the extra data of ommer 0");
        ancestors[0].ommers = vec![ommer.hash_slow()];
        refuses(&block, &[ommer], &ancestors, "named once");
    }
}
