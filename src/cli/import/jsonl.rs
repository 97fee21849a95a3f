//! `rewake import jsonl`: logs ledger transfers line by line, and orders blocks of them where it is asked to.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use super::{open_or_make, where_it_ended};
use crate::cli::generate::LOT;
use crate::cli::init::GenesisArgs;
use crate::cli::{Advised, App, Exit, NodeArgs, progress};
use crate::exec::{Clock as _, Intake, NewEvent, SystemClock};
use crate::import::jsonl::Lines;
use crate::machine::StateMachine as _;
use crate::machine::ledger::{Header, Ledger};
use crate::types::{Bytes, Height, TxId};

/// Where transfers come from and what becomes of them.
#[derive(Debug, Args)]
pub(crate) struct JsonlArgs {
    /// File with one transfer a line; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
    /// Orders a block after each N transfers, and one of what is left; without it they wait in the mempool
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    block_txs: Option<u64>,
    #[command(flatten)]
    genesis: GenesisArgs,
}

/// What was imported.
#[derive(Debug, Default, Serialize)]
struct Imported {
    outcome: &'static str,
    read: u64,
    received: u64,
    known: u64,
    ordered_blocks: u64,
    ordered_txs: u64,
    mempool: u64,
    log_head_seq: u64,
    wall_ms: u64,
}

pub(crate) fn run(args: &JsonlArgs, app: &App) -> Result<Exit> {
    let source = open(&args.file)?;
    let (node, is_new) = open_or_make(&args.node, &Ledger.version().id, app)?;
    let mut intake = Intake::new(&node, Arc::new(SystemClock));
    if is_new {
        args.genesis.append(&mut intake)?;
    }
    if node.checkpoint.is_none() && intake.backlog().last_ordered.is_none() {
        app.output.note(
            "note: this node has no accounts, and transfers between unknown accounts are refused; \
             `--accounts N --balance B` opens some when a node is made",
        );
    }
    let bar = progress::bar(&app.output, "import", "transfers", None);
    let mut import = Import::new(intake, args.block_txs, bar);
    let read = import.read(args.file.display().to_string(), source);
    import.bar.finish_and_clear();
    let mut imported = import.done;
    (imported.log_head_seq, imported.mempool) = where_it_ended(&node, &import.intake);
    imported.wall_ms = app.wall_ms();
    imported.outcome = "done";
    read.map_err(|error| explain(error, &imported))?;
    tell(&imported, app);
    Ok(Exit::Done)
}

fn open(file: &Path) -> Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let opened = File::open(file).map_err(|error| {
        let what = format!("{}: cannot be opened: {error}", file.display());
        Advised::new(Exit::Usage, what, "name a file that is there and can be read")
    })?;
    Ok(Box::new(BufReader::with_capacity(1 << 20, opened)))
}

fn tell(imported: &Imported, app: &App) {
    let Imported { received, known, ordered_blocks, ordered_txs, mempool, .. } = imported;
    app.output.line(format_args!("imported {received} transfers; {known} were there already"));
    if *ordered_blocks > 0 {
        app.output.line(format_args!("ordered {ordered_txs} of them in {ordered_blocks} blocks"));
        app.output.line("next: `rewake recover` confirms the blocks");
    }
    app.output.line(format_args!("mempool: {mempool} transactions received and in no block"));
    app.output.object(imported);
}

/// Says how far an import came that a line ended.
fn explain(error: anyhow::Error, imported: &Imported) -> anyhow::Error {
    let Some(line) = error.downcast_ref::<crate::import::jsonl::LineError>() else { return error };
    let what = line.to_string();
    let advice = format!(
        "correct the line and import the file again: the {} transfers before it are logged and will not be logged twice",
        imported.received.saturating_add(imported.known)
    );
    Advised::new(Exit::Usage, what, advice).into()
}

/// Transfers on their way from lines to the log.
struct Import {
    intake: Intake,
    block_txs: Option<usize>,
    /// Events of the next durable append.
    lot: Vec<NewEvent>,
    /// Transfers of the lot, which the log does not know yet.
    new: HashSet<TxId>,
    /// Transfers of the next block.
    block: Vec<TxId>,
    /// Those, and the ones that the lot orders already.
    chosen: HashSet<TxId>,
    next: Height,
    done: Imported,
    bar: ProgressBar,
}

impl Import {
    fn new(intake: Intake, block_txs: Option<u64>, bar: ProgressBar) -> Self {
        let after = |last: Height| Height(last.get().saturating_add(1));
        let next = intake.backlog().last_ordered.map_or(Height::GENESIS, after);
        Self {
            intake,
            block_txs: block_txs.and_then(|count| usize::try_from(count).ok()),
            lot: Vec::with_capacity(LOT),
            new: HashSet::new(),
            block: Vec::new(),
            chosen: HashSet::new(),
            next,
            done: Imported::default(),
            bar,
        }
    }

    /// Imports every line; at a line that is none, what came before it is logged all the same.
    fn read(&mut self, name: String, source: impl BufRead) -> Result<()> {
        for line in Lines::new(name, source) {
            match line {
                Ok((id, payload)) => self.take(id, payload)?,
                Err(error) => {
                    self.append()?;
                    return Err(error.into());
                }
            }
        }
        self.order();
        self.append()
    }

    fn take(&mut self, id: TxId, payload: Bytes) -> Result<()> {
        self.done.read = self.done.read.saturating_add(1);
        // A transfer that waits since an earlier import is ordered with the others; one that has its block is not.
        let waits = if self.new.contains(&id) {
            self.done.known = self.done.known.saturating_add(1);
            false
        } else if let Some(seq) = self.intake.find(&id)? {
            self.done.known = self.done.known.saturating_add(1);
            self.intake.backlog().mempool.contains(seq)
        } else {
            self.new.insert(id);
            self.lot.push(NewEvent::Tx { id, payload });
            self.done.received = self.done.received.saturating_add(1);
            true
        };
        if let Some(most) = self.block_txs
            && waits
            && self.chosen.insert(id)
        {
            self.block.push(id);
            if self.block.len() >= most {
                self.order();
            }
        }
        if self.lot.len() >= LOT { self.append() } else { Ok(()) }
    }

    fn order(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let txs = std::mem::take(&mut self.block);
        self.done.ordered_blocks = self.done.ordered_blocks.saturating_add(1);
        self.done.ordered_txs =
            self.done.ordered_txs.saturating_add(crate::codec::count(txs.len()));
        let header = Header { time_ms: SystemClock.now().0 }.encode().into();
        self.lot.push(NewEvent::Order { height: self.next, header, txs });
        self.next = Height(self.next.get().saturating_add(1));
    }

    fn append(&mut self) -> Result<()> {
        let lot = std::mem::replace(&mut self.lot, Vec::with_capacity(LOT));
        self.bar.inc(crate::codec::count(self.new.len()));
        self.new.clear();
        self.intake.append(lot)?;
        // From now on the log knows what was ordered, and only the unfinished block is to be remembered.
        self.chosen = self.block.iter().copied().collect();
        Ok(())
    }
}
