//! The door: where the interface finds the node, once there is one.

use std::sync::{Arc, OnceLock};

use crate::http::{Dialect, dialect_of};
use crate::node::Node;

/// Closed until it is opened, once; clones are the same door.
#[derive(Clone, Default)]
pub struct Door {
    inside: Arc<OnceLock<Inside>>,
}

/// A node, and how its clients speak.
pub(super) struct Inside {
    pub(super) node: Node,
    pub(super) dialect: Arc<dyn Dialect>,
}

impl Door {
    /// Lets clients in to a node, in the dialect of its machine. A door that is open already stays as it is.
    pub fn open(&self, node: Node) {
        let dialect = dialect_of(&node.machine().id);
        self.open_with(node, dialect);
    }

    /// Lets clients in to a node in a dialect of its own.
    pub fn open_with(&self, node: Node, dialect: Arc<dyn Dialect>) {
        self.inside.get_or_init(|| Inside { node, dialect });
    }

    /// Says whether it is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inside().is_some()
    }

    pub(super) fn inside(&self) -> Option<&Inside> {
        self.inside.get()
    }
}
