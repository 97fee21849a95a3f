//! The scratch directory: where copies are made, and what becomes of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::torture::TortureError;
use crate::types::Digest;

/// A directory that vanishes unless it is kept.
pub(super) struct Scratch(TempDir);

impl Scratch {
    pub(super) fn create(parent: &Path) -> Result<Self, TortureError> {
        let made = tempfile::Builder::new().prefix(".rewake-torture-").tempdir_in(parent);
        made.map(Self).map_err(|error| TortureError::scratch(parent, "creating", &error))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Leaves the directory where it is, and says where that is.
    pub(super) fn keep(self) -> PathBuf {
        self.0.keep()
    }

    /// Deletes the directory.
    pub(super) fn delete(self) -> Result<(), TortureError> {
        let path = self.0.path().to_owned();
        self.0.close().map_err(|error| TortureError::scratch(&path, "deleting", &error))
    }
}

/// Copies the files of a directory into a new one; directories in it stay behind.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), TortureError> {
    let copied = fs::create_dir(to).and_then(|()| {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(())
    });
    copied.map_err(|error| TortureError::scratch(from, "copying", &error))
}

/// Deletes a directory with everything in it.
pub(super) fn delete(dir: &Path) -> Result<(), TortureError> {
    fs::remove_dir_all(dir).map_err(|error| TortureError::scratch(dir, "deleting", &error))
}

/// Deletes files of a directory, where they are there.
pub(super) fn drop_files(dir: &Path, names: &[&str]) -> Result<(), TortureError> {
    for name in names {
        let file = dir.join(name);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(TortureError::scratch(&file, "deleting", &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns the digest of each file of a directory; an empty write-ahead log counts as none.
pub(super) fn digests(dir: &Path) -> Result<BTreeMap<PathBuf, Digest>, TortureError> {
    let read = || {
        let mut digests = BTreeMap::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if !path.is_file() {
                continue;
            }
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(fs::File::open(&path)?)?;
            let is_wal = path.extension().is_some_and(|extension| extension == "db-wal");
            if !(is_wal && path.metadata()?.len() == 0) {
                digests.insert(path, hasher.finalize().into());
            }
        }
        Ok(digests)
    };
    read().map_err(|error| TortureError::scratch(dir, "reading", &error))
}
