//! Recovery of a ledger backlog: every mode, gate and memory budget gives one result.

use rewake::exec::{CommitMode, Gate, Outcome, RecoveryOptions};
use rewake::generate::Workload;
use rewake::plan::BatchLimits;

use crate::nodes::{Node, fill};

fn workload() -> Workload {
    Workload { accounts: 50, transfers: 2_000, block_txs: 20, mempool: 30, ..Workload::default() }
}

#[test]
fn every_way_of_recovering_gives_one_state() {
    let mut digests = Vec::new();
    for commit in [CommitMode::Restore, CommitMode::Reexecute] {
        for gate in [Gate::All, Gate::Batch] {
            for (memory_bytes, txs_max) in [(0, 7), (100_000, 500), (64 << 20, 1_000_000)] {
                let node = Node::ledger();
                fill(&node, &workload());
                let batch = BatchLimits { txs_max, ..BatchLimits::default() };
                let options = RecoveryOptions {
                    commit,
                    gate,
                    batch,
                    memory_bytes,
                    ..RecoveryOptions::default()
                };
                let report = node.recover_with(options);
                assert_eq!(report.outcome, Outcome::Recovered, "{report:?}");
                assert_eq!((report.counts.txs, report.mempool), (1_970, 30));
                let again = node.recover();
                assert_eq!(again.outcome, Outcome::InSync);
                assert_eq!(again.state_digest, report.state_digest);
                digests.push(report.state_digest);
            }
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
}
