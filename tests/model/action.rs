//! The steps of the model, named after the functions of the product that take them.

use std::fmt;

/// One step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Open,
    Insert { is_order: bool },
    Commit,
    Acknowledge,
    Known { id: u8 },
    MovePages,
    EmptyWal,
    Arm,
    Settle,
    Resume,
    Rehearse,
    Spill,
    Write,
    WriteState,
    WriteRow,
    RemoveSandbox,
    MoveMainPages,
    EmptyMainWal,
    TakeDown,
    CommitFails,
    CommitSyncFails,
    CheckpointSyncFails,
    MainSyncFails,
    Crash,
    CrashUncommitted,
    CrashTearing,
    PowerLoss { log: u8, main: u8, witness: u8, keeps_sandbox: bool },
}

impl Action {
    /// Returns the step in words: what acts, and what of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "DataDir::open, examine",
            Self::Insert { is_order: false } => "Log::append / insert transaction",
            Self::Insert { is_order: true } => "Log::append / insert order",
            Self::Commit => "Database::transaction / COMMIT returns",
            Self::Acknowledge => "Log::acknowledge / Witness::write, answer",
            Self::Known { .. } => "Intake::append_lots / find known, answer",
            Self::MovePages => "Database::checkpoint of the log / pages written",
            Self::EmptyWal => "Database::checkpoint of the log / complete",
            Self::Arm => "Log::arm / Witness::write, Witness::sync",
            Self::Settle => "Log::settle / Witness::sync",
            Self::Resume => "Sandbox::open / Resume::find",
            Self::Rehearse => "Recovery::rehearse / Sandbox::keep",
            Self::Spill => "Rehearsal::save",
            Self::Write => "Committer::write / Main::commit",
            Self::WriteState => "Main::commit / write_state alone",
            Self::WriteRow => "Main::commit / block row alone",
            Self::RemoveSandbox => "Recovery::replay / Spill::remove",
            Self::MoveMainPages => "Main::settle / pages written",
            Self::EmptyMainWal => "Main::settle / complete",
            Self::TakeDown => "Supervisor::take_down",
            Self::CommitFails => "CommitFails: nothing is written",
            Self::CommitSyncFails => "FsyncFails: of the append",
            Self::CheckpointSyncFails => "FsyncFails: of the log's checkpoint",
            Self::MainSyncFails => "FsyncFails: of the checkpoint of main.db",
            Self::Crash => "Crash",
            Self::CrashUncommitted => "Crash: inside the write of the transaction",
            Self::CrashTearing => "Crash: inside the write of the witness",
            Self::PowerLoss { .. } => "PowerLoss",
        }
    }

    /// Returns the functions that take the step, each with its file; none for a fault.
    pub const fn functions(self) -> &'static [(&'static str, &'static str)] {
        const LOG: &str = "store/log.rs";
        const DATABASE: &str = "store/connection.rs";
        match self {
            Self::Open => &[("store/layout.rs", "open"), ("exec/start.rs", "examine")],
            Self::Insert { .. } => &[(LOG, "append"), ("store/insert.rs", "insert")],
            Self::Commit => &[(DATABASE, "transaction"), (DATABASE, "commit_failed")],
            Self::Acknowledge => &[(LOG, "acknowledge"), ("store/witness.rs", "write")],
            Self::Known { .. } => &[("exec/intake.rs", "append_lots"), (LOG, "find_tx")],
            Self::MovePages | Self::EmptyWal => &[(DATABASE, "checkpoint")],
            Self::Arm => &[(LOG, "arm"), ("store/witness.rs", "sync")],
            Self::Settle => &[(LOG, "settle"), ("store/witness.rs", "sync")],
            Self::Resume => &[("exec/sandbox/mod.rs", "open"), ("exec/resume.rs", "find")],
            Self::Rehearse => &[("exec/isolate.rs", "rehearse"), ("exec/sandbox/mod.rs", "keep")],
            Self::Spill => &[("exec/sandbox/rehearsal.rs", "save")],
            Self::Write | Self::WriteState | Self::WriteRow => {
                &[("exec/commit.rs", "write"), ("store/main_db.rs", "commit")]
            }
            Self::RemoveSandbox => &[("exec/recover.rs", "replay"), ("exec/above.rs", "remove")],
            Self::MoveMainPages | Self::EmptyMainWal => &[("store/main_db.rs", "settle")],
            Self::TakeDown => &[("node/supervise.rs", "take_down")],
            _ => &[],
        }
    }

    /// One step of each kind.
    pub const ALL: &'static [Self] = &[
        Self::Open,
        Self::Insert { is_order: false },
        Self::Insert { is_order: true },
        Self::Commit,
        Self::Acknowledge,
        Self::Known { id: 0 },
        Self::MovePages,
        Self::EmptyWal,
        Self::Arm,
        Self::Settle,
        Self::Resume,
        Self::Rehearse,
        Self::Spill,
        Self::Write,
        Self::WriteState,
        Self::WriteRow,
        Self::RemoveSandbox,
        Self::MoveMainPages,
        Self::EmptyMainWal,
        Self::TakeDown,
        Self::CommitFails,
        Self::CommitSyncFails,
        Self::CheckpointSyncFails,
        Self::MainSyncFails,
        Self::Crash,
        Self::CrashUncommitted,
        Self::CrashTearing,
        Self::PowerLoss { log: 0, main: 0, witness: 0, keeps_sandbox: false },
    ];
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
