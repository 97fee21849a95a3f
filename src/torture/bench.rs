//! The bench: copies of the node, prepared so that a round only has to copy one, with what undisturbed runs made of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::exec::{Examined, Intake, Recovery, RecoveryOptions, StopSignal, SystemClock, examine};
use crate::generate::Workload;
use crate::machine::ledger::Ledger;
use crate::machine::{Registry, StateMachine as _};
use crate::plan::BatchLimits;
use crate::store::{DataDir, Repairs};
use crate::torture::acknowledged::Before;
use crate::torture::append::Appends;
use crate::torture::child::{End, Runner};
use crate::torture::finding::Finding;
use crate::torture::oracle::{self, Observed};
use crate::torture::scratch::{self, Scratch};
use crate::torture::{Kind, Source, Subject, TortureError, TortureOptions};

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
/// Longest time that an undisturbed run may take.
const UNDISTURBED_MAX: Duration = Duration::from_hours(24);
/// So many times as long as the undisturbed run takes, a disturbed one may take.
const PATIENCE: u32 = 20;
const MAIN_FILES: [&str; 2] = ["main.db", "main.db-wal"];
const SANDBOX_FILES: [&str; 2] = ["sandbox.db", "sandbox.db-wal"];

/// What one kind of process starts from, and what it makes of that where nobody disturbs it.
pub(super) struct Course {
    pub(super) template: PathBuf,
    pub(super) undisturbed: Observed,
    pub(super) took: Duration,
    /// Size of the largest database afterwards, in bytes.
    pub(super) largest_bytes: u64,
}

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
        let scratch = Scratch::create(&options.scratch)?;
        let source = scratch.path("source");
        match &options.source {
            Source::Node(dir) => dir.copy_to(&source)?,
            Source::Fresh => make(&source, &registry)?,
        }
        // What is refused from the beginning is no node for torture.
        drop(examine(&DataDir::new(&source), &registry, Repairs::default())?);
        let launch = Arc::clone(&options.launch);
        let mut runner = Runner { launch, patience: UNDISTURBED_MAX, stop: options.stop.clone() };
        let bare = scratch.path("rebuild");
        scratch::copy(&source, &bare)?;
        scratch::drop_files(&bare, &[MAIN_FILES, SANDBOX_FILES].concat())?;
        let (crashed, older) = (scratch.path("resume"), scratch.path("older"));
        let batch_txs = Crash { registry: &registry, stop: &options.stop }.make(
            &bare,
            &scratch.path("crash"),
            &older,
            &crashed,
        )?;
        let settled = scratch.path("append");
        let course = |what, template: &Path, keep: Option<&Path>| {
            let dir = scratch.path("undisturbed");
            scratch::copy(template, &dir)?;
            let arguments = super::round::recovery(&dir, Some(batch_txs));
            let course = undisturbed(what, template, &dir, &runner, &arguments, &registry)?;
            match keep {
                Some(keep) => rename(&dir, keep)?,
                None => scratch::delete(&dir)?,
            }
            Ok::<_, TortureError>(course)
        };
        let rebuild = course("rebuild", &bare, Some(&settled))?;
        let resume = course("recovery", &crashed, None)?;
        let (append, before) = appending(&settled, &scratch, &runner, &registry)?;
        let slowest = rebuild.took.max(resume.took).max(append.took);
        runner.patience = options.patience.max(slowest.saturating_mul(PATIENCE));
        let kinds = offered(&crashed, &older);
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

fn rename(from: &Path, to: &Path) -> Result<(), TortureError> {
    std::fs::rename(from, to).map_err(|error| TortureError::scratch(to, "creating", &error))
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
        scratch::copy(bare, dir)?;
        let data = DataDir::new(dir);
        let repairs = Repairs { rebuild_main: true, ..Repairs::default() };
        let node = examine(&data, self.registry, repairs)?;
        let batch_txs = (node.backlog.txs / BATCHES).max(1);
        // Recoveries that each commit one batch: two end in an orderly way, the last as a crash does.
        let (mut node, _) = Recovery::new(node, self.one_batch(batch_txs)).run()?;
        scratch::copy(dir, older)?;
        append(&mut node, 1)?;
        let (node, _) = Recovery::new(node, self.one_batch(batch_txs)).run()?;
        let (mut node, _) = Recovery::new(node, self.one_batch(batch_txs)).advance()?;
        append(&mut node, 2)?;
        // CRASH: what is copied while the node is open is what a kill at this moment leaves.
        scratch::copy(dir, crashed)?;
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
    let lot = Appends::of(node, seed).map_err(|error| unreadable(&error.into()))?.next();
    let mut intake = Intake::new(node, Arc::new(SystemClock));
    intake.append(lot.unwrap_or_default())?;
    Ok(node.catch_up()?)
}

fn unreadable(Finding(how): &Finding) -> TortureError {
    TortureError::Undisturbed { what: "node", how: how.clone() }
}

/// Runs a process that nobody disturbs, in a copy of its template.
fn undisturbed(
    what: &'static str,
    template: &Path,
    dir: &Path,
    runner: &Runner,
    arguments: &[std::ffi::OsString],
    registry: &Registry,
) -> Result<Course, TortureError> {
    let ran = runner.run(arguments, None)?;
    if !matches!(ran.end, End::Code(0 | 9)) {
        return Err(TortureError::Undisturbed { what, how: ran.how() });
    }
    let observed = oracle::observe(&DataDir::new(dir), registry);
    let (undisturbed, _) =
        observed.map_err(|Finding(how)| TortureError::Undisturbed { what, how })?;
    let bytes = |name| dir.join(name).metadata().map_or(0, |file| file.len());
    let largest_bytes = bytes("log.db").max(bytes("main.db"));
    Ok(Course { template: template.to_owned(), undisturbed, took: ran.took, largest_bytes })
}

/// Runs the appending process undisturbed, and notes what it starts from.
fn appending(
    settled: &Path,
    scratch: &Scratch,
    runner: &Runner,
    registry: &Registry,
) -> Result<(Course, Before), TortureError> {
    let (undisturbed, node) = oracle::observe(&DataDir::new(settled), registry)
        .map_err(|Finding(how)| TortureError::Undisturbed { what: "rebuild", how })?;
    let before = Before {
        head: node.log_head,
        waiting: node.backlog.mempool.iter().collect(),
        last_ordered: node.backlog.last_ordered,
        appends: Appends::of(&node, 0).map_err(|error| unreadable(&error.into()))?,
    };
    drop(node);
    let dir = scratch.path("undisturbed");
    scratch::copy(settled, &dir)?;
    let ran = runner.run(&super::round::appending(&dir, 0), None)?;
    if ran.end != End::Code(0) {
        return Err(TortureError::Undisturbed { what: "append", how: ran.how() });
    }
    let largest_bytes = dir.join("log.db").metadata().map_or(0, |file| file.len());
    scratch::delete(&dir)?;
    let template = settled.to_owned();
    Ok((Course { template, undisturbed, took: ran.took, largest_bytes }, before))
}

/// Returns the kinds for which the node has what is needed.
fn offered(crashed: &Path, older: &Path) -> Vec<Kind> {
    let holds = |dir: &Path, file: &str| dir.join(file).metadata().is_ok_and(|seen| seen.len() > 0);
    let differs = |file: &str| {
        let read = |dir: &Path| std::fs::read(dir.join(file)).ok();
        read(crashed) != read(older)
    };
    let mut kinds = Kind::all();
    kinds.retain(|kind| match kind.subject.file() {
        None => true,
        Some(file) if kind.fault == super::Fault::OlderCopy => {
            holds(crashed, file) && older.join(file).exists() && differs(file)
        }
        Some(file) => holds(crashed, file),
    });
    kinds
}
