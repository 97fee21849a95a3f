//! Bundles of blocks that failed, written by recovery itself.

use std::path::PathBuf;
use std::sync::Arc;

use crate::exec::{BlockFailure, Examined, FailedBlock, PendingBlock, RecoveryOptions};
use crate::machine::MachineVersion;
use crate::reproduce::{Bundle, BundleBlock, BundleError, Expected, ReportedFailure};
use crate::store::DataDir;

/// The directory for them inside a data directory.
pub const BUNDLES: &str = "bundles";

/// Returns options by which a recovery of this node writes a bundle for each block that fails.
///
/// A bundle that cannot be written is logged as a warning and stops nothing: recovery matters more than its evidence.
#[must_use]
pub fn with_failure_bundles(options: RecoveryOptions, node: &Examined) -> RecoveryOptions {
    let (dir, machine) = (node.store.dir().clone(), node.machine.version());
    let on_failure = move |failed: &FailedBlock| {
        let written = write_failure_bundle(&dir, &machine, failed);
        written
            .inspect_err(|error| {
                let height = failed.block.order.height.get();
                tracing::warn!(height, %error, "no bundle of the failed block can be written");
            })
            .ok()
    };
    RecoveryOptions { on_failure: Some(Arc::new(on_failure)), ..options }
}

/// Writes the bundle of a block that failed to `bundles/block-HEIGHT.rwb` in the data directory, or to
/// `bundles/block-HEIGHT-tx-INDEX.rwb` where one transaction is to blame, and returns its path.
///
/// # Errors
/// [`BundleError`] where it cannot be written.
pub fn write_failure_bundle(
    dir: &DataDir,
    machine: &MachineVersion,
    failed: &FailedBlock,
) -> Result<PathBuf, BundleError> {
    let bundle = failure_bundle(machine, failed);
    let bundles = dir.file(BUNDLES);
    let io = |error: &std::io::Error| BundleError::io("making the directory of bundles", error);
    std::fs::create_dir_all(&bundles).map_err(|error| io(&error))?;
    let synced = std::fs::File::open(dir.path()).and_then(|dir| dir.sync_all());
    synced.map_err(|error| io(&error))?;
    let path = bundles.join(name(failed));
    bundle.save(&path)?;
    Ok(path)
}

/// A block may fail once for each of its transactions; none of these bundles takes the place of another.
fn name(failed: &FailedBlock) -> String {
    let height = failed.block.order.height.get();
    let blamed = match &failed.failure {
        BlockFailure::Poison { seq, .. } => {
            failed.block.input.txs.iter().position(|tx| Some(tx.seq) == *seq)
        }
        BlockFailure::Check { .. } | BlockFailure::State(_) => None,
    };
    match blamed {
        Some(index) => format!("block-{height}-tx-{index}.rwb"),
        None => format!("block-{height}.rwb"),
    }
}

fn failure_bundle(machine: &MachineVersion, failed: &FailedBlock) -> Bundle {
    let FailedBlock { block, touched, failure } = failed;
    let PendingBlock { order, input, rulings, .. } = block.clone();
    let expected = Expected::Failure(ReportedFailure::of(failure, &input.txs));
    let block = BundleBlock { order, input, rulings, dependencies: None, expected };
    Bundle { machine: machine.clone(), state: touched.clone(), blocks: vec![block] }
}
