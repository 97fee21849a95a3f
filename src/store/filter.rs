//! A filter in memory that tells most identities the index does not hold, without a look at it.
//!
//! Split block Bloom filters (Putze, Sanders and Singler 2007; Apache Parquet's layout): one cache line a question. They
//! stand in layers of growing size, so that few identities take little memory and many a bounded amount of it. What
//! was written before the opening is taken up bit by bit, a few rows with each append: an opening costs nothing, and
//! identities beyond what was taken up are looked for in the table.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use rusqlite::{Connection, params};

/// Blocks of the first layer: 128 KiB.
const BLOCKS_MIN: usize = 1 << 12;
/// Blocks of the last layer, which takes whatever comes: 32 MiB, for 26 million identities.
const BLOCKS_MAX: usize = 1 << 20;
/// How many times larger the next layer is.
const GROWTH: usize = 4;
/// Identities for each block: at ten bits for each, about one of a hundred strangers passes.
const KEYS_BY_BLOCK: usize = 25;
/// Odd numbers that choose a bit in each word of a block.
const SALTS: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

type Block = [u32; 8];

/// What the index may hold.
#[derive(Debug)]
pub(crate) struct Filter {
    layers: Vec<Layer>,
    hasher: RandomState,
    /// How far the rows that were there at the opening are taken up: the last of them; `None` once all are.
    behind: Option<(i64, u64)>,
}

#[derive(Debug)]
struct Layer {
    blocks: Vec<Block>,
    keys: usize,
}

impl Filter {
    /// Makes the filter of an index that holds nothing, or of one none of whose rows is taken up yet.
    pub(crate) fn new(holds_nothing: bool) -> Self {
        let behind = (!holds_nothing).then_some((i64::MIN, 0));
        Self { layers: vec![Layer::new(BLOCKS_MIN)], hasher: RandomState::default(), behind }
    }

    /// Says whether the index may hold a prefix; where not, it does not.
    pub(crate) fn may_hold(&self, prefix: i64) -> bool {
        if self.behind.is_some_and(|(last, _)| prefix >= last) {
            return true;
        }
        let hash = self.hasher.hash_one(prefix);
        self.layers.iter().any(|layer| layer.may_hold(hash))
    }

    /// Takes up a prefix that is written to the index.
    pub(crate) fn add(&mut self, prefix: i64) {
        let hash = self.hasher.hash_one(prefix);
        if let Some(last) = self.layers.last_mut().filter(|last| !last.is_full()) {
            last.add(hash);
            return;
        }
        let blocks = self.layers.last().map_or(BLOCKS_MIN, |last| last.blocks.len() * GROWTH);
        let mut layer = Layer::new(blocks.min(BLOCKS_MAX));
        layer.add(hash);
        self.layers.push(layer);
    }

    /// Takes up so many rows more of those that were there at the opening.
    pub(crate) fn catch_up(&mut self, sql: &Connection, rows_max: usize) -> rusqlite::Result<()> {
        let Some((prefix, seq)) = self.behind else { return Ok(()) };
        let mut statement = sql.prepare_cached(
            "SELECT prefix, seq FROM tx_index WHERE (prefix, seq) > (?1, ?2) ORDER BY prefix, seq LIMIT ?3",
        )?;
        let mut rows = statement.query(params![prefix, seq, rows_max])?;
        let (mut count, mut last) = (0usize, (prefix, seq));
        while let Some(row) = rows.next()? {
            last = (row.get(0)?, row.get(1)?);
            self.add(last.0);
            count = count.saturating_add(1);
        }
        self.behind = (count == rows_max).then_some(last);
        Ok(())
    }
}

impl Layer {
    fn new(blocks: usize) -> Self {
        Self { blocks: vec![Block::default(); blocks], keys: 0 }
    }

    /// Says whether the next identity belongs into another layer; the last one is never full.
    fn is_full(&self) -> bool {
        self.blocks.len() < BLOCKS_MAX && self.keys >= self.blocks.len() * KEYS_BY_BLOCK
    }

    fn add(&mut self, hash: u64) {
        let at = self.place(hash);
        if let Some(block) = self.blocks.get_mut(at) {
            for (word, bit) in block.iter_mut().zip(bits(hash)) {
                *word |= bit;
            }
        }
        self.keys = self.keys.saturating_add(1);
    }

    fn may_hold(&self, hash: u64) -> bool {
        let block = self.blocks.get(self.place(hash));
        block.is_some_and(|block| block.iter().zip(bits(hash)).all(|(word, bit)| word & bit != 0))
    }

    /// The number of blocks is a power of two, so the upper half of the hash chooses one evenly.
    fn place(&self, hash: u64) -> usize {
        usize::try_from(hash >> 32).unwrap_or(usize::MAX) & (self.blocks.len() - 1)
    }
}

/// Chooses a bit of each word by the lower half of the hash.
fn bits(hash: u64) -> impl Iterator<Item = u32> {
    let low = u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    SALTS.into_iter().map(move |salt| 1 << (low.wrapping_mul(salt) >> 27))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_may_be_held_and_few_others_are_taken_for_it() {
        let mut filter = Filter::new(true);
        assert!((0..100).all(|prefix| !filter.may_hold(prefix)));
        let keys = 3 * i64::try_from(BLOCKS_MIN * KEYS_BY_BLOCK).expect("a small number");
        (0..keys).for_each(|prefix| filter.add(prefix.wrapping_mul(0x1e37_79b9_7f4a_7c15)));
        assert_eq!(filter.layers.len(), 2, "the second layer takes what the first does not");
        let held = |prefix: &i64| filter.may_hold(prefix.wrapping_mul(0x1e37_79b9_7f4a_7c15));
        assert!((0..keys).all(|prefix| held(&prefix)));
        let mistaken = (keys..2 * keys).filter(held).count();
        assert!(mistaken < usize::try_from(keys).expect("a small number") / 25, "{mistaken}");
    }

    #[test]
    fn rows_from_before_the_opening_are_taken_up_bit_by_bit() {
        let sql = Connection::open_in_memory().expect("a database");
        let table = include_str!("../../migrations/log/0001_event_log.sql");
        sql.execute_batch(table).expect("the tables");
        for (prefix, seq) in [(i64::MIN, 1), (-5, 2), (3, 3), (3, 4), (3, 5), (9, 6)] {
            let row = params![prefix, seq];
            sql.execute("INSERT INTO tx_index VALUES (?1, ?2)", row).expect("a row");
        }
        let mut filter = Filter::new(false);
        let unknown = |filter: &Filter, prefixes: &[i64]| -> Vec<i64> {
            prefixes.iter().copied().filter(|prefix| filter.may_hold(*prefix)).collect()
        };
        let strangers = [-7, 1, 5, 11];
        assert_eq!(unknown(&filter, &strangers), strangers, "nothing is known of any of them");
        for (rows, left) in [(2, &strangers[1..]), (2, &strangers[2..]), (1, &strangers[2..])] {
            filter.catch_up(&sql, rows).expect("rows");
            assert_eq!(unknown(&filter, &strangers), left);
            assert_eq!(unknown(&filter, &[i64::MIN, -5, 3, 9]), [i64::MIN, -5, 3, 9]);
        }
        filter.catch_up(&sql, 9).expect("rows");
        assert_eq!(unknown(&filter, &strangers), [0; 0], "all of it is taken up");
        assert_eq!(unknown(&filter, &[i64::MIN, -5, 3, 9]), [i64::MIN, -5, 3, 9]);
    }
}
