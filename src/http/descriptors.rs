//! File descriptors: how many the process may have open, of which every connection takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are left to databases, logs and listeners.
const RESERVED: u64 = 64;

/// Raises the soft limit of open files to the hard one, and returns how many connections that leaves room for.
pub(super) fn room_for_connections() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    // A system that does not let it be raised leaves it as it is.
    let limit = if raised.is_ok() { maximum } else { current };
    let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(RESERVED).max(1));
    usize::try_from(room).unwrap_or(usize::MAX)
}
