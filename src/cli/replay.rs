//! `rewake replay`: replays a bundle, without any node.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::audit::receipt_text;
use crate::cli::{Advised, App, Exit, Output};
use crate::exec::Access;
use crate::reproduce::{Bundle, BundleError, ReplayOptions, ReplayReport, ReplayedBlock, replay};
use crate::state::Writer;
use crate::types::{Bytes, encode_hex};

/// Which bundle, and how.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// A file that `rewake bundle` or a halted recovery wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Shows each step: receipts, and the keys that are read and written
    #[arg(long)]
    steps: bool,
    /// Executes the transactions that verdicts keep out as well
    #[arg(long)]
    ignore_verdicts: bool,
    /// Threads that execute the transactions of one block [default: the number of processors]; steps are shown in order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64), conflicts_with = "steps")]
    workers: Option<u8>,
}

impl ReplayArgs {
    fn options(&self) -> ReplayOptions {
        let mut options =
            ReplayOptions { ignore_verdicts: self.ignore_verdicts, ..ReplayOptions::default() };
        options.executor.records_access = self.steps;
        if let Some(workers) = self.workers {
            options.executor.workers = workers.into();
        }
        options
    }
}

pub(crate) fn run(args: &ReplayArgs, app: &App) -> Result<Exit> {
    let bundle = Bundle::load(&args.file).map_err(|error| unreadable(args, &error))?;
    let machine = app.machine(&bundle.machine.id)?;
    let report = replay(&bundle, &machine, args.options(), &mut |block| {
        if args.steps {
            show(&app.output, block);
        }
    });
    tell(&report, app);
    Ok(if report.is_equal() { Exit::Done } else { Exit::Diverged })
}

fn unreadable(args: &ReplayArgs, error: &BundleError) -> Advised {
    let what = format!("{}: {error}", args.file.display());
    match error {
        BundleError::Io { .. } => Advised::new(Exit::Unexpected, what, "check the path"),
        BundleError::TooNew { .. } => Advised::new(
            Exit::Corrupt,
            what,
            "use the program version that wrote it, or a newer one",
        ),
        BundleError::Foreign { .. }
        | BundleError::Corrupt { .. }
        | BundleError::TooLarge { .. } => {
            Advised::new(Exit::Corrupt, what, "get the file again from where it was written")
        }
    }
}

fn show(output: &Output, block: ReplayedBlock<'_>) {
    let ReplayedBlock { input, rulings, executed, failure } = block;
    let (height, txs) = (input.height.get(), input.txs.len());
    let patches = input.patches.len();
    output.line(format_args!("block {height}: {txs} transactions, {patches} patches"));
    let access = executed.map(|executed| executed.access.as_slice()).unwrap_or_default();
    let touched = |step: Writer| {
        if let Some(access) = access.iter().find(|access| access.step == step) {
            show_keys(output, access);
        }
    };
    output.line("  begin");
    touched(Writer::Begin);
    let receipts = executed.map(|executed| executed.receipts.0.as_slice()).unwrap_or_default();
    for (index, (tx, receipt)) in input.txs.iter().zip(receipts).enumerate() {
        let text = receipt_text(Some(receipt));
        output.line(format_args!("  transaction {index} ({}): {text}", tx.id));
        if !rulings.contains_key(&tx.seq) {
            touched(Writer::Tx(u32::try_from(index).unwrap_or(u32::MAX)));
        }
    }
    if let Some(failure) = failure {
        output.line(format_args!("  failed: {failure}"));
    } else {
        output.line("  end");
        touched(Writer::End);
    }
}

fn show_keys(output: &Output, access: &Access) {
    let line = |verb: &str, keys: &mut dyn Iterator<Item = &Bytes>| {
        let keys: Vec<_> = keys.map(|key| encode_hex(key)).collect();
        if !keys.is_empty() {
            output.line(format_args!("    {verb} {}", keys.join(" ")));
        }
    };
    line("reads ", &mut access.reads.iter());
    line("writes", &mut access.writes.iter());
}

fn tell(report: &ReplayReport, app: &App) {
    app.output.line(match (&report.reproduced, report.finding_count) {
        (Some(failure), 0) => format!("reproduced: {failure}"),
        (None, 0) => "equal: every receipt and every change is as the bundle says".to_owned(),
        (_, 1) => "1 place differs".to_owned(),
        (_, count) => format!("{count} places differ"),
    });
    for finding in &report.findings {
        app.output.line(format_args!("  {finding}"));
    }
    let (blocks, txs) = (report.blocks_executed, report.txs_executed);
    app.output.line(format_args!(
        "executed {blocks} blocks with {txs} transactions in {} ms",
        report.wall_ms
    ));
    if report.machine != report.made_by {
        let (now, then) = (&report.machine, &report.made_by);
        app.output.note(format_args!("note: the bundle was made by {then}, this is {now}"));
    }
    app.output.object(report);
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::exec::ExecutorSettings;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ReplayArgs,
    }

    #[test]
    fn workers_are_as_asked_for_and_steps_are_recorded_where_they_are_shown() {
        let all = ExecutorSettings::default().workers;
        let cases: [(&[&str], usize, bool); 4] = [
            (&[], all, false),
            (&["--workers", "1"], 1, false),
            (&["--workers", "64"], 64, false),
            (&["--steps"], all, true),
        ];
        for (how, workers, records_access) in cases {
            let line = Line::try_parse_from([&["replay", "FILE"], how].concat()).expect("a line");
            let found = line.args.options().executor;
            assert_eq!((found.workers, found.records_access), (workers, records_access), "{how:?}");
        }
    }
}
