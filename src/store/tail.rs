//! The tail: the latest events that this process logged, kept so that whoever follows the log need not read them back.

use std::collections::VecDeque;

use crate::store::events::StoredEvent;
use crate::types::Seq;

/// Bytes of bodies that are kept.
const BYTES_MAX: usize = 4 << 20;

/// Consecutive events up to the head of the log.
///
/// INVARIANT: only rows of transactions that have ended well are here, as they were written. What becomes of them on the
/// disk later is seen by whoever opens the log next, as an audit does.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    events: VecDeque<StoredEvent>,
    bytes: usize,
}

impl Tail {
    /// Takes up the next event.
    pub(crate) fn push(&mut self, event: StoredEvent) {
        self.bytes = self.bytes.saturating_add(size(&event));
        self.events.push_back(event);
        while self.bytes > BYTES_MAX {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(size(&oldest));
        }
    }

    /// Takes up events that became durable: the last of those that were logged after what is kept.
    pub(crate) fn follow(&mut self, later: Self) {
        let last = self.events.back().map(|event| event.seq.next());
        if later.events.front().map(|event| event.seq) == last {
            for event in later.events {
                self.push(event);
            }
        } else {
            // Those between were too large to be kept.
            *self = later;
        }
    }

    /// Copies events from a position on until their bodies have so many bytes; `None` where the first of them is not kept.
    pub(crate) fn copy(&self, from: Seq, bytes_max: usize) -> Option<Vec<StoredEvent>> {
        let (mut events, mut bytes) = (Vec::new(), 0usize);
        for event in self.from(from)? {
            bytes = bytes.saturating_add(event.body.len());
            events.push(event.clone());
            if bytes >= bytes_max {
                break;
            }
        }
        Some(events)
    }

    /// Returns the events from a position on; `None` where the first of them is not kept.
    pub(crate) fn from(&self, seq: Seq) -> Option<impl Iterator<Item = &StoredEvent>> {
        let first = self.events.front()?.seq.get();
        let skipped = usize::try_from(seq.get().checked_sub(first)?).ok()?;
        (skipped < self.events.len()).then(|| self.events.range(skipped..))
    }
}

fn size(event: &StoredEvent) -> usize {
    event.body.len().saturating_add(size_of::<StoredEvent>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use crate::types::Digest;

    fn event(seq: u64, bytes: usize) -> StoredEvent {
        let seq = Seq::new(seq).expect("it is not zero");
        let body = vec![0; bytes].into();
        StoredEvent { seq, kind: Kind::Tx, created: None, body, chain: Digest::ZERO }
    }

    fn kept(tail: &Tail, from: u64) -> Option<Vec<u64>> {
        let events = tail.from(Seq::new(from).expect("it is not zero"))?;
        Some(events.map(|event| event.seq.get()).collect())
    }

    fn follow(tail: &mut Tail, events: Vec<StoredEvent>) {
        let mut later = Tail::default();
        for event in events {
            later.push(event);
        }
        tail.follow(later);
    }

    #[test]
    fn the_latest_events_are_kept_and_older_ones_are_not() {
        let mut tail = Tail::default();
        assert_eq!(kept(&tail, 1), None);
        follow(&mut tail, vec![event(7, 10), event(8, 10)]);
        follow(&mut tail, vec![event(9, 10)]);
        assert_eq!(kept(&tail, 7), Some(vec![7, 8, 9]));
        assert_eq!(kept(&tail, 9), Some(vec![9]));
        assert_eq!(kept(&tail, 6), None, "it is on the disk alone");
        assert_eq!(kept(&tail, 10), None, "it is not logged yet");
        follow(&mut tail, vec![event(10, BYTES_MAX - 100)]);
        assert_eq!(kept(&tail, 10), Some(vec![10]));
        assert_eq!(kept(&tail, 9), None, "it had to make room");
        follow(&mut tail, vec![event(11, BYTES_MAX)]);
        assert_eq!(kept(&tail, 11), None, "it is too large to be kept");
        assert_eq!(kept(&tail, 10), None, "nothing is kept that others are missing after");
        follow(&mut tail, vec![event(12, BYTES_MAX), event(13, 1)]);
        assert_eq!((kept(&tail, 12), kept(&tail, 13)), (None, Some(vec![13])));
        follow(&mut tail, vec![event(14, BYTES_MAX), event(15, 1)]);
        assert_eq!((kept(&tail, 13), kept(&tail, 15)), (None, Some(vec![15])));
    }
}
