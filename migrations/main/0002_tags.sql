-- Tags, so that no damaged row is answered from or executed upon unnoticed: SQLite has no checksum on its pages. A tag is
-- the first eight bytes of a BLAKE3 digest, as a signed number, over the other columns named beside it.
-- Rows of version 1 get theirs in the same transaction, once the whole state has been held against its digest.

-- Over the row's digest, the time of the commit and the state digest, which that digest leaves out.
ALTER TABLE block ADD COLUMN tag INTEGER NOT NULL DEFAULT 0;

-- Over key and value.
ALTER TABLE state ADD COLUMN tag INTEGER NOT NULL DEFAULT 0;

-- Over the other four columns.
ALTER TABLE quarantine ADD COLUMN tag INTEGER NOT NULL DEFAULT 0;

-- Sum, modulo 2^64, of the tags of all rows of `unordered`, each over its position.
ALTER TABLE main ADD COLUMN unordered_tag INTEGER NOT NULL DEFAULT 0;

-- Sum, modulo 2^64, of the tags of the rows of `quarantine` that are not settled.
ALTER TABLE main ADD COLUMN held_tag INTEGER NOT NULL DEFAULT 0;

-- For each transaction of the block, which earlier ones wrote what it read; NULL where that was not recorded. It speeds
-- up another execution and changes no result, so nothing vouches for it.
ALTER TABLE block_body ADD COLUMN dependencies BLOB;
