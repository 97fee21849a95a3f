//! The lock: one process at a time has a node open.

use std::path::Path;

use crate::store::medium::{Medium, MediumFile};
use crate::store::{Problem, StoreError};

const CONTENT: &[u8] = b"rewake lock 1\n";

/// Held as long as it lives; the kernel frees it when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    file: Box<dyn MediumFile>,
}

impl Drop for Lock {
    /// Frees the lock by hand: a process that is being started holds copies of all files until it becomes another
    /// program, and would keep the lock for as long.
    fn drop(&mut self) {
        // Where it fails, closing the file does the same.
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Writes a lock file that nobody holds yet.
    pub(crate) fn create(medium: &dyn Medium, path: &Path) -> Result<(), StoreError> {
        let written = medium.create(path).and_then(|file| {
            file.write_all_at(CONTENT, 0)?;
            file.sync()
        });
        written.map_err(|error| StoreError::io(path, "creating", &error))
    }

    /// Takes the lock, or says who stands in the way.
    pub(crate) fn take(medium: &dyn Medium, path: &Path) -> Result<Self, StoreError> {
        let file = medium.open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StoreError::new(path, Problem::Missing),
            _ => StoreError::io(path, "opening", &error),
        })?;
        Self::hold(path, file)
    }

    fn hold(path: &Path, file: Box<dyn MediumFile>) -> Result<Self, StoreError> {
        file.lock().map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => StoreError::new(path, Problem::Busy),
            _ => StoreError::io(path, "locking", &error),
        })?;
        // From here on it is freed on every path.
        let lock = Self { file };
        let mut content = [0; CONTENT.len()];
        let reading = |error| StoreError::io(path, "reading", &error);
        let is_long_enough = lock.file.bytes().map_err(reading)? == CONTENT.len() as u64;
        if is_long_enough {
            lock.file.read_exact_at(&mut content, 0).map_err(reading)?;
        }
        if content != CONTENT {
            let found = "it does not hold a lock's line".to_owned();
            return Err(StoreError::new(path, Problem::Foreign(found)));
        }
        Ok(lock)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::store::file_system::FileSystem;

    #[test]
    fn a_dropped_lock_is_free_although_a_copy_of_its_file_is_open() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let path = scratch.path().join("LOCK");
        Lock::create(&FileSystem, &path).expect("a new lock");
        let file = File::options().read(true).write(true).open(&path).expect("a file");
        let copy = file.try_clone().expect("a copy");
        let lock = Lock::hold(&path, Box::new(file)).expect("nobody holds it");
        let second = Lock::take(&FileSystem, &path).map(drop);
        assert_eq!(second, Err(StoreError::new(&path, Problem::Busy)));
        drop(lock);
        Lock::take(&FileSystem, &path).expect("it is free");
        drop(copy);
    }
}
