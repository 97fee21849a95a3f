//! The root of the receipts trie, of which cores take turns to hash leaves.
//!
//! The keys of the trie are RLP of the indices, so that sixteen neighbours share all of a key but its last nibble: they
//! are the children of one branch, which can be hashed apart from the others.

use alloy_primitives::{B256, keccak256};
use alloy_rlp::{EMPTY_STRING_CODE, Encodable as _, Header};
use alloy_trie::HashBuilder;
use alloy_trie::nybbles::Nibbles;
use alloy_trie::root::ordered_trie_root_encoded;
use rayon::prelude::*;

/// Children of a branch.
const GROUP: usize = 16;
/// Leaves from which on it pays to wake another thread.
const PARALLEL_MIN: usize = 64;
/// Bytes from which on a node is named by its hash.
const HASHED_MIN: usize = 32;
/// The path of a leaf of which the branch above names all.
const NO_PATH: u8 = 0x20;

/// Computes the root of the trie that holds each leaf under its index.
pub(super) fn receipts_root(leaves: &[Vec<u8>]) -> B256 {
    // A leaf that is so short lies in its branch, which no receipt is.
    if leaves.len() < PARALLEL_MIN || leaves.iter().any(|leaf| leaf.len() < HASHED_MIN) {
        return ordered_trie_root_encoded(leaves);
    }
    let groups: Vec<_> = leaves.chunks(GROUP).enumerate().collect();
    let nodes: Vec<_> = groups.into_par_iter().map(|(number, group)| node(number, group)).collect();
    let mut builder = HashBuilder::default();
    // The key of the first leaf comes after those of the next 127.
    let (before, after) = nodes.split_at(nodes.len().min(128 / GROUP));
    before.iter().for_each(|node| node.add_to(&mut builder));
    if let Some(first) = leaves.first() {
        builder.add_leaf(key(0), first);
    }
    after.iter().for_each(|node| node.add_to(&mut builder));
    builder.root()
}

/// A node of the trie, with its path.
enum Node<'a> {
    Leaf(Nibbles, &'a [u8]),
    Branch(Nibbles, B256),
}

impl Node<'_> {
    fn add_to(&self, builder: &mut HashBuilder) {
        match self {
            Self::Leaf(path, leaf) => builder.add_leaf(*path, leaf),
            Self::Branch(path, hash) => builder.add_branch(*path, *hash, false),
        }
    }
}

/// Makes the node of up to sixteen leaves; the very first leaf is in none.
fn node(number: usize, group: &[Vec<u8>]) -> Node<'_> {
    let first = number.saturating_mul(GROUP);
    let absent = usize::from(number == 0);
    let path = key(first.saturating_add(absent));
    match group.get(absent..) {
        Some([leaf]) => Node::Leaf(path, leaf),
        leaves => {
            let path = path.slice(..path.len().saturating_sub(1));
            Node::Branch(path, branch(absent, leaves.unwrap_or_default()))
        }
    }
}

/// Returns the path of a leaf.
fn key(index: usize) -> Nibbles {
    Nibbles::unpack(alloy_rlp::encode_fixed_size(&index))
}

/// Hashes the branch whose children are these leaves, but for some that are absent before them.
fn branch(absent: usize, leaves: &[Vec<u8>]) -> B256 {
    let (mut children, mut node) = (Vec::with_capacity(GROUP * 33 + 1), Vec::new());
    children.resize(absent, EMPTY_STRING_CODE);
    for leaf in leaves {
        node.clear();
        let payload_length = leaf.as_slice().length().saturating_add(1);
        Header { list: true, payload_length }.encode(&mut node);
        node.push(NO_PATH);
        leaf.as_slice().encode(&mut node);
        keccak256(&node).encode(&mut children);
    }
    // Children after them, and the value that a branch may have.
    let rest = GROUP.saturating_sub(absent).saturating_sub(leaves.len()).saturating_add(1);
    children.resize(children.len().saturating_add(rest), EMPTY_STRING_CODE);
    node.clear();
    Header { list: true, payload_length: children.len() }.encode(&mut node);
    node.extend_from_slice(&children);
    keccak256(&node)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares a root with that of the trie crate.
    fn check(leaves: &[Vec<u8>]) {
        let expected = ordered_trie_root_encoded(leaves);
        assert_eq!(receipts_root(leaves), expected, "{} leaves", leaves.len());
    }

    #[test]
    fn the_root_is_that_of_the_trie() {
        let leaf = |index: usize| vec![index.to_le_bytes()[0]; 32 + index % 300];
        let leaves: Vec<_> = (0..700).map(leaf).collect();
        (0..300).chain([511, 512, 513, 700]).for_each(|count| check(&leaves[..count]));
        let mut many: Vec<_> = (0..65_600).map(|index| vec![7; 32 + index % 3]).collect();
        check(&many);
        many[70] = vec![7; 31];
        check(&many[..100]);
    }
}
