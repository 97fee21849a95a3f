//! The medium: every operation by which the store touches files, so that a test can put a simulated disk in their place.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

/// Where the files of a data directory lie.
///
/// The databases are reached through the SQLite VFS that it names, everything else through its methods.
pub trait Medium: Debug + Send + Sync {
    /// Returns the name of the SQLite VFS for databases; `None` for the usual one.
    fn vfs(&self) -> Option<&str>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::NotFound`] where there is none.
    fn open(&self, file: &Path) -> io::Result<Box<dyn MediumFile>>;

    /// Makes an empty file in place of any other.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, file: &Path) -> io::Result<Box<dyn MediumFile>>;

    /// Reads the beginning of a file, at most so many bytes.
    ///
    /// # Errors
    /// What the system says.
    fn read_head(&self, file: &Path, bytes_max: u64) -> io::Result<Vec<u8>>;

    /// Looks at what bears a name, without following a link.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::NotFound`] where nothing does.
    fn look(&self, path: &Path) -> io::Result<Seen>;

    /// Says whether a directory holds nothing.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::NotFound`] where there is none.
    fn is_empty_dir(&self, dir: &Path) -> io::Result<bool>;

    /// Makes a directory in one that exists.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::AlreadyExists`] where the name is taken.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes a directory with a name of its own, which begins with `prefix`.
    ///
    /// # Errors
    /// What the system says.
    fn create_scratch_dir(&self, parent: &Path, prefix: &str) -> io::Result<PathBuf>;

    /// Gives a file or a directory another name, in place of whatever bore it.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Deletes a file.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::NotFound`] where there is none.
    fn remove_file(&self, file: &Path) -> io::Result<()>;

    /// Deletes a directory with everything in it.
    ///
    /// # Errors
    /// What the system says.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a directory survive a power cut.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// What bears a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether it is a regular file.
    pub is_file: bool,
    /// Its size.
    pub bytes: u64,
}

/// An open file of a medium.
pub trait MediumFile: Debug + Send + Sync {
    /// Returns its size in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn bytes(&self) -> io::Result<u64>;

    /// Fills a buffer from a position on.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::UnexpectedEof`] where the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes bytes at a position.
    ///
    /// # Errors
    /// What the system says.
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Makes what was written survive a power cut, and the size with it.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self) -> io::Result<()>;

    /// Takes the lock of this file, unless another holds it.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::WouldBlock`] where another holds it.
    fn lock(&self) -> io::Result<()>;

    /// Frees the lock.
    ///
    /// # Errors
    /// What the system says.
    fn unlock(&self) -> io::Result<()>;
}
