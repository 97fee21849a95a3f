//! What must hold in every state, and what must happen in some.

use rewake::recovery::{Action as Obligation, Label};
use stateright::{Model, Property};

use crate::action::Action;
use crate::observe::examine;
use crate::protocol::Protocol;
use crate::state::{Doing, State};

type Rule = (&'static str, fn(&Protocol, &State) -> bool);

pub const NOTHING_ACKNOWLEDGED_IS_LOST: &str = "every acknowledged event is in the log";
pub const NO_SOUND_HISTORY_IS_REFUSED: &str = "no history without damage is refused";
pub const MAIN_FOLLOWS_LOG: &str = "main.db holds the first blocks of the log, each once";
pub const APPLIED_ONCE: &str = "every block is in the state exactly as often as it has a row";
pub const COMMITTED_REHEARSED_APPENDED: &str = "committed, rehearsed, appended: in this order";
pub const LOG_IS_DENSE: &str = "the log holds submitted events only, each at its own position";
pub const REPORTED_STAYS: &str = "what was reported committed is in the log and comes again";
pub const HEAD_GOES_BACK_BY_POWER: &str = "only a loss of power takes the block head back";
pub const ENDS_IN_SYNC: &str = "without further faults recovery ends in sync and stays there";

const ALWAYS: &[Rule] = &[
    (NOTHING_ACKNOWLEDGED_IS_LOST, |_, state| {
        let mut ids = 1..=state.oracle.submitted;
        let has = |id: u8| state.log.rows.as_slice().contains(&id);
        ids.all(|id| !state.oracle.is_acknowledged(id) || (!state.log.torn && has(id)))
    }),
    (NO_SOUND_HISTORY_IS_REFUSED, |_, state| {
        state.process.is_some() || examine(state).1 != Obligation::Refuse
    }),
    (MAIN_FOLLOWS_LOG, |_, state| {
        let (orders, blocks) = (state.orders(state.log.rows.len()), state.blocks());
        orders.as_slice().starts_with(blocks.as_slice())
    }),
    (APPLIED_ONCE, |_, state| {
        let (effects, blocks) = (state.effects(), state.blocks());
        // The effects of the block that is being written may come before its row.
        let open = state.process.is_some_and(|process| process.half_written);
        effects == blocks || (open && effects.as_slice().starts_with(blocks.as_slice()))
    }),
    (COMMITTED_REHEARSED_APPENDED, |_, state| {
        let Some(process) = &state.process else { return true };
        let rehearsed = state.blocks().len() + process.rehearsed.len();
        rehearsed <= state.orders(process.head).len() && process.head <= state.log.rows.len()
    }),
    (LOG_IS_DENSE, |_, state| {
        let mut seq = 0;
        state.log.rows.as_slice().iter().all(|id| {
            seq += 1;
            state.oracle.position(*id) == seq
        })
    }),
    (REPORTED_STAYS, |_, state| {
        let orders = state.orders(state.log.rows.len());
        orders.as_slice().starts_with(state.oracle.reported.as_slice())
    }),
    (HEAD_GOES_BACK_BY_POWER, |_, state| {
        state.faults.losses > 0 || state.blocks() == state.oracle.reported
    }),
    (ENDS_IN_SYNC, ends_in_sync),
];

const SOMETIMES: &[Rule] = &[
    ("in_sync, with blocks", |_, state| is_found(state, Label::InSync) && state.blocks().len() > 0),
    ("behind", |_, state| is_found(state, Label::Behind)),
    ("never_committed", |_, state| is_found(state, Label::NeverCommitted)),
    ("an unknown outcome turned out durable", |_, state| {
        let unknown = state.oracle.unknown;
        is_armed(state) && state.log.rows.as_slice().contains(&unknown)
    }),
    ("an unknown outcome turned out absent", |_, state| {
        let unknown = state.oracle.unknown;
        unknown > 0 && is_armed(state) && !state.log.rows.as_slice().contains(&unknown)
    }),
    ("a transaction is asked for again and known", |_, state| {
        let unknown = state.oracle.unknown;
        unknown > 0 && state.oracle.is_acknowledged(unknown)
    }),
    ("the witness lags behind what was acknowledged", |_, state| {
        let marked = state.witness.mark().map_or(0, |mark| mark.seq);
        let acknowledged = (1..=state.oracle.submitted)
            .filter(|id| state.oracle.is_acknowledged(*id) && state.oracle.position(*id) > marked);
        state.process.is_none() && acknowledged.count() > 0
    }),
    ("a slot of the witness is torn", |_, state| state.witness.has_torn_slot()),
    ("the block head went back", |_, state| state.blocks().len() < state.oracle.reported.len()),
    ("a rehearsal is resumed", |_, state| {
        let process = state.process.as_ref();
        process.is_some_and(|process| process.resumed && process.spilled > 0)
            && state.faults.crashes > 0
    }),
    ("every fault happened and every block is committed", |protocol, state| {
        state.faults.crashes == protocol.crashes_max
            && state.faults.losses == protocol.losses_max
            && state.faults.errors == protocol.errors_max
            && state.blocks().len() == protocol.blocks_max
    }),
];

pub fn all() -> Vec<Property<Protocol>> {
    let always = ALWAYS.iter().map(|(name, rule)| Property::always(name, *rule));
    let sometimes = SOMETIMES.iter().map(|(name, rule)| Property::sometimes(name, *rule));
    always.chain(sometimes).collect()
}

fn is_found(state: &State, label: Label) -> bool {
    state.process.is_none() && examine(state).0 == label
}

/// Says whether a process armed the log, after which nothing of what it holds is in doubt.
fn is_armed(state: &State) -> bool {
    state.process.as_ref().is_some_and(|process| process.armed && !process.failed)
}

/// Follows the protocol from a state without faults and without new events.
fn ends_in_sync(protocol: &Protocol, state: &State) -> bool {
    let mut state = *state;
    // Longer than the longest way, so that a circle is noticed.
    for _ in 0..40 {
        let Some(action) = calm(protocol, &state) else { return is_at_rest(&state) };
        let Some(next) = protocol.next_state(&state, action) else { return false };
        state = next;
    }
    false
}

fn is_at_rest(state: &State) -> bool {
    let blocks = state.blocks();
    examine(state) == (Label::InSync, Obligation::Nothing)
        && state.process.is_some()
        && blocks.as_slice().starts_with(state.oracle.reported.as_slice())
}

/// Returns what a process does that is left alone; nothing where it rests.
fn calm(protocol: &Protocol, state: &State) -> Option<Action> {
    let Some(process) = &state.process else {
        return (examine(state).1 != Obligation::Refuse).then_some(Action::Open);
    };
    let mut actions = Vec::new();
    protocol.actions(state, &mut actions);
    let begun = process.log != Doing::Nothing || process.main_moved || process.half_written;
    let order = [
        Action::TakeDown,
        Action::Commit,
        Action::Acknowledge,
        Action::EmptyWal,
        Action::Arm,
        Action::Settle,
        Action::EmptyMainWal,
        Action::WriteRow,
        Action::WriteState,
        Action::Write,
        Action::Resume,
        Action::Rehearse,
        Action::MovePages,
    ];
    if !begun && !process.failed && !state.is_behind() {
        return None;
    }
    order.into_iter().find(|action| actions.contains(action))
}

/// Says whether a property is one that must hold in some state rather than in every one.
pub fn is_sometimes(property: &Property<Protocol>) -> bool {
    !property.expectation.discovery_is_failure()
}
