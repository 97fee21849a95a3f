//! The track of a connection: what its client is expected to do, and since when.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::http::ServerLimits;

/// What the client of a connection is expected to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// To begin a request, or to leave.
    Idle,
    /// To end the head that it began.
    Head,
    /// To send the body, to wait, and to read what of the answer is there.
    Request,
    /// To read the rest of the answer, all of which is there.
    Answer,
}

/// Shared by the stream, the service and the watchdog of one connection.
pub(super) struct Track {
    stage: watch::Sender<(Stage, Instant)>,
}

impl Track {
    pub(super) fn new() -> Self {
        Self { stage: watch::Sender::new((Stage::Idle, Instant::now())) }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage.borrow().0
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.send_replace((stage, Instant::now()));
    }

    /// Waits until the client has not done in time what it is expected to do.
    pub(super) async fn overdue(&self, limits: &ServerLimits) -> Stage {
        let mut seen = self.stage.subscribe();
        loop {
            let (stage, since) = *seen.borrow_and_update();
            let deadline = since.checked_add(allowed(stage, limits)).unwrap_or(since);
            tokio::select! {
                () = sleep_until(deadline) => return stage,
                _ = seen.changed() => {}
            }
        }
    }
}

fn allowed(stage: Stage, limits: &ServerLimits) -> Duration {
    match stage {
        Stage::Idle | Stage::Answer => limits.idle_time_max,
        Stage::Head => limits.header_time_max,
        // The service answers a late request itself; this ends a connection whose client does not read the answer.
        Stage::Request => limits.request_time_max.saturating_add(limits.idle_time_max),
    }
}
