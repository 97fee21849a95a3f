-- Rehearsed blocks are kept as their commit takes them: sealed, their large parts compressed. What an earlier program
-- rehearsed stands on nothing from here on, so that it is thrown away and rehearsed again.
DELETE FROM base;
