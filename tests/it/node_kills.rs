//! The real node, killed again and again under the real load driver and in its recovery, has what it acknowledged.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{program, rewake, run};
use crate::http_node::Running;
use crate::suite::Suite;

/// Says how often the node is killed: more often where more time is given.
fn kills() -> u64 {
    match Suite::chosen() {
        Suite::Every => 3,
        Suite::Quick | Suite::Long => 10,
        Suite::Full => 200,
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn every_kill_hits_the_real_node_at_work_and_nothing_is_lost() {
    let (scratch, kills) = (tempfile::tempdir().expect("a scratch directory"), kills());
    let mut command = program();
    command.args(["load", "--seconds", "0", "--life-max", "200", "--clients", "32", "--json"]);
    command.args(["--kills", &kills.to_string(), "--data"]).arg(scratch.path().join("node"));
    // Small blocks, often: so that kills hit commits as well.
    command.args(["--", "--block-ms", "20", "--block-txs", "100"]);
    let report = run(&mut command).expect(0).json();
    assert_eq!(report["outcome"], "proved", "{report}");
    // The model that executes every block anew is one of the checks, and each looked at something.
    for check in report["checks"].as_array().expect("checks") {
        assert!(number(&check["checked"]) > 0 && number(&check["findings"]) == 0, "{check}");
    }
    let killed = &report["kills"];
    let each = killed["each"].as_array().expect("kills");
    assert_eq!((number(&killed["kills"]), each.len() as u64), (kills, kills));
    for kill in each {
        let count = |what: &str| number(&kill[what]);
        if kill["phase"] == "ready" {
            assert!(count("acknowledged") > 0 && count("in_flight") > 0, "{kill}");
            assert!(count("cut_off") > 0, "each kill leaves someone without an answer: {kill}");
        } else {
            let phase = kill["phase"].as_str().expect("a phase");
            assert!(["checking", "rehearsing", "committing"].contains(&phase), "{kill}");
            assert_eq!(count("acknowledged"), 0, "{kill}");
        }
    }
    let (under_load, in_recovery) = (number(&killed["under_load"]), number(&killed["in_recovery"]));
    assert_eq!(under_load + in_recovery, kills);
    assert!(under_load > 0 && number(&report["deaths_seen"]) >= under_load.min(1), "{killed}");
    // Of few kills none may be aimed at a recovery; the next test is about those.
    assert!(in_recovery > 0 || kills < 100, "{killed}");
    println!(
        "{kills} kills, {in_recovery} in recovery, {} acknowledged in {} ms, ready after {} ms",
        report["acknowledged"], report["load_ms"], killed["recovery_ms"]
    );
}

/// Makes a node that acknowledged transactions, and whose log then loses the last of them.
fn cut() -> (TempDir, PathBuf, PathBuf) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (data, list) = (scratch.path().join("node"), scratch.path().join("list"));
    // 300 of 500 are in the mempool at the end.
    let more = ["--", "--block-ms", "3600000", "--block-txs", "400"];
    load(&data, &list, "500", &more).expect(0);
    let dir = rewake::store::DataDir::new(&data);
    let log = crate::scripted::sql(&dir, "log.db");
    let cut = "DELETE FROM event WHERE seq > (SELECT max(seq) - 5 FROM event);
        DELETE FROM tx_index WHERE seq > (SELECT max(seq) FROM event);
        UPDATE log SET indexed = min(indexed, (SELECT max(seq) FROM event))";
    log.execute_batch(cut).expect("events can be deleted");
    (scratch, data, list)
}

fn load(data: &Path, list: &Path, transfers: &str, more: &[&str]) -> crate::cli::Ran {
    let mut command = program();
    command.args(["load", "--clients", "8", "--transfers", transfers, "--json", "--data"]);
    command.arg(data).arg("--acknowledged").arg(list).args(more);
    run(&mut command)
}

#[test]
fn a_loss_that_is_planted_is_noticed_by_the_node_and_without_its_witness_by_the_driver() {
    let (_scratch, data, list) = cut();
    // The driver does not wait for a child that refused to come up.
    let ran = load(&data, &list, "1", &[]).expect(1);
    assert!(ran.err.contains("log_cut: event"), "{ran:?}");
    assert!(ran.err.contains("the node ended by itself: exit status: 4"), "{ran:?}");
    let mut killing = program();
    killing.args(["load", "--kills", "1", "--data"]).arg(&data);
    let ran = run(&mut killing).expect(1);
    assert!(ran.err.contains("the node ended by itself: exit status: 4"), "{ran:?}");
    std::fs::remove_file(data.join("WITNESS")).expect("a file");
    rewake("recover --accept-log", &data).expect(0);
    let told = load(&data, &list, "1", &["--seed", "2"]).expect(5).json();
    assert_eq!(told["outcome"], "violated", "{told}");
    let kept = told["checks"].as_array().expect("checks");
    let kept = kept.iter().find(|check| check["check"] == "kept").expect("a check");
    assert_eq!((number(&kept["checked"]), number(&kept["findings"])), (501, 5), "{told}");
    assert_eq!(told["findings"][0]["finding"], "lost", "{told}");
}

/// What a client saw of one life.
type Seen = Vec<Value>;

/// Polls a node until it is where it is to be killed, or ready.
fn poll(node: &Running, is_there: impl Fn(&Value) -> bool) -> Seen {
    let mut seen = Seen::new();
    loop {
        let answer = node.get("/readyz");
        let readiness = answer.json()["readiness"].clone();
        // A node is ready some moments before its clients are let in.
        assert!(answer.status == 503 || readiness["phase"] == "ready", "{readiness}");
        let is_end = answer.status == 200 || is_there(&readiness);
        seen.push(readiness);
        if is_end {
            return seen;
        }
    }
}

fn phase(readiness: &Value) -> &str {
    readiness["phase"].as_str().expect("a phase")
}

/// Checks that what one life told of itself is sane, and goes forward only.
fn check_seen(seen: &Seen) {
    const ORDER: [&str; 4] = ["checking", "rehearsing", "committing", "ready"];
    let rank = |readiness: &Value| {
        let place = ORDER.iter().position(|name| *name == phase(readiness));
        let count = |what: &str| number(&readiness["done"][what]);
        (place.unwrap_or_else(|| panic!("{readiness}")), count("blocks"), count("txs"))
    };
    for (before, after) in seen.iter().zip(seen.iter().skip(1)) {
        assert!(rank(before) <= rank(after), "{before} before {after}");
        assert!(before["last_progress"].as_u64() <= after["last_progress"].as_u64(), "{after}");
    }
    for now in seen {
        let count = |what: &str, of: &str| number(&now[what][of]);
        for of in ["blocks", "txs"] {
            assert!(count("done", of) <= count("total", of), "{now}");
        }
        let (done, left) = (count("done", "txs"), count("total", "txs") - count("done", "txs"));
        let rate = number(&now["rate"]);
        assert_eq!(rate > 0, done > 0, "{now}");
        assert!(done == 0 || now["remaining_ms"].is_u64(), "{now}");
        if let (Some(remaining_ms), true) = (now["remaining_ms"].as_u64(), done > 0) {
            // The rate is rounded down, and so is the time.
            assert!(remaining_ms <= left * 1_000 / rate, "{now}");
            assert!(remaining_ms + 1 >= left * 1_000 / (rate + 1), "{now}");
        }
    }
}

#[test]
fn a_node_killed_in_five_recoveries_in_a_row_comes_up_and_told_each_phase() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (data, twin) = (scratch.path().join("node"), scratch.path().join("twin"));
    let generate = "generate --accounts 1000 --transfers 120000 --block-txs 50 \
         --unconfirmed-blocks 2300 --mempool 0 --seed 9";
    rewake(generate, &data).expect(0);
    rewake(generate, &twin).expect(0);
    let done = |readiness: &Value, share: u64| {
        let blocks = |what: &str| number(&readiness[what]["blocks"]);
        blocks("done") > 0 && blocks("done") * 100 >= blocks("total") * share
    };
    // A phase with the share of it, in hundredths, after which the kill comes.
    let kills = [("rehearsing", 0), ("rehearsing", 50), ("committing", 0), ("committing", 20)];
    let kills = [("checking", 0)].into_iter().chain(kills);
    let (mut phases, mut hits, mut totals) = (Vec::new(), Vec::new(), Vec::new());
    for (aim, share) in kills {
        let node = Running::start("--batch-txs 100", &data);
        let is_there = |now: &Value| match phase(now) {
            "checking" => aim == "checking",
            "rehearsing" => aim == "rehearsing" && done(now, share),
            // A node that was too fast for the aim is hit where it is.
            _ => aim != "committing" || done(now, share),
        };
        let seen = poll(&node, is_there);
        check_seen(&seen);
        let last = seen.last().expect("an answer").clone();
        assert!(phase(&last) != "ready", "it was up before it was killed: {last}");
        assert!(node.kill(), "the signal was its end");
        phases.extend(seen.iter().map(|now| phase(now).to_owned()));
        hits.push(phase(&last).to_owned());
        totals.push(number(&last["total"]["blocks"]));
    }
    let node = Running::start("--batch-txs 100", &data);
    let seen = poll(&node, |_| false);
    check_seen(&seen);
    phases.extend(seen.iter().map(|now| phase(now).to_owned()));
    let printed = node.end(rustix::process::Signal::TERM, 0);
    phases.dedup();
    println!("killed while {hits:?} of {totals:?} blocks; phases seen: {phases:?}; {printed}");
    for expected in ["rehearsing", "committing", "ready"] {
        assert!(phases.iter().any(|phase| phase == expected), "{expected}: {phases:?}");
    }
    assert!(hits.iter().any(|hit| hit == "rehearsing"), "{hits:?}");
    assert!(hits.iter().any(|hit| hit == "committing"), "{hits:?}");
    let (report, expected) =
        (rewake("recover --json", &data).expect(0).json(), rewake("recover --json", &twin));
    let expected = expected.expect(0).json();
    assert_eq!(
        (&report["outcome"], &expected["outcome"]),
        (&"in_sync".into(), &"recovered".into())
    );
    assert_eq!(report["state_digest"], expected["state_digest"]);
    rewake("audit --json", &data).expect(0);
}
