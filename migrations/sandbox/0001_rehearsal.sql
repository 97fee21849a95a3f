-- The sandbox: rehearsed blocks that do not fit in memory. Disposable; whatever is not as expected is rehearsed again.

-- What the rehearsal stands on; exactly one row.
CREATE TABLE base (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    -- Name and version of the machine that rehearsed.
    machine         TEXT NOT NULL,
    machine_version INTEGER NOT NULL,
    -- Digest of the checkpoint that the first rehearsed block follows; 32 zero bytes before the first block.
    parent          BLOB NOT NULL CHECK (length(parent) = 32)
) STRICT;

-- One row for each rehearsed block.
CREATE TABLE rehearsed (
    height INTEGER PRIMARY KEY,
    -- Canonical bytes: order, header, transactions, receipts, changes, last writers.
    body   BLOB NOT NULL,
    -- BLAKE3 of the body.
    digest BLOB NOT NULL CHECK (length(digest) = 32)
) STRICT;

-- The state above the checkpoint, as far as it was moved out of memory.
CREATE TABLE overlay (
    key   BLOB PRIMARY KEY,
    -- NULL where the key was deleted.
    value BLOB
) STRICT, WITHOUT ROWID;
