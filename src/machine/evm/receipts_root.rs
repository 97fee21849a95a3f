//! The bloom filter and the root of the receipts of a block, which every idle thread helps to make.
//!
//! The keys of the trie are RLP of the indices, so that sixteen neighbours share all of a key but its last nibble: they
//! are the children of one branch, which can be made and hashed apart from the others.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use alloy_primitives::{B256, Bloom, keccak256};
use alloy_rlp::{EMPTY_STRING_CODE, Encodable as _, Header};
use alloy_trie::HashBuilder;
use alloy_trie::nybbles::Nibbles;

use super::bloom::BloomBits;
use super::leaf::leaf;
use super::output::Output;
use crate::machine::Threads;

/// Children of a branch.
const CHILDREN: usize = 16;
/// Branches whose keys come before that of the very first leaf.
const BEFORE_FIRST: usize = 128 / CHILDREN;
/// Receipts and logs from which on it pays to wake other threads, each of about a microsecond.
const PARALLEL_MIN: usize = 400;
/// The path of a leaf of which the branch above names all.
const NO_PATH: u8 = 0x20;

/// Computes the bloom filter of receipts, each an output with the gas used up to it, and the root of the trie that holds
/// each under its index.
pub(super) fn bloom_and_root(
    receipts: &[(Output<'_>, u64)],
    threads: Threads<'_>,
) -> (Bloom, B256) {
    let trie = Trie::new(receipts);
    let logs = receipts.iter().map(|(output, _)| output.logs.len());
    if logs.fold(receipts.len(), usize::saturating_add) < PARALLEL_MIN {
        trie.make();
    } else {
        threads.share(&|| trie.make());
    }
    trie.finish()
}

/// A trie whose lowest branches are made by several threads.
struct Trie<'a> {
    receipts: &'a [(Output<'a>, u64)],
    /// What is made of each group of neighbours.
    groups: Vec<OnceLock<Group>>,
    /// The first group that nobody has begun to make.
    next: AtomicUsize,
}

/// Neighbours in the trie, but for the very first leaf, which has none: its key is apart.
struct Group {
    bloom: Bloom,
    node: Node,
}

/// What the trie holds of a group.
enum Node {
    Leaf(Vec<u8>),
    /// The hash of the branch above several leaves.
    Branch(B256),
}

impl<'a> Trie<'a> {
    fn new(receipts: &'a [(Output<'a>, u64)]) -> Self {
        let groups = match receipts.len() {
            small @ ..2 => small,
            more => 1 + more.div_ceil(CHILDREN),
        };
        let groups = std::iter::repeat_with(OnceLock::new).take(groups).collect();
        Self { receipts, groups, next: AtomicUsize::new(0) }
    }

    /// Returns the indices of a group.
    fn range(&self, group: usize) -> Range<usize> {
        let from = |group: usize| group.saturating_mul(CHILDREN).min(self.receipts.len());
        match group {
            0 => 0..1,
            1 => 1..from(1),
            later => from(later - 1)..from(later),
        }
    }

    /// Makes groups until each of them is begun.
    fn make(&self) {
        let mut bits = BloomBits::default();
        while let number = self.next.fetch_add(1, Ordering::Relaxed)
            && let Some(group) = self.groups.get(number)
        {
            let range = self.range(number);
            let first = range.start;
            let receipts = self.receipts.get(range).unwrap_or_default();
            group.get_or_init(|| Group::of(first, receipts, &mut bits));
        }
    }

    fn finish(&self) -> (Bloom, B256) {
        let is_made = self.groups.iter().all(|group| group.get().is_some());
        assert!(is_made, "every thread has returned, and has made what it had begun");
        let (mut bloom, mut builder) = (Bloom::ZERO, HashBuilder::default());
        let numbers = 1..self.groups.len();
        let before = numbers.clone().take(BEFORE_FIRST);
        for number in before.chain([0]).chain(numbers.skip(BEFORE_FIRST)) {
            let Some(group) = self.groups.get(number).and_then(OnceLock::get) else { continue };
            bloom |= group.bloom;
            let path = Nibbles::unpack(alloy_rlp::encode_fixed_size(&self.range(number).start));
            match &group.node {
                Node::Leaf(leaf) => builder.add_leaf(path, leaf),
                Node::Branch(hash) => {
                    builder.add_branch(path.slice(..path.len().saturating_sub(1)), *hash, false);
                }
            }
        }
        (bloom, builder.root())
    }
}

impl Group {
    /// Makes a group of receipts from the index `first` on.
    fn of<'a>(first: usize, receipts: &'a [(Output<'a>, u64)], bits: &mut BloomBits<'a>) -> Self {
        let mut sum = Bloom::ZERO;
        let mut make = |(output, gas): &'a (Output<'a>, u64)| {
            let (bloom, leaf) = leaf(output, *gas, bits);
            sum |= bloom;
            leaf
        };
        let node = match receipts {
            [receipt] => Node::Leaf(make(receipt)),
            _ => Node::Branch(hash_branch(first % CHILDREN, receipts.iter().map(make))),
        };
        Self { bloom: sum, node }
    }
}

/// Hashes the branch whose children are these leaves, but for some that are absent before them. Each leaf is long enough
/// to be named by its hash: it holds a bloom filter.
fn hash_branch(absent: usize, leaves: impl ExactSizeIterator<Item = Vec<u8>>) -> B256 {
    let (mut children, mut node) = (Vec::with_capacity(CHILDREN * 33 + 1), Vec::new());
    children.resize(absent, EMPTY_STRING_CODE);
    // Children after them, and the value that a branch may have.
    let rest = CHILDREN.saturating_sub(absent).saturating_sub(leaves.len()).saturating_add(1);
    for leaf in leaves {
        node.clear();
        let payload_length = leaf.as_slice().length().saturating_add(1);
        Header { list: true, payload_length }.encode(&mut node);
        node.push(NO_PATH);
        leaf.as_slice().encode(&mut node);
        keccak256(&node).encode(&mut children);
    }
    children.resize(children.len().saturating_add(rest), EMPTY_STRING_CODE);
    node.clear();
    Header { list: true, payload_length: children.len() }.encode(&mut node);
    node.extend_from_slice(&children);
    keccak256(&node)
}

#[cfg(test)]
mod tests {
    use alloy_trie::root::ordered_trie_root_encoded;

    use super::super::output::LogBytes;
    use super::*;
    use crate::machine::Work;

    /// Checks on one thread, and on two.
    fn on_threads(check: impl Fn(Threads<'_>)) {
        check(Threads::ONE);
        let two = |work: &Work<'_>| {
            std::thread::scope(|scope| {
                scope.spawn(work);
                work();
            });
        };
        check(Threads::new(&two));
    }

    #[test]
    fn bloom_and_root_are_those_of_the_leaves() {
        let bytes: Vec<u8> = (0..70_000u32).flat_map(u32::to_le_bytes).collect();
        let part = |from: usize, length: usize| bytes.get(from..from + length).expect("inside");
        let log = |index: usize| LogBytes {
            address: part(index % 7, 20),
            topics: part(index, index % 5 * 32),
            data: part(index, index % 300),
        };
        let output = |index: usize| Output {
            tx_type: u8::from(index.is_multiple_of(2)) * 2,
            success: !index.is_multiple_of(3),
            gas_used: 21_000,
            blob_gas_used: 0,
            created: None,
            logs: (0..index % 4).map(|number| log(index + number)).collect(),
        };
        let receipts: Vec<_> = (0..700).map(|index| (output(index), index as u64 * 50)).collect();
        let mut bits = BloomBits::default();
        let leaves: Vec<_> =
            receipts.iter().map(|(output, gas)| leaf(output, *gas, &mut bits)).collect();
        let (blooms, leaves): (Vec<_>, Vec<_>) = leaves.into_iter().unzip();
        on_threads(|threads| {
            for count in (0..300).chain([511, 512, 513, 700]) {
                let bloom = blooms[..count].iter().fold(Bloom::ZERO, |sum, bloom| sum | *bloom);
                let expected = (bloom, ordered_trie_root_encoded(&leaves[..count]));
                assert_eq!(bloom_and_root(&receipts[..count], threads), expected, "{count}");
            }
        });
    }

    #[test]
    fn indices_of_three_bytes_are_in_the_trie() {
        let output = || Output {
            tx_type: 0,
            success: true,
            gas_used: 1,
            blob_gas_used: 0,
            created: None,
            logs: Vec::new(),
        };
        let receipts: Vec<_> = (0..65_600).map(|gas| (output(), gas)).collect();
        let mut bits = BloomBits::default();
        let leaves = receipts.iter().map(|(output, gas)| leaf(output, *gas, &mut bits).1);
        let expected = ordered_trie_root_encoded(&leaves.collect::<Vec<_>>());
        assert_eq!(bloom_and_root(&receipts, Threads::ONE).1, expected);
    }
}
