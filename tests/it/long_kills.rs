//! A long backlog, killed twenty times on its way, ends as one that nobody disturbed.

use std::time::Instant;

use crate::program::{json, kill, start};
use crate::scripted::copy_files;
use crate::suite::Suite;
use rewake::store::DataDir;

const KILLS: u32 = 20;
const SEED: u64 = 7;

#[test]
fn two_hundred_thousand_transfers_survive_twenty_kills() {
    if Suite::chosen() == Suite::Every {
        println!("skipped: REWAKE_CRASH_SUITE is not set");
        return;
    }
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let (node, calm) = (scratch.path().join("node"), scratch.path().join("calm"));
    let (data, calm_data) = (node.display().to_string(), calm.display().to_string());
    let shape = [
        ["--transfers", "200500"],
        ["--block-txs", "100"],
        ["--unconfirmed-blocks", "2000"],
        ["--mempool", "500"],
    ];
    json(&[&["generate", "--data", &data][..], shape.as_flattened()].concat(), 0);
    copy_files(&DataDir::new(&node), &DataDir::new(&calm));
    let started = Instant::now();
    let expected = json(&["recover", "--data", &calm_data], 0);
    let whole = started.elapsed();
    assert_eq!(expected["mempool"].as_u64(), Some(500), "{expected}");

    println!("seed {SEED}");
    let arguments = ["recover", "--data", &data, "--batch-txs", "5000", "--memory", "2"];
    let mut random = SEED;
    for number in 0..KILLS {
        // The moment is drawn from the first third of what is left, so that every kill finds work under way.
        let status = json(&["status", "--data", &data], 3);
        let pending =
            u32::try_from(status["pending_blocks"].as_u64().expect("a number")).expect("few");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let drawn = u32::try_from(random >> 48).expect("sixteen bits");
        let moment = whole * pending / 2000 * drawn / (3 << 16);
        let child = start(&arguments);
        let started = Instant::now();
        while started.elapsed() < moment {
            std::thread::yield_now();
        }
        assert!(kill(child), "kill {number} after {moment:?} found nothing to kill");
    }
    let report = json(&arguments, 0);
    assert_eq!(report["state_digest"], expected["state_digest"], "{report}");
    assert_eq!(report["mempool"], expected["mempool"], "{report}");
    json(&["audit", "--data", &data], 0);
}
