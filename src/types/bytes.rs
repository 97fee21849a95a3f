//! Immutable bytes: few of them in place, many of them shared.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Bytes that are in place at most: as many as there is room for beside what a shared pointer takes.
const PLACE: usize = 22;

/// Immutable bytes; keys and values of the state are made of them.
///
/// Up to 22 bytes are held in place, so that small keys and values need no memory of their own and are compared
/// without a look elsewhere. More are shared: a copy of them is a pointer.
#[derive(Clone)]
pub struct Bytes(Held);

#[derive(Clone)]
enum Held {
    /// The first `length` bytes; those behind them are zero.
    InPlace {
        length: u8,
        bytes: [u8; PLACE],
    },
    Shared(Arc<[u8]>),
}

impl Bytes {
    /// Returns how many bytes of memory they take beside the value itself.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.0 {
            Held::InPlace { .. } => 0,
            // Two counters stand before what is shared.
            Held::Shared(bytes) => bytes.len().saturating_add(16),
        }
    }

    fn in_place(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; PLACE];
        bytes.get_mut(..from.len())?.copy_from_slice(from);
        let length = u8::try_from(from.len()).ok()?;
        Some(Self(Held::InPlace { length, bytes }))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::InPlace { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or(bytes),
            Held::Shared(bytes) => bytes,
        }
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self::in_place(bytes).unwrap_or_else(|| Self(Held::Shared(bytes.into())))
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::in_place(&bytes).unwrap_or_else(|| Self(Held::Shared(bytes.into())))
    }
}

impl<const N: usize> From<[u8; N]> for Bytes {
    fn from(bytes: [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Bytes {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl FromIterator<u8> for Bytes {
    fn from_iter<T: IntoIterator<Item = u8>>(bytes: T) -> Self {
        bytes.into_iter().collect::<Vec<_>>().into()
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self(Held::InPlace { length: 0, bytes: [0; PLACE] })
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            // Without the length to begin with, this is three comparisons of words.
            (
                Held::InPlace { length, bytes },
                Held::InPlace { length: other_length, bytes: other },
            ) => bytes == other && length == other_length,
            _ => **self == **other,
        }
    }
}

impl Eq for Bytes {}

impl PartialOrd for Bytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bytes {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

/// As the bytes themselves are hashed: maps are asked by them.
impl Hash for Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;

    fn of(length: usize, last: u8) -> (Bytes, Vec<u8>) {
        let mut bytes = vec![7; length];
        bytes.extend([last]);
        (Bytes::from(bytes.as_slice()), bytes)
    }

    #[test]
    fn they_are_three_words_and_so_is_the_lack_of_them() {
        assert_eq!((size_of::<Bytes>(), size_of::<Option<Bytes>>()), (24, 24));
    }

    #[test]
    fn they_are_what_they_were_made_of() {
        for length in 0..64 {
            let (bytes, plain) = of(length, 1);
            assert_eq!(*bytes, *plain);
            assert_eq!(bytes, Bytes::from(plain.clone()));
            assert_eq!(bytes, plain.iter().copied().collect());
            assert_eq!(bytes.clone(), bytes);
            assert_eq!(format!("{bytes:?}"), format!("{plain:?}"));
            assert_eq!(bytes.memory(), if length < PLACE { 0 } else { length + 1 + 16 });
        }
        assert_eq!((Bytes::default().len(), Bytes::from([1; 22]).memory()), (0, 0));
        assert_eq!(Bytes::from(b"ab"), Bytes::from(*b"ab"));
    }

    #[test]
    fn they_are_compared_and_hashed_as_slices_are() {
        let hasher = foldhash::fast::RandomState::default();
        let all: Vec<_> =
            (0..30).flat_map(|length| [0, 1, 7, 8].map(|last| of(length, last))).collect();
        for (one, plain) in &all {
            assert_eq!(hasher.hash_one(one), hasher.hash_one(plain.as_slice()));
            for (other, other_plain) in &all {
                assert_eq!(one == other, plain == other_plain);
                assert_eq!(one.cmp(other), plain.cmp(other_plain));
                assert_eq!(one.partial_cmp(other), plain.partial_cmp(other_plain));
            }
        }
    }
}
