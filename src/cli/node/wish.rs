//! The wish to stop, which a signal makes and which stays made.

use anyhow::Result;
use tokio::sync::watch;

use crate::cli::signals::{self, Listening};

/// Made by the first SIGTERM or SIGINT; the second ends the process.
pub(super) struct StopWish {
    made: watch::Receiver<bool>,
    _listening: Listening,
}

impl StopWish {
    pub(super) fn listen() -> Result<Self> {
        let (make, made) = watch::channel(false);
        let listening = signals::at_first(move || {
            make.send_replace(true);
        })?;
        Ok(Self { made, _listening: listening })
    }

    /// Waits until it is made.
    pub(super) async fn made(&mut self) {
        // Nobody can make it any more where the answer is an error: it waits for ever then.
        if self.made.wait_for(|made| *made).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
