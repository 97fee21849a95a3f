//! Undisturbed runs: what each kind of process makes of a copy where no fault befalls it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::machine::Registry;
use crate::store::DataDir;
use crate::torture::acknowledged::Before;
use crate::torture::append::Appends;
use crate::torture::audit::{Audit, audit};
use crate::torture::child::{End, Ran, Runner};
use crate::torture::finding::Finding;
use crate::torture::oracle::{self, Observed};
use crate::torture::round::{self, Failure};
use crate::torture::{TortureError, scratch};

/// Longest time that an undisturbed run may take.
pub(super) const UNDISTURBED_MAX: Duration = Duration::from_hours(24);

/// What one kind of process starts from, and what it makes of that where nobody disturbs it.
pub(super) struct Course {
    pub(super) template: PathBuf,
    pub(super) undisturbed: Observed,
    pub(super) took: Duration,
    /// Size of the largest database afterwards, in bytes.
    pub(super) largest_bytes: u64,
}

/// What the runs need.
pub(super) struct Undisturbed<'a> {
    /// Where the copy is made.
    pub(super) dir: PathBuf,
    pub(super) runner: &'a Runner,
    pub(super) registry: &'a Registry,
}

impl Undisturbed<'_> {
    /// Recovers a copy of a template, which is deleted unless it is to be kept.
    pub(super) fn recovery(
        &self,
        what: &'static str,
        template: &Path,
        batch_txs: u64,
        keep: Option<&Path>,
    ) -> Result<Course, TortureError> {
        scratch::copy(template, &self.dir, &self.runner.stop)?;
        let ran = self.run(what, &round::recovery(&self.dir, Some(batch_txs)))?;
        let undisturbed = self.question(what)?;
        let largest_bytes = self.bytes("log.db").max(self.bytes("main.db"));
        match keep {
            Some(keep) => scratch::rename(&self.dir, keep)?,
            None => scratch::delete(&self.dir)?,
        }
        Ok(Course { template: template.to_owned(), undisturbed, took: ran.took, largest_bytes })
    }

    /// Appends to a copy of a settled node, and notes what that starts from.
    pub(super) fn append(&self, settled: &Path) -> Result<(Course, Before), TortureError> {
        let what = "append";
        let (undisturbed, node) = oracle::observe(&DataDir::new(settled), self.registry)
            .map_err(|Finding(how)| TortureError::Undisturbed { what, how })?;
        let before = Before {
            head: node.log_head,
            waiting: node.backlog.mempool.iter().collect(),
            last_ordered: node.backlog.last_ordered,
            appends: Appends::of(&node, 0).map_err(|error| unreadable(&error.into()))?,
        };
        drop(node);
        scratch::copy(settled, &self.dir, &self.runner.stop)?;
        let ran = self.run(what, &round::appending(&self.dir, 0))?;
        let largest_bytes = self.bytes("log.db");
        self.run(what, &round::recovery(&self.dir, None))?;
        self.question(what)?;
        scratch::delete(&self.dir)?;
        let template = settled.to_owned();
        Ok((Course { template, undisturbed, took: ran.took, largest_bytes }, before))
    }

    fn run(&self, what: &'static str, arguments: &[OsString]) -> Result<Ran, TortureError> {
        let ran = self.runner.run(arguments, None)?;
        if ran.panicked() || !matches!(ran.end, End::Code(0 | 9)) {
            return Err(TortureError::Undisturbed { what, how: ran.how() });
        }
        Ok(ran)
    }

    /// Observes the copy, in which the audit must find nothing: what rounds are held against has to be right itself.
    fn question(&self, what: &'static str) -> Result<Observed, TortureError> {
        let wrong = |Finding(how)| TortureError::Undisturbed { what, how };
        let (observed, node) =
            oracle::observe(&DataDir::new(&self.dir), self.registry).map_err(wrong)?;
        drop(node);
        match audit(self.runner, &self.dir) {
            Ok(Audit::Clean) => Ok(observed),
            Ok(Audit::Unclean(finding)) | Err(Failure::Wrong(finding)) => Err(wrong(finding)),
            Err(Failure::Broken(error)) => Err(error),
        }
    }

    fn bytes(&self, name: &str) -> u64 {
        self.dir.join(name).metadata().map_or(0, |file| file.len())
    }
}

/// Returns the error of a node that cannot be read.
pub(super) fn unreadable(Finding(how): &Finding) -> TortureError {
    TortureError::Undisturbed { what: "node", how: how.clone() }
}
