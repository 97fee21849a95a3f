//! The crash of the demonstration: a child process that is killed at a moment which the seed chooses.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::Serialize;

use crate::cli::{App, progress};
use crate::types::Digest;

const SIGKILL: i32 = 9;
/// Longest silence of a node that works.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Longest life of the node, on disks where durable appends are slow.
const LIFE_MAX: Duration = Duration::from_secs(8);

/// What a node has said of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Seen {
    /// Transfers that it acknowledged.
    pub(super) accepted: u64,
    /// The last block that it ordered.
    pub(super) ordered: u64,
    /// The last block that it confirmed.
    pub(super) confirmed: u64,
}

/// A node that was killed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Crash {
    /// Its process.
    pub(super) process: u32,
    /// For how long it ran.
    pub(super) ran_ms: u64,
    /// The last that it said.
    pub(super) last_seen: Seen,
}

/// The moment of the crash: after so many acknowledgements, and then a little later.
struct Moment {
    accepted: u64,
    pause: Duration,
}

impl Moment {
    fn of(seed: u64) -> Self {
        let Digest(bytes) = Digest::of(format!("rewake demo {seed}").as_bytes());
        let (words, _) = bytes.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut draw = |below: u64| words.next().unwrap_or(0) % below;
        Self { accepted: 20_000 + draw(40_000), pause: Duration::from_micros(draw(20_000)) }
    }
}

/// A child that does not outlive the demonstration.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a node in a child process and kills it.
pub(super) fn kill_a_node(dir: &Path, seed: u64, app: &App) -> Result<Crash> {
    let program = std::env::current_exe().context("the program cannot find itself")?;
    let started = Instant::now();
    let spawned = Command::new(program)
        .arg("demo-node")
        .args(["--seed", &seed.to_string()])
        .arg("--data")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = Guarded(spawned.context("the node cannot be started")?);
    let process = child.0.id();
    let said = listen(child.0.stdout.take().context("the node has no voice")?)?;
    let bar = progress::bar(&app.output, "accept", "transfers acknowledged", None);
    let moment = Moment::of(seed);
    let mut last_seen = Seen::default();
    while last_seen.accepted < moment.accepted && started.elapsed() < LIFE_MAX {
        last_seen = said.recv_timeout(SILENCE_MAX).map_err(|_| anyhow!("the node fell silent"))?;
        bar.set_position(last_seen.accepted);
    }
    bar.finish_and_clear();
    std::thread::sleep(moment.pause);
    child.0.kill().context("the node cannot be killed")?;
    let status = child.0.wait()?;
    let ran_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    if status.signal() != Some(SIGKILL) {
        bail!("the node ended before it was killed: {status}");
    }
    // What it said before it died is acknowledged, whether or not it had been read by then.
    last_seen = said.iter().last().unwrap_or(last_seen);
    Ok(Crash { process, ran_ms, last_seen })
}

/// Reads what the node says on a thread of its own, so that silence is noticed.
fn listen(voice: ChildStdout) -> Result<Receiver<Seen>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::Builder::new().spawn(move || {
        let mut voice = BufReader::new(voice);
        let mut line = String::new();
        // A line without its end was cut by the crash and acknowledges nothing.
        while voice.read_line(&mut line).is_ok() && line.ends_with('\n') {
            let Some(seen) = parse(&line) else { break };
            if sender.send(seen).is_err() {
                break;
            }
            line.clear();
        }
    })?;
    Ok(receiver)
}

fn parse(line: &str) -> Option<Seen> {
    let mut words = line.split_whitespace().map(|word| word.parse().ok());
    let mut next = || words.next().flatten();
    Some(Seen { accepted: next()?, ordered: next()?, confirmed: next()? })
}
