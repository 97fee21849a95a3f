//! How much of the long suites is done, as `REWAKE_CRASH_SUITE` says.

/// How much, the smaller ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suite {
    /// That of every test run.
    Every,
    /// `quick`: about a minute for each suite.
    Quick,
    /// `long`: ten minutes for all of them on two cores; `tests/prove` takes it.
    Long,
    /// `full`: everything, which takes hours.
    Full,
}

impl Suite {
    pub fn chosen() -> Self {
        match std::env::var("REWAKE_CRASH_SUITE").as_deref() {
            Ok("full") => Self::Full,
            Ok("long") => Self::Long,
            Ok("quick") => Self::Quick,
            Ok(other) => panic!("REWAKE_CRASH_SUITE is quick, long or full, not {other:?}"),
            Err(_) => Self::Every,
        }
    }
}
