-- Rehearsed blocks are kept as their commit takes them: sealed, their large parts compressed. What an earlier program
-- rehearsed is rehearsed again.
DELETE FROM overlay;
DELETE FROM rehearsed;
DELETE FROM base;
