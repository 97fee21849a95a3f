//! The lock: one process at a time has a node open.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::store::{Problem, StoreError};

const CONTENT: &[u8] = b"rewake lock 1\n";

/// Held as long as it lives; the kernel frees it when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Frees the lock by hand: a process that is being started holds copies of all files until it becomes another
    /// program, and would keep the lock for as long.
    fn drop(&mut self) {
        // Where it fails, closing the file does the same.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl Lock {
    /// Writes a lock file that nobody holds yet.
    pub(crate) fn create(path: &Path) -> Result<(), StoreError> {
        let written = File::create_new(path).and_then(|mut file| {
            file.write_all(CONTENT)?;
            file.sync_all()
        });
        written.map_err(|error| StoreError::io(path, "creating", &error))
    }

    /// Takes the lock, or says who stands in the way.
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let opened = OpenOptions::new().read(true).write(true).open(path);
        let mut file = opened.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StoreError::new(path, Problem::Missing),
            _ => StoreError::io(path, "opening", &error),
        })?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(StoreError::new(path, Problem::Busy));
            }
            Err(error) => return Err(StoreError::io(path, "locking", &error.into())),
        }
        let mut content = Vec::new();
        let read = Read::by_ref(&mut file).take(64).read_to_end(&mut content);
        read.map_err(|error| StoreError::io(path, "reading", &error))?;
        if content != CONTENT {
            let found = "it does not hold a lock's line".to_owned();
            return Err(StoreError::new(path, Problem::Foreign(found)));
        }
        Ok(Self { file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_lock_is_free_although_a_copy_of_its_file_is_open() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let path = scratch.path().join("LOCK");
        Lock::create(&path).expect("a new lock");
        let lock = Lock::take(&path).expect("nobody holds it");
        let copy = lock.file.try_clone().expect("a copy");
        let second = Lock::take(&path).map(drop);
        assert_eq!(second, Err(StoreError::new(&path, Problem::Busy)));
        drop(lock);
        Lock::take(&path).expect("it is free");
        drop(copy);
    }
}
