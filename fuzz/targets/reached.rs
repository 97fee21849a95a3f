//! Counts how often inputs came to the places that they are there for.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

static REACHED: Mutex<BTreeMap<(&str, &str), u64>> = Mutex::new(BTreeMap::new());

/// Notes that an input of a target came to a place.
pub fn reach(target: &'static str, place: &'static str) {
    let mut reached = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
    *reached.entry((target, place)).or_default() += 1;
}

/// Returns how often inputs of a target came to a place.
pub fn times(target: &'static str, place: &'static str) -> u64 {
    let reached = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
    reached.get(&(target, place)).copied().unwrap_or(0)
}
