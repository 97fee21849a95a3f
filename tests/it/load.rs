//! The load driver proves a right node, however it behaves, and catches each kind of wrong one.

use std::time::Duration;

use rewake::load::{Check, Driver, Finding, LoadError, LoadOptions, LoadReport, Until, Verdict};

use crate::cli::{program, run};
use crate::load_node::{Fault, PaperNode};

/// Runs a future as the program does.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().expect("a runtime").block_on(future)
}

/// Few clients, a few hundred transfers, and little patience with what stands still.
pub fn options() -> LoadOptions {
    LoadOptions {
        clients: 4,
        until: Until::Transfers(400),
        patience: Duration::from_secs(20),
        still: Duration::from_millis(50),
        ..LoadOptions::default()
    }
}

/// Drives a node with a fault.
pub fn drive(fault: Fault, options: LoadOptions) -> Result<LoadReport, LoadError> {
    let address = PaperNode::start(fault);
    let driver = Driver::new(address.into(), options).expect("a driver");
    block_on(driver.run())
}

#[test]
fn a_right_node_is_proved_and_measured() {
    let report = drive(Fault::None, options()).expect("a verdict");
    assert_eq!((report.outcome, report.findings.as_slice()), (Verdict::Proved, [].as_slice()));
    assert_eq!((report.acknowledged, report.transactions, report.retries), (400, 400, 0));
    assert_eq!((report.latency.count, report.latency_disturbed.count), (400, 0));
    assert!(report.latency.p50_us > 0 && report.latency.max_us >= report.latency.p99_us);
    assert!(report.resubmissions > 0 && report.blocks > 10 && report.acknowledged_per_s > 0);
    for checked in &report.checks {
        assert!(checked.checked > 0 && checked.findings == 0, "{checked:?}");
    }
    assert_eq!(report.checks.len(), Check::ALL.len());
}

#[test]
fn batches_time_limits_and_a_mempool_that_stays_are_proved_as_well() {
    let batches = LoadOptions { batch: 7, until: Until::Transfers(395), ..options() };
    let report = drive(Fault::KeepsMempool, batches).expect("a verdict");
    assert_eq!((report.outcome, report.acknowledged), (Verdict::Proved, 395));
    assert_eq!((report.mempool, report.latency.count), (5, 57));
    let timed = LoadOptions { until: Until::Elapsed(Duration::from_millis(50)), ..options() };
    let report = drive(Fault::None, timed).expect("a verdict");
    assert!(report.outcome == Verdict::Proved && report.acknowledged > 0, "{report:?}");
    let unchecked = LoadOptions { checks: false, ..options() };
    let report = drive(Fault::Loses, unchecked).expect("a verdict");
    assert_eq!((report.outcome, report.blocks), (Verdict::Unchecked, 0));
}

#[test]
fn connections_that_break_and_a_busy_node_lose_nothing() {
    let report = drive(Fault::DropsConnections, options()).expect("a verdict");
    assert_eq!((report.outcome, report.acknowledged), (Verdict::Proved, 400));
    assert!(report.deaths_seen > 0 && report.retries > 0, "{report:?}");
    assert!(report.latency_disturbed.count > 0, "{report:?}");
    let report = drive(Fault::PutsOff, options()).expect("a verdict");
    assert_eq!((report.outcome, report.acknowledged), (Verdict::Proved, 400));
    assert!(report.retries >= 100 && report.latency_disturbed.count > 0, "{report:?}");
}

#[test]
fn each_kind_of_wrong_node_is_caught() {
    type Expected = fn(&Finding) -> bool;
    let cases: [(Fault, Check, Expected); 19] = [
        (Fault::Loses, Check::Kept, |it| matches!(it, Finding::Lost { .. })),
        (Fault::Moves, Check::Kept, |it| matches!(it, Finding::Moved { .. })),
        (Fault::Doubles, Check::Unique, |it| matches!(it, Finding::Twice { .. })),
        (Fault::SharesSeq, Check::Unique, |it| matches!(it, Finding::SeqShared { .. })),
        (Fault::Alters, Check::Contents, |it| matches!(it, Finding::Altered { .. })),
        (Fault::AltersBalance, Check::Supply, |it| matches!(it, Finding::SupplyDiffers { .. })),
        (Fault::AltersBalance, Check::Accounts, is_account),
        (Fault::Mints, Check::Supply, |it| matches!(it, Finding::StatedSupplyDiffers { .. })),
        (Fault::Overcounts, Check::Supply, |it| matches!(it, Finding::AppliedDiffers { .. })),
        (Fault::AltersNonce, Check::Accounts, is_account),
        (Fault::ForgetsAccount, Check::Accounts, is_account),
        (Fault::BreaksParent, Check::Chain, |it| {
            matches!(it, Finding::ParentDiffers { height: 1, .. })
        }),
        (Fault::LacksBlock, Check::Chain, |it| {
            matches!(it, Finding::BlockMissing { height: 1, .. })
        }),
        (Fault::Misnumbers, Check::Chain, |it| {
            matches!(it, Finding::HeightDiffers { height: 1, found: 9 })
        }),
        (Fault::Miscounts, Check::Chain, |it| {
            matches!(it, Finding::CountDiffers { what: "in it", counted: 999, .. })
        }),
        (Fault::FlipsStatus, Check::Receipts, |it| matches!(it, Finding::StatusDiffers { .. })),
        (Fault::Quarantines, Check::Receipts, |it| matches!(it, Finding::Quarantined { .. })),
        (Fault::Renumbers, Check::Answers, |it| matches!(it, Finding::AnswerDiffers { .. })),
        (Fault::Misnames, Check::Answers, |it| matches!(it, Finding::AnswerNames { .. })),
    ];
    for (fault, check, expected) in cases {
        let report = drive(fault, options()).expect("a verdict");
        assert_eq!(report.outcome, Verdict::Violated, "{fault:?}");
        assert!(report.findings.iter().any(expected), "{fault:?}: {:?}", report.findings);
        let checked = report.checks.iter().find(|checked| checked.check == check);
        assert!(checked.is_some_and(|checked| checked.findings > 0), "{fault:?}: {checked:?}");
    }
}

fn is_account(finding: &Finding) -> bool {
    matches!(finding, Finding::AccountDiffers { account, .. } if account.0 == 12)
}

#[test]
fn a_node_that_forgets_is_caught_even_where_nothing_else_is_checked() {
    let options = LoadOptions { checks: false, ..options() };
    let report = drive(Fault::Forgets, options).expect("a verdict");
    assert_eq!(report.outcome, Verdict::Violated);
    assert!(matches!(report.findings[0], Finding::AnswerForgotten { .. }), "{report:?}");
}

#[test]
fn a_list_of_an_earlier_run_is_held_against_the_node_as_well() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let path = scratch.path().join("acknowledged");
    let options = LoadOptions { acknowledged: Some(path.clone()), ..options() };
    let address = PaperNode::start(Fault::None);
    for (seed, lines) in [(1, 400), (2, 800)] {
        let options = LoadOptions { seed, ..options.clone() };
        let driver = Driver::new(address.into(), options).expect("a driver");
        let report = block_on(driver.run()).expect("a verdict");
        assert_eq!((report.outcome, report.transactions), (Verdict::Proved, lines));
        let text = std::fs::read_to_string(&path).expect("a list");
        assert_eq!(text.lines().count() as u64, lines);
    }
    let report = drive(Fault::None, LoadOptions { seed: 3, ..options }).expect("a verdict");
    assert_eq!(report.outcome, Verdict::Violated, "another node has nothing of it");
    assert!(matches!(report.findings[0], Finding::Lost { .. }), "{report:?}");
}

#[test]
fn the_command_tells_people_and_programs_what_it_found() {
    let url = |fault| format!("http://{}", PaperNode::start(fault));
    let words = ["load", "--clients", "3", "--transfers", "200", "--seed", "4"];
    let load = |fault| {
        let mut command = program();
        command.args(words).args(["--url", &url(fault)]);
        command
    };
    let told = run(load(Fault::None).arg("--json")).expect(0).json();
    assert_eq!((&told["outcome"], &told["acknowledged"]), (&"proved".into(), &200.into()));
    let told = run(load(Fault::Loses).arg("--json")).expect(5).json();
    assert_eq!(told["outcome"], "violated", "{told}");
    assert_eq!(told["findings"][0]["finding"], "lost", "{told}");
    let ran = run(&mut load(Fault::None)).expect(0);
    for expected in ["200 transactions", "acknowledged and kept", "all right", "\nproved: "] {
        assert!(ran.out.contains(expected), "{expected}: {ran:#?}");
    }
    assert_eq!(ran.err, "");
    let ran = run(&mut load(Fault::BreaksParent)).expect(5);
    for expected in ["1 WRONG", "wrong: block 1 names parent", "\nVIOLATED: "] {
        assert!(ran.out.contains(expected), "{expected}: {ran:#?}");
    }
    let ran = run(load(Fault::Loses).arg("--no-check")).expect(0);
    assert!(ran.out.contains("not checked"), "{ran:#?}");
}
