//! Threads that may help with one call to a machine.

/// What is shared out: called once on each thread.
pub(crate) type Work<'a> = dyn Fn() + Sync + 'a;

/// Threads that are idle while a block is checked.
#[derive(Clone, Copy)]
pub struct Helpers<'a>(Option<&'a (dyn Fn(&Work<'_>) + Sync)>);

impl std::fmt::Debug for Helpers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Helpers(some)" } else { "Helpers(none)" })
    }
}

impl<'a> Helpers<'a> {
    /// Nobody: the calling thread does everything.
    pub const NONE: Self = Self(None);

    /// Makes helpers of something that runs work on several threads, the calling one among them.
    pub(crate) const fn new(run: &'a (dyn Fn(&Work<'_>) + Sync)) -> Self {
        Self(Some(run))
    }

    /// Runs work on the calling thread and, at the same time, on each helper, until all of these calls have returned. It
    /// is for the work to share itself out among them, and to give the same however many there are.
    pub fn run(&self, work: &(dyn Fn() + Sync)) {
        match self.0 {
            Some(run) => run(work),
            None => work(),
        }
    }
}
