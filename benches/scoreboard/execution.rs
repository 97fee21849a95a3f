//! Execution of blocks in memory, on two workers against one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rewake::exec::{Dependencies, Executor, ExecutorSettings, Rulings};
use rewake::machine::ledger::{Account, Ledger, Transfer};
use rewake::machine::{BlockInput, Registry, TxInput};
use rewake::state::MemoryState;
use rewake::types::{Bytes, Digest, Height, Seq};

use crate::Settings;
use crate::row::{Goal, Row, median};

const BLOCK_TXS: u64 = 1_000;

/// Executes transfers that have nothing in common, transfers from one account, and real blocks where they are at hand.
pub(crate) fn rows(settings: &Settings) -> Result<Vec<Row>> {
    let blocks = (settings.transfers / BLOCK_TXS / 5).max(4);
    let least = |goal| Some(Goal::AtLeast(goal));
    let mut rows = vec![
        row(settings, "independent transfers", "ledger", &ledger(blocks, false), &[], least(1.8))?
            .0,
        row(
            settings,
            "transfers of one account",
            "ledger",
            &ledger(blocks, true),
            &[],
            least(0.97),
        )?
        .0,
    ];
    #[cfg(feature = "evm")]
    if let Some(blocks) = mainnet()? {
        let (cold, known) = row(settings, "31 mainnet blocks", "evm", &blocks, &[], least(1.3))?;
        rows.push(cold);
        let chain: f64 = known.iter().flatten().map(|known| known.longest_chain() as f64).sum();
        let txs: f64 = known.iter().flatten().map(|known| known.txs() as f64).sum();
        let name = "31 mainnet blocks: transactions, by the longest chains of them";
        rows.push(Row::new(name, txs, chain, "transactions", None));
        let what = "31 mainnet blocks, dependencies known";
        rows.push(row(settings, what, "evm", &blocks, &known, least(1.6))?.0);
    }
    Ok(rows)
}

type Known = Vec<Option<Dependencies>>;

/// Two workers, which may know the dependencies, against one, which knows nothing; and what execution taught.
fn row(
    settings: &Settings,
    what: &str,
    machine: &str,
    blocks: &[BlockInput],
    known: &[Option<Dependencies>],
    goal: Option<Goal>,
) -> Result<(Row, Known)> {
    let (mut two, mut one) = (Vec::new(), Vec::new());
    let mut taught = Vec::new();
    for _ in 0..settings.repetitions.max(3) {
        let (time, digests, learned) = execute(machine, 2, blocks, known)?;
        two.push(time.as_secs_f64());
        let (time, alone, _) = execute(machine, 1, blocks, &[])?;
        one.push(time.as_secs_f64());
        ensure!(digests == alone, "{what}: two workers gave another result than one");
        taught = learned;
    }
    let name = format!("{what}: two workers, against one");
    Ok((faster(name, &two, &one, goal), taught))
}

/// A row in which the ratio is how many times faster the first side is.
fn faster(name: String, ours: &[f64], theirs: &[f64], goal: Option<Goal>) -> Row {
    let rate = |seconds: &[f64]| 1.0 / median(seconds.iter().copied());
    Row::new(name, rate(ours), rate(theirs), "times a second", goal)
}

/// Executes blocks in memory; returns the time, the digest of what each changed, and what was learned.
fn execute(
    machine: &str,
    workers: usize,
    blocks: &[BlockInput],
    known: &[Option<Dependencies>],
) -> Result<(Duration, Vec<Digest>, Known)> {
    // A machine of its own, so that none has anything from the run before.
    let machine = Registry::built_in().find(machine)?;
    let settings = ExecutorSettings { workers, ..ExecutorSettings::default() };
    let executor = Executor::new(Arc::clone(&machine), settings);
    let mut state = MemoryState::default();
    let (mut time, mut digests, mut learned) = (Duration::ZERO, Vec::new(), Vec::new());
    for (index, block) in blocks.iter().enumerate() {
        // What is computed of a transaction's bytes alone, such as its sender, is not execution.
        if let Some(prepare) = machine.prepare(block) {
            prepare(&|| false);
        }
        let known = known.get(index).and_then(Option::as_ref);
        let begun = Instant::now();
        let executed = executor.execute_known(block, &Rulings::new(), &state, known)?;
        time += begun.elapsed();
        state.apply(&executed.changes);
        digests.push(Digest::of(&executed.changes.encode()));
        learned.push(executed.dependencies);
    }
    Ok((time, digests, learned))
}

/// Blocks of transfers: between pairs that have nothing in common, or all of them from one account.
fn ledger(blocks: u64, is_hot: bool) -> Vec<BlockInput> {
    let pair = |number: u64| {
        let first = if is_hot { 1 } else { 2 * number + 1 };
        (Account(first), Account(2 * number + 2))
    };
    let senders = (0..BLOCK_TXS).map(|number| (pair(number).0, 1_000_000_000_000));
    let senders: std::collections::BTreeMap<_, _> = senders.collect();
    let genesis = BlockInput {
        height: Height::GENESIS,
        header: Bytes::default(),
        patches: vec![Ledger::genesis_patch(senders)],
        txs: Vec::new(),
    };
    let block = |height: u64| {
        let txs = (0..BLOCK_TXS).map(|number| {
            let (from, to) = pair(number);
            let nonce = if is_hot { (height - 1) * BLOCK_TXS + number } else { height - 1 };
            tx(number, Transfer { from, to, amount: 1, nonce })
        });
        let (height, txs) = (Height(height), txs.collect());
        BlockInput { height, header: Bytes::default(), patches: Vec::new(), txs }
    };
    std::iter::once(genesis).chain((1..=blocks).map(block)).collect()
}

fn tx(number: u64, transfer: Transfer) -> TxInput {
    let seq = Seq::new(number + 1).expect("positions start at 1");
    let payload = transfer.encode().to_vec().into();
    TxInput { seq, id: transfer.id(), payload, created: None }
}

/// Real blocks, each above the state that it needs; `None` where they are not at hand.
#[cfg(feature = "evm")]
fn mainnet() -> Result<Option<Vec<BlockInput>>> {
    use rewake::import::eth::{WitnessChain, read_block_file};
    use rewake::machine::evm::ForkSchedule;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/mainnet");
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
    Ok(Some(inputs.collect()))
}
