//! The start of a node: its machine, and its recovery until it is up, refused or asked to stop.

use anyhow::{Result, anyhow};

use super::wish::StopWish;
use crate::cli::{App, Exit, recover};
use crate::exec::{HaltCause, RecoverError, Refusal, Report};
use crate::machine::MachineVersion;
use crate::node::{Node, StartError, Starting};
use crate::store::{DataDir, Store};

/// Opens a node and returns its machine as well, on which its dialect and its headers depend.
pub(super) fn open(dir: &DataDir, app: &App) -> Result<(Store, MachineVersion)> {
    let store = dir.open().map_err(Box::<Refusal>::from)?;
    let id = store.log().machine().to_owned();
    Ok((store, app.machine(&id)?.version()))
}

/// What became of a start.
pub(super) enum Started {
    /// The node is up.
    Up(Node, Box<Report>),
    /// It is not, because it was asked to stop; what was committed until then stays.
    Stopped,
    /// It is not: a block cannot be executed or verified. That was told.
    Halted(Exit),
    /// It is not: something failed.
    Failed(anyhow::Error),
    /// It is not: it may not be touched as it is.
    Refused(anyhow::Error),
}

/// Waits until a node is up, or is not; a wish to stop ends its recovery between two blocks.
pub(super) async fn until_up(starting: Starting, wish: &mut StopWish, app: &App) -> Started {
    let stop = starting.stop_signal();
    let ready = starting.ready();
    tokio::pin!(ready);
    let answer = tokio::select! {
        answer = &mut ready => answer,
        () = wish.made() => {
            stop.request();
            ready.await
        }
    };
    match answer {
        Ok((node, report, _)) => Started::Up(node, Box::new(report)),
        Err(StartError::Halted(halt, _)) if halt.cause == HaltCause::Stopped => Started::Stopped,
        Err(StartError::Halted(_, report)) => {
            recover::tell(&report, app);
            Started::Halted(recover::exit(&report))
        }
        Err(StartError::Refused(refusal)) => Started::Refused(refusal.into()),
        Err(StartError::Store(error)) => Started::Failed(RecoverError(error).into()),
        Err(StartError::Thread(reason)) => Started::Failed(anyhow!(reason)),
    }
}
