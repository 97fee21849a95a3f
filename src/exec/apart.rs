//! Rehearses on a thread of its own, so that a step that never ends can be given up on.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::exec::Running;
use crate::exec::brake::Patience;
use crate::exec::sandbox::{Extent, RehearseError, Sandbox, lock};
use crate::exec::watch::pause;
use crate::store::{SandboxDb, StoreError};

/// A rehearsing thread that was given up on.
pub(crate) enum GivenUp {
    /// Because of the step that it executes, or because there is none.
    Failed(Box<Abandoned>),
    /// Because the recovery has to end. What it had rehearsed is set aside for the next one: so many blocks.
    Stopped(Result<u64, StoreError>),
}

/// What a thread that failed leaves.
pub(crate) struct Abandoned {
    /// The step that did not end, where it was one.
    pub(crate) running: Option<Running>,
    /// The sandbox database, which was taken away from the thread.
    pub(crate) database: Option<SandboxDb>,
    /// Why, for people.
    pub(crate) reason: String,
}

/// Rehearses an extent. A step that takes longer than `limit` is stopped at its next read or write, and given up on
/// after as long again; then the sandbox stays with its thread. The same happens where the recovery has to end and the
/// present block does not.
pub(crate) fn rehearse_apart(
    mut sandbox: Sandbox,
    extent: Extent,
    limit: Duration,
) -> Result<(Sandbox, Result<(), RehearseError>), GivenUp> {
    let (watch, spill) = (Arc::clone(sandbox.watch()), Arc::clone(sandbox.spill()));
    let (brake, rehearsal) = (Arc::clone(sandbox.brake()), Arc::clone(sandbox.rehearsal()));
    let give_up = |running, reason| {
        let database = spill.abandon();
        Err(GivenUp::Failed(Box::new(Abandoned { running, database, reason })))
    };
    let (sender, receiver) = mpsc::channel();
    let spawned = std::thread::Builder::new().name("rehearse".to_owned()).spawn(move || {
        let result = sandbox.rehearse(extent);
        // Nobody receives where this thread was given up on.
        let _ = sender.send((sandbox, result));
    });
    if let Err(error) = spawned {
        return give_up(None, format!("no thread can be started: {error}"));
    }
    loop {
        match receiver.recv_timeout(pause(limit)) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Disconnected) => {
                return give_up(None, "the rehearsing thread ended without an answer".to_owned());
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        match brake.patience() {
            Patience::Lasts => {}
            Patience::Ends => watch.close(),
            Patience::Gone => {
                let kept = lock(&rehearsal).set_aside();
                drop(spill.abandon());
                return Err(GivenUp::Stopped(kept));
            }
        }
        let Some(running) = watch.running().filter(|running| running.time > limit) else {
            continue;
        };
        watch.stop_late(limit);
        if running.time > limit * 2 && !brake.is_pulled() {
            let reason = format!("ran longer than {} ms and did not stop", limit.as_millis());
            return give_up(Some(running), reason);
        }
    }
}
