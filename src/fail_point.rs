//! Fail points: named steps of the write protocol at which a development build can be made to fail.
//!
//! `REWAKE_FAIL_POINT=NAME:N:ACTION` chooses one, its hit and `abort`, `error` or `panic`. A build without debug
//! assertions contains neither the names nor the variable, and [`hit`] is nothing there.

use std::io;

/// Declares the points in the order of the protocol.
macro_rules! points {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal,)+) => {
        /// A step of the write protocol.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Point {
            $($(#[doc = $doc])+ $point,)+
        }

        impl Point {
            /// Every point.
            #[cfg(debug_assertions)]
            const ALL: &'static [Self] = &[$(Self::$point),+];

            /// Returns the name by which it is chosen.
            #[cfg(debug_assertions)]
            const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// A new node has a scratch directory.
    CreateBegun = "create_begun",
    /// Its lock file is written.
    CreateLock = "create_lock",
    /// Its log and its witness are.
    CreateLog = "create_log",
    /// Its block table is.
    CreateMain = "create_main",
    /// Their names are synced.
    CreateSynced = "create_synced",
    /// The directory bears the name of the node.
    CreateRenamed = "create_renamed",
    /// That name is synced.
    CreateNamed = "create_named",
    /// The steps of a schema are about to be applied.
    MigrateBegin = "migrate_begin",
    /// One step was applied.
    MigrateStep = "migrate_step",
    /// The version was written.
    MigrateVersion = "migrate_version",
    /// A witness is about to be made.
    WitnessCreate = "witness_create",
    /// One of its slots was written and synced.
    WitnessSlot = "witness_slot",
    /// An empty block table was made beside its place.
    RebuildMade = "rebuild_made",
    /// The write-ahead log of an earlier block table is gone.
    RebuildCleared = "rebuild_cleared",
    /// The block table is in its place.
    RebuildRenamed = "rebuild_renamed",
    /// A write-ahead log was copied.
    RenewCopied = "renew_copied",
    /// The copy was synced.
    RenewSynced = "renew_synced",
    /// The copy is in its place.
    RenewRenamed = "renew_renamed",
    /// A checkpoint is about to begin.
    CheckpointBegin = "checkpoint_begin",
    /// Pages were moved, and the emptied log is not synced yet.
    CheckpointMoved = "checkpoint_moved",
    /// A checkpoint is complete.
    CheckpointDone = "checkpoint_done",
    /// The log is about to be armed for its first acknowledgement.
    ArmBegin = "arm_begin",
    /// Its write-ahead log was moved into the database.
    ArmCheckpointed = "arm_checkpointed",
    /// The names of its directories were synced.
    ArmNamed = "arm_named",
    /// Its witness was written.
    ArmWitness = "arm_witness",
    /// An append is about to begin.
    AppendBegin = "append_begin",
    /// Its events are written, and the transaction is open.
    AppendStaged = "append_staged",
    /// Its transaction is committed.
    AppendCommitted = "append_committed",
    /// The witness knows of it.
    AppendWitnessed = "append_witnessed",
    /// A sandbox was made beside its place.
    SandboxMade = "sandbox_made",
    /// The sandbox is in its place.
    SandboxRenamed = "sandbox_renamed",
    /// Rehearsed blocks were written into it, and the transaction is open.
    SandboxBlocks = "sandbox_blocks",
    /// Entries of its state were, and the transaction is open.
    SandboxOverlay = "sandbox_overlay",
    /// What it stands on was written, and the transaction is open.
    SandboxBase = "sandbox_base",
    /// One of its files is about to be deleted.
    SandboxDrop = "sandbox_drop",
    /// A batch is about to be written.
    CommitBegin = "commit_begin",
    /// Its rows are written.
    CommitRows = "commit_rows",
    /// Its state is.
    CommitState = "commit_state",
    /// All of it is, and the transaction is open.
    CommitStaged = "commit_staged",
    /// Its transaction is committed.
    CommitCommitted = "commit_committed",
    /// A node is about to end in an orderly way.
    SettleBegin = "settle_begin",
    /// The log is settled, and the block table is not.
    SettleLog = "settle_log",
}

/// Passes a point, or fails there where that was chosen.
///
/// # Errors
/// The failure that was chosen; none in a build without debug assertions.
#[cfg(not(debug_assertions))]
#[inline(always)]
#[expect(clippy::inline_always, reason = "a point must leave nothing behind in a release build")]
#[expect(clippy::unnecessary_wraps, reason = "the signature is that of a development build")]
pub(crate) const fn hit(_: Point) -> io::Result<()> {
    Ok(())
}

/// Passes a point, or fails there where that was chosen.
///
/// # Errors
/// The failure that was chosen.
#[cfg(debug_assertions)]
pub(crate) fn hit(point: Point) -> io::Result<()> {
    match chosen::CHOICE.as_ref() {
        Some(choice) if choice.point == point => choice.hit(),
        _ => Ok(()),
    }
}

#[cfg(debug_assertions)]
mod chosen {
    //! The point that the environment chooses.

    use std::io;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Point;

    const VARIABLE: &str = "REWAKE_FAIL_POINT";

    /// Read once: a process fails at one point.
    pub(super) static CHOICE: LazyLock<Option<Choice>> =
        LazyLock::new(|| std::env::var(VARIABLE).ok().and_then(|text| Choice::parse(&text)));

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Action {
        Abort,
        Error,
        Panic,
    }

    pub(super) struct Choice {
        pub(super) point: Point,
        at: u64,
        action: Action,
        hits: AtomicU64,
    }

    impl Choice {
        /// Reads `NAME:N:ACTION`; anything else chooses nothing.
        fn parse(text: &str) -> Option<Self> {
            let mut words = text.split(':');
            let name = words.next()?;
            let point = Point::ALL.iter().copied().find(|point| point.name() == name)?;
            let at = words.next()?.parse().ok()?;
            let action = match words.next()? {
                "abort" => Action::Abort,
                "error" => Action::Error,
                "panic" => Action::Panic,
                _ => return None,
            };
            words.next().is_none().then_some(Self { point, at, action, hits: AtomicU64::new(0) })
        }

        #[expect(clippy::panic, reason = "a panic is what was chosen")]
        pub(super) fn hit(&self) -> io::Result<()> {
            let hits = self.hits.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            match self.action {
                _ if hits != self.at => Ok(()),
                Action::Abort => std::process::abort(),
                Action::Error => {
                    Err(io::Error::other(format!("the fail point {}", self.point.name())))
                }
                Action::Panic => panic!("the fail point {}", self.point.name()),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_choice_is_read_whole_or_not_at_all() {
            for point in Point::ALL {
                let text = format!("{}:3:error", point.name());
                let choice = Choice::parse(&text).expect("a choice");
                assert!(choice.point == *point && choice.action == Action::Error);
                let hits: Vec<_> = (0..4).map(|_| choice.hit().is_err()).collect();
                assert_eq!(hits, [false, false, true, false], "{text}");
            }
            for text in ["", "arm_begin", "arm_begin:1", "arm_begin:x:abort", "arm_begin:1:nap"] {
                assert!(Choice::parse(text).is_none(), "{text}");
            }
            assert!(Choice::parse("no_point:1:abort").is_none());
            assert!(Choice::parse("arm_begin:1:abort:more").is_none());
        }
    }
}

#[cfg(all(test, not(debug_assertions)))]
mod tests {
    use super::*;

    #[test]
    fn a_release_build_passes_every_point_at_compile_time() {
        const PASSED: io::Result<()> = hit(Point::AppendCommitted);
        assert!(PASSED.is_ok() && size_of::<Point>() == 1);
    }
}
