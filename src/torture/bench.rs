//! The bench: copies of the node, prepared so that a round only has to copy one, with what undisturbed runs made of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::exec::{Examined, Intake, Recovery, RecoveryOptions, StopSignal, SystemClock, examine};
use crate::generate::Workload;
use crate::machine::ledger::Ledger;
use crate::machine::{Registry, StateMachine as _};
use crate::plan::BatchLimits;
use crate::store::{DataDir, Repairs};
use crate::torture::acknowledged::Before;
use crate::torture::append::Appends;
use crate::torture::child::Runner;
use crate::torture::scratch::{self, Scratch};
use crate::torture::undisturbed::{self, Course, UNDISTURBED_MAX, Undisturbed};
use crate::torture::{Fault, Kind, Source, Subject, TortureError, TortureOptions, space};

/// The ledger that is made where no node is named.
const FRESH: Workload = Workload {
    accounts: 64,
    transfers: 1_210,
    block_txs: 20,
    unconfirmed_blocks: 0,
    mempool: 10,
    skew_percent: 80,
    refusals_percent: 5,
    seed: 1,
};
/// Batches into which the history is divided, so that a crash can lie between two.
const BATCHES: u64 = 5;
/// So many times as long as the undisturbed run takes, a disturbed one may take.
const PATIENCE: u32 = 20;
const MAIN_FILES: [&str; 2] = ["main.db", "main.db-wal"];
const SANDBOX_FILES: [&str; 2] = ["sandbox.db", "sandbox.db-wal"];

/// Everything that rounds start from.
pub(super) struct Bench {
    pub(super) scratch: Scratch,
    pub(super) registry: Registry,
    pub(super) runner: Runner,
    /// Transactions after which a batch is full, so that there are several.
    pub(super) batch_txs: u64,
    pub(super) rebuild: Course,
    pub(super) resume: Course,
    pub(super) append: Course,
    pub(super) before: Before,
    /// Older copies of the files that a crash left.
    pub(super) older: PathBuf,
    /// The kinds of rounds that this node offers.
    pub(super) kinds: Vec<Kind>,
}

impl Bench {
    /// Copies the node, makes what rounds start from, and runs each undisturbed.
    pub(super) fn prepare(
        options: &TortureOptions,
        registry: Registry,
    ) -> Result<Self, TortureError> {
        let TortureOptions { stop, leavings, .. } = options;
        let scratch = Scratch::create(&options.scratch, leavings)?;
        space::check(&options.source, &options.scratch)?;
        let bare = scratch.path("rebuild");
        match &options.source {
            Source::Node(dir) if !dir.copy_to(&bare, &|| !stop.is_requested())? => {
                return Err(TortureError::Stopped);
            }
            Source::Node(_) => {}
            Source::Fresh => make(&bare, &registry)?,
        }
        // What is refused from the beginning is no node for torture.
        drop(examine(&DataDir::new(&bare), &registry, Repairs::default())?);
        scratch::drop_files(&bare, &[MAIN_FILES, SANDBOX_FILES].concat())?;
        let (crashed, older) = (scratch.path("resume"), scratch.path("older"));
        let batch_txs = Crash { registry: &registry, stop }.make(
            &bare,
            &scratch.path("crash"),
            &older,
            &crashed,
        )?;
        let launch = Arc::clone(&options.launch);
        let (stop, leavings) = (stop.clone(), leavings.clone());
        let mut runner = Runner { launch, patience: UNDISTURBED_MAX, stop, leavings };
        let settled = scratch.path("append");
        let ways =
            Undisturbed { dir: scratch.path("undisturbed"), runner: &runner, registry: &registry };
        let rebuild = ways.recovery("rebuild", &bare, batch_txs, Some(&settled))?;
        let resume = ways.recovery("recovery", &crashed, batch_txs, None)?;
        let (append, before) = ways.append(&settled)?;
        let slowest = rebuild.took.max(resume.took).max(append.took);
        runner.patience = options.patience.max(slowest.saturating_mul(PATIENCE));
        let kinds = offered(&crashed, &older)?;
        Ok(Self {
            scratch,
            registry,
            runner,
            batch_txs,
            rebuild,
            resume,
            append,
            before,
            older,
            kinds,
        })
    }

    /// Returns what a kind of process starts from; damage befalls what a crash left.
    pub(super) const fn course(&self, subject: Subject) -> &Course {
        match subject {
            Subject::Rebuild => &self.rebuild,
            Subject::Append => &self.append,
            _ => &self.resume,
        }
    }
}

/// Makes a small ledger without a confirmed block.
fn make(dir: &Path, registry: &Registry) -> Result<(), TortureError> {
    let dir = DataDir::new(dir);
    dir.create(&Ledger.version())?;
    let node = examine(&dir, registry, Repairs::default())?;
    Intake::new(&node, Arc::new(SystemClock)).append(FRESH.events().collect())?;
    Ok(node.store.settle()?)
}

/// Makes what a crash leaves: a node in the middle of a recovery, with every file that there can be.
struct Crash<'a> {
    registry: &'a Registry,
    stop: &'a StopSignal,
}

impl Crash<'_> {
    /// Returns the number of transactions after which a batch is full.
    fn make(
        &self,
        bare: &Path,
        dir: &Path,
        older: &Path,
        crashed: &Path,
    ) -> Result<u64, TortureError> {
        scratch::copy(bare, dir, self.stop)?;
        let data = DataDir::new(dir);
        let repairs = Repairs { rebuild_main: true, ..Repairs::default() };
        let node = examine(&data, self.registry, repairs)?;
        let batch_txs = (node.backlog.txs / BATCHES).max(1);
        // Recoveries that each commit one batch: two end in an orderly way, the last as a crash does.
        let (mut node, _) = Recovery::new(node, self.one_batch(batch_txs)).run()?;
        scratch::copy(dir, older, self.stop)?;
        append(&mut node, 1)?;
        let (node, _) = Recovery::new(node, self.one_batch(batch_txs)).run()?;
        let (mut node, _) = Recovery::new(node, self.one_batch(batch_txs)).advance()?;
        append(&mut node, 2)?;
        // CRASH: what is copied while the node is open is what a kill at this moment leaves.
        scratch::copy(dir, crashed, self.stop)?;
        drop(node);
        scratch::delete(dir)?;
        if self.stop.is_requested() { Err(TortureError::Stopped) } else { Ok(batch_txs) }
    }

    /// Returns options of a recovery that stops after its first batch, with the rest in the sandbox.
    fn one_batch(&self, txs_max: u64) -> RecoveryOptions {
        let batch = BatchLimits { txs_max, ..BatchLimits::default() };
        let options = RecoveryOptions { batch, memory_bytes: 0, ..RecoveryOptions::default() };
        let (once, wish) = (options.stop.clone(), self.stop.clone());
        options.committed.subscribe(move |_| once.request());
        let stop = options.stop.clone();
        options.rehearsed.subscribe(move |_| {
            if wish.is_requested() {
                stop.request();
            }
        });
        options
    }
}

/// Logs one lot of transactions that nobody orders.
fn append(node: &mut Examined, seed: u64) -> Result<(), TortureError> {
    let lot =
        Appends::of(node, seed).map_err(|error| undisturbed::unreadable(&error.into()))?.next();
    let mut intake = Intake::new(node, Arc::new(SystemClock));
    intake.append(lot.unwrap_or_default())?;
    Ok(node.catch_up()?)
}

/// Returns the kinds for which the node has what is needed.
fn offered(crashed: &Path, older: &Path) -> Result<Vec<Kind>, TortureError> {
    let mut kinds = Vec::new();
    for kind in Kind::all() {
        let offers = match kind.subject.file() {
            None => true,
            Some(file) if kind.fault == Fault::OlderCopy => {
                is_older(&crashed.join(file), &older.join(file))?
            }
            Some(file) => holds(&crashed.join(file)),
        };
        if offers {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

fn holds(file: &Path) -> bool {
    file.metadata().is_ok_and(|seen| seen.len() > 0)
}

/// Says whether there is an older copy of a file, and it is another.
fn is_older(file: &Path, older: &Path) -> Result<bool, TortureError> {
    if !holds(file) || !older.exists() {
        return Ok(false);
    }
    let digest = |file: &Path| {
        let digest = scratch::digest(file);
        digest.map_err(|error| TortureError::scratch(file, "reading", &error))
    };
    Ok(digest(file)? != digest(older)?)
}
