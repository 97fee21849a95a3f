//! Child processes: started, struck by a signal at a time, and heard to their end.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::exec::StopSignal;
use crate::torture::{Launch, Leavings, TortureError};

/// Most that is kept of what a child says on one stream, in bytes.
const HEARD_BYTES_MAX: u64 = 16 << 20;
/// Time between two looks at a child.
const LOOK: Duration = Duration::from_millis(1);

/// Exit codes of a refusal: corrupt, diverged, another machine, halted at a block.
const REFUSALS: [i32; 4] = [4, 5, 6, 8];

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Not within the time that it was given.
    Hung,
}

impl End {
    /// Says whether a recovery or an audit ended so because of what it found.
    pub(super) fn is_refusal(self) -> bool {
        matches!(self, Self::Code(code) if REFUSALS.contains(&code))
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => write!(f, "signal {number}"),
            Self::Hung => f.write_str("no end within the time that it was given"),
        }
    }
}

/// What a child did.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) end: End,
    pub(super) out: String,
    pub(super) err: String,
    pub(super) took: Duration,
}

impl Ran {
    /// Says how it ended, with the first line of what it complained about.
    pub(super) fn how(&self) -> String {
        let line = self.err.lines().find(|line| line.contains("error")).unwrap_or_default();
        format!("{}; {line}", self.end)
    }

    /// Says whether it told of a failure of its own.
    pub(super) fn panicked(&self) -> bool {
        self.err.contains("internal failure") || self.err.contains("panicked")
    }
}

/// A signal, and after what time it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Blow {
    Kill(Duration),
    Terminate(Duration),
}

/// Runs children.
pub(super) struct Runner {
    pub(super) launch: Launch,
    pub(super) patience: Duration,
    pub(super) stop: StopSignal,
    pub(super) leavings: Leavings,
}

/// A child that does not outlive the campaign.
struct Guarded<'a>(Child, &'a Leavings);

impl Drop for Guarded<'_> {
    fn drop(&mut self) {
        self.1.end(&mut self.0);
    }
}

impl Runner {
    /// Runs the program to its end, which a blow may bring about.
    pub(super) fn run(
        &self,
        arguments: &[OsString],
        blow: Option<Blow>,
    ) -> Result<Ran, TortureError> {
        let mut command = (self.launch)(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A signal from the terminal is for the campaign alone.
        command.process_group(0);
        let started = Instant::now();
        let mut child = Guarded(self.leavings.spawn(&mut command)?, &self.leavings);
        let (out, err) = (listen(child.0.stdout.take()), listen(child.0.stderr.take()));
        let end = self.follow(&mut child.0, started, blow)?;
        let took = started.elapsed();
        drop(child);
        Ok(Ran { end, out: heard(out), err: heard(err), took })
    }

    fn follow(
        &self,
        child: &mut Child,
        started: Instant,
        mut blow: Option<Blow>,
    ) -> Result<End, TortureError> {
        loop {
            let looked = self.leavings.look(child);
            if let Some(status) =
                looked.map_err(|error| TortureError::child("waited for", &error))?
            {
                return Ok(end(status));
            }
            let elapsed = started.elapsed();
            if self.stop.is_requested() {
                return Err(TortureError::Stopped);
            }
            if elapsed >= self.patience {
                return Ok(End::Hung);
            }
            let mut pause = LOOK;
            if let Some(Blow::Kill(at) | Blow::Terminate(at)) = blow {
                match at.checked_sub(elapsed) {
                    Some(left) if !left.is_zero() => pause = left.min(LOOK),
                    _ => strike(child, blow.take())?,
                }
            }
            std::thread::sleep(pause);
        }
    }
}

fn strike(child: &mut Child, blow: Option<Blow>) -> Result<(), TortureError> {
    let struck = match blow {
        Some(Blow::Kill(_)) => child.kill(),
        Some(Blow::Terminate(_)) => {
            kill_process(Pid::from_child(child), Signal::TERM).map_err(std::io::Error::from)
        }
        None => Ok(()),
    };
    struck.map_err(|error| TortureError::child("struck", &error))
}

fn end(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Code(code),
        (None, Some(number)) => End::Signal(number),
        (None, None) => End::Hung,
    }
}

/// Reads a stream on a thread of its own, so that a child never waits for its listener.
fn listen(stream: Option<impl Read + Send + 'static>) -> Option<JoinHandle<Vec<u8>>> {
    let stream = stream?;
    Some(std::thread::spawn(move || {
        let mut heard = Vec::new();
        let mut stream = stream.take(HEARD_BYTES_MAX);
        // What was heard before a failure is all that there is.
        let _ = stream.read_to_end(&mut heard);
        heard
    }))
}

fn heard(listener: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = listener.and_then(|listener| listener.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
