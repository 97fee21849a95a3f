//! What a node is started with: who orders its blocks, and how it is recovered.

use std::time::Duration;

use super::ServeArgs;
use crate::machine::ledger::{Header, Ledger};
use crate::machine::{MachineVersion, StateMachine as _};
use crate::node::{NodeOptions, Sequencer};
use crate::telemetry::Metrics;
use crate::types::UnixMillis;

pub(super) fn options(args: &ServeArgs, machine: &MachineVersion, metrics: Metrics) -> NodeOptions {
    NodeOptions {
        sequencer: sequencer(args, machine),
        metrics,
        recovery: args.engine.options(),
        ..NodeOptions::default()
    }
}

/// The ledger takes a block from whoever has the time; what stands in the headers of other machines, their consensus
/// decides.
fn sequencer(args: &ServeArgs, machine: &MachineVersion) -> Option<Sequencer> {
    let header = |UnixMillis(time_ms)| Header { time_ms }.encode().into();
    (machine.id == Ledger.version().id).then(|| Sequencer {
        interval: Duration::from_millis(args.block_ms),
        txs_max: args.block_txs,
        ..Sequencer::new(header)
    })
}
