-- The block table and the state: what was confirmed. It can always be brought forward again from the event log.

-- One row for each confirmed block. The row with the greatest height is the checkpoint.
-- INVARIANT: a row, its body, its state writes and its quarantine entries are one transaction.
CREATE TABLE block (
    -- Number; genesis is 0. Strictly ascending, not necessarily dense: isolated blocks may be imported.
    height          INTEGER PRIMARY KEY CHECK (height >= 0),
    -- Position of the block's Order event in the log; ascends with height.
    order_seq       INTEGER NOT NULL CHECK (order_seq >= 1),
    -- Chain digest of that event: where the block table and the log meet.
    order_chain     BLOB NOT NULL CHECK (length(order_chain) = 32),
    -- Digest of the row before this one; 32 zero bytes for the first.
    parent          BLOB NOT NULL CHECK (length(parent) = 32),
    -- The machine's own header bytes, as ordered.
    header          BLOB NOT NULL,
    -- Number of transactions; the sum of the three counts that follow.
    txs             INTEGER NOT NULL CHECK (txs = applied + rejected + quarantined),
    -- Transactions whose effects are in the state.
    applied         INTEGER NOT NULL CHECK (applied >= 0),
    -- Transactions that the machine refused.
    rejected        INTEGER NOT NULL CHECK (rejected >= 0),
    -- Transactions that a verdict kept out.
    quarantined     INTEGER NOT NULL CHECK (quarantined >= 0),
    -- BLAKE3 of block_body.receipts.
    receipts_digest BLOB NOT NULL CHECK (length(receipts_digest) = 32),
    -- BLAKE3 of block_body.changes.
    changes_digest  BLOB NOT NULL CHECK (length(changes_digest) = 32),
    -- BLAKE3 over all of the above.
    digest          BLOB NOT NULL CHECK (length(digest) = 32),
    -- When the row was written, UTC milliseconds. Not part of the digest.
    committed       INTEGER NOT NULL,
    -- Digest of the whole state after this block; on the last block of each batch, else NULL. Not part of the digest.
    state_digest    BLOB CHECK (state_digest IS NULL OR length(state_digest) = 32)
) STRICT;

-- The large parts of a block, kept apart so that rows of `block` stay on few pages.
CREATE TABLE block_body (
    height   INTEGER PRIMARY KEY REFERENCES block (height),
    -- Positions of the transactions in execution order, canonical bytes.
    txs      BLOB NOT NULL,
    -- Canonical receipts.
    receipts BLOB NOT NULL,
    -- Canonical change set: every written key with its value before and after the block.
    changes  BLOB NOT NULL
) STRICT;

-- The state after the checkpoint.
CREATE TABLE state (
    key   BLOB PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Transactions that were received up to the checkpoint's Order event and are in no block: the confirmed part of the
-- mempool, kept so that start-up need not read confirmed events.
CREATE TABLE unordered (
    -- Position of the Tx event.
    seq INTEGER PRIMARY KEY
) STRICT;

-- Transactions that a verdict kept out of a confirmed block. Rows stay: an audit of the block needs its verdicts.
CREATE TABLE quarantine (
    -- Position of the Tx event.
    tx_seq      INTEGER NOT NULL,
    -- The block that it was ordered in; after a release it may be ordered again in a later one.
    height      INTEGER NOT NULL REFERENCES block (height),
    -- Position of the Verdict event that keeps it out.
    verdict_seq INTEGER NOT NULL,
    -- Position of the Verdict event that released or discarded it; NULL while it is held.
    settled_seq INTEGER,
    PRIMARY KEY (tx_seq, height)
) STRICT, WITHOUT ROWID;

-- Finds the transactions that are held, however many were settled before.
CREATE INDEX quarantine_held ON quarantine (height, tx_seq) WHERE settled_seq IS NULL;

-- What the block table was made by, and the accumulator under its state digests; exactly one row.
CREATE TABLE main (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    -- Name of the state machine.
    machine         TEXT NOT NULL,
    -- Its version; another version may give other results.
    machine_version INTEGER NOT NULL,
    -- The 1,024 little-endian lanes of the state digest after the checkpoint.
    lanes           BLOB NOT NULL CHECK (length(lanes) = 2048)
) STRICT;
