//! Supervision: actors run on threads of their own, and when one ends that must not, the node goes down with its cause.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use tokio::sync::watch;

use crate::node::Down;

type OnDown = Box<dyn Fn(&Down) + Send + Sync>;

/// Watches over the actors of one node.
pub(super) struct Supervisor {
    cause: Mutex<Option<Down>>,
    down: watch::Sender<Option<Down>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Called with the cause, and again with a graver one.
    on_down: OnDown,
}

impl Supervisor {
    /// Watches over nothing yet; `on_down` is called when the node goes down.
    pub(super) fn new(on_down: impl Fn(&Down) + Send + Sync + 'static) -> Self {
        let (down, _) = watch::channel(None);
        let cause = Mutex::default();
        Self { cause, down, threads: Mutex::default(), on_down: Box::new(on_down) }
    }

    /// Starts an actor. A panic in it takes the node down.
    pub(super) fn start(
        self: &Arc<Self>,
        actor: &'static str,
        body: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        let supervisor = Arc::clone(self);
        let thread = Builder::new().name(actor.to_owned()).spawn(move || {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                let reason = text.unwrap_or_else(|| "it panicked".to_owned());
                supervisor.take_down(Down::Actor { actor, reason });
            }
        })?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Takes the node down. The first cause counts, but for the owner's wish: a failure while it is followed is graver.
    pub(super) fn take_down(&self, cause: Down) {
        {
            let mut held = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
            let is_wish = |cause: &Down| matches!(cause, Down::Stopped);
            if held.as_ref().is_some_and(|held| !is_wish(held) || is_wish(&cause)) {
                return;
            }
            *held = Some(cause.clone());
        }
        // Who learns of the cause finds everything else to agree with it.
        (self.on_down)(&cause);
        self.down.send_replace(Some(cause));
    }

    /// Returns the cause for which the node is down, if it is.
    pub(super) fn cause(&self) -> Option<Down> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns what tells when the node goes down.
    pub(super) fn watch(&self) -> watch::Receiver<Option<Down>> {
        self.down.subscribe()
    }

    /// Waits for every actor to end.
    pub(super) fn join(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // What it had to say it has said through its cause.
            let _ = thread.join();
        }
    }
}
