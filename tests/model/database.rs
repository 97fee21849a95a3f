//! A database file with its write-ahead log, as SQLite, the kernel and the disk see them.
//!
//! Rows are transactions of one row, so a length says how far something goes. `rows` is what whoever opens the files
//! reads from the page cache; everything else says which of it is on the disk.

use crate::list::List;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Database {
    /// What is read by whoever opens it.
    pub rows: List,
    /// How far the database file goes on the disk.
    file: u8,
    /// How far the pages go that a checkpoint wrote into the file and did not sync; zero for none.
    moved: u8,
    /// How far the write-ahead log goes on the disk without a gap.
    wal: u8,
    /// Whether frames beyond `wal` are taken for clean, though they are on no disk: a later sync passes over them.
    hole: bool,
    /// How far an emptied write-ahead log goes that had a hole and that a power cut may bring back; zero for none.
    old_wal: u8,
    /// Whether pages of the file are from different transactions.
    pub torn: bool,
}

impl Database {
    /// Writes a transaction into the write-ahead log, unsynced.
    pub fn write(&mut self, row: u8) {
        self.rows.push(row);
    }

    /// Takes back the last transaction, which was not written whole.
    pub fn unwrite(&mut self) {
        self.rows.truncate(self.rows.len() - 1);
    }

    /// Syncs the write-ahead log. Where it has a hole the kernel says the same and nothing is gained.
    pub fn sync(&mut self) {
        if !self.hole {
            self.wal = self.rows.len();
        }
        self.old_wal = 0;
    }

    /// Fails to sync the write-ahead log: the kernel takes the frames for clean.
    pub fn fail_sync(&mut self) {
        self.hole = self.wal < self.rows.len();
    }

    /// Writes every frame once more with the same bytes, so that the next sync is about all of them.
    pub fn rewrite(&mut self) {
        self.hole = false;
    }

    /// First half of a checkpoint: syncs the write-ahead log and writes its pages into the file.
    pub fn move_pages(&mut self, to: u8) {
        self.sync();
        if to > self.file {
            self.moved = to;
        }
    }

    /// Second half of a checkpoint: syncs the file and empties the write-ahead log.
    pub fn empty_wal(&mut self, to: u8) {
        if self.file < self.wal && self.wal < to {
            self.old_wal = self.wal;
        }
        self.rows.truncate(to);
        (self.file, self.wal, self.moved, self.hole) = (to, to, 0, false);
    }

    /// Says whether a checkpoint has something to move.
    pub fn is_unmoved(&self, to: u8) -> bool {
        self.file < to
    }

    /// Says whether a sync has something to write.
    pub fn is_unsynced(&self) -> bool {
        self.wal < self.rows.len() && !self.hole
    }

    /// Returns what may be found after a power cut: any prefix of what is unsynced, and any subset of unsynced pages.
    pub fn after_power_loss(&self) -> Vec<Self> {
        let mut found = Vec::new();
        for end in self.wal..=self.rows.len() {
            found.push(self.cut(end));
            // Frames that reach as far as the pages hide whichever of them arrived.
            if end < self.moved {
                found.push(Self { torn: true, ..Self::default() });
                if end == self.file {
                    // No frame hides a page, and every page arrived.
                    found.push(Self { file: self.moved, ..self.cut(self.moved) });
                }
            }
        }
        if self.old_wal > 0 {
            // Frames of an older time hide some of the pages of the file.
            found.push(Self { torn: true, ..Self::default() });
        }
        found.dedup();
        found
    }

    fn cut(&self, end: u8) -> Self {
        let mut rows = self.rows;
        rows.truncate(end);
        Self { rows, file: self.file, wal: end, ..Self::default() }
    }
}
