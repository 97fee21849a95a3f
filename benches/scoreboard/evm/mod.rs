//! Rows of EVM blocks in memory: what two workers win over one and over sequential `revm`.

mod bare;
mod contest;
mod critical_path;
mod hashed_state;
mod header_check;
mod mainnet;
pub(crate) mod recovered;
mod token;
mod transfers;

use anyhow::{Result, ensure};

use self::contest::{Contest, Contested, Times};
use self::critical_path::CriticalPath;
use self::transfers::Asset;
use crate::Settings;
use crate::row::{Goal, Row};

/// Which side of a contest.
type Side = fn(&Times) -> f64;

const TWO: Side = |times| times.two;
const KNOWN: Side = |times| times.known;
const ONE: Side = |times| times.one;
const REVM: Side = |times| times.revm;
const HALF_OF_BOTH: Side = |times| times.both / 2.0;
const REVM_AND_CHECKS: Side = |times| times.revm + times.checks;

/// Executes transfers, and the blocks of mainnet where they are at hand.
pub(crate) fn rows(settings: &Settings) -> Result<Vec<Row>> {
    let mut rows =
        of_transfers(settings, "ERC-20 transfers", Asset::Token, Some(Goal::AtLeast(1.8)))?;
    rows.extend(of_transfers(settings, "native transfers (EVM)", Asset::Ether, None)?);
    if let Some(blocks) = mainnet::blocks()? {
        let contest = Contest::new(mainnet::inputs(&blocks))?;
        let times = contest.measure(settings.block_repetitions)?;
        rows.extend(of_mainnet(&contest.blocks, &times));
        if settings.each_block {
            rows.extend(
                contest.blocks.iter().zip(&times).flat_map(|(block, times)| each(block, *times)),
            );
        }
    }
    Ok(rows)
}

/// Counts what one worker and `revm` allocate for a transaction of mainnet, where its blocks are at hand.
pub(crate) fn allocations(_: &Settings) -> Result<Vec<Row>> {
    let Some(blocks) = mainnet::blocks()? else { return Ok(Vec::new()) };
    let [ours, revm] = Contest::new(mainnet::inputs(&blocks))?.allocations()?;
    let name = "allocations per transaction, mainnet, against sequential revm";
    Ok(vec![Row::new(name, ours, revm, "allocations", None)])
}

fn of_transfers(
    settings: &Settings,
    what: &str,
    asset: Asset,
    goal: Option<Goal>,
) -> Result<Vec<Row>> {
    let contest =
        Contest::new(transfers::chain(asset, settings.transfers.div_ceil(50_000).max(2))?)?;
    ensure!(transfers::arrived(asset, &contest), "{what} do not arrive");
    let times = contest.measure(settings.block_repetitions)?;
    Ok(vec![
        faster(format!("{what}: two workers, against one"), &times, TWO, ONE, goal),
        faster(format!("{what}: two workers, against sequential revm"), &times, TWO, REVM, None),
        at_once(what, &times),
        faster(format!("{what}: one worker, against sequential revm"), &times, ONE, REVM, None),
        faster(
            format!("{what}: one worker, against revm and checks of headers"),
            &times,
            ONE,
            REVM_AND_CHECKS,
            None,
        ),
    ])
}

fn of_mainnet(blocks: &[Contested], times: &[Times]) -> Vec<Row> {
    let what = format!("{} mainnet blocks", blocks.len());
    let known = format!("{what}, dependencies known");
    let least = |goal| Some(Goal::AtLeast(goal));
    let path =
        blocks.iter().map(CriticalPath::of).fold(CriticalPath::default(), CriticalPath::then);
    let mut rows = vec![
        faster(
            format!("{what}: two workers, against sequential revm"),
            times,
            TWO,
            REVM,
            least(1.3),
        ),
        faster(
            format!("{known}: two workers, against sequential revm"),
            times,
            KNOWN,
            REVM,
            least(1.6),
        ),
        at_once(&what, times),
        faster(format!("{what}: one worker, against sequential revm"), times, ONE, REVM, None),
        faster(
            format!("{what}: one worker, against revm and checks of headers"),
            times,
            ONE,
            REVM_AND_CHECKS,
            None,
        ),
        faster(format!("{what}: two workers, against one"), times, TWO, ONE, None),
        faster(format!("{known}: two workers, against one"), times, KNOWN, ONE, None),
        slowest(&what, "sequential revm", blocks, times, REVM, least(0.97)),
        slowest(&what, "revm and checks of headers", blocks, times, REVM_AND_CHECKS, None),
        slowest(&what, "one", blocks, times, ONE, least(0.97)),
    ];
    rows.extend(path_rows(&what, path));
    rows
}

/// Returns what two processors are worth at most on this machine: how many times faster two `revm` at once execute blocks
/// than one after the other.
fn at_once(what: &str, times: &[Times]) -> Row {
    faster(format!("{what}: two revm at once, against one"), times, HALF_OF_BOTH, REVM, None)
}

/// Returns how many times faster one side executes blocks than another.
fn faster(name: String, times: &[Times], ours: Side, theirs: Side, goal: Option<Goal>) -> Row {
    let all = |side: Side| times.iter().map(side).sum();
    Row::faster(name, all(ours), all(theirs), goal)
}

/// Returns the block of which two workers win least, or lose most.
fn slowest(
    what: &str,
    whom: &str,
    blocks: &[Contested],
    times: &[Times],
    theirs: Side,
    goal: Option<Goal>,
) -> Row {
    let ratio = |times: &Times| theirs(times) / times.two;
    let pairs = blocks.iter().zip(times);
    let worst = pairs.min_by(|(_, one), (_, other)| ratio(one).total_cmp(&ratio(other)));
    let (block, times) = worst.expect("there are blocks");
    let (height, txs) = (block.input.height.get(), block.input.txs.len());
    eprintln!("  the slowest block against {whom} is {height}, {txs} transactions");
    let name = format!("slowest of the {what}: two workers, against {whom}");
    faster(name, &[*times], TWO, theirs, goal)
}

fn each(block: &Contested, times: Times) -> Vec<Row> {
    let path = CriticalPath::of(block);
    let name = format!("block {}", block.input.height.get());
    let whole = format!("{name}, {} txs, {} gas: two workers, against revm", path.txs, path.gas);
    let mut rows = vec![
        faster(whole, &[times], TWO, REVM, None),
        faster(format!("{name}: two workers, against one"), &[times], TWO, ONE, None),
    ];
    rows.extend(path_rows(&name, path));
    rows
}

/// Returns all work by that of the longest chain: no number of workers can be more times faster than one.
fn path_rows(what: &str, path: CriticalPath) -> [Row; 2] {
    let row = |unit: &'static str, all: u64, chain: u64| {
        let name = format!("{what}: {unit}, by the longest chains of them");
        Row::new(name, all as f64, chain as f64, unit, None)
    };
    [row("transactions", path.txs, path.chain_txs), row("gas", path.gas, path.chain_gas)]
}
