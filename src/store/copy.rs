//! A copy of a node that nobody has open.

use std::path::Path;

use crate::store::layout::{LOCK, LOG, MAIN, SANDBOX, WITNESS};
use crate::store::lock::Lock;
use crate::store::{DataDir, StoreError, renew};

impl DataDir {
    /// Copies the files of the node into a new directory, under its lock; none is opened as a database or changed.
    ///
    /// Reproduction bundles stay behind, and the copy is not synced.
    ///
    /// # Errors
    /// [`StoreError`]; [`crate::store::Problem::Busy`] where another process has the node open.
    pub fn copy_to(&self, to: &Path) -> Result<(), StoreError> {
        self.check_made()?;
        let _lock = Lock::take(self.medium, &self.file(LOCK))?;
        let made = self.medium.create_dir(to);
        made.map_err(|error| StoreError::io(to, "creating", &error))?;
        for name in [LOG, MAIN, SANDBOX] {
            self.copy_file(name, to)?;
            self.copy_file(&format!("{name}-wal"), to)?;
        }
        self.copy_file(WITNESS, to)?;
        self.copy_file(LOCK, to)
    }

    fn copy_file(&self, name: &str, to: &Path) -> Result<(), StoreError> {
        if !self.has(name) {
            return Ok(());
        }
        let file = self.file(name);
        let copied = self.medium.open(&file).and_then(|from| {
            let to = self.medium.create(&to.join(name))?;
            renew::copy(&*from, &*to)
        });
        copied.map_err(|error| StoreError::io(&file, "copying", &error))
    }
}
