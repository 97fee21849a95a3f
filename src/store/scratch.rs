//! A directory in the making: it vanishes unless it is kept.

use std::path::{Path, PathBuf};

use crate::store::StoreError;
use crate::store::medium::Medium;

const PREFIX: &str = ".rewake-new-";

/// A directory that is deleted when it is dropped.
pub(crate) struct Scratch {
    medium: &'static dyn Medium,
    path: PathBuf,
    is_kept: bool,
}

impl Scratch {
    /// Makes one with a name of its own.
    pub(crate) fn create(medium: &'static dyn Medium, parent: &Path) -> Result<Self, StoreError> {
        let path = medium.create_scratch_dir(parent, PREFIX);
        let path = path.map_err(|error| StoreError::io(parent, "creating", &error))?;
        Ok(Self { medium, path, is_kept: false })
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it as it is: it bears another name now, or is to stay.
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_kept {
            // Whatever is left bothers nobody: nothing refers to it.
            let _ = self.medium.remove_dir_all(&self.path);
        }
    }
}
