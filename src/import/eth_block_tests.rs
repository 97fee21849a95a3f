//! Tests of block files, and the real blocks of mainnet through the machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::event::Patch;
use crate::exec::{Executor, ExecutorSettings, Rulings};
use crate::import::WitnessChain;
use crate::machine::evm::Evm;
use crate::machine::{BlockInput, TxInput};
use crate::state::MemoryState;
use crate::types::Seq;

/// Returns the folder with real data, `None` where there is none and none is required.
pub(crate) fn real_data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var_os("REWAKE_REQUIRE_REAL_DATA").is_some_and(|value| value == "1");
    assert!(!required, "{} is required and absent", path.display());
    println!("skipped: {} is absent", path.display());
    None
}

pub(crate) fn input(block: &EthBlock, patches: Vec<Patch>) -> BlockInput {
    let tx = |(index, (id, payload)): (usize, &(TxId, Bytes))| TxInput {
        seq: Seq::new(index as u64 + 1).expect("not zero"),
        id: *id,
        payload: payload.clone(),
        created: None,
    };
    let txs = block.txs.iter().enumerate().map(tx).collect();
    BlockInput { height: block.height, header: block.header.clone(), patches, txs }
}

fn mainnet_blocks() -> Option<Vec<EthBlock>> {
    let folder = real_data("mainnet")?;
    let files = std::fs::read_dir(folder).expect("a folder");
    let mut blocks: Vec<_> = files
        .map(|entry| read_block_file(&entry.expect("an entry").path()).expect("a valid file"))
        .map(|file| file.into_block(&ForkSchedule::mainnet()))
        .collect();
    blocks.sort_by_key(|block| block.height);
    Some(blocks)
}

#[test]
fn mainnet_blocks_give_what_their_headers_say() {
    let Some(blocks) = mainnet_blocks() else { return };
    assert_eq!(blocks.len(), 31);
    let executor = Executor::new(Arc::new(Evm::default()), ExecutorSettings::default());
    let (mut chain, mut state) = (WitnessChain::default(), MemoryState::default());
    let (mut followers, mut time) = (0, Duration::ZERO);
    let mut transactions = 0;
    for block in &blocks {
        let patch = chain.patch(block);
        followers += usize::from(!patch.replaces_state);
        let input = input(block, vec![patch]);
        let start = Instant::now();
        let executed = executor.execute(&input, &Rulings::new(), &state);
        time += start.elapsed();
        let executed = executed.unwrap_or_else(|failure| panic!("{failure}"));
        transactions += executed.receipts.0.len();
        state.apply(&executed.changes);
    }
    assert_eq!(followers, 5, "pairs of blocks that follow each other");
    println!("{} blocks with {transactions} transactions in {time:?}", blocks.len());
}
