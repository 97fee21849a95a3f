//! One round: a copy, a fault, a recovery, and the questions of the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::store::DataDir;
use crate::torture::audit::{Audit, audit};
use crate::torture::bench::Bench;
use crate::torture::child::{Blow, End, Ran};
use crate::torture::damage::{Damaged, damage};
use crate::torture::finding::Finding;
use crate::torture::hand::Hand;
use crate::torture::oracle::Observed;
use crate::torture::undisturbed::Course;
use crate::torture::{Fault, Kind, Outcome, Subject, TortureError, acknowledged, oracle, scratch};
use crate::types::Digest;

/// How often a fault is tried, each time nearer to where it must take effect.
const ATTEMPTS: u32 = 4;
/// Most recoveries that are killed one after the other.
const KILLS_AGAIN_MAX: u64 = 3;
/// Least size that a file is allowed, in bytes: one page.
const FILE_BYTES_MIN: u64 = 4096;
/// Descriptors that a process has before it opens a file.
const FILES_MIN: u64 = 3;
/// Most descriptors that a process is allowed where it is to run out of them.
const FILES_MAX: u64 = 24;
/// What the system kills a process with whose file may not grow.
const SIGXFSZ: i32 = 25;
const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
/// Files that a recovery which refuses must leave as they are.
const TRUTH: [&str; 2] = ["log.db", "WITNESS"];

/// Why a round has no outcome of its own.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing can be said.
    Broken(TortureError),
    /// Something that was promised does not hold.
    Wrong(Finding),
}

impl From<TortureError> for Failure {
    fn from(error: TortureError) -> Self {
        Self::Broken(error)
    }
}

impl From<Finding> for Failure {
    fn from(finding: Finding) -> Self {
        Self::Wrong(finding)
    }
}

/// A round under way.
pub(super) struct Round<'a> {
    pub(super) bench: &'a Bench,
    pub(super) kind: Kind,
    pub(super) hand: Hand,
    /// The seed of what an appending process submits.
    pub(super) seed: u64,
    /// Where the copy is made.
    pub(super) dir: PathBuf,
    /// What was done, for people.
    pub(super) detail: Vec<String>,
    pub(super) kills: u64,
}

impl Round<'_> {
    /// Runs the round; `None` where the fault did not take effect.
    pub(super) fn run(&mut self) -> Result<Option<Outcome>, Failure> {
        let done = match self.kind.subject.file() {
            None => self.strike_process()?,
            Some(file) => self.damage_file(file)?,
        };
        scratch::delete(&self.dir)?;
        Ok(done)
    }

    fn course(&self) -> &Course {
        self.bench.course(self.kind.subject)
    }

    fn strike_process(&mut self) -> Result<Option<Outcome>, Failure> {
        for attempt in 1..=ATTEMPTS {
            self.copy()?;
            self.detail.clear();
            let ran = self.strike(attempt)?;
            if self.took_effect(&ran)? {
                if self.kind.fault == Fault::KillAgain {
                    self.strike_again(&ran)?;
                }
                self.recover()?;
                self.question(&ran)?;
                return Ok(Some(Outcome::Recovered));
            }
            self.question_unstruck(&ran)?;
            scratch::delete(&self.dir)?;
        }
        // Whoever deletes the copy finds it.
        self.copy()?;
        Ok(None)
    }

    fn copy(&self) -> Result<(), TortureError> {
        scratch::copy(&self.course().template, &self.dir, &self.bench.runner.stop)
    }

    /// Runs the process under the fault; the last attempt leaves it no way around.
    fn strike(&mut self, attempt: u32) -> Result<Ran, TortureError> {
        let shrink = 1 << (attempt - 1);
        let is_last = attempt == ATTEMPTS;
        let took = if is_last { std::time::Duration::ZERO } else { self.course().took / shrink };
        let bytes = self.course().largest_bytes / u64::from(shrink);
        let bytes = if is_last { FILE_BYTES_MIN } else { bytes };
        let files = if is_last { FILES_MIN } else { FILES_MAX };
        let limits = match self.kind.fault {
            Fault::FileLimitKill | Fault::FileLimitError => {
                let bytes = self.hand.within(FILE_BYTES_MIN, bytes);
                self.detail.push(format!("no file beyond {bytes} bytes"));
                vec!["--file-bytes-max".to_owned(), bytes.to_string()]
            }
            Fault::Descriptors => {
                let files = self.hand.within(FILES_MIN, files);
                self.detail.push(format!("no more than {files} descriptors"));
                vec!["--files-max".to_owned(), files.to_string()]
            }
            fault => {
                let at = self.hand.time(took);
                let verb = if fault == Fault::Terminate { "terminated" } else { "killed" };
                self.detail.push(format!("{verb} after {} µs", at.as_micros()));
                let arguments = self.work();
                let terminates = fault == Fault::Terminate;
                let blow = if terminates { Blow::Terminate(at) } else { Blow::Kill(at) };
                return self.bench.runner.run(&arguments, Some(blow));
            }
        };
        let mut arguments = self.work();
        // The same work, in a process that limits itself first.
        if let Some(verb) = arguments.first_mut() {
            let limited: &str =
                if *verb == *"recover" { "torture-recover" } else { "torture-append" };
            *verb = limited.into();
        }
        arguments.extend(limits.into_iter().map(OsString::from));
        if self.kind.fault == Fault::FileLimitError {
            arguments.push("--outlive-file-limit".into());
        }
        self.bench.runner.run(&arguments, None)
    }

    /// Returns the arguments of the process that is struck.
    fn work(&mut self) -> Vec<OsString> {
        match self.kind.subject {
            Subject::Append => appending(&self.dir, self.seed),
            _ => self.any_recovery(),
        }
    }

    /// Returns the arguments of a recovery that works in one of its ways.
    fn any_recovery(&mut self) -> Vec<OsString> {
        let batch_txs = (self.hand.below(2) == 0).then_some(self.bench.batch_txs);
        let mut arguments = recovery(&self.dir, batch_txs);
        for (option, values) in
            [("--commit", ["restore", "reexecute"]), ("--gate", ["all", "batch"])]
        {
            let value = self.hand.one(&values).copied().unwrap_or_default();
            arguments.extend([option.into(), value.into()]);
        }
        arguments
    }

    /// Says whether the fault brought the process down; another end than it may have is a finding.
    fn took_effect(&mut self, ran: &Ran) -> Result<bool, Finding> {
        if ran.panicked() {
            return Err(Finding(format!("the process failed internally: {}", ran.how())));
        }
        let expected = match (self.kind.fault, ran.end) {
            (_, End::Code(0 | 9)) => return Ok(false),
            (Fault::Kill | Fault::KillAgain, end) => end == End::Signal(SIGKILL),
            (Fault::Terminate, End::Signal(number)) => number == SIGTERM,
            (Fault::Terminate, End::Code(code)) => code == 8 || code == 128 + SIGTERM,
            (Fault::FileLimitKill, end) => end == End::Signal(SIGXFSZ),
            (Fault::FileLimitError | Fault::Descriptors, End::Code(code)) => code == 1 || code == 8,
            _ => false,
        };
        if !expected {
            return Err(Finding(format!("the process ended in a way of its own: {}", ran.how())));
        }
        self.detail.push(ran.end.to_string());
        self.kills = self.kills.saturating_add(u64::from(ran.end == End::Signal(SIGKILL)));
        Ok(true)
    }

    /// Kills recoveries one after the other.
    fn strike_again(&mut self, struck: &Ran) -> Result<(), Failure> {
        for _kill in 0..self.hand.within(1, KILLS_AGAIN_MAX) {
            let at = self.hand.time(self.course().took);
            let arguments = self.any_recovery();
            let ran = self.bench.runner.run(&arguments, Some(Blow::Kill(at)))?;
            self.detail.push(format!("its recovery killed after {} µs", at.as_micros()));
            if !self.took_effect(&ran)? {
                self.hold(struck)?;
            }
        }
        Ok(())
    }

    /// Looks at what a process left that says it did its work in spite of the fault.
    fn question_unstruck(&mut self, ran: &Ran) -> Result<(), Failure> {
        // Before another recovery can mend what this one left undone.
        if self.kind.subject != Subject::Append {
            self.hold(ran)?;
        }
        self.recover()?;
        self.question(ran)
    }

    /// Recovers without a disturbance, which must end well.
    fn recover(&self) -> Result<(), Failure> {
        let ran = self.bench.runner.run(&recovery(&self.dir, None), None)?;
        if ran.panicked() || !matches!(ran.end, End::Code(0 | 9)) {
            let how = ran.how();
            return Err(Finding(format!("the recovery after it did not end well: {how}")).into());
        }
        Ok(())
    }

    /// Asks everything of the recovered node.
    fn question(&mut self, struck: &Ran) -> Result<(), Failure> {
        let observed = self.hold(struck)?;
        if self.kind.subject == Subject::Append {
            self.detail.push(format!("{} events in the log", observed.events()));
            if let Audit::Unclean(finding) = audit(&self.bench.runner, &self.dir)? {
                return Err(finding.into());
            }
        }
        self.recover_in_vain()
    }

    /// Holds the recovered node against what was acknowledged or against an undisturbed run.
    fn hold(&self, struck: &Ran) -> Result<Observed, Finding> {
        let (observed, node) = oracle::observe(&DataDir::new(&self.dir), &self.bench.registry)?;
        if self.kind.subject == Subject::Append {
            acknowledged::check(&node, &self.bench.before, self.seed, &struck.out)?;
        } else {
            observed.check(&self.course().undisturbed)?;
        }
        Ok(observed)
    }

    /// Recovers once more, which must write nothing.
    fn recover_in_vain(&self) -> Result<(), Failure> {
        let before = scratch::digests(&self.dir)?;
        let ran = self.bench.runner.run(&recovery(&self.dir, None), None)?;
        if ran.end != End::Code(0) {
            return Err(
                Finding(format!("a second recovery did not end well: {}", ran.how())).into()
            );
        }
        let after = scratch::digests(&self.dir)?;
        let changed = changed(&before, &after);
        if changed.is_empty() {
            return Ok(());
        }
        Err(Finding(format!("a second recovery wrote into {changed:?}")).into())
    }

    fn damage_file(&mut self, name: &str) -> Result<Option<Outcome>, Failure> {
        self.copy()?;
        let (file, older) = (self.dir.join(name), self.bench.older.join(name));
        let damaged = damage(self.kind.fault, &file, &older, &mut self.hand);
        let damaged = damaged.map_err(|error| TortureError::scratch(&file, "damaging", &error))?;
        let Some(damaged) = damaged else { return Ok(None) };
        self.detail.push(damaged.detail.clone());
        let before = scratch::digests(&self.dir)?;
        let arguments = self.any_recovery();
        let ran = self.bench.runner.run(&arguments, None)?;
        self.detail.push(ran.end.to_string());
        match ran.end {
            _ if ran.panicked() => {
                Err(Finding(format!("the recovery failed internally: {}", ran.how())).into())
            }
            End::Code(0 | 9) => self.question_damaged(&damaged, &file).map(Some),
            end if end.is_refusal() => self.question_refused(&before).map(Some),
            _ => Err(Finding(format!("the damage was not named: {}", ran.how())).into()),
        }
    }

    /// Looks at what a recovery left that refused the damage: nobody may have mended or worsened the truth.
    fn question_refused(&self, before: &Digests) -> Result<Outcome, Failure> {
        let after = scratch::digests(&self.dir)?;
        let changed = changed(before, &after);
        if TRUTH.iter().all(|name| !changed.contains(OsStr::new(name))) {
            return Ok(Outcome::Refused);
        }
        Err(Finding(format!("a recovery that refused the node wrote into {changed:?}")).into())
    }

    /// Says what became of damage that the recovery did not refuse; silence about a difference is a finding.
    fn question_damaged(&self, damaged: &Damaged, file: &Path) -> Result<Outcome, Failure> {
        if matches!(audit(&self.bench.runner, &self.dir)?, Audit::Unclean(_)) {
            return Ok(Outcome::Audited);
        }
        let left = damaged.is_left();
        let left = left.map_err(|error| TortureError::scratch(file, "reading", &error))?;
        let (observed, node) = oracle::observe(&DataDir::new(&self.dir), &self.bench.registry)?;
        drop(node);
        observed.check(&self.course().undisturbed)?;
        self.recover_in_vain()?;
        Ok(if left { Outcome::Harmless } else { Outcome::Repaired })
    }
}

type Digests = BTreeMap<PathBuf, Digest>;

/// Returns the names of the files that came, went or changed.
fn changed<'a>(before: &'a Digests, after: &'a Digests) -> BTreeSet<&'a OsStr> {
    let files = before.keys().chain(after.keys());
    let differs = files.filter(|file| before.get(*file) != after.get(*file));
    differs.filter_map(|file| file.file_name()).collect()
}

/// Returns the arguments of a recovery, which makes the block table where it is missing.
pub(super) fn recovery(dir: &Path, batch_txs: Option<u64>) -> Vec<OsString> {
    let mut arguments = vec!["recover".into(), "--quiet".into(), "--rebuild-main".into()];
    arguments.extend(["--data".into(), dir.as_os_str().to_owned()]);
    if let Some(batch_txs) = batch_txs {
        // Without memory everything goes through the sandbox.
        arguments.extend(["--memory".into(), "0".into()]);
        arguments.extend(["--batch-txs".into(), batch_txs.to_string().into()]);
    }
    arguments
}

/// Returns the arguments of a process that appends.
pub(super) fn appending(dir: &Path, seed: u64) -> Vec<OsString> {
    let seed = seed.to_string().into();
    vec![
        "torture-append".into(),
        "--data".into(),
        dir.as_os_str().to_owned(),
        "--seed".into(),
        seed,
    ]
}
