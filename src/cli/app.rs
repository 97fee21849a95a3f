//! What every command is given beside its arguments.

use std::sync::Arc;
use std::time::Instant;

use crate::cli::{Advised, Exit, Output};
use crate::machine::{Registry, StateMachine};

/// The surroundings of a command.
pub(crate) struct App {
    /// The machines that this program knows.
    pub(crate) registry: Registry,
    /// The only way to print.
    pub(crate) output: Output,
    /// When the command was started.
    pub(crate) started: Instant,
}

impl App {
    pub(crate) fn new(registry: Registry, output: Output) -> Self {
        Self { registry, output, started: Instant::now() }
    }

    /// Finds a machine that was named on the command line.
    pub(crate) fn machine(&self, id: &str) -> Result<Arc<dyn StateMachine>, Advised> {
        let advice = "name one of those, or use a program that has it built in";
        self.registry
            .find(id)
            .map_err(|error| Advised::new(Exit::Machine, error.to_string(), advice))
    }

    /// Returns the milliseconds since the command was started.
    pub(crate) fn wall_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
