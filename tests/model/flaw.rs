//! Ways to break the protocol on purpose.

/// One deviation from the protocol as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A transaction that the log holds already is answered before the log was armed.
    AnswersKnownUnarmed,
    /// The first checkpoint after an opening trusts a sync that passes over frames the kernel takes for clean.
    CheckpointsOverHole,
    /// The same in main.db.
    CheckpointsOverHoleOfMain,
    /// The slots of the witness are written in turn, whether or not the other one was synced.
    WritesSlotsInTurn,
    /// The caller is answered before the COMMIT.
    AcknowledgesBeforeCommit,
    /// The log is never armed.
    NeverArms,
    /// Blocks are rehearsed and committed before the log is armed.
    RehearsesUnarmed,
    /// The witness is written before the COMMIT.
    WritesWitnessFirst,
    /// The witness is never synced.
    NeverSyncsWitness,
    /// After a failed COMMIT the head is read anew and appending goes on.
    GoesOnAfterUnknown,
    /// The row of a block is a transaction of its own, after its effects.
    SplitsBlock,
    /// The log is `synchronous=NORMAL`.
    SyncsNoCommit,
    /// What a sandbox holds is gone on with unseen.
    ResumesUnseen,
}
