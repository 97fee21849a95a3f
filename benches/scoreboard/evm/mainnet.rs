//! The blocks of Ethereum mainnet that lie beside the project.

use std::path::Path;

use anyhow::Result;
use rewake::import::eth::{EthBlock, WitnessChain, read_block_file};
use rewake::machine::evm::ForkSchedule;
use rewake::machine::{BlockInput, TxInput};
use rewake::types::Seq;

/// Reads the blocks in the order of their numbers; `None`, and a line that says so, where they are not at hand.
pub(crate) fn blocks() -> Result<Option<Vec<EthBlock>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/mainnet");
    let Ok(files) = std::fs::read_dir(&folder) else {
        eprintln!("  skipped: {} is not there", folder.display());
        return Ok(None);
    };
    let schedule = ForkSchedule::mainnet();
    let mut blocks = Vec::new();
    for file in files {
        blocks.push(read_block_file(&file?.path())?.into_block(&schedule));
    }
    blocks.sort_by_key(|block| block.height);
    Ok(Some(blocks))
}

/// Turns blocks into what the engine executes, each with the state that it needs.
pub(crate) fn inputs(blocks: &[EthBlock]) -> Vec<BlockInput> {
    let mut chain = WitnessChain::default();
    let inputs = blocks.iter().map(|block| {
        let txs = (1..).zip(&block.txs).map(|(number, (id, payload))| TxInput {
            seq: Seq::new(number).expect("positions start at 1"),
            id: *id,
            payload: payload.to_vec().into(),
            created: None,
        });
        BlockInput {
            height: block.height,
            header: block.header.clone(),
            patches: vec![chain.patch(block)],
            txs: txs.collect(),
        }
    });
    inputs.collect()
}
