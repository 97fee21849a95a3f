//! `rewake torture`: kills, faults and damage against copies of a node, on the machine that it is to run on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::cli::{Advised, App, Exit, progress, signals};
use crate::exec::StopSignal;
use crate::store::DataDir;
use crate::torture::{
    Extent, Launch, Leavings, Source, Torture, TortureError, TortureOptions, TortureReport, Verdict,
};

mod child;
mod place;

pub(crate) use child::{LimitedAppendArgs, LimitedRecoverArgs, run_append, run_recover};

/// Which node, how long, and what chooses.
#[derive(Debug, Args)]
pub(crate) struct TortureArgs {
    /// Data directory of the node whose copies are tortured; it is only read, under its lock
    #[arg(long, value_name = "DIR", required_unless_present = "fresh", conflicts_with = "fresh")]
    data: Option<PathBuf>,
    /// Makes a small ledger for it instead
    #[arg(long)]
    fresh: bool,
    /// Directory outside of DIR for copies of 8 times its size [default: beside DIR, or the current directory]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// How long new rounds are begun
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    seconds: u64,
    /// Ends after so many rounds instead
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
    /// Repeats one round alone
    #[arg(long, value_name = "N", conflicts_with_all = ["seconds", "rounds"], value_parser = clap::value_parser!(u64).range(1..))]
    round: Option<u64>,
    /// Chooses one of 2^64 campaigns
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// How long a process may take before it counts as hung, in seconds; a slow node has more
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    patience: u64,
}

impl TortureArgs {
    fn options(&self, stop: StopSignal, leavings: Leavings) -> Result<TortureOptions> {
        let source =
            self.data.as_ref().map_or(Source::Fresh, |data| Source::Node(DataDir::new(data)));
        let elapsed = Extent::Elapsed(Duration::from_secs(self.seconds));
        let extent = match (self.round, self.rounds) {
            (Some(round), _) => Extent::Only(round),
            (None, Some(rounds)) => Extent::Rounds(rounds),
            (None, None) => elapsed,
        };
        let launch = this_program()?;
        Ok(TortureOptions {
            source,
            scratch: place::scratch_parent(self.data.as_deref(), self.scratch.as_deref())?,
            seed: self.seed,
            extent,
            patience: Duration::from_secs(self.patience),
            launch,
            command: self.command(),
            stop,
            leavings,
        })
    }

    /// Returns what repeating a round begins with.
    fn command(&self) -> String {
        let source = self
            .data
            .as_ref()
            .map_or_else(|| "--fresh".to_owned(), |data| format!("--data {}", data.display()));
        let program = std::env::current_exe().ok();
        let program = program.as_deref().and_then(Path::file_name).map(OsString::from);
        let program =
            program.map_or_else(|| "rewake".to_owned(), |name| name.display().to_string());
        format!("{program} torture {source}")
    }
}

fn this_program() -> Result<Launch> {
    let program = std::env::current_exe().context("the program cannot find itself")?;
    Ok(Arc::new(move |arguments: &[OsString]| {
        let mut command = Command::new(&program);
        command.args(arguments);
        command
    }))
}

pub(crate) fn run(args: &TortureArgs, app: &App) -> Result<Exit> {
    let (stop, leavings) = (StopSignal::default(), Leavings::default());
    let options = args.options(stop.clone(), leavings.clone())?;
    let listening = signals::at_first(move || stop.request())?.at_second(move || leavings.remove());
    let report = torture(options, app).map_err(advised)?;
    drop(listening);
    tell(&report, app);
    app.output.object(&report);
    Ok(exit(report.outcome))
}

const fn exit(outcome: Verdict) -> Exit {
    match outcome {
        Verdict::Survived | Verdict::Repeated => Exit::Done,
        Verdict::Violated => Exit::Diverged,
        Verdict::Stopped => Exit::Halted,
        Verdict::Incomplete => Exit::Incomplete,
    }
}

fn torture(options: TortureOptions, app: &App) -> Result<TortureReport, TortureError> {
    app.output.note("note: copying the node and running it undisturbed first");
    let torture = Torture::prepare(options, app.registry.clone())?;
    let bar = progress::bar(&app.output, "torture", "rounds", None);
    let report = torture.run(&mut |tally| {
        bar.set_position(tally.rounds());
        bar.set_message(match tally.violations() {
            0 => "rounds".to_owned(),
            count => format!("rounds, {count} VIOLATIONS"),
        });
    });
    bar.finish_and_clear();
    report
}

/// Gives an error that has no advice of its own an exit code and advice.
fn advised(error: TortureError) -> anyhow::Error {
    let advice = match &error {
        TortureError::Stopped => {
            return Advised::new(Exit::Halted, error.to_string(), "run it again").into();
        }
        TortureError::Undisturbed { .. } => {
            "run `rewake recover --rebuild-main` on a copy of the node, and see what it says"
        }
        TortureError::Child { .. } => "see whether the program may start processes here",
        TortureError::Scratch { .. } => "name another directory with --scratch",
        TortureError::Space { .. } => "make room, or name a directory with more with --scratch",
        TortureError::Store(_) | TortureError::Refused(_) => return known(error),
    };
    Advised::new(Exit::Unexpected, error.to_string(), advice).into()
}

fn known(error: TortureError) -> anyhow::Error {
    match error {
        TortureError::Store(error) => error.into(),
        TortureError::Refused(refusal) => refusal.into(),
        other => other.into(),
    }
}

fn tell(report: &TortureReport, app: &App) {
    app.output.table(report.kinds.iter().map(|kind| {
        let name = kind.kind.fault.name();
        let outcomes =
            kind.outcomes.iter().map(|(outcome, count)| format!("{count} {}", outcome.name()));
        let mut outcomes: Vec<_> = outcomes.collect();
        if outcomes.is_empty() {
            outcomes.push("never reached".to_owned());
        }
        (name, format!("{:<10}  {}", kind.kind.subject.name(), outcomes.join(", ")))
    }));
    let TortureReport { rounds, kills, seed, wall_ms, .. } = report;
    app.output.line(format_args!(
        "\n{rounds} rounds in {wall_ms} ms, seed {seed}, {kills} processes killed"
    ));
    if let Some(repeated) = &report.repeated {
        app.output.line(format_args!("round: {repeated}"));
    }
    for violation in &report.violations {
        let (kind, detail, what) = (violation.kind, &violation.fault_detail, &violation.what);
        app.output.line(format_args!("violation: {kind}: {detail}: {what}"));
        let (reproduce, kept) = (&violation.reproduce, violation.kept.display());
        app.output.line(format_args!("  repeat: {reproduce}; kept: {kept}"));
    }
    app.output.line(match report.outcome {
        Verdict::Survived => {
            "survived: every kind of fault was reached, and all that is promised held"
        }
        Verdict::Violated => "VIOLATED: something that is promised does not hold",
        Verdict::Incomplete => {
            "incomplete: some kinds of fault were never reached; give it more --seconds or --rounds"
        }
        Verdict::Repeated => "the round was repeated, and all that is promised held",
        Verdict::Stopped => "stopped: all that is promised held until then",
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_the_documented_code() {
        for (outcome, code) in [
            (Verdict::Survived, 0),
            (Verdict::Repeated, 0),
            (Verdict::Violated, 5),
            (Verdict::Stopped, 8),
            (Verdict::Incomplete, 10),
        ] {
            assert_eq!(exit(outcome).code(), code, "{outcome:?}");
        }
    }
}
