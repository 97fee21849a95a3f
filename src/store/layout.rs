//! The data directory: which files there are, made whole or not at all, opened under one lock.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fail_point::Point;
use crate::machine::MachineVersion;
use crate::store::batch::Batch;
use crate::store::file_system::FileSystem;
use crate::store::lock::Lock;
use crate::store::log::Log;
use crate::store::main_db::Main;
use crate::store::medium::Medium;
use crate::store::sandbox::SandboxDb;
use crate::store::scratch::Scratch;
use crate::store::turns::{Staged, Turns};
use crate::store::witness::Witness;
use crate::store::{LogHead, Problem, StoreError, names};

pub(crate) const LOG: &str = "log.db";
pub(crate) const MAIN: &str = "main.db";
pub(crate) const SANDBOX: &str = "sandbox.db";
/// A sandbox in the making.
const SANDBOX_NEW: &str = "sandbox.db.new";
pub(crate) const WITNESS: &str = "WITNESS";
pub(crate) const LOCK: &str = "LOCK";

/// A node's data directory, opened or not.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
    pub(super) medium: &'static dyn Medium,
}

impl PartialEq for DataDir {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.medium.vfs() == other.medium.vfs()
    }
}

impl Eq for DataDir {}

/// Repairs that an operator may ask for when a node is opened. Each does nothing unless it is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Make a new `main.db` where it is missing: everything in it follows from the log.
    pub rebuild_main: bool,
    /// Make a new `WITNESS` where it is missing or foreign, from the log as it stands.
    pub accept_log: bool,
}

/// An open node: every file checked, the lock held until it is dropped.
pub struct Store {
    dir: DataDir,
    log: Mutex<Log>,
    main: Turns,
    _lock: Lock,
}

impl DataDir {
    /// Names a data directory.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::on(&FileSystem, path)
    }

    /// Names a data directory on another medium than the machine's file system.
    #[must_use]
    pub fn on(medium: &'static dyn Medium, path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), medium }
    }

    /// Returns the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of one of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a new node, whole or not at all: the files are made in a directory beside it, which then takes its name.
    ///
    /// # Errors
    /// [`StoreError`]; the directory must not exist or be empty.
    pub fn create(&self, machine: &MachineVersion) -> Result<(), StoreError> {
        let io = |path: &Path, operation, error: &std::io::Error| {
            Err(StoreError::io(path, operation, error))
        };
        match self.medium.is_empty_dir(&self.path) {
            Ok(true) => {}
            Ok(false) => return Err(StoreError::new(&self.path, Problem::NotEmpty)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return io(&self.path, "looking", &error),
        }
        let absolute = std::path::absolute(&self.path)
            .map_err(|error| StoreError::io(&self.path, "looking", &error))?;
        let parent = absolute.parent().unwrap_or(Path::new("/"));
        names::make(self.medium, parent)?;
        let scratch = Scratch::create(self.medium, parent)?;
        let making = Self::on(self.medium, scratch.path());
        let pass = |point| StoreError::passed(&self.path, point);
        pass(Point::CreateBegun)?;
        Lock::create(self.medium, &making.file(LOCK))?;
        pass(Point::CreateLock)?;
        Log::create(self.medium, &making.file(LOG), &making.file(WITNESS), &machine.id)?;
        pass(Point::CreateLog)?;
        Main::create(self.medium, &making.file(MAIN), machine)?;
        pass(Point::CreateMain)?;
        sync_dir(self.medium, scratch.path())?;
        pass(Point::CreateSynced)?;
        // CRASH: before this rename there is no node, only a directory that nothing refers to; after it a whole one.
        if let Err(error) = self.medium.rename(scratch.path(), &self.path) {
            return io(&self.path, "creating", &error);
        }
        // The directory bears another name now, under which nothing must be cleaned up.
        scratch.keep();
        pass(Point::CreateRenamed)?;
        names::sync(self.medium, parent)?;
        pass(Point::CreateNamed)
    }

    /// Opens the node.
    ///
    /// # Errors
    /// [`StoreError`] names the first file that is not as it must be. Nothing is changed on disk, but that the tables of
    /// an older schema are brought forward.
    pub fn open(&self) -> Result<Store, StoreError> {
        self.open_with(Repairs::default())
    }

    /// Opens the node after the repairs that the operator asked for.
    ///
    /// # Errors
    /// As [`DataDir::open`].
    pub fn open_with(&self, repairs: Repairs) -> Result<Store, StoreError> {
        self.check_made()?;
        let lock = Lock::take(self.medium, &self.file(LOCK))?;
        let log = Log::open(self.medium, &self.file(LOG), |head| self.open_witness(repairs, head))?;
        if repairs.rebuild_main && !self.has(MAIN) {
            let version = 0;
            self.make_main(&MachineVersion { id: log.machine().to_owned(), version })?;
        }
        let main = Main::open(self.medium, &self.file(MAIN))?;
        if main.machine().id != log.machine() {
            let found = format!(
                "its machine is {:?}, that of {LOG} {:?}",
                main.machine().id,
                log.machine()
            );
            return Err(StoreError::new(&self.file(MAIN), Problem::Foreign(found)));
        }
        let dir = self.clone();
        Ok(Store { dir, log: Mutex::new(log), main: Turns::new(main), _lock: lock })
    }

    fn open_witness(&self, repairs: Repairs, head: LogHead) -> Result<Witness, StoreError> {
        let path = self.file(WITNESS);
        match Witness::open(self.medium, &path) {
            Err(StoreError { problem: Problem::Missing | Problem::Foreign(_), .. })
                if repairs.accept_log =>
            {
                let witness = Witness::create(self.medium, &path, head)?;
                sync_dir(self.medium, &self.path)?;
                Ok(witness)
            }
            opened => opened,
        }
    }

    /// Makes an empty block table beside its place and moves it there.
    fn make_main(&self, machine: &MachineVersion) -> Result<(), StoreError> {
        let scratch = Scratch::create(self.medium, &self.path)?;
        let making = scratch.path().join(MAIN);
        Main::create(self.medium, &making, machine)?;
        let file = self.file(MAIN);
        StoreError::passed(&file, Point::RebuildMade)?;
        // SQLite would take what an earlier block table left in its write-ahead log for part of this one.
        remove_if_there(self.medium, &self.file(&format!("{MAIN}-wal")))?;
        StoreError::passed(&file, Point::RebuildCleared)?;
        // CRASH: before this rename main.db is missing, as it was; after it, it is there and empty.
        let renamed = self.medium.rename(&making, &file);
        renamed.map_err(|error| StoreError::io(&file, "creating", &error))?;
        StoreError::passed(&file, Point::RebuildRenamed)?;
        sync_dir(self.medium, &self.path)
    }

    /// Refuses a directory in which no file of a node is.
    pub(super) fn check_made(&self) -> Result<(), StoreError> {
        if [LOG, MAIN, WITNESS, LOCK].iter().any(|name| self.has(name)) {
            return Ok(());
        }
        Err(StoreError::new(&self.path, Problem::NotInitialized))
    }

    /// Says whether one of its names is taken.
    pub(super) fn has(&self, name: &str) -> bool {
        self.medium.look(&self.file(name)).is_ok()
    }
}

impl Store {
    /// Returns the directory.
    #[must_use]
    pub const fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// Returns the event log. Held for single calls only; a panic while it is held leaves it as the last call left it.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the block table, as the last commit left it; held as [`Store::log`] is.
    pub fn main(&self) -> MutexGuard<'_, Main> {
        self.main.committed()
    }

    /// Returns the block table as it is, also while a batch is half-written: for whoever knows better of every key that
    /// the batch writes.
    pub(crate) fn main_amid_batch(&self) -> MutexGuard<'_, Main> {
        self.main.as_it_is()
    }

    /// Writes the rows of a batch, which are committed or taken back by what is returned.
    ///
    /// # Errors
    /// [`StoreError`]; nothing of the batch took effect then.
    pub fn stage<'a>(&'a self, batch: &'a Batch) -> Result<Staged<'a>, StoreError> {
        self.main.stage(batch)
    }

    /// Opens the sandbox that an earlier process left; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError`] where the file is there and is not a sandbox.
    pub fn sandbox(&self) -> Result<Option<SandboxDb>, StoreError> {
        SandboxDb::open(self.dir.medium, &self.dir.file(SANDBOX))
    }

    /// Makes an empty sandbox in place of any other.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be written.
    pub fn new_sandbox(&self) -> Result<SandboxDb, StoreError> {
        self.drop_sandbox()?;
        let (file, making) = (self.dir.file(SANDBOX), self.dir.file(SANDBOX_NEW));
        let medium = self.dir.medium;
        SandboxDb::create(medium, &making)?;
        StoreError::passed(&file, Point::SandboxMade)?;
        remove_if_there(medium, &self.dir.file(&format!("{SANDBOX_NEW}-wal")))?;
        // CRASH: before this rename there is no sandbox, only a file that the next one replaces; after it a whole one.
        let renamed = medium.rename(&making, &file);
        renamed.map_err(|error| StoreError::io(&file, "creating", &error))?;
        StoreError::passed(&file, Point::SandboxRenamed)?;
        let missing = || StoreError::new(&file, Problem::Missing);
        SandboxDb::open(medium, &file)?.ok_or_else(missing)
    }

    /// Deletes the sandbox, where there is one.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be deleted.
    pub fn drop_sandbox(&self) -> Result<(), StoreError> {
        for name in [SANDBOX, SANDBOX_NEW] {
            for suffix in ["", "-wal", "-journal"] {
                let file = self.dir.file(&format!("{name}{suffix}"));
                StoreError::passed(&file, Point::SandboxDrop)?;
                remove_if_there(self.dir.medium, &file)?;
            }
        }
        Ok(())
    }

    /// Ends orderly: everything durable in its final place.
    ///
    /// # Errors
    /// [`StoreError`] where a checkpoint does not succeed; nothing is lost by that.
    pub fn settle(&self) -> Result<(), StoreError> {
        let pass = |point| StoreError::passed(self.dir.path(), point);
        pass(Point::SettleBegin)?;
        self.log().settle()?;
        pass(Point::SettleLog)?;
        self.main().settle()
    }
}

fn remove_if_there(medium: &dyn Medium, file: &Path) -> Result<(), StoreError> {
    match medium.remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io(file, "deleting", &error))
        }
        _ => Ok(()),
    }
}

fn sync_dir(medium: &dyn Medium, path: &Path) -> Result<(), StoreError> {
    medium.sync_dir(path).map_err(|error| StoreError::io(path, "syncing", &error))
}
