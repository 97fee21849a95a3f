//! Errors that a disk is asked to give.

use std::io;

/// The call that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A write.
    Write,
    /// A sync of a file or a directory.
    Sync,
    /// A change of length.
    Truncate,
    /// A change of a name.
    Link,
}

/// How the call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// With an input or output error; a sync loses what was pending.
    IoDropping,
    /// With an input or output error; what was pending waits for the next sync.
    IoKeeping,
    /// The disk is full.
    Full,
}

/// How long it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// One call fails.
    Once,
    /// Every later call of the kind fails as well.
    ForEver,
}

/// An error that a disk is asked to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The call that fails.
    pub call: Call,
    /// Its number among the calls of its kind, from 1 on.
    pub number: usize,
    /// How it fails.
    pub kind: Kind,
    /// How long it goes on.
    pub lasting: Lasting,
}

/// A fault with the calls that were counted for it.
#[derive(Debug)]
pub(crate) struct Armed {
    pub(crate) fault: Fault,
    pub(crate) calls: usize,
    pub(crate) fired: usize,
}

impl Armed {
    /// Counts a call and says how it fails, if it does.
    pub(crate) fn meets(&mut self, call: Call) -> Option<Kind> {
        if call != self.fault.call {
            return None;
        }
        self.calls += 1;
        let fails = match self.fault.lasting {
            Lasting::Once => self.calls == self.fault.number,
            Lasting::ForEver => self.calls >= self.fault.number,
        };
        self.fired += usize::from(fails);
        fails.then_some(self.fault.kind)
    }
}

impl Kind {
    pub(crate) fn error(self) -> io::Error {
        match self {
            // EIO.
            Self::IoDropping | Self::IoKeeping => io::Error::from_raw_os_error(5),
            Self::Full => io::ErrorKind::StorageFull.into(),
        }
    }
}
