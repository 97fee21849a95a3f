//! Signals: the first SIGINT or SIGTERM asks the present work to end, the second ends the process at once.

use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

type Wish = Box<dyn FnOnce() + Send>;

/// What the next signal does; without a wish it ends the process.
static WISH: Mutex<Option<Wish>> = Mutex::new(None);
/// What is done before a signal ends the process.
static LAST_WISH: Mutex<Option<Wish>> = Mutex::new(None);
/// The thread that listens, or why there is none.
static LISTENER: OnceLock<Result<(), String>> = OnceLock::new();

/// While it lives, the first signal is a wish.
#[must_use]
pub(crate) struct Listening(());

impl Drop for Listening {
    fn drop(&mut self) {
        drop((set(&WISH, None), set(&LAST_WISH, None)));
    }
}

impl Listening {
    /// Runs `wish` before the second signal ends the process.
    pub(crate) fn at_second(self, wish: impl FnOnce() + Send + 'static) -> Self {
        drop(set(&LAST_WISH, Some(Box::new(wish))));
        self
    }
}

/// Runs `wish` at the first SIGINT or SIGTERM while the answer lives; any other ends the process as it usually does.
///
/// # Errors
/// Where signals cannot be listened to.
pub(crate) fn at_first(wish: impl FnOnce() + Send + 'static) -> Result<Listening> {
    // Once for the process: what listens to a signal cannot be taken away again.
    let listener = LISTENER.get_or_init(|| listen().map_err(|error| format!("{error:#}")));
    listener.clone().map_err(anyhow::Error::msg)?;
    drop(set(&WISH, Some(Box::new(wish))));
    Ok(Listening(()))
}

fn set(of: &Mutex<Option<Wish>>, wish: Option<Wish>) -> Option<Wish> {
    std::mem::replace(&mut *of.lock().unwrap_or_else(PoisonError::into_inner), wish)
}

fn listen() -> Result<()> {
    spare_descriptors()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.context("no runtime for signals can be made")?;
    let within = runtime.enter();
    let hear = |kind: SignalKind| signal(kind).map(|signal| (signal, kind.as_raw_value()));
    let (interrupt, terminate) = (hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?);
    drop(within);
    let spawned = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(answer(interrupt, terminate)));
    spawned.map(drop).context("no thread for signals can be started")
}

/// Has this process get an error where a file may not grow any more, rather than be killed by the system.
///
/// # Errors
/// Where signals cannot be listened to.
pub(crate) fn outlive_file_limit() -> Result<()> {
    spare_descriptors()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let within = runtime.enter();
    // Whoever listens once is never killed by it again, also when nobody listens any more.
    let heard = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    drop(within);
    heard.map(drop).context("the signal of the file limit cannot be listened to")
}

/// Fails where too few files may be opened for listening, at which the runtime would panic.
fn spare_descriptors() -> Result<()> {
    let pairs: std::io::Result<Vec<_>> = (0..4).map(|_| UnixStream::pair()).collect();
    pairs.map(drop).context("no descriptors are left for listening to signals")
}

async fn answer(mut interrupt: (Signal, i32), mut terminate: (Signal, i32)) {
    loop {
        let number = tokio::select! {
            Some(()) = interrupt.0.recv() => interrupt.1,
            Some(()) = terminate.0.recv() => terminate.1,
            else => return,
        };
        if let Some(wish) = set(&WISH, None) {
            wish();
            continue;
        }
        if let Some(wish) = set(&LAST_WISH, None) {
            wish();
        }
        // What a shell says of a process that a signal ended.
        std::process::exit(128 + number);
    }
}
