//! Rehearses on a thread of its own, so that a step that never ends can be given up on.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::exec::Running;
use crate::exec::above::Spill;
use crate::exec::brake::Patience;
use crate::exec::sandbox::{Extent, Rehearsal, RehearseError, Sandbox};
use crate::exec::watch::pause;

/// A rehearsing thread that is given up on: the sandbox stays with it.
pub(crate) struct GivenUp {
    /// Why; `None` where the recovery has to end.
    pub(crate) failure: Option<Failure>,
    /// What it had rehearsed.
    pub(crate) rehearsal: Arc<Mutex<Rehearsal>>,
    /// What it shares with this thread, until it is abandoned.
    pub(crate) spill: Arc<Spill>,
}

/// Why a thread is given up on.
pub(crate) struct Failure {
    /// The step that did not end, where it was one.
    pub(crate) running: Option<Running>,
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
    let given_up = |failure| GivenUp { failure, rehearsal, spill };
    let fail = |running, reason| Some(Failure { running, reason });
    let (sender, receiver) = mpsc::channel();
    let spawned = std::thread::Builder::new().name("rehearse".to_owned()).spawn(move || {
        let result = sandbox.rehearse(extent);
        // Nobody receives where this thread was given up on.
        let _ = sender.send((sandbox, result));
    });
    if let Err(error) = spawned {
        return Err(given_up(fail(None, format!("no thread can be started: {error}"))));
    }
    loop {
        match receiver.recv_timeout(pause(limit)) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Disconnected) => {
                let reason = "the rehearsing thread ended without an answer".to_owned();
                return Err(given_up(fail(None, reason)));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        match brake.patience() {
            Patience::Lasts => {}
            Patience::Ends => watch.close(),
            Patience::Gone => return Err(given_up(None)),
        }
        let Some(running) = watch.running().filter(|running| running.time > limit) else {
            continue;
        };
        watch.stop_late(limit);
        if running.time > limit * 2 && !brake.is_pulled() {
            let reason = format!("ran longer than {} ms and did not stop", limit.as_millis());
            return Err(given_up(fail(Some(running), reason)));
        }
    }
}
