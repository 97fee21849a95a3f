//! Buses: who is told what the engine does. The sandbox and the node have buses of different types, so that no
//! subscriber of the node can be handed a rehearsed effect.

use std::sync::{Arc, Mutex, PoisonError};

use crate::block::Counts;
use crate::types::Height;

/// A block was rehearsed; nothing of it is in the node yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// Its number.
    pub height: Height,
    /// How its transactions ended.
    pub counts: Counts,
}

/// A block was committed: its effects are in the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its number.
    pub height: Height,
    /// How its transactions ended.
    pub counts: Counts,
}

type Subscriber<T> = Box<dyn Fn(&T) + Send>;

/// Hands notices of one kind to its subscribers, in order.
pub struct Bus<T> {
    subscribers: Arc<Mutex<Vec<Subscriber<T>>>>,
}

impl<T> Default for Bus<T> {
    fn default() -> Self {
        Self { subscribers: Arc::default() }
    }
}

impl<T> Clone for Bus<T> {
    fn clone(&self) -> Self {
        Self { subscribers: Arc::clone(&self.subscribers) }
    }
}

impl<T> Bus<T> {
    /// Adds a subscriber. It is called on the engine's thread and must return at once.
    pub fn subscribe(&self, subscriber: impl Fn(&T) + Send + 'static) {
        self.lock().push(Box::new(subscriber));
    }

    pub(crate) fn publish(&self, notice: &T) {
        for subscriber in self.lock().iter() {
            subscriber(notice);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Subscriber<T>>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
