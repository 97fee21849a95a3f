//! The kinds of rounds: a fault, and what it befalls.

use serde::Serialize;

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A process is killed at some time.
    Kill,
    /// A process is killed, and then the recovery from that, several times.
    KillAgain,
    /// A file may not grow any more, and the system kills the process that tries.
    FileLimitKill,
    /// A file may not grow any more, and writing fails as it does on a full disk.
    FileLimitError,
    /// No more files may be opened.
    Descriptors,
    /// A process is asked to end.
    Terminate,
    /// One bit of a file is flipped.
    FlipBit,
    /// The end of a file is cut off.
    Truncate,
    /// A page of a file becomes zeros.
    ZeroPage,
    /// Two pages of a file change places.
    SwapPages,
    /// A file is replaced by an older copy of itself.
    OlderCopy,
    /// A file is taken away.
    TakeAway,
}

/// What a fault befalls: a process at its work, or a file while nobody has it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A recovery that makes the whole block table from the log.
    Rebuild,
    /// A recovery that goes on from what a crash left.
    Resume,
    /// A process that appends, and says what is durable.
    Append,
    /// `log.db`.
    Log,
    /// The write-ahead log of `log.db`.
    LogWal,
    /// `main.db`.
    Main,
    /// The write-ahead log of `main.db`.
    MainWal,
    /// `WITNESS`.
    Witness,
    /// `sandbox.db`.
    Sandbox,
    /// The write-ahead log of `sandbox.db`.
    SandboxWal,
}

/// A kind of round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Kind {
    /// What is done.
    pub fault: Fault,
    /// What it befalls.
    pub subject: Subject,
}

const OF_PROCESSES: [Fault; 6] = [
    Fault::Kill,
    Fault::KillAgain,
    Fault::FileLimitKill,
    Fault::FileLimitError,
    Fault::Descriptors,
    Fault::Terminate,
];
pub(super) const OF_FILES: [Fault; 6] = [
    Fault::FlipBit,
    Fault::Truncate,
    Fault::ZeroPage,
    Fault::SwapPages,
    Fault::OlderCopy,
    Fault::TakeAway,
];
const PROCESSES: [Subject; 3] = [Subject::Rebuild, Subject::Resume, Subject::Append];
const FILES: [Subject; 7] = [
    Subject::Log,
    Subject::LogWal,
    Subject::Main,
    Subject::MainWal,
    Subject::Witness,
    Subject::Sandbox,
    Subject::SandboxWal,
];

impl Kind {
    /// Returns every kind, those of processes first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let pairs = |faults: [Fault; 6], subjects: &'static [Subject]| {
            let of = |fault| subjects.iter().map(move |subject| Self { fault, subject: *subject });
            faults.into_iter().flat_map(of)
        };
        pairs(OF_PROCESSES, &PROCESSES).chain(pairs(OF_FILES, &FILES)).collect()
    }
}

impl Subject {
    /// Returns the name of the file; `None` for a process.
    #[must_use]
    pub const fn file(self) -> Option<&'static str> {
        match self {
            Self::Rebuild | Self::Resume | Self::Append => None,
            Self::Log => Some("log.db"),
            Self::LogWal => Some("log.db-wal"),
            Self::Main => Some("main.db"),
            Self::MainWal => Some("main.db-wal"),
            Self::Witness => Some("WITNESS"),
            Self::Sandbox => Some("sandbox.db"),
            Self::SandboxWal => Some("sandbox.db-wal"),
        }
    }

    /// Returns the name as tables have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match (self.file(), self) {
            (Some(file), _) => file,
            (None, Self::Rebuild) => "rebuild",
            (None, Self::Resume) => "resume",
            (None, _) => "append",
        }
    }
}

impl Fault {
    /// Returns the name as tables have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillAgain => "kill again and again",
            Self::FileLimitKill => "file limit, killed",
            Self::FileLimitError => "file limit, refused",
            Self::Descriptors => "out of descriptors",
            Self::Terminate => "terminate",
            Self::FlipBit => "flip a bit",
            Self::Truncate => "truncate",
            Self::ZeroPage => "zero a page",
            Self::SwapPages => "swap two pages",
            Self::OlderCopy => "older copy",
            Self::TakeAway => "take away",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.fault.name(), self.subject.name())
    }
}
