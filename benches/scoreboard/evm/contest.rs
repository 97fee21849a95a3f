//! A contest over EVM blocks in memory: two workers, one, and sequential `revm`, each block in turn by every side.
//!
//! What depends on bytes alone is done before the clock on every side: transactions are decoded and their senders recovered, codes are
//! analysed; the engine has also computed the transactions root then, as it does while the block before is executed.
//! Every block is executed above the whole state before it, hashed on every side, so that witnesses are no part of it
//! either. The engine checks blocks within its time: it makes the receipts root and blooms.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use rewake::exec::{Dependencies, Executor, ExecutorSettings, Rulings};
use rewake::machine::evm::EvmReceipt;
use rewake::machine::{BlockInput, Registry, StateMachine};
use rewake::state::{ChangeSet, MemoryState};
use rewake::types::Digest;

use super::bare::{Bare, Measured, agree};
use super::hashed_state::HashedState;
use super::header_check::check;
use crate::allocations::counted;
use crate::row::median;

/// A block that takes less is executed several times a repetition, so that its median means something.
const LONG: Duration = Duration::from_millis(2);
/// How often, at most.
const TURNS_MAX: u32 = 64;

/// Blocks, each with the state before it.
pub(crate) struct Contest {
    machine: Arc<dyn StateMachine>,
    pub(crate) blocks: Vec<Contested>,
    /// The state after the last of them.
    pub(crate) after: MemoryState,
}

/// A block with the state before it, and what it comes to on one worker.
pub(crate) struct Contested {
    pub(crate) input: BlockInput,
    state: HashedState,
    pub(crate) receipts: Vec<EvmReceipt>,
    pub(crate) dependencies: Dependencies,
    pub(crate) bare: Bare,
    changes: Digest,
    turns: u32,
}

/// What one block takes, in seconds: the medians of every side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) two: f64,
    pub(crate) known: f64,
    pub(crate) one: f64,
    pub(crate) revm: f64,
    /// The slower one of two `revm` that execute the block at once and know nothing of each other.
    pub(crate) both: f64,
    /// What a node would check of the block after `revm`.
    pub(crate) checks: f64,
}

/// Who executes.
#[derive(Clone, Copy)]
enum Side {
    /// Two workers that know nothing of the block.
    Two,
    /// Two workers that know which transactions depend on which.
    Known,
    /// One worker.
    One,
    /// Sequential `revm`.
    Revm,
    /// Checks of the header, which `revm` leaves out.
    Checks,
}

const SIDES: [Side; 5] = [Side::Two, Side::Known, Side::One, Side::Revm, Side::Checks];

impl Contest {
    /// Executes blocks once on one worker, each above what the one before left and its own patches.
    pub(crate) fn new(inputs: Vec<BlockInput>) -> Result<Self> {
        let machine = Registry::built_in().find("evm")?;
        let (executor, mut state) = (executor(&machine, 1), MemoryState::default());
        let mut blocks = Vec::with_capacity(inputs.len());
        for mut input in inputs {
            for patch in std::mem::take(&mut input.patches) {
                if patch.replaces_state {
                    state = MemoryState::default();
                }
                patch.entries.into_iter().for_each(|(key, value)| state.set(key, value));
            }
            if let Some(recover_senders) = machine.prepare(&input) {
                recover_senders(&|| false);
            }
            let (block, changes) = Contested::new(&executor, input, state.clone())?;
            state.apply(&changes);
            blocks.push(block);
        }
        Ok(Self { machine, blocks, after: state })
    }

    /// Measures every side of every block, so many times in turn; every result is compared with that of one worker.
    pub(crate) fn measure(&self, repetitions: usize) -> Result<Vec<Times>> {
        let mut times: Vec<_> =
            self.blocks.iter().map(|_| [const { Vec::new() }; SIDES.len()]).collect();
        for repetition in 0..repetitions {
            // What an executor learns of costs, it learns again.
            let executors = [2, 2, 1].map(|workers| executor(&self.machine, workers));
            for (block, times) in self.blocks.iter().zip(&mut times) {
                for turn in 0..block.turns as usize {
                    let mut order: Vec<_> = SIDES.into_iter().zip(times.iter_mut()).collect();
                    // Every side finds the caches as the one before it left them: no side always has the same before it.
                    order.rotate_left((repetition + turn) % SIDES.len());
                    if (repetition + turn) % 2 == 1 {
                        order.reverse();
                    }
                    for (side, times) in order {
                        times.push(block.run(side, &executors)?.as_secs_f64());
                    }
                }
            }
            tell_of_company(&executors);
        }
        let medians = |(times, both): ([Vec<f64>; SIDES.len()], f64)| {
            let [two, known, one, revm, checks] = times.map(median);
            Times { two, known, one, revm, both, checks }
        };
        Ok(times.into_iter().zip(self.measure_both(repetitions)?).map(medians).collect())
    }

    /// Measures two `revm` at once, apart from the other sides: each turn starts a thread.
    fn measure_both(&self, repetitions: usize) -> Result<Vec<f64>> {
        let measure = |block: &Contested| {
            let times = (0..repetitions).map(|_| Ok(block.run_both()?.as_secs_f64()));
            times.collect::<Result<Vec<_>>>().map(median)
        };
        self.blocks.iter().map(measure).collect()
    }

    /// Counts what one worker and what `revm` allocate for each transaction.
    pub(crate) fn allocations(&self) -> Result<[f64; 2]> {
        let executor = executor(&self.machine, 1);
        let (mut ours, mut revm, mut txs) = (0, 0, 0);
        for block in &self.blocks {
            let (executed, allocations) =
                counted(|| executor.execute(&block.input, &Rulings::new(), &block.state))?;
            executed?;
            ours += allocations;
            revm += block.bare.execute()?.allocations;
            txs += block.input.txs.len();
        }
        Ok([ours, revm].map(|allocations| allocations as f64 / txs as f64))
    }
}

/// Says where executors gave up workers, because other programs had the processors.
fn tell_of_company(executors: &[Executor]) {
    let changes = executors.iter().flat_map(Executor::workers_changes);
    if let Some(fewest) = changes.map(|change| change.workers).min() {
        eprintln!("  the machine was busy: at times two workers were {fewest}");
    }
}

fn executor(machine: &Arc<dyn StateMachine>, workers: usize) -> Executor {
    let settings = ExecutorSettings { workers, ..ExecutorSettings::default() };
    Executor::new(Arc::clone(machine), settings)
}

impl Contested {
    /// Executes a block for the first time; returns what it changes as well.
    fn new(
        executor: &Executor,
        input: BlockInput,
        state: MemoryState,
    ) -> Result<(Self, ChangeSet)> {
        let began = Instant::now();
        let executed = executor.execute(&input, &Rulings::new(), &state)?;
        let took = began.elapsed();
        let outputs = executed.receipts.0.iter().map(|receipt| EvmReceipt::decode(&receipt.output));
        let none = || Dependencies::new(vec![Vec::new(); input.txs.len()]);
        let turns = LONG.as_nanos() / took.as_nanos().max(1);
        let block = Self {
            receipts: outputs.collect::<Result<_, _>>()?,
            dependencies: executed.dependencies.unwrap_or_else(none),
            changes: Digest::of(&executed.changes.encode()),
            turns: u32::try_from(turns)?.clamp(1, TURNS_MAX),
            bare: Bare::new(&input, &state).with_context(|| format!("{:?}", input.height))?,
            input,
            state: HashedState::new(state),
        };
        Ok((block, executed.changes))
    }

    /// Returns the gas that every transaction used.
    pub(crate) fn gas(&self) -> impl Iterator<Item = u64> {
        self.receipts.iter().map(|receipt| receipt.gas_used)
    }

    fn run(&self, side: Side, [two, known, one]: &[Executor; 3]) -> Result<Duration> {
        match side {
            Side::Two => self.execute(two, None),
            Side::Known => self.execute(known, Some(&self.dependencies)),
            Side::One => self.execute(one, None),
            Side::Revm => {
                let Measured { took, results, .. } = self.bare.execute()?;
                let height = self.input.height.get();
                ensure!(agree(results, &self.receipts), "block {height}: revm disagrees");
                Ok(took)
            }
            Side::Checks => check(&self.input, &self.receipts),
        }
    }

    /// Executes the block in two `revm` at once; says what the slower one took.
    fn run_both(&self) -> Result<Duration> {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| self.bare.execute());
            let own = self.bare.execute()?.took;
            let other = other.join().map_err(|_| anyhow!("revm panicked"))??.took;
            Ok(own.max(other))
        })
    }

    fn execute(&self, executor: &Executor, known: Option<&Dependencies>) -> Result<Duration> {
        let began = Instant::now();
        let executed = executor.execute_known(&self.input, &Rulings::new(), &self.state, known)?;
        let took = began.elapsed();
        let changes = Digest::of(&executed.changes.encode());
        let height = self.input.height.get();
        ensure!(changes == self.changes, "block {height}: another result than on one worker");
        Ok(took)
    }
}
