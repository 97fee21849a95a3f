//! Breaks the protocol in each way and sees that the walk finds it out.

use stateright::{Checker, HasDiscoveries, Model};

use crate::flaw::Flaw;
use crate::properties::{
    APPLIED_ONCE, ENDS_IN_SYNC, MAIN_FOLLOWS_LOG, NO_SOUND_HISTORY_IS_REFUSED,
    NOTHING_ACKNOWLEDGED_IS_LOST, is_sometimes,
};
use crate::protocol::Protocol;
use crate::walk::WIDE;

/// Looks for the shortest way to a state that must not be, prints it and returns which properties do not hold there.
fn found_out(protocol: Protocol) -> Vec<&'static str> {
    // One thread visits the states in the order of their distance.
    let checker = protocol.checker().threads(1).finish_when(HasDiscoveries::AnyFailures);
    let checker = checker.spawn_bfs().join();
    let properties = protocol.properties();
    let mut broken = Vec::new();
    for (name, path) in checker.discoveries() {
        if properties.iter().any(|property| property.name == name && !is_sometimes(property)) {
            let steps = path.clone().into_actions();
            println!(
                "{:?}, {} steps, {} states: not so: {name}",
                protocol.flaw,
                steps.len(),
                checker.unique_state_count()
            );
            for step in &steps {
                println!("    {step:?}");
            }
            broken.push(name);
        }
    }
    broken
}

fn check(flaw: Flaw, expected: &str) {
    let broken = found_out(Protocol { flaw: Some(flaw), ..WIDE });
    assert!(broken.contains(&expected), "{flaw:?} breaks {broken:?} rather than {expected:?}");
}

#[test]
fn a_known_transaction_that_is_answered_before_arming_can_be_lost() {
    check(Flaw::AnswersKnownUnarmed, NOTHING_ACKNOWLEDGED_IS_LOST);
}

#[test]
fn a_checkpoint_over_a_hole_can_tear_the_log() {
    check(Flaw::CheckpointsOverHole, NO_SOUND_HISTORY_IS_REFUSED);
}

#[test]
fn a_checkpoint_over_a_hole_can_tear_the_block_table() {
    check(Flaw::CheckpointsOverHoleOfMain, NO_SOUND_HISTORY_IS_REFUSED);
}

#[test]
fn slots_that_are_written_in_turn_can_both_be_torn() {
    check(Flaw::WritesSlotsInTurn, NO_SOUND_HISTORY_IS_REFUSED);
}

#[test]
fn an_answer_before_the_commit_can_be_lost() {
    check(Flaw::AcknowledgesBeforeCommit, NOTHING_ACKNOWLEDGED_IS_LOST);
}

#[test]
fn an_acknowledgement_on_top_of_lost_frames_can_be_lost() {
    check(Flaw::NeverArms, NOTHING_ACKNOWLEDGED_IS_LOST);
    check(Flaw::GoesOnAfterUnknown, NOTHING_ACKNOWLEDGED_IS_LOST);
}

#[test]
fn a_block_of_an_unarmed_log_can_outlive_its_order() {
    check(Flaw::RehearsesUnarmed, MAIN_FOLLOWS_LOG);
}

#[test]
fn a_witness_before_the_commit_accuses_falsely() {
    check(Flaw::WritesWitnessFirst, NO_SOUND_HISTORY_IS_REFUSED);
}

#[test]
fn a_witness_that_is_never_synced_can_lose_both_slots() {
    check(Flaw::NeverSyncsWitness, NO_SOUND_HISTORY_IS_REFUSED);
}

#[test]
fn a_block_in_two_transactions_can_be_applied_twice() {
    check(Flaw::SplitsBlock, APPLIED_ONCE);
}

#[test]
fn a_log_without_a_sync_for_each_commit_loses_what_was_acknowledged() {
    check(Flaw::SyncsNoCommit, NOTHING_ACKNOWLEDGED_IS_LOST);
}

#[test]
fn a_sandbox_that_is_not_compared_can_leave_out_a_block() {
    check(Flaw::ResumesUnseen, ENDS_IN_SYNC);
}
