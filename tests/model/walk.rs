//! Walks every state of the protocol as it should be.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::flaw::Flaw;
use crate::properties::is_sometimes;
use crate::protocol::Protocol;

/// Many events, one fault of each kind.
pub const WIDE: Protocol = Protocol {
    flaw: None,
    events_max: 4,
    blocks_max: 2,
    crashes_max: 1,
    losses_max: 1,
    errors_max: 1,
    torn_max: 2,
};

/// Few events, faults of each kind on top of each other.
const DEEP: Protocol =
    Protocol { events_max: 2, blocks_max: 1, crashes_max: 2, losses_max: 2, ..WIDE };

/// Visits every state; returns how many there are, and which of those that must be met were not.
fn walk(protocol: Protocol) -> (usize, Vec<&'static str>) {
    let clock = Instant::now();
    let checker = protocol.checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let states = checker.unique_state_count();
    println!(
        "{states} states, {} steps, {} deep, {} ms: {protocol:?}",
        checker.state_count(),
        checker.max_depth(),
        clock.elapsed().as_millis()
    );
    let (found, mut missed) = (checker.discoveries(), Vec::new());
    for property in protocol.properties() {
        let path = found.get(property.name);
        match path {
            None if is_sometimes(&property) => missed.push(property.name),
            Some(path) if !is_sometimes(&property) => {
                panic!("not so: {}\n{path}{:?}", property.name, path.last_state())
            }
            _ => {}
        }
    }
    (states, missed)
}

#[test]
fn the_protocol_holds_in_every_state() {
    let (states, missed) = walk(WIDE);
    assert!(states > 1_000_000, "the walk was cut short");
    assert!(missed.is_empty(), "no state is found in which {missed:?}");
}

#[test]
fn the_protocol_holds_where_faults_follow_faults() {
    let (states, missed) = walk(DEEP);
    assert!(states > 100_000, "the walk was cut short");
    // It takes two blocks to be behind a checkpoint.
    assert_eq!(missed, ["behind"]);
}

#[test]
fn slots_that_are_written_in_turn_stand_one_torn_write_of_one_loss_of_power() {
    let flaw = Some(Flaw::WritesSlotsInTurn);
    let (states, _) = walk(Protocol { flaw, torn_max: 1, crashes_max: 0, ..DEEP });
    assert!(states > 1_000, "the walk was cut short");
}
