//! Recovery on several threads: what hangs ahead of its turn is given up on and blamed on nobody.

use std::time::Duration;

use rewake::exec::{CommitMode, Gate, NewEvent, Outcome, RecoveryOptions, Scheduling};
use rewake::machine::Registry;
use rewake::machine::StateMachine as _;

use crate::determinism::Whole;
use crate::faulty::Faulty;
use crate::nodes::Node;
use crate::scripted::{await_unlocked, faulty_node, options, ordered, script, state};
use crate::steered::Steered;

/// Long enough that no innocent step takes as long on a busy machine.
const STEP_TIME_MAX: Duration = Duration::from_millis(600);

fn parallel(workers: usize) -> RecoveryOptions {
    let mut options = RecoveryOptions { step_time_max: STEP_TIME_MAX, ..options() };
    options.executor.workers = workers;
    options.executor.scheduling = Scheduling::Parallel;
    options.executor.limits.operations_max = u64::MAX;
    options
}

/// Blocks in which a transaction is led astray by a value that the one before it replaces.
fn events(verb: &str, led_by: LedBy) -> Vec<NewEvent> {
    let astray = format!("{verb} k old; copy k seen");
    let mut events = vec![
        script(1, "put k old"),
        ordered(0, "", &[1]),
        script(2, "gate; put k new"),
        script(3, &astray),
        script(4, "copy seen last"),
    ];
    match led_by {
        LedBy::BlockBefore => events.extend([ordered(1, "", &[2]), ordered(2, "", &[3, 4])]),
        LedBy::BlockAt1 => events.extend([ordered(1, "", &[2, 3, 4]), ordered(2, "", &[])]),
        LedBy::BlockAt2 => events.extend([ordered(1, "", &[]), ordered(2, "", &[2, 3, 4])]),
    }
    events.extend([script(5, "copy last end"), ordered(3, "", &[5])]);
    events
}

/// Whose value leads a transaction astray: that of one in the same block, in each of the ways that threads are forced
/// to, or that of the block before.
#[derive(Clone, Copy, Debug)]
enum LedBy {
    BlockBefore,
    BlockAt1,
    BlockAt2,
}

fn steered_node(machine: &Steered, verb: &str, led_by: LedBy) -> Node {
    let node = Node::new(Registry::default().with(machine.clone()), &machine.version());
    node.append(events(verb, led_by));
    node
}

#[test]
fn a_transaction_that_hangs_ahead_of_its_turn_is_executed_at_its_turn() {
    for verb in ["hang-if", "spin-if"] {
        // Of two workers, one is with the next block.
        let ways = [(2, LedBy::BlockBefore), (8, LedBy::BlockBefore)];
        for (workers, led_by) in
            ways.into_iter().chain([(8, LedBy::BlockAt1), (8, LedBy::BlockAt2)])
        {
            let machine = Steered::default();
            let node = steered_node(&machine, verb, led_by);
            machine.0.wait();
            let report = node.recover_with(parallel(workers));
            assert_eq!(
                report.outcome,
                Outcome::Recovered,
                "{verb} {workers} {led_by:?}: {report:?}"
            );
            assert!(machine.0.went_astray(), "{verb}: it was executed ahead of its turn");
            machine.0.release();
            await_unlocked(&node);
            let store = node.dir.open().expect("a node");
            assert_eq!(state(&store)["end"], "new", "{verb}");
            assert_eq!(store.log().head().seq, 9, "{verb}: no verdict");
        }
    }
}

#[test]
fn a_transaction_that_hangs_at_its_turn_gets_its_verdict() {
    let machine = Steered::default();
    let node = steered_node(&machine, "hang-if", LedBy::BlockAt1);
    let culprit = [script(6, "put k old; hang-if k old"), script(7, "put z 1")];
    node.append(culprit.into_iter().chain([ordered(4, "", &[6, 7])]).collect());
    let report = node.recover_with(parallel(2));
    assert_eq!(report.outcome, Outcome::RecoveredWithQuarantine, "{report:?}");
    assert_eq!((report.counts.quarantined, report.counts.applied), (1, 6));
    machine.0.release();
    await_unlocked(&node);
}

#[test]
fn faults_give_one_history_on_any_number_of_threads() {
    for fault in ["poison no", "panic no", "stuck", "transient 2", "put n 1; add n 1", "spin"] {
        let template = faulty_node(&Faulty::default());
        let culprit = format!("put b 9; {fault}");
        let mut events = vec![script(1, "put a 1"), ordered(0, "", &[1])];
        events.extend([script(2, "add n 5"), script(3, &culprit), script(4, "add n 7")]);
        events.push(ordered(1, "", &[2, 3, 4]));
        template.append(events);
        let recovered = |workers, commit, gate| {
            // Each machine counts its own attempts.
            let node = template.copy().with(Registry::default().with(Faulty::default()));
            let mut options = RecoveryOptions { commit, gate, ..parallel(workers) };
            options.executor.limits.operations_max = 10_000;
            let report = node.recover_with(options);
            (report.outcome, report.state_digest, Whole::of(&node.examine().expect("sound")))
        };
        let expected = recovered(1, CommitMode::Restore, Gate::All);
        for workers in [2, 8] {
            for commit in [CommitMode::Restore, CommitMode::Reexecute] {
                let found = recovered(workers, commit, Gate::Batch);
                assert_eq!(found, expected, "{fault} on {workers} threads, {commit:?}");
            }
        }
    }
}
