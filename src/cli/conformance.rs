//! `rewake conformance`: the cases of `ethereum/tests`, each through log, sandbox and commit in a fresh store.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use anyhow::Result;
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::cli::recover::EngineArgs;
use crate::cli::{App, Exit, progress};
use crate::conformance::{Verdict, run_case};
use crate::exec::RecoveryOptions;
use crate::import::eth::{EthImportError, SuiteFile, parse_cases, visit_suite};
use crate::machine::evm::ForkError;

/// Files that are held in memory and run side by side.
const FILES_AT_ONCE: usize = 64;

/// Which cases, and how they are recovered.
#[derive(Debug, Args)]
pub(crate) struct ConformanceArgs {
    /// Files of cases, folders of them, or tar archives, plain or compressed with zstd
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    engine: EngineArgs,
}

/// What running the cases came to.
#[derive(Debug, Default, Serialize)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    failures: Vec<Entry>,
    skips: Vec<Entry>,
    /// Failures whose only reason is a fork that this program does not know.
    #[serde(skip)]
    unknown_forks: u64,
    wall_ms: u64,
}

#[derive(Debug, Serialize)]
struct Entry {
    file: PathBuf,
    case: String,
    reason: String,
}

pub(crate) fn run(args: &ConformanceArgs, app: &App) -> Result<Exit> {
    let options = args.engine.options();
    let bar = progress::bar(&app.output, "run", "cases", None);
    let mut tally = Tally::default();
    let mut held = Vec::new();
    for path in &args.paths {
        visit_suite(path, &mut |file| -> Result<()> {
            held.push(file);
            if held.len() == FILES_AT_ONCE {
                tally.run(&std::mem::take(&mut held), app, &options, &bar)?;
            }
            Ok(())
        })?;
    }
    tally.run(&held, app, &options, &bar)?;
    bar.finish_and_clear();
    tally.wall_ms = app.wall_ms();
    tally.tell(app);
    Ok(tally.exit())
}

impl Tally {
    fn run(
        &mut self,
        files: &[SuiteFile],
        app: &App,
        options: &RecoveryOptions,
        bar: &ProgressBar,
    ) -> Result<()> {
        // Not rayon's workers: a recovery waits for those.
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<_>> {
            let mut ran = Vec::new();
            while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                ran.extend(run_file(file, app, options, bar)?);
            }
            Ok(ran)
        };
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
        let ran = std::thread::scope(|scope| {
            let started: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            started.into_iter().map(join).collect::<Result<Vec<_>>>()
        })?;
        for (entry, verdict) in ran.into_iter().flatten() {
            match verdict {
                Ran::Verdict(Verdict::Passed) => self.passed += 1,
                Ran::Verdict(Verdict::Skipped(reason)) => {
                    self.skipped += 1;
                    self.skips.push(Entry { reason, ..entry });
                }
                Ran::Verdict(Verdict::Failed(reason)) => {
                    self.failed += 1;
                    self.failures.push(Entry { reason, ..entry });
                }
                Ran::UnknownFork(reason) => {
                    self.failed += 1;
                    self.unknown_forks += 1;
                    self.failures.push(Entry { reason, ..entry });
                }
            }
        }
        Ok(())
    }

    fn tell(&self, app: &App) {
        let list = |what: &str, entries: &[Entry]| {
            for Entry { file, case, reason } in entries {
                app.output.line(format_args!("{what} {}: {case}: {reason}", file.display()));
            }
        };
        list("skipped", &self.skips);
        list("failed ", &self.failures);
        let Self { passed, failed, skipped, wall_ms, .. } = self;
        app.output.line(format_args!(
            "{passed} cases passed, {failed} failed, {skipped} skipped in {wall_ms} ms"
        ));
        app.output.object(self);
    }

    const fn exit(&self) -> Exit {
        match (self.failed, self.unknown_forks) {
            (0, _) => Exit::Done,
            (failed, unknown) if failed == unknown => Exit::Machine,
            _ => Exit::Diverged,
        }
    }
}

fn join<T>(worker: ScopedJoinHandle<'_, T>) -> T {
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

enum Ran {
    Verdict(Verdict),
    UnknownFork(String),
}

fn run_file(
    (path, json): &SuiteFile,
    app: &App,
    options: &RecoveryOptions,
    bar: &ProgressBar,
) -> Result<Vec<(Entry, Ran)>> {
    let cases = match parse_cases(path, json) {
        Ok(cases) => cases,
        Err(error) => {
            let ran = Ran::Verdict(Verdict::Failed(error.to_string()));
            return Ok(vec![(entry(path, String::new()), ran)]);
        }
    };
    let mut ran = Vec::with_capacity(cases.len());
    for (name, case) in cases {
        let verdict = match case {
            Ok(case) => Ran::Verdict(run_case(&case, &app.registry, options)?),
            Err(error) => unreadable(&error),
        };
        ran.push((entry(path, name), verdict));
        bar.inc(1);
    }
    Ok(ran)
}

fn entry(path: &Path, case: String) -> Entry {
    Entry { file: path.to_owned(), case, reason: String::new() }
}

fn unreadable(error: &EthImportError) -> Ran {
    match error {
        EthImportError::Fork { error: ForkError::Unsupported { .. }, .. } => {
            Ran::Verdict(Verdict::Skipped(error.to_string()))
        }
        EthImportError::Fork { error: ForkError::Unknown { .. }, .. } => {
            Ran::UnknownFork(error.to_string())
        }
        _ => Ran::Verdict(Verdict::Failed(error.to_string())),
    }
}
