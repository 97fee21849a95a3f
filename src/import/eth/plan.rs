//! The chains of a conformance case: its blocks form a tree, and every path from genesis to a leaf is a chain to run.

use std::collections::BTreeMap;

use alloy_primitives::{B256, U256};

use super::cases::{ConformanceCase, DecodedBlock};
use crate::machine::evm::{BlockPlace, Fork, Ommers, OrderHeader};
use crate::types::{Bytes, Height, TxId};

/// A block of a case as it is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedBlock {
    /// Its index in the case.
    pub index: usize,
    /// Its number.
    pub height: Height,
    /// Its hash.
    pub hash: B256,
    /// The header bytes of its order.
    pub header: Bytes,
    /// Its transactions: identity and payload.
    pub txs: Vec<(TxId, Bytes)>,
    /// The fork that governs it.
    pub fork: Fork,
    /// The difficulty of its chain up to and with it.
    pub total_difficulty: U256,
}

/// The chains of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CasePlan {
    /// Paths from the child of genesis to each leaf. Blocks before a fork are in each of its branches.
    pub branches: Vec<Vec<PlannedBlock>>,
    /// Indices of the blocks whose parent is not in the case, which refuses them.
    pub orphans: Vec<usize>,
    /// Indices of the blocks that cannot be read, which refuses them.
    pub unreadable: Vec<usize>,
    /// Blocks that are offered again, with the index at which they were offered first.
    pub repeats: BTreeMap<usize, usize>,
}

/// Arranges the blocks of a case.
///
/// Only the parent's total difficulty decides which fork governs a block of a chain that merges by difficulty; the
/// machine then refuses a block that was made for the other side.
#[must_use]
pub fn plan_case(case: &ConformanceCase) -> CasePlan {
    let mut plan = CasePlan::default();
    let mut readable: Vec<(usize, &DecodedBlock)> = Vec::new();
    // A header may come with several bodies; its own body is the one that it commits to.
    let mut by_hash: BTreeMap<B256, (usize, &DecodedBlock)> = BTreeMap::new();
    for (index, block) in case.blocks.iter().enumerate() {
        let Ok(decoded) = &block.decoded else {
            plan.unreadable.push(index);
            continue;
        };
        if let Some((known, _)) = readable.iter().find(|(_, known)| *known == decoded) {
            plan.repeats.insert(index, *known);
            continue;
        }
        readable.push((index, decoded));
        match by_hash.get_mut(&decoded.hash) {
            None => drop(by_hash.insert(decoded.hash, (index, decoded))),
            Some(held) if decoded.body_is_its_own() => *held = (index, decoded),
            Some(_) => {}
        }
    }
    let is_parent = |(index, block): &(usize, &DecodedBlock)| {
        by_hash.get(&block.hash).is_some_and(|(held, _)| held == index)
            && readable.iter().any(|(_, child)| child.header.parent_hash == block.hash)
    };
    for (leaf, block) in readable.iter().filter(|block| !is_parent(block)) {
        let mut path = vec![(*leaf, *block)];
        let mut at = block.header.parent_hash;
        // A path cannot be longer than there are blocks: a hash commits to its parent.
        while let Some((index, parent)) = by_hash.get(&at) {
            path.push((*index, *parent));
            at = parent.header.parent_hash;
        }
        path.reverse();
        if at == case.genesis_hash {
            plan.branches.push(branch(case, &path));
        } else {
            plan.orphans.extend(path.iter().map(|(index, _)| *index));
        }
    }
    plan.orphans.sort_unstable();
    plan.orphans.dedup();
    plan
}

fn branch(case: &ConformanceCase, path: &[(usize, &DecodedBlock)]) -> Vec<PlannedBlock> {
    let mut total = case.genesis.difficulty;
    let planned = path.iter().map(|(index, block)| {
        let place = BlockPlace {
            number: block.header.number,
            timestamp: block.header.timestamp,
            parent_total_difficulty: Some(total),
        };
        total = total.saturating_add(block.header.difficulty);
        let fork = case.schedule.fork_at(place);
        let order = OrderHeader {
            fork,
            dao: case.schedule.dao_at(block.header.number),
            chain_id: case.schedule.chain_id(),
            header: block.header.clone(),
            ommers: Ommers::Headers(block.ommers.clone()),
            withdrawals: block.withdrawals.clone(),
        };
        PlannedBlock {
            index: *index,
            height: Height(block.header.number),
            hash: block.hash,
            header: order.encode().into(),
            txs: block.txs.clone(),
            fork,
            total_difficulty: total,
        }
    });
    planned.collect()
}

impl CasePlan {
    /// Returns the head of the chain once the accepted blocks were offered in their order: before the merge the
    /// heaviest chain, after it the block that was offered last.
    #[must_use]
    pub fn head(&self, case: &ConformanceCase, accepted: impl Fn(usize) -> bool) -> B256 {
        let blocks = self.branches.iter().flatten().map(|block| (block.index, block));
        let blocks: BTreeMap<_, _> = blocks.filter(|(index, _)| accepted(*index)).collect();
        let mut head = (case.genesis_hash, case.genesis.difficulty);
        for block in blocks.values() {
            if block.fork >= Fork::Paris || block.total_difficulty > head.1 {
                head = (block.hash, block.total_difficulty);
            }
        }
        head.0
    }
}
