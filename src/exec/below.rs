//! The state at the checkpoint: read from main.db, and kept in memory as far as a budget goes.

use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::state::{KeyMap, StateError, StateRead as _};
use crate::store::Store;
use crate::types::Bytes;

/// Keys that are read in one turn, which takes a few milliseconds.
const FETCH: usize = 1_024;

/// The state below what uncommitted blocks wrote.
pub(crate) struct Below {
    store: Arc<Store>,
    cache: Cache,
}

impl Below {
    /// Keeps about so many bytes of entries.
    pub(super) fn new(store: Arc<Store>, bytes_max: usize) -> Self {
        Self { store, cache: Cache::new(bytes_max) }
    }

    pub(super) const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Returns the value of a key that no uncommitted block wrote.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        if let Some(Kept(value)) = self.cache.get(key) {
            return Ok(value);
        }
        let value = self.store.main_amid_batch().get(key)?;
        self.cache.put(key.into(), value.clone());
        Ok(value)
    }

    /// Reads keys that will be asked for soon, many in one turn. What cannot be read is found out when it is asked for.
    pub(super) fn fetch(&self, mut keys: Vec<Bytes>) {
        keys.retain(|key| self.cache.get(key).is_none());
        // Neighbours are on one page.
        keys.sort_unstable();
        for keys in keys.chunks(FETCH) {
            let age = self.cache.age();
            let main = self.store.main_amid_batch();
            let read = |key: &Bytes| Some((key.clone(), main.get(key).ok()?));
            let found: Vec<_> = keys.iter().filter_map(read).collect();
            drop(main);
            for (key, value) in found {
                self.cache.put_fetched(age, key, value);
            }
        }
    }

    /// Takes note of the values of keys that were written and are committed.
    pub(super) fn committed(&self, entries: impl Iterator<Item = (Bytes, Option<Bytes>)>) {
        self.cache.grow_older();
        for (key, value) in entries {
            self.cache.put(key, value);
        }
    }

    /// Forgets what it keeps, some of which was committed since.
    pub(super) fn forget(&self) {
        self.cache.grow_older();
        self.cache.clear();
    }
}

/// Locks among which the cache is divided, so that the threads that execute a block seldom meet at one.
const PARTS: usize = 64;

/// A cache in parts that are locked each by itself.
struct Cache {
    parts: Box<[RwLock<Part>]>,
    /// Which part a key is in; another one in each process, as with any hash map.
    hasher: foldhash::fast::RandomState,
    part_bytes_max: usize,
    /// How often something was committed.
    age: AtomicU64,
}

/// What is known of a key: its value, or that it has none.
#[derive(Debug, PartialEq, Eq)]
struct Kept(Option<Bytes>);

#[derive(Default)]
struct Part {
    entries: KeyMap<Option<Bytes>>,
    bytes: usize,
}

impl Cache {
    fn new(bytes_max: usize) -> Self {
        let parts = std::iter::repeat_with(RwLock::default).take(PARTS).collect();
        let hasher = foldhash::fast::RandomState::default();
        Self { parts, hasher, part_bytes_max: bytes_max / PARTS, age: AtomicU64::new(0) }
    }

    fn get(&self, key: &[u8]) -> Option<Kept> {
        let part = self.part(key)?.read().unwrap_or_else(PoisonError::into_inner);
        part.entries.get(key).cloned().map(Kept)
    }

    fn put(&self, key: Bytes, value: Option<Bytes>) {
        let Some(part) = self.part(&key) else { return };
        let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
        part.put(key, value, self.part_bytes_max);
    }

    /// Keeps a value that was read at an age, unless something was committed since: it may be the one before that.
    fn put_fetched(&self, age: u64, key: Bytes, value: Option<Bytes>) {
        let Some(part) = self.part(&key) else { return };
        let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
        // Asked while the part is locked: whoever commits grows older first, and then puts its own values here.
        if self.age() == age {
            part.put(key, value, self.part_bytes_max);
        }
    }

    fn age(&self) -> u64 {
        self.age.load(Ordering::Acquire)
    }

    fn grow_older(&self) {
        self.age.fetch_add(1, Ordering::AcqRel);
    }

    fn clear(&self) {
        for part in &self.parts {
            *part.write().unwrap_or_else(PoisonError::into_inner) = Part::default();
        }
    }

    fn part(&self, key: &[u8]) -> Option<&RwLock<Part>> {
        let parts = crate::codec::count(self.parts.len());
        let part = self.hasher.hash_one(key).checked_rem(parts)?;
        self.parts.get(usize::try_from(part).ok()?)
    }
}

impl Part {
    fn put(&mut self, key: Bytes, value: Option<Bytes>, budget: usize) {
        if self.bytes > budget {
            *self = Self::default();
        }
        let bytes = entry_bytes::<Option<Bytes>>;
        let added = bytes(&key, value.as_ref());
        let freed = self.entries.get(&key).map_or(0, |held| bytes(&key, held.as_ref()));
        self.bytes = self.bytes.saturating_add(added).saturating_sub(freed);
        self.entries.insert(key, value);
    }
}

/// About what an entry takes in a hash map of `T`, a third of whose slots are empty in the mean.
pub(super) fn entry_bytes<T>(key: &Bytes, value: Option<&Bytes>) -> usize {
    let slot = size_of::<(Bytes, T)>();
    slot.saturating_add(slot / 2)
        .saturating_add(key.memory())
        .saturating_add(value.map_or(0, Bytes::memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_from_before_a_commit_is_not_kept_after_it() {
        let cache = Cache::new(1 << 20);
        let (key, old, new) = (Bytes::from(*b"k"), Bytes::from(*b"old"), Bytes::from(*b"new"));
        let age = cache.age();
        cache.put_fetched(age, key.clone(), Some(old.clone()));
        assert_eq!(cache.get(&key), Some(Kept(Some(old.clone()))));
        // Read before the commit, and handed over after it: first where the new value is known, then where it is not.
        cache.grow_older();
        cache.put(key.clone(), Some(new.clone()));
        cache.put_fetched(age, key.clone(), Some(old.clone()));
        assert_eq!(cache.get(&key), Some(Kept(Some(new))));
        cache.clear();
        cache.put_fetched(age, key.clone(), Some(old.clone()));
        assert_eq!(cache.get(&key), None);
        cache.put_fetched(cache.age(), key.clone(), Some(old.clone()));
        assert_eq!(cache.get(&key), Some(Kept(Some(old))));
    }

    #[test]
    fn a_part_that_is_full_starts_again() {
        let cache = Cache::new(0);
        let key = |number: u64| Bytes::from(number.to_le_bytes());
        (0..1_000).for_each(|number| cache.put(key(number), None));
        let kept = (0..1_000).filter(|number| cache.get(&key(*number)).is_some()).count();
        assert!((1..=2 * PARTS).contains(&kept), "{kept}");
    }
}
