//! Bugs that are planted in the engine, and the tests that catch each of them.
//!
//! A check that cannot fail is no check. With the feature `planted-bugs` the engine has the bug that `REWAKE_PLANTED`
//! names; without it, nothing of that is compiled. All of them, or the third of ten shares:
//!
//! ```sh
//! cargo test --features planted-bugs --test it -- --exact planted::every_planted_bug_is_caught
//! REWAKE_PLANTED_SHARE=3/10 cargo test --features planted-bugs --test it -- --exact planted::every_planted_bug_is_caught
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const DAMAGE: &str = "damage::no_damage_is_answered_from_unnoticed";
const ERRORS: &str = "power_loss::a_story_survives_every_error_of_the_disk";
const POWER: &str = "power_loss::a_story_survives_every_loss_of_power";
const WAYS: &str = "recover::every_way_of_recovering_gives_one_state";
const SANDBOXES: &str = "resume::a_sandbox_that_does_not_fit_is_thrown_away";
const QUARANTINE: &str =
    "quarantine::a_transaction_that_cannot_be_executed_leaves_the_others_alone";
const KEPT_OUT: &str =
    "audit::quarantined_transactions_are_kept_out_again_and_their_rows_are_held_against_the_log";

/// Each bug, and the test that catches it.
const BUGS: &[(&str, &str)] = &[
    ("additions_lost", "executor::effects_and_receipts_come_out_in_order"),
    ("audit_skips_the_last_block", "audit::a_flipped_byte_in_a_block_row_is_named_by_its_column"),
    (
        "batch_left_by_a_stop_forgotten",
        "overlap::a_stop_amid_a_second_execution_leaves_two_batches_to_the_next_recovery",
    ),
    ("batch_loses_its_last_block", WAYS),
    ("block_digest_over_the_clock", "golden::what_is_written_is_what_was_released"),
    ("block_rows_in_a_transaction_of_their_own", POWER),
    ("bodies_in_a_transaction_of_their_own", POWER),
    ("chain_not_verified", "decisions::a_flipped_event_is_noticed_and_named"),
    ("change_sets_in_the_order_of_a_hash_map", "golden::what_is_written_is_what_was_released"),
    ("changes_digested_twice", POWER),
    (
        "checkpoint_not_compared",
        "decisions::a_block_table_of_another_history_is_noticed_and_the_height_is_named",
    ),
    ("commit_error_swallowed", ERRORS),
    ("deletions_dropped", DAMAGE),
    ("entry_tags_not_checked", DAMAGE),
    ("held_not_summed", "damage_bugs::a_damaged_row_of_quarantine_is_not_gone_on_with"),
    ("mempool_not_summed", "damage_bugs::a_damaged_mempool_is_not_gone_on_with"),
    ("quarantine_rows_not_checked", "damage_bugs::a_damaged_row_of_quarantine_is_not_gone_on_with"),
    ("row_tag_not_checked", "damage_bugs::a_block_row_that_says_another_time_is_not_answered"),
    ("duplicates_not_recognised", "log_store::a_received_transaction_keeps_its_first_position"),
    ("foreseen_not_verified", "parallel::what_the_block_before_changed_is_not_taken_over"),
    (
        "goes_on_after_a_failed_commit",
        "power_loss_bugs::a_log_that_failed_does_not_acknowledge_what_it_finds_in_itself",
    ),
    ("head_one_too_high", "golden::what_is_written_is_what_was_released"),
    (
        "link_not_verified",
        "recover::a_transaction_that_was_damaged_while_it_waited_is_not_executed",
    ),
    ("links_of_answers_not_verified", DAMAGE),
    ("log_opened_normal", POWER),
    (
        "mempool_keeps_what_was_ordered",
        "quarantine::a_released_transaction_is_ordered_again_and_succeeds",
    ),
    ("net_keeps_the_first_value", WAYS),
    (
        "next_batch_kept_after_a_difference",
        "overlap::a_difference_ends_both_and_leaves_nothing_to_be_gone_on_with",
    ),
    (
        "no_checkpoint_before_the_first_acknowledgement",
        "power_loss_bugs::a_node_whose_creation_was_cut_short_is_made_durable_before_it_is_used",
    ),
    (
        "overlay_of_an_earlier_process_read",
        "resume::the_overlay_of_an_earlier_process_answers_for_no_key",
    ),
    ("receipts_not_checked", "damage_bugs::damaged_receipts_of_a_confirmed_block_are_not_answered"),
    ("row_digest_not_checked", DAMAGE),
    (
        "sandbox_base_stays",
        "limits::a_stop_at_any_notice_is_gone_on_from_and_no_block_is_executed_twice",
    ),
    ("sandbox_digest_not_checked", SANDBOXES),
    ("sandbox_of_another_base_accepted", SANDBOXES),
    (
        "sandbox_of_older_verdicts_accepted",
        "resume::a_rehearsal_from_before_a_verdict_is_not_gone_on_with",
    ),
    ("sandbox_reads_the_checkpoint", WAYS),
    (
        "second_execution_not_compared",
        "quarantine::a_machine_that_gives_another_result_is_caught_by_executing_again",
    ),
    ("settlements_dropped", KEPT_OUT),
    (
        "uncommitted_rows_shown_to_all",
        "overlap::a_batch_that_is_not_committed_is_shown_to_nobody_else",
    ),
    ("verdict_not_logged", QUARANTINE),
    ("verdicts_not_applied", "resume::a_rehearsal_from_before_a_verdict_is_not_gone_on_with"),
    (
        "waiting_for_a_commit_counted",
        "overlap::a_step_that_has_to_wait_for_a_commit_is_not_taken_for_one_that_hangs",
    ),
    ("wal_not_renewed", ERRORS),
    ("wall_clock_orders", "node::ordered_blocks_are_confirmed_and_told_in_order_from_any_height"),
    ("what_was_in_vain_trusted", "parallel::what_was_in_vain_leaves_nothing_to_those_after_it"),
    (
        "witness_checksum_ignored",
        "decisions::one_torn_slot_of_the_witness_is_survived_and_two_are_not",
    ),
    ("witness_ignored", "decisions::another_event_than_the_acknowledged_one_is_noticed"),
    ("witness_not_synced", "power_loss::a_story_survives_every_loss_of_power"),
    (
        "witness_not_written",
        "decisions::an_older_log_is_noticed_by_the_witness_where_no_block_rests_on_it",
    ),
];

fn planted_below(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("the sources can be listed") {
        let path = entry.expect("the sources can be listed").path();
        if path.is_dir() {
            planted_below(&path, found);
        } else {
            let text = fs::read_to_string(&path).expect("a source file");
            let names = text.split("planted!(\"").skip(1);
            found.extend(names.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
}

#[test]
fn every_bug_that_can_be_planted_is_in_the_table() {
    let mut planted = BTreeSet::new();
    planted_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut planted);
    let named: BTreeSet<_> = BUGS.iter().map(|(bug, _)| (*bug).to_owned()).collect();
    assert_eq!(planted, named);
}

#[cfg(not(feature = "planted-bugs"))]
#[test]
fn no_bug_is_in_the_program() {
    let program = fs::read(env!("CARGO_BIN_EXE_rewake")).expect("the program");
    let holds = |name: &str| program.windows(name.len()).any(|part| part == name.as_bytes());
    assert!(holds("main.db"), "names are found");
    for name in ["REWAKE_PLANTED", "duplicates_not_recognised", "commit_error_swallowed"] {
        assert!(!holds(name), "{name} is in the program");
    }
}

/// Runs one test of this binary with a bug planted, or with none; says whether it passed.
#[cfg(feature = "planted-bugs")]
fn passes(test: &str, bug: &str) -> bool {
    use std::process::{Command, Stdio};
    let this = std::env::current_exe().expect("this program");
    // One that hangs has failed as well.
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "300"]).arg(this).args(["--exact", test]);
    command.env("REWAKE_PLANTED", bug).env_remove("REWAKE_CRASH_SUITE");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let output = command.output().expect("the tests run");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("running 1 test"), "there is no test {test}");
    output.status.success()
}

/// Returns the bugs of the share that is asked for: `K/N` names the K-th of N shares, from 0 on.
#[cfg(feature = "planted-bugs")]
fn share() -> Vec<&'static (&'static str, &'static str)> {
    let share = std::env::var("REWAKE_PLANTED_SHARE").unwrap_or_else(|_| "0/1".to_owned());
    let (part, parts) = share.split_once('/').expect("K/N");
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let (part, parts) = (number(part), number(parts));
    BUGS.iter()
        .enumerate()
        .filter(|(at, _)| at % parts == part % parts)
        .map(|(_, bug)| bug)
        .collect()
}

#[cfg(feature = "planted-bugs")]
#[test]
fn every_planted_bug_is_caught() {
    use std::io::Write as _;
    let mut missed = Vec::new();
    let bugs = share();
    let tests: BTreeSet<_> = bugs.iter().map(|(_, test)| *test).collect();
    let failing: Vec<_> = tests.into_iter().filter(|test| !passes(test, "")).collect();
    assert!(failing.is_empty(), "these fail without a bug: {failing:?}");
    for (bug, test) in bugs {
        let started = std::time::Instant::now();
        let is_caught = !passes(test, bug);
        let answer = if is_caught { "caught by" } else { "NOT caught by" };
        let seconds = started.elapsed().as_secs_f64();
        // Nothing depends on whether anybody reads it.
        let _ = writeln!(std::io::stderr(), "planted: {bug:48} {answer} {test} in {seconds:.1} s");
        if !is_caught {
            missed.push(*bug);
        }
    }
    assert!(missed.is_empty(), "nothing caught {missed:?}");
}
