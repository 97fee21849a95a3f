//! The root of the receipts trie, of which an idle core hashes a part.
//!
//! The keys of the trie are RLP of the indices, so that sixteen neighbours share all of a key but its last nibble: they
//! are the children of one branch, which can be hashed apart from the others.

use std::sync::{Arc, OnceLock};

use alloy_primitives::{B256, keccak256};
use alloy_rlp::{EMPTY_STRING_CODE, Encodable as _, Header};
use alloy_trie::HashBuilder;
use alloy_trie::nybbles::Nibbles;
use alloy_trie::root::ordered_trie_root_encoded;

/// Children of a branch.
const GROUP: usize = 16;
/// Groups whose keys come before that of the very first leaf.
const GROUPS_BEFORE_FIRST: usize = 128 / GROUP;
/// Leaves from which on it pays to wake another thread.
const PARALLEL_MIN: usize = 64;
/// Bytes from which on a node is named by its hash.
const HASHED_MIN: usize = 32;
/// The path of a leaf of which the branch above names all.
const NO_PATH: u8 = 0x20;

/// Computes the root of the trie that holds each leaf under its index.
pub(super) fn receipts_root(leaves: Vec<Vec<u8>>) -> B256 {
    // A leaf that is so short lies in its branch, which no receipt is.
    if leaves.len() < PARALLEL_MIN || leaves.iter().any(|leaf| leaf.len() < HASHED_MIN) {
        return ordered_trie_root_encoded(&leaves);
    }
    let trie = Arc::new(Trie::new(leaves));
    let helper = Arc::clone(&trie);
    rayon::spawn(move || helper.hash_from_the_back());
    trie.hash_from_the_front();
    trie.root()
}

/// A trie of which two threads hash the lowest branches. Neither waits for the other: what both hash is the same.
struct Trie {
    leaves: Vec<Vec<u8>>,
    /// The hash of each group's branch; `None` where a leaf is alone.
    branches: Vec<OnceLock<Option<B256>>>,
}

/// Number of a group, its leaves, and the hash of their branch.
type Group<'a> = (usize, (&'a [Vec<u8>], &'a OnceLock<Option<B256>>));

impl Trie {
    fn new(leaves: Vec<Vec<u8>>) -> Self {
        let branches = leaves.chunks(GROUP).map(|_| OnceLock::new()).collect();
        Self { leaves, branches }
    }

    fn groups(&self) -> impl DoubleEndedIterator<Item = Group<'_>> {
        self.leaves.chunks(GROUP).zip(&self.branches).enumerate()
    }

    /// Hashes whatever is not hashed.
    fn hash_from_the_front(&self) {
        for (number, (leaves, branch)) in self.groups() {
            hash(number, leaves, branch);
        }
    }

    /// Hashes branches until it comes to one that is hashed.
    fn hash_from_the_back(&self) {
        let is_new = |(_, (_, branch)): &Group<'_>| branch.get().is_none();
        for (number, (leaves, branch)) in self.groups().rev().take_while(is_new) {
            hash(number, leaves, branch);
        }
    }

    fn root(&self) -> B256 {
        let mut builder = HashBuilder::default();
        for (number, (leaves, branch)) in self.groups() {
            if number == GROUPS_BEFORE_FIRST {
                self.add_first(&mut builder);
            }
            let absent = absent(number);
            let path = key(number.saturating_mul(GROUP).saturating_add(absent));
            match (branch.get(), leaves.get(absent..)) {
                (Some(Some(hash)), _) => {
                    builder.add_branch(path.slice(..path.len().saturating_sub(1)), *hash, false);
                }
                (_, Some([leaf])) => builder.add_leaf(path, leaf),
                _ => {}
            }
        }
        if self.branches.len() <= GROUPS_BEFORE_FIRST {
            self.add_first(&mut builder);
        }
        builder.root()
    }

    fn add_first(&self, builder: &mut HashBuilder) {
        if let Some(first) = self.leaves.first() {
            builder.add_leaf(key(0), first);
        }
    }
}

/// Hashes the branch above some leaves, unless that is done.
fn hash(number: usize, leaves: &[Vec<u8>], branch: &OnceLock<Option<B256>>) {
    if branch.get().is_none() {
        let absent = absent(number);
        let leaves = leaves.get(absent..).unwrap_or_default();
        let hash = (leaves.len() > 1).then(|| hash_branch(absent, leaves));
        // Where the other thread was faster, it came to the same.
        let _ = branch.set(hash);
    }
}

/// Returns how many leaves of a group are not below its branch: the very first one, whose key is apart.
fn absent(number: usize) -> usize {
    usize::from(number == 0)
}

/// Returns the path of a leaf.
fn key(index: usize) -> Nibbles {
    Nibbles::unpack(alloy_rlp::encode_fixed_size(&index))
}

/// Hashes the branch whose children are these leaves, but for some that are absent before them.
fn hash_branch(absent: usize, leaves: &[Vec<u8>]) -> B256 {
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
        assert_eq!(receipts_root(leaves.to_vec()), expected, "{} leaves", leaves.len());
        if leaves.len() > 1 && leaves.iter().all(|leaf| leaf.len() >= HASHED_MIN) {
            let trie = Trie::new(leaves.to_vec());
            trie.hash_from_the_back();
            assert_eq!(trie.root(), expected, "{} leaves from the back", leaves.len());
        }
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
