//! Rehearses on a thread of its own, so that a step that never ends can be given up on.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::exec::Running;
use crate::exec::sandbox::{Extent, RehearseError, Sandbox};
use crate::store::SandboxDb;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A rehearsing thread that was given up on.
pub(crate) struct Abandoned {
    /// The step that did not end, where it was one.
    pub(crate) running: Option<Running>,
    /// The sandbox database, which was taken away from the thread.
    pub(crate) database: Option<SandboxDb>,
    /// Why, for people.
    pub(crate) reason: String,
}

/// Rehearses an extent. A step that takes longer than `limit` is stopped at its next read or write, and given up on
/// after as long again; then the sandbox stays with its thread.
pub(crate) fn rehearse_apart(
    mut sandbox: Sandbox,
    extent: Extent,
    limit: Duration,
) -> Result<(Sandbox, Result<(), RehearseError>), Box<Abandoned>> {
    let (watch, spill) = (Arc::clone(sandbox.watch()), Arc::clone(sandbox.spill()));
    let give_up =
        |running, reason| Err(Box::new(Abandoned { running, database: spill.abandon(), reason }));
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
        match receiver.recv_timeout((limit / 4).clamp(MILLISECOND, 100 * MILLISECOND)) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Disconnected) => {
                return give_up(None, "the rehearsing thread ended without an answer".to_owned());
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let Some(running) = watch.running().filter(|running| running.time > limit) else {
            continue;
        };
        watch.stop(running.step);
        if running.time > limit * 2 {
            let reason = format!("ran longer than {} ms and did not stop", limit.as_millis());
            return give_up(Some(running), reason);
        }
    }
}
