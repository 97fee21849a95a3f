//! The node that a command is about.

use std::path::PathBuf;

use clap::Args;

use crate::cli::App;
use crate::exec::{Examined, Refusal, examine};
use crate::store::{DataDir, Repairs};

/// Names a node.
#[derive(Clone, Debug, Args)]
pub(crate) struct NodeArgs {
    /// Data directory of the node
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
}

impl NodeArgs {
    /// Returns the directory.
    pub(crate) fn dir(&self) -> DataDir {
        DataDir::new(&self.data)
    }

    /// Opens the node as it is.
    pub(crate) fn examine(&self, app: &App) -> Result<Examined, Box<Refusal>> {
        examine(&self.dir(), &app.registry, Repairs::default())
    }
}
