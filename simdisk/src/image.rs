//! The bytes of a whole disk, and the operations that change them.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::sync::Arc;

/// Number of a file or directory of one disk; the root is 0.
pub type NodeId = usize;

/// The operations of a run, in order.
pub type Trace = Vec<Op>;

/// A file or a directory.
#[derive(Clone, Debug)]
pub enum Node {
    /// A file with its bytes.
    File(Arc<Vec<u8>>),
    /// A directory with its names.
    Dir(BTreeMap<String, NodeId>),
}

/// What became of the pending operations at a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncOutcome {
    /// They are durable.
    Done,
    /// The sync failed, and its pages are taken for clean: they are read until the crash and lost by it.
    Dropped,
    /// The sync failed, and the pages wait for the next one.
    Kept,
    /// The disk said that it synced and did not.
    Ignored,
}

/// One operation on a disk.
#[derive(Clone, Debug)]
pub enum Op {
    /// A file or directory without a name comes into being.
    New {
        /// Whether it is a directory.
        is_dir: bool,
    },
    /// Bytes are written.
    Write {
        /// The file.
        node: NodeId,
        /// Where.
        at: usize,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// A file gets another length.
    Truncate {
        /// The file.
        node: NodeId,
        /// Its length.
        length: usize,
    },
    /// Names are given and taken, all of them at once.
    Link {
        /// Directory, name, and what bears the name from now on.
        entries: Vec<(NodeId, String, Option<NodeId>)>,
    },
    /// A file is synced.
    Sync {
        /// The file.
        node: NodeId,
        /// What became of what was pending.
        outcome: SyncOutcome,
    },
    /// A directory is synced.
    SyncDir {
        /// The directory.
        dir: NodeId,
        /// What became of what was pending.
        outcome: SyncOutcome,
    },
}

/// How a write is torn: so many sectors are written, and the next one is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Sectors that are written.
    pub sectors: usize,
    /// Bytes of a sector.
    pub sector_bytes: usize,
}

/// The bytes of a whole disk.
#[derive(Clone, Debug)]
pub struct Image {
    pub(crate) nodes: Vec<Node>,
}

impl Default for Image {
    fn default() -> Self {
        Self { nodes: vec![Node::Dir(BTreeMap::new())] }
    }
}

impl Image {
    /// Carries out an operation; syncs change nothing here.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::New { is_dir: true } => self.nodes.push(Node::Dir(BTreeMap::new())),
            Op::New { is_dir: false } => self.nodes.push(Node::File(Arc::default())),
            Op::Write { node, at, bytes } => {
                let file = self.file_mut(*node);
                if file.len() < at + bytes.len() {
                    file.resize(at + bytes.len(), 0);
                }
                file[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Op::Truncate { node, length } => self.file_mut(*node).resize(*length, 0),
            Op::Link { entries } => {
                for (dir, name, node) in entries {
                    match node {
                        Some(node) => self.dir_mut(*dir).insert(name.clone(), *node),
                        None => self.dir_mut(*dir).remove(name),
                    };
                }
            }
            Op::Sync { .. } | Op::SyncDir { .. } => {}
        }
    }

    /// Carries out a write as far as it came before the power was lost.
    pub fn apply_torn(&mut self, op: &Op, torn: Torn) {
        let Op::Write { node, at, bytes } = op else { return };
        let end = at + bytes.len();
        let sector = torn.sector_bytes;
        let destroyed = (at / sector + torn.sectors) * sector;
        let written = destroyed.clamp(*at, end) - at;
        if written > 0 {
            let bytes = bytes[..written].into();
            self.apply(&Op::Write { node: *node, at: *at, bytes });
        }
        let file = self.file_mut(*node);
        let until = (destroyed + sector).min(file.len().max(end));
        if file.len() < until {
            file.resize(until, 0);
        }
        for (place, byte) in file.iter_mut().enumerate().take(until).skip(destroyed) {
            // Neither what was there, nor what was to be written, nor anything regular.
            *byte ^= 0x5b ^ u8::try_from(place * 167 % 251).expect("below 251");
        }
    }

    /// Returns a number that differs between images whose names and bytes differ, but for accidents.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = foldhash::quality::FixedState::with_seed(7).build_hasher();
        self.hash_node(0, &mut hasher);
        hasher.finish()
    }

    /// Returns every file that has a name, with its path below the root.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Arc<Vec<u8>>> {
        let mut files = BTreeMap::new();
        self.collect(0, "", &mut files);
        files
    }

    fn collect(&self, node: NodeId, path: &str, files: &mut BTreeMap<String, Arc<Vec<u8>>>) {
        match &self.nodes[node] {
            Node::File(bytes) => drop(files.insert(path.to_owned(), Arc::clone(bytes))),
            Node::Dir(names) => {
                for (name, node) in names {
                    self.collect(*node, &format!("{path}/{name}"), files);
                }
            }
        }
    }

    fn hash_node(&self, node: NodeId, hasher: &mut impl Hasher) {
        match &self.nodes[node] {
            Node::File(bytes) => bytes.hash(hasher),
            Node::Dir(names) => {
                for (name, node) in names {
                    name.hash(hasher);
                    self.hash_node(*node, hasher);
                }
                hasher.write_u8(0);
            }
        }
    }

    fn file_mut(&mut self, node: NodeId) -> &mut Vec<u8> {
        match &mut self.nodes[node] {
            Node::File(bytes) => Arc::make_mut(bytes),
            Node::Dir(_) => panic!("node {node} is a directory"),
        }
    }

    fn dir_mut(&mut self, node: NodeId) -> &mut BTreeMap<String, NodeId> {
        match &mut self.nodes[node] {
            Node::Dir(names) => names,
            Node::File(_) => panic!("node {node} is a file"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_write_takes_its_sector_along_and_no_other() {
        let mut image = Image::default();
        image.apply(&Op::New { is_dir: false });
        image.apply(&Op::Write { node: 1, at: 0, bytes: vec![1; 2048].into() });
        let write = Op::Write { node: 1, at: 600, bytes: vec![2; 1000].into() };
        image.apply_torn(&write, Torn { sectors: 1, sector_bytes: 512 });
        let Node::File(bytes) = &image.nodes[1] else { panic!("a file") };
        assert!(bytes[..600].iter().all(|byte| *byte == 1));
        assert!(bytes[600..1024].iter().all(|byte| *byte == 2));
        assert!(bytes[1024..1536].iter().filter(|byte| **byte < 3).count() < 20);
        assert!(bytes[1536..].iter().all(|byte| *byte == 1));
        assert_eq!(bytes.len(), 2048);
    }
}
