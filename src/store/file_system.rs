//! The usual medium: the file system of the machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::store::medium::{Medium, MediumFile, Seen};

/// The file system of the machine.
#[derive(Debug)]
pub(crate) struct FileSystem;

impl Medium for FileSystem {
    fn vfs(&self) -> Option<&str> {
        None
    }

    fn open(&self, file: &Path) -> io::Result<Box<dyn MediumFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(file)?))
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn MediumFile>> {
        let mut how = OpenOptions::new();
        how.read(true).write(true).create(true).truncate(true);
        Ok(Box::new(how.open(file)?))
    }

    fn read_head(&self, file: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        File::open(file)?.take(bytes_max).read_to_end(&mut head)?;
        Ok(head)
    }

    fn look(&self, path: &Path) -> io::Result<Seen> {
        let seen = fs::symlink_metadata(path)?;
        Ok(Seen { is_file: seen.is_file(), bytes: seen.len() })
    }

    fn is_empty_dir(&self, dir: &Path) -> io::Result<bool> {
        Ok(fs::read_dir(dir)?.next().is_none())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn create_scratch_dir(&self, parent: &Path, prefix: &str) -> io::Result<PathBuf> {
        tempfile::Builder::new().prefix(prefix).tempdir_in(parent).map(tempfile::TempDir::keep)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl MediumFile for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, at)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn lock(&self) -> io::Result<()> {
        flock(self, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)
    }

    fn unlock(&self) -> io::Result<()> {
        flock(self, FlockOperation::Unlock).map_err(io::Error::from)
    }
}
