//! Threads that may share the work of one call to a machine.

/// What is shared out: called once on each thread.
pub(crate) type Work<'a> = dyn Fn() + Sync + 'a;

/// The calling thread, and those that are idle meanwhile.
#[derive(Clone, Copy)]
pub struct Threads<'a>(Option<&'a (dyn Fn(&Work<'_>) + Sync)>);

impl std::fmt::Debug for Threads<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Threads(several)" } else { "Threads(one)" })
    }
}

impl<'a> Threads<'a> {
    /// The calling thread alone.
    pub const ONE: Self = Self(None);

    /// Makes threads of something that runs work on several of them, the calling one included.
    pub(crate) const fn new(run: &'a (dyn Fn(&Work<'_>) + Sync)) -> Self {
        Self(Some(run))
    }

    /// Runs work on each thread at the same time, until all of these calls have returned. It is for the work to divide
    /// itself among them, and to give the same however many there are.
    pub fn share(&self, work: &(dyn Fn() + Sync)) {
        match self.0 {
            Some(run) => run(work),
            None => work(),
        }
    }
}
