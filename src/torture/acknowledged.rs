//! Holds a log against what its appending process submitted, and against what that process said was durable.

use std::collections::VecDeque;

use crate::event::{EventBody, Order, Tx};
use crate::exec::{Examined, NewEvent};
use crate::store::LogHead;
use crate::torture::append::{Appends, BLOCK_TXS_MAX};
use crate::torture::finding::Finding;
use crate::types::{Digest, Height, Seq};

/// The node on which the process began.
#[derive(Clone, Debug)]
pub(super) struct Before {
    pub(super) head: LogHead,
    pub(super) waiting: Vec<Seq>,
    pub(super) last_ordered: Option<Height>,
    pub(super) appends: Appends,
}

/// Checks that what was acknowledged is there, and that what is there was submitted: in order, and each lot whole.
pub(super) fn check(
    node: &Examined,
    before: &Before,
    seed: u64,
    said: &str,
) -> Result<(), Finding> {
    check_acknowledged(node, said)?;
    let head = node.store.log().head();
    let mut walk = Walk {
        node,
        seq: before.head.next(),
        waiting: before.waiting.iter().copied().collect(),
        height: before.last_ordered.map_or(0, |last| last.get().saturating_add(1)),
    };
    for lot in before.appends.with_seed(seed) {
        if walk.seq.get() > head.seq {
            return Ok(());
        }
        for event in lot {
            walk.expect(event)?;
        }
    }
    if walk.seq.get() <= head.seq {
        return wrong(format!("event {} was never submitted", walk.seq.get()));
    }
    Ok(())
}

fn wrong(what: String) -> Result<(), Finding> {
    Err(Finding(what))
}

fn check_acknowledged(node: &Examined, said: &str) -> Result<(), Finding> {
    let Some((seq, chain)) = said.lines().filter_map(parse).next_back() else { return Ok(()) };
    let log = node.store.log();
    if log.head().seq < seq.get() {
        let head = log.head().seq;
        return wrong(format!("event {} was acknowledged, the log ends at {head}", seq.get()));
    }
    if log.event(seq)?.chain != chain {
        return wrong(format!("event {} is not the one that was acknowledged", seq.get()));
    }
    Ok(())
}

/// Reads a line `acknowledged SEQ CHAIN`; one that was cut off acknowledges nothing.
fn parse(line: &str) -> Option<(Seq, Digest)> {
    let (_, words) = line.split_once("acknowledged ")?;
    let (seq, chain) = words.split_once(' ')?;
    Some((Seq::new(seq.parse().ok()?)?, chain.trim_end().parse().ok()?))
}

struct Walk<'a> {
    node: &'a Examined,
    seq: Seq,
    waiting: VecDeque<Seq>,
    height: u64,
}

impl Walk<'_> {
    fn expect(&mut self, event: NewEvent) -> Result<(), Finding> {
        let seq = self.seq;
        if self.node.store.log().head().seq < seq.get() {
            return wrong(format!("the lot in which event {} belongs is not whole", seq.get()));
        }
        let found = self.node.store.log().body(seq)?;
        let expected = match event {
            NewEvent::Tx { id, payload } => {
                self.waiting.push_back(seq);
                EventBody::Tx(Tx { id, payload })
            }
            NewEvent::Next { header, .. } => {
                let count = self.waiting.len().min(BLOCK_TXS_MAX);
                let height = Height(self.height);
                self.height = self.height.saturating_add(1);
                let txs = self.waiting.drain(..count).collect();
                EventBody::Order(Order { height, header, txs })
            }
            // Nothing else is submitted.
            other => return wrong(format!("{other:?} is not submitted")),
        };
        if found != expected {
            return wrong(format!("event {} is not what was submitted", seq.get()));
        }
        self.seq = seq.next();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_acknowledges_nothing() {
        let chain = Digest([7; 32]);
        let line = format!("acknowledged 12 {chain}");
        assert_eq!(parse(&line), Some((Seq::new(12).expect("a position"), chain)));
        assert!(parse(&format!("test child ... {line}")).is_some());
        for length in 0..line.len() {
            assert_eq!(parse(line.get(..length).expect("ASCII")), None, "{length}");
        }
    }
}
