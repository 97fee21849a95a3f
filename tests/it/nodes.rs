//! Nodes for tests: ledgers in scratch directories, filled through the public intake.

use std::sync::Arc;

use rewake::exec::{
    Examined, Intake, NewEvent, Recovery, RecoveryOptions, Refusal, Report, SystemClock, examine,
};
use rewake::generate::Workload;
use rewake::machine::{MachineVersion, Registry};
use rewake::store::{DataDir, Repairs};
use rewake::types::{Bytes, Height, TxId};
use tempfile::TempDir;

/// A node in a directory that vanishes.
pub struct Node {
    pub dir: DataDir,
    pub registry: Registry,
    _scratch: TempDir,
}

impl Node {
    /// Makes an empty node of the ledger.
    pub fn ledger() -> Self {
        let registry = Registry::built_in();
        let machine = registry.find("ledger").expect("the ledger is built in").version();
        Self::new(registry, &machine)
    }

    /// Makes an empty node of a registered machine.
    pub fn new(registry: Registry, machine: &MachineVersion) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = DataDir::new(scratch.path().join("node"));
        dir.create(machine).expect("a new node");
        Self { dir, registry, _scratch: scratch }
    }

    /// Names a directory in which there is no node.
    pub fn nowhere() -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = DataDir::new(scratch.path().join("node"));
        Self { dir, registry: Registry::built_in(), _scratch: scratch }
    }

    /// Returns another node with a copy of the files.
    pub fn copy(&self) -> Self {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let dir = DataDir::new(scratch.path().join("node"));
        crate::scripted::copy_files(&self.dir, &dir);
        Self { dir, registry: self.registry.clone(), _scratch: scratch }
    }

    /// Returns the node as a program with other machines sees it.
    pub fn with(self, registry: Registry) -> Self {
        Self { registry, ..self }
    }

    /// Opens the node and decides.
    pub fn examine(&self) -> Result<Examined, Box<Refusal>> {
        examine(&self.dir, &self.registry, Repairs::default())
    }

    /// Appends events through the intake.
    pub fn append(&self, events: Vec<NewEvent>) -> Vec<rewake::exec::Logged> {
        let node = self.examine().expect("a sound node");
        Intake::new(&node, Arc::new(SystemClock)).append(events).expect("an append")
    }

    /// Recovers with options.
    pub fn recover_with(&self, options: RecoveryOptions) -> Report {
        let node = self.examine().expect("a sound node");
        Recovery::new(node, options).run().expect("a recovery").1
    }

    /// Recovers with the defaults.
    pub fn recover(&self) -> Report {
        self.recover_with(RecoveryOptions::default())
    }
}

/// Returns the event of an ordered block.
pub fn order(height: u64, txs: &[TxId]) -> NewEvent {
    NewEvent::Order { height: Height(height), header: Bytes::default(), txs: txs.to_vec() }
}

/// Fills a node with a workload: genesis, blocks of transfers, and the mempool.
pub fn fill(node: &Node, workload: &Workload) {
    node.append(workload.events().collect());
}
