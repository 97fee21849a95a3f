-- The event log: the truth of a node. An append is acknowledged only after its commit is durable.

-- One row for each logged fact, never changed and never deleted.
CREATE TABLE event (
    -- Position; dense, the first is 1.
    seq     INTEGER PRIMARY KEY,
    -- Format of the canonical bytes. Format 0 has no creation time.
    format  INTEGER NOT NULL CHECK (format IN (0, 1)),
    -- 1 Patch, 2 Tx, 3 Order, 4 Verdict.
    kind    INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
    -- Creation time, UTC milliseconds since 1970-01-01; NULL exactly in format 0.
    created INTEGER CHECK ((created IS NULL) = (format = 0)),
    -- Canonical bytes of the body, without the event's head (format, kind, seq, created).
    body    BLOB NOT NULL,
    -- BLAKE3(chain of the row before · head · body); the first row follows 32 zero bytes.
    chain   BLOB NOT NULL CHECK (length(chain) = 32)
) STRICT;

-- Finds a transaction by its identity. Written in sorted lots, so that a growing log does not turn each append into a
-- random page write; the events after `log.indexed` are looked up in memory.
CREATE TABLE tx_index (
    -- The first eight bytes of the TxId, big-endian, as a signed number. Different ids may share it.
    prefix INTEGER NOT NULL,
    -- Position of the Tx event; its body decides whether the whole id is the same.
    seq    INTEGER NOT NULL,
    PRIMARY KEY (prefix, seq)
) STRICT, WITHOUT ROWID;

-- What the log is; exactly one row.
CREATE TABLE log (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    -- Name of the state machine that the payloads are for.
    machine TEXT NOT NULL,
    -- Every Tx event up to this position is in tx_index; 0 where none is.
    indexed INTEGER NOT NULL DEFAULT 0 CHECK (indexed >= 0)
) STRICT;
