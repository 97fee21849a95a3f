//! `rewake audit`: executes confirmed history again and says where what is stored parts from it.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use indicatif::ProgressBar;

use crate::audit::{AuditRange, AuditReport, Progress, Stage, audit};
use crate::cli::{Advised, App, Exit, NodeArgs, progress};
use crate::types::Height;

/// Which node, and which of its blocks.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The first block; without it all of history is executed from an empty state, and the whole log verified
    #[arg(long, value_name = "HEIGHT", value_parser = clap::value_parser!(u64).range(..=i64::MAX.cast_unsigned()))]
    from: Option<u64>,
    /// The last block; without it the audit goes up to the head, the state table and the end of the log
    #[arg(long, value_name = "HEIGHT", value_parser = clap::value_parser!(u64).range(..=i64::MAX.cast_unsigned()))]
    to: Option<u64>,
}

pub(crate) fn run(args: &AuditArgs, app: &App) -> Result<Exit> {
    // Whatever `examine` would refuse is what an audit is for: only files that cannot be opened stop it.
    let store = Arc::new(args.node.dir().open()?);
    let machine = app.machine(&store.main().machine().id.clone())?;
    let range = AuditRange { from: args.from.map(Height), to: args.to.map(Height) };
    let bar = progress::bar(&app.output, "audit", "blocks", None);
    let report = audit(&store, &machine, range, &mut |done| show(&bar, done));
    bar.finish_and_clear();
    let report = report.map_err(|error| {
        let advice = "see `rewake status` for the blocks that there are";
        Advised::new(Exit::Usage, error.to_string(), advice)
    })?;
    tell(&report, app);
    Ok(if report.is_clean() { Exit::Done } else { Exit::Diverged })
}

fn show(bar: &ProgressBar, done: Progress) {
    match done.stage {
        Stage::Undo => bar.set_message("blocks undone"),
        Stage::Execute => bar.set_message("blocks"),
        Stage::Scan => bar.set_message("blocks, scanning the state"),
    }
    bar.inc(u64::from(done.stage != Stage::Scan));
}

fn tell(report: &AuditReport, app: &App) {
    let AuditReport { findings, finding_count, .. } = report;
    app.output.line(match finding_count {
        0 => "clean: everything that was compared is as it must be".to_owned(),
        1 => "1 place differs".to_owned(),
        count => format!("{count} places differ"),
    });
    for finding in findings {
        app.output.line(format_args!("  {finding}"));
    }
    let shown: u64 = findings.iter().map(|finding| finding.more.saturating_add(1)).sum();
    if shown < *finding_count {
        app.output.line(format_args!("  … and {} more", finding_count.saturating_sub(shown)));
    }
    app.output.table(rows(report));
    if report.machine != report.made_by {
        let (now, then) = (&report.machine, &report.made_by);
        app.output.note(format_args!("note: the blocks were made by {then}, this is {now}"));
    }
    app.output.object(report);
}

fn rows(report: &AuditReport) -> Vec<(&'static str, String)> {
    let base = if report.from_genesis {
        "an empty state".to_owned()
    } else {
        format!("the state got by undoing {} blocks", report.blocks_undone)
    };
    let range = match (report.from_height, report.to_height) {
        (Some(from), Some(to)) => format!("blocks {} to {}", from.get(), to.get()),
        _ => "no block".to_owned(),
    };
    let mut rows = vec![
        ("range", format!("{range}, from {base}")),
        (
            "executed",
            format!("{} blocks, {} transactions", report.blocks_executed, report.txs_executed),
        ),
        ("compared", format!("{} blocks with their receipts and changes", report.blocks_compared)),
        (
            "log",
            format!(
                "events {} to {}, {} of them verified; {} blocks are not confirmed",
                report.first_seq,
                report.last_seq,
                report.events_verified,
                report.blocks_unconfirmed
            ),
        ),
    ];
    let head = if report.reached_head {
        let compared = "state table, mempool, quarantine and witness compared";
        format!("{compared}, {} entries scanned", report.state_entries)
    } else {
        "not reached: state table, mempool and witness not compared".to_owned()
    };
    rows.push(("head", head));
    rows.push(("time", format!("{} ms", report.wall_ms)));
    rows
}
