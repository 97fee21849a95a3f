//! The registry: which machine a stored name stands for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::machine::StateMachine;

/// The machines that a program knows, by name.
#[derive(Clone, Default)]
pub struct Registry {
    machines: BTreeMap<String, Arc<dyn StateMachine>>,
}

/// A name that no registered machine bears.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("machine {id:?} is not built into this program, which knows {known}")]
pub struct UnknownMachine {
    /// The name that was looked for.
    pub id: String,
    /// The names that are known.
    pub known: String,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.machines.keys()).finish()
    }
}

impl Registry {
    /// Returns the machines in the box: `ledger` and, with the feature `evm`, `evm`.
    #[must_use]
    pub fn built_in() -> Self {
        let registry = Self::default().with(crate::machine::ledger::Ledger);
        #[cfg(feature = "evm")]
        let registry = registry.with(crate::machine::evm::Evm::default());
        registry
    }

    /// Adds a machine under its own name, in place of one of that name.
    #[must_use]
    pub fn with(mut self, machine: impl StateMachine + 'static) -> Self {
        self.machines.insert(machine.version().id, Arc::new(machine));
        self
    }

    /// Finds a machine.
    ///
    /// # Errors
    /// [`UnknownMachine`] lists the names that are known.
    pub fn find(&self, id: &str) -> Result<Arc<dyn StateMachine>, UnknownMachine> {
        self.machines.get(id).cloned().ok_or_else(|| {
            let known: Vec<_> = self.machines.keys().map(String::as_str).collect();
            UnknownMachine { id: id.to_owned(), known: known.join(", ") }
        })
    }
}
