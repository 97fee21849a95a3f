//! `rewake quarantine`: lists, shows, releases and discards transactions that could not be executed.

use std::str::FromStr;
use std::sync::Arc;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::{Advised, App, Exit, NodeArgs};
use crate::exec::{Held, Quarantine, QuarantineError, Settlement, SystemClock};
use crate::types::{Height, Seq, TxId, UnixMillis, encode_hex};

/// What is to be done with quarantined transactions.
#[derive(Debug, Args)]
pub(crate) struct QuarantineArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists the transactions that are held
    List {
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Shows one of them with its bytes
    Show(One),
    /// Returns one to the mempool, from where it may be ordered again
    Retry(One),
    /// Keeps one out for good
    Discard(One),
}

#[derive(Debug, Args)]
struct One {
    /// The transaction: its position in the log, or its identity of 64 hexadecimal digits
    #[arg(value_name = "TX")]
    tx: TxName,
    #[command(flatten)]
    node: NodeArgs,
}

/// How a transaction is named on the command line.
#[derive(Clone, Copy, Debug)]
enum TxName {
    Seq(Seq),
    Id(TxId),
}

impl FromStr for TxName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        let seq = text.parse().ok().and_then(Seq::new);
        let help =
            "give the position that `rewake quarantine list` shows, or 64 hexadecimal digits";
        seq.map(Self::Seq).ok_or_else(|| help.to_owned())
    }
}

/// A held transaction as programs see it.
#[derive(Debug, Serialize)]
struct Row {
    seq: Seq,
    id: TxId,
    height: Option<Height>,
    verdict_seq: Seq,
    attempts: u32,
    reason: String,
    created_ms: Option<UnixMillis>,
    payload_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

impl Row {
    fn new(held: &Held) -> Self {
        Self {
            seq: held.seq,
            id: held.id,
            height: held.height,
            verdict_seq: held.verdict,
            attempts: held.attempts,
            reason: held.reason.clone(),
            created_ms: held.created,
            payload_bytes: held.payload.len(),
            payload: None,
        }
    }
}

pub(crate) fn run(args: &QuarantineArgs, app: &App) -> Result<Exit> {
    match &args.action {
        Action::List { node } => list(node, app),
        Action::Show(one) => show(one, app),
        Action::Retry(one) => settle(one, Settlement::Release, app),
        Action::Discard(one) => settle(one, Settlement::Discard, app),
    }
}

fn list(node: &NodeArgs, app: &App) -> Result<Exit> {
    let node = node.examine(app)?;
    let quarantine = Quarantine::of(&node)?;
    let rows: Vec<_> = quarantine
        .iter()
        .map(|held| held.map(|held| Row::new(&held)))
        .collect::<Result<_, _>>()
        .map_err(explain)?;
    if rows.is_empty() {
        app.output.line("no transaction is held");
    } else {
        app.output
            .line(format_args!("{:>10}  {:>10}  {:>8}  reason", "event", "block", "attempts"));
    }
    for row in &rows {
        let block =
            row.height.map_or_else(|| "waiting".to_owned(), |height| height.get().to_string());
        let (seq, attempts, reason) = (row.seq.get(), row.attempts, &row.reason);
        app.output.line(format_args!("{seq:>10}  {block:>10}  {attempts:>8}  {reason}"));
    }
    app.output.object(&serde_json::json!({
        "outcome": "done", "quarantined": rows.len(), "transactions": rows,
    }));
    Ok(Exit::Done)
}

fn show(one: &One, app: &App) -> Result<Exit> {
    let node = one.node.examine(app)?;
    let quarantine = Quarantine::of(&node)?;
    let held =
        position(&quarantine, one.tx).and_then(|seq| quarantine.find(seq)).map_err(explain)?;
    let payload = encode_hex(&held.payload);
    let mut row = Row::new(&held);
    let block = |height: Height| format!("block {}", height.get());
    app.output.table([
        ("event", row.seq.get().to_string()),
        ("identity", row.id.to_string()),
        ("block", row.height.map_or_else(|| "not confirmed yet".to_owned(), block)),
        ("reason", row.reason.clone()),
        ("attempts", row.attempts.to_string()),
        ("verdict", format!("event {}", row.verdict_seq.get())),
        ("payload", format!("{} bytes: {payload}", row.payload_bytes)),
    ]);
    row.payload = Some(payload);
    app.output.object(&row);
    Ok(Exit::Done)
}

fn settle(one: &One, settlement: Settlement, app: &App) -> Result<Exit> {
    let node = one.node.examine(app)?;
    let mut quarantine = Quarantine::of(&node)?;
    let seq = position(&quarantine, one.tx).map_err(explain)?;
    let logged = quarantine.settle(seq, settlement, Arc::new(SystemClock)).map_err(explain)?;
    let (ruling, text) = match settlement {
        Settlement::Release => ("release", "returned to the mempool: it may be ordered again"),
        Settlement::Discard => ("discard", "kept out for good"),
    };
    app.output.line(format_args!("the transaction at event {} is {text}", seq.get()));
    app.output.object(&serde_json::json!({
        "outcome": "done",
        "ruling": ruling,
        "seq": seq,
        "verdict_seq": logged.seq,
        "quarantined": quarantine.len(),
    }));
    Ok(Exit::Done)
}

fn position(quarantine: &Quarantine<'_>, name: TxName) -> Result<Seq, QuarantineError> {
    match name {
        TxName::Seq(seq) => Ok(seq),
        TxName::Id(id) => quarantine.position(&id),
    }
}

fn explain(error: QuarantineError) -> anyhow::Error {
    match error {
        QuarantineError::NotHeld(_) | QuarantineError::Unknown(_) => {
            let advice = "see `rewake quarantine list` for those that are held";
            Advised::new(Exit::Usage, error.to_string(), advice).into()
        }
        QuarantineError::Intake(error) => error.into(),
        QuarantineError::Store(error) => error.into(),
    }
}
