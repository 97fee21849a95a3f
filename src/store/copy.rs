//! A copy of a node that nobody has open.

use std::path::Path;

use crate::store::layout::{LOCK, LOG, MAIN, SANDBOX, WITNESS};
use crate::store::lock::Lock;
use crate::store::{DataDir, StoreError, renew};

impl DataDir {
    /// Copies the files of the node into a new directory, under its lock; none is opened as a database or changed.
    ///
    /// Reproduction bundles stay behind, and the copy is not synced. Says whether it is whole: it ends between two pieces
    /// of a file where it is not to go on.
    ///
    /// # Errors
    /// [`StoreError`]; [`crate::store::Problem::Busy`] where another process has the node open.
    pub fn copy_to(&self, to: &Path, goes_on: &dyn Fn() -> bool) -> Result<bool, StoreError> {
        self.check_made()?;
        let _lock = Lock::take(self.medium, &self.file(LOCK))?;
        let made = self.medium.create_dir(to);
        made.map_err(|error| StoreError::io(to, "creating", &error))?;
        let wals = [LOG, MAIN, SANDBOX].map(|name| format!("{name}-wal"));
        let wals = wals.iter().map(String::as_str);
        for name in [LOG, MAIN, SANDBOX, WITNESS, LOCK].into_iter().chain(wals) {
            if self.has(name) && !self.copy_file(name, to, goes_on)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn copy_file(
        &self,
        name: &str,
        to: &Path,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<bool, StoreError> {
        let file = self.file(name);
        let copied = self.medium.open(&file).and_then(|from| {
            let to = self.medium.create(&to.join(name))?;
            renew::copy_while(&*from, &*to, goes_on)
        });
        copied.map_err(|error| StoreError::io(&file, "copying", &error))
    }
}
