//! A managed node: a child process that is started, killed and started again on the same port.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

const SIGKILL: i32 = 9;
/// What a node prints before its address.
const LISTENING: &str = "listening on http://";
/// Time between two looks at a process that is to end.
const LOOK: Duration = Duration::from_millis(1);
/// Time between two looks at a process that is to go on.
const LOOK_SELDOM: Duration = Duration::from_millis(20);

/// A node's process that did something else than it was told.
#[derive(Debug, thiserror::Error)]
pub enum NodeFault {
    /// The operating system does not start it, signal it or wait for it.
    #[error("the node's process cannot be {verb}: {source}")]
    Process {
        /// What it cannot be.
        verb: &'static str,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// It did not say where it listens.
    #[error("the node did not say where it listens within {waited_ms} ms")]
    Silent {
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// It ended by itself.
    #[error("the node ended by itself: {0}")]
    Ended(ExitStatus),
    /// It did not come under load, so that no kill could hit it there.
    #[error("the node acknowledged nothing within {waited_ms} ms, there was no moment to kill it")]
    Idle {
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// It did not end in an orderly way when it was asked to.
    #[error("the node was asked to stop and did not end in an orderly way: {0}")]
    Stop(String),
}

/// Makes the command that runs a node which listens on an address; port 0 is any free one.
pub type Launch = Box<dyn Fn(SocketAddr) -> Command + Send + Sync>;

/// A node in a child process that does not outlive this value.
pub struct ManagedNode {
    launch: Launch,
    address: SocketAddr,
    child: Guarded,
}

struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl ManagedNode {
    /// Starts a node on any free port and waits until it says which.
    ///
    /// # Errors
    /// [`NodeFault`] where it does not start, ends, or stays silent for longer than `patience`.
    pub async fn start(launch: Launch, patience: Duration) -> Result<Self, NodeFault> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut child = spawn(&launch, any)?;
        let said = listen(child.0.stdout.take());
        let waited_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        match tokio::time::timeout(patience, said).await {
            Ok(Ok(address)) => Ok(Self { launch, address, child }),
            Ok(Err(_)) => Err(NodeFault::Ended(ended(&mut child, patience).await?)),
            Err(_) => Err(NodeFault::Silent { waited_ms }),
        }
    }

    /// Returns where it listens, in every life.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts it again on the same port, and does not wait for it.
    pub(super) fn restart(&mut self) -> Result<(), NodeFault> {
        self.child = spawn(&self.launch, self.address)?;
        // What it says is read, so that it never waits for a reader.
        drop(listen(self.child.0.stdout.take()));
        Ok(())
    }

    /// Fails where it has ended by itself.
    pub(super) fn assert_alive(&mut self) -> Result<(), NodeFault> {
        match self.child.0.try_wait().map_err(process("waited for"))? {
            None => Ok(()),
            Some(status) => Err(NodeFault::Ended(status)),
        }
    }

    /// Waits until it has ended by itself, and returns how.
    pub async fn fault(&mut self) -> NodeFault {
        loop {
            if let Err(fault) = self.assert_alive() {
                return fault;
            }
            tokio::time::sleep(LOOK_SELDOM).await;
        }
    }

    /// Kills it; it must have lived until then, and the signal must be what it died of.
    pub(super) async fn kill(&mut self, patience: Duration) -> Result<(), NodeFault> {
        self.child.0.kill().map_err(process("killed"))?;
        let status = ended(&mut self.child, patience).await?;
        if status.signal() == Some(SIGKILL) { Ok(()) } else { Err(NodeFault::Ended(status)) }
    }

    /// Asks it to stop and waits until it has, in an orderly way.
    ///
    /// # Errors
    /// [`NodeFault::Stop`] where it takes longer than `patience` or its exit status is not 0.
    pub async fn stop(mut self, patience: Duration) -> Result<(), NodeFault> {
        self.assert_alive()?;
        let pid = Pid::from_child(&self.child.0);
        kill_process(pid, Signal::TERM).map_err(|error| process("stopped")(error.into()))?;
        let status = ended(&mut self.child, patience).await?;
        if status.success() { Ok(()) } else { Err(NodeFault::Stop(status.to_string())) }
    }
}

fn process(verb: &'static str) -> impl Fn(std::io::Error) -> NodeFault {
    move |source| NodeFault::Process { verb, source }
}

fn spawn(launch: &Launch, address: SocketAddr) -> Result<Guarded, NodeFault> {
    let mut command = launch(address);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().map(Guarded).map_err(process("started"))
}

async fn ended(child: &mut Guarded, patience: Duration) -> Result<ExitStatus, NodeFault> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.0.try_wait().map_err(process("waited for"))? {
            return Ok(status);
        }
        if started.elapsed() >= patience {
            return Err(NodeFault::Stop(format!("it still runs after {patience:?}")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Reads what a node says until it ends, and passes on where it listens.
fn listen(voice: Option<ChildStdout>) -> oneshot::Receiver<SocketAddr> {
    let (sender, receiver) = oneshot::channel();
    let mut sender = Some(sender);
    let read = move || {
        for line in
            voice.into_iter().flat_map(|voice| BufReader::new(voice).lines().map_while(Result::ok))
        {
            let address = line.split_once(LISTENING).and_then(|(_, rest)| rest.trim().parse().ok());
            if let Some((address, sender)) = address.and_then(|it| Some((it, sender.take()?))) {
                // Nobody waits for it any more where the start was given up.
                let _ = sender.send(address);
            }
        }
    };
    // Without the thread the receiver learns that nothing will come.
    let _ = std::thread::Builder::new().name("node-voice".to_owned()).spawn(read);
    receiver
}
