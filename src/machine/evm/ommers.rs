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
