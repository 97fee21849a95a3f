//! What a campaign would leave behind if its process ended at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::torture::TortureError;

/// How often deleting is tried, because the campaign may be writing while it is deleted.
const DELETIONS_MAX: u32 = 16;

/// The running child and the scratch directory of a campaign; clones are of the same campaign.
#[derive(Clone, Debug, Default)]
pub struct Leavings(Arc<Mutex<Left>>);

#[derive(Debug, Default)]
struct Left {
    child: Option<Pid>,
    scratch: Option<PathBuf>,
    is_over: bool,
}

impl Leavings {
    /// Kills the running child with its process group and deletes the scratch directory, before the process ends.
    ///
    /// The campaign starts no child and makes no scratch directory afterwards. One in which a violation is kept stays.
    pub fn remove(&self) {
        let mut left = self.lock();
        left.is_over = true;
        if let Some(child) = left.child.take() {
            // It may have ended already.
            let _ = kill_process_group(child, Signal::KILL);
        }
        let Some(scratch) = left.scratch.take() else { return };
        drop(left);
        for _deletion in 0..DELETIONS_MAX {
            match fs::remove_dir_all(&scratch) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {}
                _ => return,
            }
        }
    }

    /// Makes the scratch directory.
    pub(super) fn make(&self, parent: &Path) -> Result<TempDir, TortureError> {
        let mut left = self.lock();
        left.check()?;
        let made = tempfile::Builder::new().prefix(".rewake-torture-").tempdir_in(parent);
        let made = made.map_err(|error| TortureError::scratch(parent, "creating", &error))?;
        left.scratch = Some(made.path().to_owned());
        Ok(made)
    }

    /// Has the scratch directory stay, whatever happens.
    pub(super) fn keep(&self) {
        self.lock().scratch = None;
    }

    /// Starts a child that leads a process group of its own.
    pub(super) fn spawn(&self, command: &mut Command) -> Result<Child, TortureError> {
        let mut left = self.lock();
        left.check()?;
        let child = command.spawn().map_err(|error| TortureError::child("started", &error))?;
        left.child = Some(Pid::from_child(&child));
        Ok(child)
    }

    /// Looks whether the child has ended.
    pub(super) fn look(&self, child: &mut Child) -> io::Result<Option<ExitStatus>> {
        // INVARIANT: a child is named only while it is not waited for, so that its number is no other's.
        let mut left = self.lock();
        let status = child.try_wait()?;
        if status.is_some() {
            left.child = None;
        }
        Ok(status)
    }

    /// Kills the child, which may have ended already, and waits for its end.
    pub(super) fn end(&self, child: &mut Child) {
        let mut left = self.lock();
        left.child = None;
        let _ = child.kill();
        let _ = child.wait();
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Left {
    fn check(&self) -> Result<(), TortureError> {
        if self.is_over { Err(TortureError::Stopped) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};

    use super::*;

    #[test]
    fn the_child_and_the_scratch_directory_go_and_none_come_after_them() {
        let place = tempfile::tempdir().expect("a scratch directory");
        let leavings = Leavings::default();
        let made = leavings.make(place.path()).expect("a directory");
        fs::write(made.path().join("file"), "content").expect("a file");
        let mut command = Command::new("sleep");
        command.arg("3600").process_group(0);
        let mut child = leavings.spawn(&mut command).expect("a child");
        assert_eq!(leavings.look(&mut child).expect("a child"), None);
        leavings.remove();
        assert_eq!(child.wait().expect("an end").signal(), Some(9));
        assert!(!made.path().exists());
        let found = leavings.spawn(&mut command).expect_err("it is over");
        assert!(matches!(found, TortureError::Stopped), "{found:?}");
        let found = leavings.make(place.path()).expect_err("it is over");
        assert!(matches!(found, TortureError::Stopped), "{found:?}");
    }

    #[test]
    fn a_kept_scratch_directory_stays() {
        let place = tempfile::tempdir().expect("a scratch directory");
        let leavings = Leavings::default();
        let made = leavings.make(place.path()).expect("a directory");
        leavings.keep();
        leavings.remove();
        assert!(made.path().exists());
    }
}
