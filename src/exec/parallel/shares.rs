//! Parts a block into shares that have no key in common, by what the machine declares.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use crate::exec::steps::Run;
use crate::machine::OpenBlock;

/// How the rest of a block can be shared out.
pub(super) enum Parting {
    /// Not at all: the machine does not tell what its transactions touch.
    Undeclared,
    /// The indices of the transactions of each thread, ascending.
    Shares(Vec<Vec<usize>>),
}

/// Parts the transactions that are left and that no verdict keeps out.
pub(super) fn part(block: &dyn OpenBlock, run: &Run<'_>) -> Parting {
    let job = run.job;
    let left = job.input.txs.iter().enumerate().skip(run.next());
    let left = left.filter(|(_, tx)| !job.rulings.contains_key(&tx.seq)).map(|(index, _)| index);
    let left: Vec<usize> = left.collect();
    let mut groups = Groups::new(left.len());
    // Keys are known by hashes of theirs: where two collide, transactions share a thread that need not.
    let hasher = foldhash::fast::RandomState::default();
    let mut touched_by: HashMap<u64, usize, foldhash::fast::RandomState> =
        HashMap::with_capacity_and_hasher(
            left.len().saturating_mul(2),
            foldhash::fast::RandomState::default(),
        );
    for (place, index) in left.iter().enumerate() {
        let is_declared = block.declared_access(*index, &mut |key| {
            let other = *touched_by.entry(hasher.hash_one(key)).or_insert(place);
            groups.join(place, other);
        });
        if !is_declared {
            return Parting::Undeclared;
        }
    }
    Parting::Shares(groups.share_out(&left, job.threads))
}

/// Sets of places that belong together: a forest in which each place names one before it, or itself.
struct Groups {
    parents: Vec<usize>,
    sizes: Vec<usize>,
}

impl Groups {
    fn new(places: usize) -> Self {
        Self { parents: (0..places).collect(), sizes: vec![1; places] }
    }

    fn root(&mut self, mut place: usize) -> usize {
        loop {
            let parent = self.parents.get(place).copied().unwrap_or(place);
            if parent == place {
                return place;
            }
            // Halving the path keeps the trees flat.
            let above = self.parents.get(parent).copied().unwrap_or(parent);
            if let Some(held) = self.parents.get_mut(place) {
                *held = above;
            }
            place = above;
        }
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        if one == other {
            return;
        }
        let size = |sizes: &[usize], place: usize| sizes.get(place).copied().unwrap_or(0);
        let (one_size, other_size) = (size(&self.sizes, one), size(&self.sizes, other));
        let (small, large) = if one_size < other_size { (one, other) } else { (other, one) };
        if let Some(parent) = self.parents.get_mut(small) {
            *parent = large;
        }
        if let Some(size) = self.sizes.get_mut(large) {
            *size = one_size.saturating_add(other_size);
        }
    }

    /// Gives each group to the thread that has least so far.
    fn share_out(mut self, indices: &[usize], threads: usize) -> Vec<Vec<usize>> {
        let mut shares = vec![Vec::with_capacity(indices.len() / threads.max(1)); threads.max(1)];
        let mut loads = vec![0usize; threads.max(1)];
        let mut threads_of: Vec<Option<usize>> = vec![None; indices.len()];
        for (place, index) in indices.iter().enumerate() {
            let root = self.root(place);
            let size = self.sizes.get(root).copied().unwrap_or(1);
            let Some(thread) = threads_of.get_mut(root) else { continue };
            let thread = *thread.get_or_insert_with(|| {
                let least = (0..loads.len()).min_by_key(|thread| loads.get(*thread).copied());
                let least = least.unwrap_or(0);
                if let Some(load) = loads.get_mut(least) {
                    *load = load.saturating_add(size);
                }
                least
            });
            if let Some(share) = shares.get_mut(thread) {
                share.push(*index);
            }
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_together_is_shared_out_together() {
        let mut groups = Groups::new(8);
        for (one, other) in [(0, 3), (3, 5), (1, 2), (5, 0), (6, 6)] {
            groups.join(one, other);
        }
        let indices: Vec<usize> = (10..18).collect();
        let shares = groups.share_out(&indices, 2);
        assert_eq!(shares, [vec![10, 13, 15, 16], vec![11, 12, 14, 17]]);
    }

    #[test]
    fn one_group_is_one_share() {
        let mut groups = Groups::new(100);
        (1..100).for_each(|place| groups.join(place, place - 1));
        let indices: Vec<usize> = (0..100).collect();
        assert_eq!(groups.share_out(&indices, 3), [indices, vec![], vec![]]);
    }
}
