//! The scratch directory: where copies are made, and what becomes of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::exec::StopSignal;
use crate::torture::{Leavings, TortureError};
use crate::types::Digest;

/// Bytes that are copied between two looks at the stop.
const CHUNK_BYTES: u64 = 16 << 20;

/// A directory that vanishes unless it is kept.
pub(super) struct Scratch(TempDir);

impl Scratch {
    pub(super) fn create(parent: &Path, leavings: &Leavings) -> Result<Self, TortureError> {
        leavings.make(parent).map(Self)
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
pub(super) fn copy(from: &Path, to: &Path, stop: &StopSignal) -> Result<(), TortureError> {
    let copy = || {
        fs::create_dir(to)?;
        for file in files(from)? {
            let name = file.file_name().unwrap_or_default();
            if !copy_file(&file, &to.join(name), stop)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    match copy() {
        Ok(true) => Ok(()),
        Ok(false) => Err(TortureError::Stopped),
        Err(error) => Err(TortureError::scratch(from, "copying", &error)),
    }
}

/// Copies a file; says whether that came to its end before the stop.
fn copy_file(from: &Path, to: &Path, stop: &StopSignal) -> io::Result<bool> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    loop {
        if stop.is_requested() {
            return Ok(false);
        }
        if io::copy(&mut from.by_ref().take(CHUNK_BYTES), &mut to)? < CHUNK_BYTES {
            return Ok(true);
        }
    }
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Returns the size of all files of a directory, in bytes.
pub(super) fn bytes(dir: &Path) -> Result<u64, TortureError> {
    let sum = || {
        let mut sum = 0_u64;
        for file in files(dir)? {
            sum = sum.saturating_add(file.metadata()?.len());
        }
        Ok(sum)
    };
    sum().map_err(|error| TortureError::scratch(dir, "measuring", &error))
}

/// Gives a directory another name.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), TortureError> {
    fs::rename(from, to).map_err(|error| TortureError::scratch(to, "creating", &error))
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
        for path in files(dir)? {
            let is_wal = path.extension().is_some_and(|extension| extension == "db-wal");
            if !(is_wal && path.metadata()?.len() == 0) {
                let digest = digest(&path)?;
                digests.insert(path, digest);
            }
        }
        Ok(digests)
    };
    read().map_err(|error| TortureError::scratch(dir, "reading", &error))
}

/// Returns the digest of a file, however large it is.
pub(super) fn digest(file: &Path) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(file)?)?;
    Ok(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_every_byte_and_ends_early_where_it_is_stopped() {
        let place = tempfile::tempdir().expect("a scratch directory");
        let (from, stop) = (place.path().join("from"), StopSignal::default());
        fs::create_dir_all(from.join("bundles")).expect("a directory");
        // One chunk exactly, and one with a rest.
        for (name, length) in [("empty", 0), ("whole", CHUNK_BYTES), ("more", CHUNK_BYTES + 1)] {
            let length = usize::try_from(length).expect("it fits");
            fs::write(from.join(name), vec![7; length]).expect("a file");
        }
        let to = place.path().join("to");
        copy(&from, &to, &stop).expect("a copy");
        let held =
            |dir: &Path| digests(dir).expect("a directory").into_values().collect::<Vec<_>>();
        assert_eq!(held(&to), held(&from));
        assert_eq!(bytes(&to).expect("a directory"), 2 * CHUNK_BYTES + 1);
        stop.request();
        let found = copy(&from, &place.path().join("never"), &stop).expect_err("a stop");
        assert!(matches!(found, TortureError::Stopped), "{found:?}");
    }
}
