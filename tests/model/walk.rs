//! Walks every state of the protocol as it should be, and of each flaw until it is found out.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::protocol::Protocol;

pub const SOUND: Protocol = Protocol {
    flaw: None,
    events_max: 4,
    blocks_max: 2,
    crashes_max: 1,
    losses_max: 1,
    errors_max: 1,
    torn_max: 2,
};

#[test]
fn the_protocol_holds_in_every_state() {
    let clock = Instant::now();
    let checker = SOUND.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!(
        "{} states, {} steps, depth {}, {} ms",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        clock.elapsed().as_millis()
    );
    for (name, path) in checker.discoveries() {
        if !name.is_empty() { println!("{name}: {} {path}", path.clone().into_vec().len()); }
        if checker.model().property(name).expectation.discovery_is_failure() {
            println!("{:#?}", path.last_state());
        }
    }
    checker.assert_properties();
}
