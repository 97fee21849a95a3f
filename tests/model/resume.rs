//! The sandbox database: what is put into it, and what of it a later process goes on with.

use crate::flaw::Flaw;
use crate::list::List;
use crate::protocol::Protocol;
use crate::state::{Process, Spilled, State};

/// Moves what is rehearsed in memory to the sandbox database.
pub fn spill(state: &mut State, process: &mut Process) {
    if state.sandbox.blocks.as_slice().is_empty() {
        let blocks = state.blocks();
        let base = blocks.last().unwrap_or(0);
        state.sandbox = Spilled { base, first: blocks.len() + 1, blocks: List::default() };
    }
    let rest = process.rehearsed.as_slice().iter().skip(usize::from(process.spilled));
    rest.for_each(|id| state.sandbox.blocks.push(*id));
    process.spilled = process.rehearsed.len();
}

/// Returns the blocks of the sandbox database that fit the checkpoint and the log; none where anything does not.
pub fn find(protocol: &Protocol, state: &State, process: &Process) -> List {
    let Spilled { base, first, blocks } = state.sandbox;
    let committed = state.blocks();
    let (checkpoint, start) = (committed.last().unwrap_or(0), committed.len() + 1);
    let (unseen, mut found) = (protocol.has(Flaw::ResumesUnseen), List::default());
    let height_of = |index: usize| first + u8::try_from(index).unwrap();
    let spilled = || blocks.as_slice().iter().enumerate();
    let fits = base == checkpoint
        || spilled().any(|(index, id)| *id == checkpoint && height_of(index) + 1 == start);
    if !unseen && !fits {
        return List::default();
    }
    let orders = state.orders(process.head);
    for (index, id) in spilled().filter(|(index, _)| height_of(*index) >= start) {
        // Order, position and chain digest are those of the log, and no order lies between.
        let holds =
            orders.at(height_of(index)) == Some(*id) && height_of(index) == start + found.len();
        if !unseen && !holds {
            return List::default();
        }
        found.push(*id);
    }
    found
}
