//! A short list that is copied, compared and hashed by value.

/// Rows that the model ever holds in one file.
pub const ROWS_MAX: usize = 6;

/// At most [`ROWS_MAX`] numbers; what lies beyond the end is always zero, so that equal lists are equal values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct List {
    len: u8,
    items: [u8; ROWS_MAX],
}

impl List {
    pub fn len(self) -> u8 {
        self.len
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.items[..usize::from(self.len)]
    }

    /// Returns the item at a position, counted from one.
    pub fn at(self, position: u8) -> Option<u8> {
        self.as_slice().get(usize::from(position).checked_sub(1)?).copied()
    }

    pub fn last(self) -> Option<u8> {
        self.at(self.len)
    }

    pub fn push(&mut self, item: u8) {
        self.items[usize::from(self.len)] = item;
        self.len += 1;
    }

    pub fn pop_front(&mut self) -> Option<u8> {
        let first = self.at(1)?;
        self.items.copy_within(1.., 0);
        self.items[ROWS_MAX - 1] = 0;
        self.len -= 1;
        Some(first)
    }

    pub fn truncate(&mut self, len: u8) {
        if len < self.len {
            self.items[usize::from(len)..].fill(0);
            self.len = len;
        }
    }
}
