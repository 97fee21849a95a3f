//! What is durable and what is pending after each operation of a run.

use crate::image::{Image, NodeId, Op, SyncOutcome};
use crate::plan::Plan;

/// An operation that was carried out and may not survive.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Its number in the run.
    pub number: usize,
    /// What it does.
    pub op: Op,
}

/// A run that is followed operation by operation.
#[derive(Clone, Debug)]
pub struct Crash {
    durable: Image,
    pending: Vec<Pending>,
    operations: usize,
}

impl Crash {
    /// Begins before the first operation on a disk.
    #[must_use]
    pub const fn new(base: Image) -> Self {
        Self { durable: base, pending: Vec::new(), operations: 0 }
    }

    /// Returns how many operations came before.
    #[must_use]
    pub const fn operations(&self) -> usize {
        self.operations
    }

    /// Returns what may not survive, in order.
    #[must_use]
    pub fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// Follows one more operation.
    pub fn advance(&mut self, op: &Op) {
        match op {
            Op::New { .. } => self.durable.apply(op),
            Op::Write { .. } | Op::Truncate { .. } | Op::Link { .. } => {
                self.pending.push(Pending { number: self.operations, op: op.clone() });
            }
            Op::Sync { node, outcome } => self.settle(*outcome, |op| is_content_of(op, *node)),
            Op::SyncDir { dir, outcome } => self.settle(*outcome, |op| is_name_in(op, *dir)),
        }
        self.operations += 1;
    }

    /// Returns the disk after the power was lost here.
    #[must_use]
    pub fn image(&self, plan: &Plan) -> Image {
        let mut image = self.durable.clone();
        for (place, pending) in self.pending.iter().enumerate() {
            match plan.torn {
                Some((torn_place, torn)) if torn_place == place => {
                    image.apply_torn(&pending.op, torn);
                }
                _ if plan.kept[place] => image.apply(&pending.op),
                _ => {}
            }
        }
        image
    }

    fn settle(&mut self, outcome: SyncOutcome, concerns: impl Fn(&Op) -> bool) {
        if matches!(outcome, SyncOutcome::Ignored | SyncOutcome::Kept) {
            return;
        }
        let durable = &mut self.durable;
        self.pending.retain(|pending| {
            let concerned = concerns(&pending.op);
            if concerned && outcome == SyncOutcome::Done {
                durable.apply(&pending.op);
            }
            !concerned
        });
    }
}

fn is_content_of(op: &Op, file: NodeId) -> bool {
    matches!(op, Op::Write { node, .. } | Op::Truncate { node, .. } if *node == file)
}

fn is_name_in(op: &Op, dir: NodeId) -> bool {
    matches!(op, Op::Link { entries } if entries.iter().any(|(in_dir, ..)| *in_dir == dir))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Node;

    fn run(outcome: SyncOutcome) -> Vec<usize> {
        let write = |bytes: &[u8]| Op::Write { node: 1, at: 0, bytes: bytes.into() };
        let mut crash = Crash::new(Image::default());
        for op in [
            Op::New { is_dir: false },
            write(b"old"),
            Op::Sync { node: 1, outcome: SyncOutcome::Done },
            write(b"newer"),
            Op::Sync { node: 1, outcome },
        ] {
            crash.advance(&op);
        }
        let none = Plan::none(crash.pending().len());
        let all = Plan::all(crash.pending().len());
        [none, all]
            .iter()
            .map(|plan| match &crash.image(plan).nodes[1] {
                Node::File(bytes) => bytes.len(),
                Node::Dir(_) => panic!("a file"),
            })
            .collect()
    }

    #[test]
    fn a_sync_keeps_loses_or_leaves_what_is_pending() {
        assert_eq!(run(SyncOutcome::Done), [5, 5]);
        assert_eq!(run(SyncOutcome::Dropped), [3, 3]);
        assert_eq!(run(SyncOutcome::Kept), [3, 5]);
        assert_eq!(run(SyncOutcome::Ignored), [3, 5]);
    }
}
