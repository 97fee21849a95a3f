//! What the next opening observes of the files, for the product's own decision table.

use rewake::recovery::{
    Action, ChainSeen, CheckpointSeen, Files, Label, MachineSeen, Observation, PendingSeen,
    WitnessSeen, decide,
};

use crate::state::State;

/// Asks the product what the files oblige the next process to do.
pub fn examine(state: &State) -> (Label, Action) {
    decide(observe(state))
}

fn observe(state: &State) -> Observation {
    let is_whole = !state.log.torn && !state.main.torn && state.witness.mark().is_some();
    let checkpoint = checkpoint(state);
    let beyond = if checkpoint == CheckpointSeen::Meets {
        state.blocks().last().map_or(0, |id| state.oracle.position(id))
    } else {
        0
    };
    let pending = state.orders(state.log.rows.len()).len() > state.orders(beyond).len();
    Observation {
        files: if is_whole { Files::Open } else { Files::Unusable },
        machine: MachineSeen::Same,
        checkpoint,
        witness: witness(state),
        chain: ChainSeen::Whole,
        pending: if pending { PendingSeen::Blocks } else { PendingSeen::Nothing },
    }
}

/// An identity is given once and on top of one history, so it stands for the chain digest as well.
fn checkpoint(state: &State) -> CheckpointSeen {
    let Some(id) = state.blocks().last() else { return CheckpointSeen::None };
    match state.log.rows.at(state.oracle.position(id)) {
        None => CheckpointSeen::Beyond,
        Some(found) if found == id => CheckpointSeen::Meets,
        Some(_) => CheckpointSeen::Differs,
    }
}

fn witness(state: &State) -> WitnessSeen {
    let mark = state.witness.mark().unwrap_or_default();
    match (mark.seq, state.log.rows.at(mark.seq)) {
        (0, _) => WitnessSeen::Agrees,
        (_, None) => WitnessSeen::Ahead,
        (_, Some(found)) if found == mark.id => WitnessSeen::Agrees,
        (_, Some(_)) => WitnessSeen::Differs,
    }
}
