//! Start-up: opens a node, observes it and decides. Costs what is unconfirmed, never what is confirmed.

use std::sync::Arc;

use crate::block::BlockRow;
use crate::diff::{Backlog, first_difference};
use crate::exec::fold::fold_from;
use crate::machine::{Registry, StateMachine, UnknownMachine};
use crate::mempool::Mempool;
use crate::recovery::{
    Action, ChainSeen, CheckpointSeen, Files, Label, MachineSeen, Observation, PendingSeen,
    WitnessSeen, decide,
};
use crate::store::{DataDir, LogHead, Problem, Repairs, Store, StoreError, StoredEvent};
use crate::types::{Height, Seq};

/// An open node, and what is to be done with it.
pub struct Examined {
    /// Its files.
    pub store: Arc<Store>,
    /// Its machine.
    pub machine: Arc<dyn StateMachine>,
    /// The last confirmed block.
    pub checkpoint: Option<BlockRow>,
    /// How far the log goes.
    pub log_head: LogHead,
    /// What the log holds beyond the checkpoint.
    pub backlog: Backlog,
    /// Bytes of the bodies of the events beyond the checkpoint, at most: where a recovery stopped, those from before it.
    pub event_bytes: u64,
    /// The label of the decision, one that does not refuse.
    pub label: Label,
    /// Threads of this process that recoveries of the node have given up on.
    pub(crate) abandoned: u32,
}

impl Examined {
    /// Takes up what was logged since the node was examined, by its intake or by a recovery.
    ///
    /// # Errors
    /// [`StoreError`] where it cannot be read or does not follow from what came before it.
    pub fn catch_up(&mut self) -> Result<(), StoreError> {
        let (bytes, head) = fold_from(|| self.store.log(), self.log_head, &mut self.backlog)?;
        self.event_bytes = self.event_bytes.saturating_add(bytes);
        self.log_head = head;
        self.label = match (self.backlog.blocks, &self.checkpoint) {
            (0, _) => Label::InSync,
            (_, Some(_)) => Label::Behind,
            (_, None) => Label::NeverCommitted,
        };
        Ok(())
    }
}

/// Why a node is not touched.
#[derive(Debug, thiserror::Error)]
#[error("{label}: {detail}", label = label.name())]
pub struct Refusal {
    /// The label of the decision.
    pub label: Label,
    /// What was observed, with file, position and height.
    pub detail: String,
    /// What the operator can do next.
    pub advice: String,
    /// The failure of a file that led to it.
    #[source]
    pub source: Option<StoreError>,
}

impl From<StoreError> for Box<Refusal> {
    fn from(error: StoreError) -> Self {
        let files = match error.problem {
            Problem::Busy => Files::Locked,
            Problem::TooNew { .. } => Files::TooNew,
            _ => Files::Unusable,
        };
        let seen = Observation { files, ..SOUND };
        let (label, _) = decide(seen);
        let (detail, advice) = (error.to_string(), error.advice());
        Self::new(Refusal { label, detail, advice, source: Some(error) })
    }
}

/// A node without any fault; observations differ from it.
const SOUND: Observation = Observation {
    files: Files::Open,
    machine: MachineSeen::Same,
    checkpoint: CheckpointSeen::None,
    witness: WitnessSeen::Agrees,
    chain: ChainSeen::Whole,
    pending: PendingSeen::Nothing,
};

/// Opens a node, observes it and decides what is to be done. Writes nothing, unless repairs are asked for or a program
/// with an older schema left it.
///
/// # Errors
/// [`Refusal`] where nothing may be done.
pub fn examine(
    dir: &DataDir,
    registry: &Registry,
    repairs: Repairs,
) -> Result<Examined, Box<Refusal>> {
    examine_opened(dir.open_with(repairs)?, registry)
}

/// Observes a node that is open already and decides what is to be done. Writes nothing.
///
/// # Errors
/// [`Refusal`] where nothing may be done.
pub fn examine_opened(store: Store, registry: &Registry) -> Result<Examined, Box<Refusal>> {
    let machine = registry.find(store.log().machine());
    let checkpoint = store.main().head()?;
    let mut observer = Observer {
        store: &store,
        checkpoint: checkpoint.as_ref(),
        detail: None,
        machine: None,
        event_bytes: 0,
    };
    let mut seen = SOUND;
    seen.machine = observer.machine(&machine);
    seen.checkpoint = observer.checkpoint()?;
    seen.witness = observer.witness()?;
    let mut backlog =
        Backlog::at(checkpoint.as_ref().map(|row| row.order.height), Mempool::default());
    if seen.checkpoint != CheckpointSeen::Beyond {
        seen.chain = observer.chain(&mut backlog)?;
    }
    if backlog.blocks > 0 {
        seen.pending = PendingSeen::Blocks;
    }
    let (label, action) = decide(seen);
    match (action, machine) {
        (Action::Nothing | Action::Replay, Ok(machine)) => {
            let (log_head, event_bytes) = (store.log().head(), observer.event_bytes);
            let store = Arc::new(store);
            Ok(Examined {
                store,
                machine,
                checkpoint,
                log_head,
                backlog,
                event_bytes,
                label,
                abandoned: 0,
            })
        }
        _ => Err(Box::new(observer.refusal(label)?)),
    }
}

struct Observer<'a> {
    store: &'a Store,
    checkpoint: Option<&'a BlockRow>,
    /// What is wrong with the log.
    detail: Option<String>,
    /// What is wrong with the machine.
    machine: Option<String>,
    /// Bytes of the bodies of the events beyond the checkpoint.
    event_bytes: u64,
}

impl Observer<'_> {
    fn machine(&mut self, machine: &Result<Arc<dyn StateMachine>, UnknownMachine>) -> MachineSeen {
        match machine {
            Err(error) => {
                self.machine = Some(error.to_string());
                MachineSeen::Unknown
            }
            Ok(machine) if machine.version() == *self.store.main().machine() => MachineSeen::Same,
            Ok(machine) => {
                let (now, then) = (machine.version(), self.store.main().machine().clone());
                self.machine =
                    Some(format!("the blocks were made by {then}, this program has {now}"));
                MachineSeen::OtherVersion
            }
        }
    }

    fn checkpoint(&self) -> Result<CheckpointSeen, StoreError> {
        let Some(row) = self.checkpoint else { return Ok(CheckpointSeen::None) };
        let log = self.store.log();
        if log.head().seq < row.order.seq.get() {
            return Ok(CheckpointSeen::Beyond);
        }
        let meets = log.event(row.order.seq)?.chain == row.order.chain
            || planted!("checkpoint_not_compared");
        Ok(if meets { CheckpointSeen::Meets } else { CheckpointSeen::Differs })
    }

    fn witness(&self) -> Result<WitnessSeen, StoreError> {
        let log = self.store.log();
        let mark = log.witness();
        let Some(seq) = Seq::new(mark.seq) else { return Ok(WitnessSeen::Agrees) };
        if log.head().seq < mark.seq && !planted!("witness_ignored") {
            return Ok(WitnessSeen::Ahead);
        }
        let agrees = log.event(seq)?.chain == mark.chain || planted!("witness_ignored");
        Ok(if agrees { WitnessSeen::Agrees } else { WitnessSeen::Differs })
    }

    /// Verifies the link at the checkpoint and every link after it, and folds the backlog on the way.
    fn chain(&mut self, backlog: &mut Backlog) -> Result<ChainSeen, StoreError> {
        let mut head = LogHead::EMPTY;
        if let Some(row) = self.checkpoint {
            let log = self.store.log();
            let order = log.event(row.order.seq)?;
            if order.chain_after(log.chain_before(row.order.seq)?) != order.chain {
                self.detail = Some(broken_link(&order));
                return Ok(ChainSeen::BrokenBefore);
            }
            head = LogHead { seq: row.order.seq.get(), chain: order.chain };
            for seq in self.store.main().unordered()? {
                backlog.receive(seq);
            }
        }
        match fold_from(|| self.store.log(), head, backlog) {
            Ok((bytes, _)) => {
                self.event_bytes = bytes;
                Ok(ChainSeen::Whole)
            }
            Err(error) => match error.problem {
                Problem::Damaged(_) | Problem::Codec { .. } => {
                    self.detail = Some(error.to_string());
                    Ok(ChainSeen::BrokenAfter)
                }
                _ => Err(error),
            },
        }
    }

    fn refusal(&mut self, label: Label) -> Result<Refusal, StoreError> {
        let found = self.detail.take().unwrap_or_default();
        let log = self.store.log();
        let (head, witness) = (log.head().seq, log.witness().seq);
        let height = self.checkpoint.map_or(Height::GENESIS, |row| row.order.height);
        let order = self.checkpoint.map_or(0, |row| row.order.seq.get());
        drop(log);
        let at = height.get();
        let detail = match label {
            Label::LogLost => {
                format!("block {at} rests on event {order}, but log.db ends at event {head}")
            }
            Label::LogCut => {
                format!(
                    "event {witness} was acknowledged, as WITNESS says, but log.db ends at event {head}"
                )
            }
            Label::LogReplaced => {
                format!(
                    "log.db holds another event {witness} than the one that WITNESS says was acknowledged"
                )
            }
            Label::Diverged => match self.parting()? {
                Some(parting) => format!(
                    "main.db and log.db tell different histories from block {} on (head is block {at})",
                    parting.get()
                ),
                None => format!("main.db and log.db tell different histories at block {at}"),
            },
            Label::MachineUnknown | Label::MachineChanged => {
                self.machine.take().unwrap_or_default()
            }
            _ => found,
        };
        let advice = advice(label).to_owned();
        Ok(Refusal { label, detail, advice, source: None })
    }

    /// Finds the first block whose order is not the one in the log.
    fn parting(&self) -> Result<Option<Height>, StoreError> {
        let Some(head) = self.checkpoint else { return Ok(None) };
        let heights = head.order.height.get().saturating_add(1);
        let (log, main) = (self.store.log(), self.store.main());
        let parting = first_difference(heights, |height| {
            let Some(row) = main.block_to(Height(height))? else { return Ok(true) };
            Ok::<_, StoreError>(log.event(row.order.seq)?.chain == row.order.chain)
        })?;
        Ok(parting.map(Height))
    }
}

const fn advice(label: Label) -> &'static str {
    match label {
        Label::LogLost | Label::LogCut | Label::LogReplaced => {
            "restore log.db, log.db-wal and WITNESS together from the newest copy; nothing was changed"
        }
        Label::Diverged => {
            "restore the file that was replaced, or move main.db aside and run `rewake recover --rebuild-main` \
             if log.db is the right one"
        }
        Label::ChainBrokenBefore | Label::ChainBrokenAfter => {
            "run `rewake audit` to see how far the log is whole, then restore log.db from a copy"
        }
        Label::MachineChanged => {
            "run the program version that made the blocks, or move main.db aside and run \
             `rewake recover --rebuild-main` to execute all of history with this one"
        }
        Label::MachineUnknown => "use a program that has this machine built in",
        Label::InSync
        | Label::Behind
        | Label::NeverCommitted
        | Label::SchemaTooNew
        | Label::Locked
        | Label::Unusable => "see the message",
    }
}

fn broken_link(event: &StoredEvent) -> String {
    format!("log.db: event {} does not follow from the event before it", event.seq.get())
}
