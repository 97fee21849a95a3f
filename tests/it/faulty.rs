//! The faulty machine: payloads say what goes wrong.
//!
//! A payload is a text of commands that `;` separates, executed in order:
//!
//! | command | effect |
//! | --- | --- |
//! | `put KEY VALUE`, `delete KEY`, `add KEY NUMBER`, `get KEY` | as the context's operation |
//! | `refuse REASON` | the receipt is a refusal |
//! | `poison REASON`, `panic REASON` | the execution fails so |
//! | `transient NUMBER` | the first NUMBER attempts at this transaction fail and may pass; the next goes on |
//! | `stuck` | every attempt fails and may pass |
//! | `spin` | reads without end, until a limit or the watch stops it |
//! | `runaway` | runs without end and touches nothing, until [`Probes::release`] |
//! | `bomb` | writes ever larger values, until a limit stops it |
//! | `wait` | calls the hook of [`Probes::on_wait`] |
//! | `differ KEY` | writes another value at each execution |
//!
//! A header is one such word: empty, `open-poison`, `begin-panic`, `end-panic`, `end-poison`, `check-fail` or
//! `check-panic`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rewake::block::{Receipt, Receipts};
use rewake::machine::{
    BlockInput, BlockOutcome, CheckFailure, Context, ExecError, MachineVersion, OpenBlock,
    PoisonPolicy, StateMachine, TxInput,
};
use rewake::types::{Bytes, Seq};

/// A machine whose payloads say what goes wrong.
#[derive(Clone)]
pub(crate) struct Faulty {
    pub(crate) version: u32,
    pub(crate) policy: PoisonPolicy,
    pub(crate) probes: Arc<Probes>,
}

impl Default for Faulty {
    fn default() -> Self {
        Self { version: 1, policy: PoisonPolicy::Quarantine, probes: Arc::default() }
    }
}

type Hook = Arc<dyn Fn(Seq) + Send + Sync>;

/// What a test sees of the machine's executions, and what it can tell it while one runs.
#[derive(Default)]
pub(crate) struct Probes {
    attempts: Mutex<BTreeMap<Seq, u32>>,
    executions: AtomicU64,
    is_endless: AtomicBool,
    is_released: AtomicBool,
    hook: Mutex<Option<Hook>>,
}

impl Probes {
    /// Returns how often a transaction was tried.
    pub(crate) fn attempts(&self, seq: Seq) -> u32 {
        self.attempts.lock().expect("no holder panics").get(&seq).copied().unwrap_or(0)
    }

    /// Counts from the beginning again.
    pub(crate) fn forget_attempts(&self) {
        self.attempts.lock().expect("no holder panics").clear();
    }

    /// Returns once a `spin` or a `runaway` runs in a thread.
    pub(crate) fn await_endless<R>(&self, within: &std::thread::ScopedJoinHandle<'_, R>) {
        while !self.is_endless.load(Ordering::Acquire) {
            assert!(!within.is_finished(), "the block ended before its endless transaction");
            std::thread::yield_now();
        }
    }

    /// Returns once a `spin` or a `runaway` runs, however long that takes.
    pub(crate) fn await_started(&self) {
        while !self.is_endless.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    /// Lets every `runaway` return, now and later.
    pub(crate) fn release(&self) {
        self.is_released.store(true, Ordering::Release);
    }

    /// Sets what every `wait` calls, with the position of its transaction.
    pub(crate) fn on_wait(&self, hook: impl Fn(Seq) + Send + Sync + 'static) {
        *self.hook.lock().expect("no holder panics") = Some(Arc::new(hook));
    }

    fn count_attempt(&self, seq: Seq) -> u32 {
        let mut attempts = self.attempts.lock().expect("no holder panics");
        let attempt = attempts.entry(seq).or_default();
        *attempt += 1;
        *attempt
    }
}

impl StateMachine for Faulty {
    fn version(&self) -> MachineVersion {
        MachineVersion { id: "faulty".to_owned(), version: self.version }
    }

    fn poison_policy(&self) -> PoisonPolicy {
        self.policy
    }

    fn open_block<'a>(
        &'a self,
        block: &'a BlockInput,
    ) -> Result<Box<dyn OpenBlock + 'a>, ExecError> {
        let open = OpenFaulty { machine: self, block };
        match open.header() {
            "open-poison" => Err(ExecError::Poison("the header is poison".to_owned())),
            _ => Ok(Box::new(open)),
        }
    }
}

struct OpenFaulty<'a> {
    machine: &'a Faulty,
    block: &'a BlockInput,
}

impl OpenFaulty<'_> {
    fn header(&self) -> &str {
        std::str::from_utf8(&self.block.header).expect("a faulty header is text")
    }
}

impl OpenBlock for OpenFaulty<'_> {
    fn begin(&self, _: &mut Context<'_>) -> Result<(), ExecError> {
        assert!(self.header() != "begin-panic", "the opening panics");
        Ok(())
    }

    fn execute(&self, index: usize, context: &mut Context<'_>) -> Result<Receipt, ExecError> {
        let tx = &self.block.txs[index];
        let attempt = self.machine.probes.count_attempt(tx.seq);
        let script = std::str::from_utf8(&tx.payload).expect("a faulty payload is text");
        for command in script.split(';') {
            let run = Run { probes: &self.machine.probes, tx, attempt };
            if let Some(receipt) = run.command(command.trim(), context)? {
                return Ok(receipt);
            }
        }
        Ok(Receipt::applied(Bytes::default()))
    }

    fn end(&self, _: &Receipts, context: &mut Context<'_>) -> Result<(), ExecError> {
        match self.header() {
            "end-panic" => panic!("the closing panics"),
            "end-poison" => Err(ExecError::Poison("the closing is poison".to_owned())),
            _ => context.add(b"blocks", 1),
        }
    }

    fn check(&self, _: &BlockOutcome<'_>) -> Result<(), CheckFailure> {
        assert!(self.header() != "check-panic", "the check panics");
        if self.header() == "check-fail" {
            let [what, expected, found] = ["the header", "well", "check-fail"].map(str::to_owned);
            return Err(CheckFailure { what, expected, found, tx: None });
        }
        Ok(())
    }
}

struct Run<'a> {
    probes: &'a Probes,
    tx: &'a TxInput,
    attempt: u32,
}

impl Run<'_> {
    fn command(
        &self,
        command: &str,
        context: &mut Context<'_>,
    ) -> Result<Option<Receipt>, ExecError> {
        let (verb, rest) = command.split_once(' ').unwrap_or((command, ""));
        match verb {
            "refuse" => return Ok(Some(Receipt::rejected(rest))),
            "poison" => return Err(ExecError::Poison(rest.to_owned())),
            "panic" => panic!("{rest}"),
            "stuck" => return Err(ExecError::Transient("stuck".to_owned())),
            "transient" if self.attempt <= number(rest) => {
                return Err(ExecError::Transient(format!("attempt {}", self.attempt)));
            }
            "transient" => {}
            "wait" => self.wait(),
            "runaway" => self.runaway(),
            "spin" => self.spin(context)?,
            "bomb" => bomb(context)?,
            "differ" => {
                let execution = self.probes.executions.fetch_add(1, Ordering::Relaxed);
                context.put(rest.as_bytes(), execution.to_le_bytes())?;
            }
            _ => touch(verb, rest, context)?,
        }
        Ok(None)
    }

    fn wait(&self) {
        let hook = self.probes.hook.lock().expect("no holder panics").clone();
        hook.expect("a `wait` needs a hook")(self.tx.seq);
    }

    fn runaway(&self) {
        self.probes.is_endless.store(true, Ordering::Release);
        while !self.probes.is_released.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }

    fn spin(&self, context: &mut Context<'_>) -> Result<(), ExecError> {
        loop {
            context.get(b"spin")?;
            self.probes.is_endless.store(true, Ordering::Release);
        }
    }
}

fn touch(verb: &str, rest: &str, context: &mut Context<'_>) -> Result<(), ExecError> {
    let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
    match verb {
        "put" => context.put(key.as_bytes(), value.as_bytes()),
        "delete" => context.delete(key.as_bytes()),
        "add" => context.add(key.as_bytes(), number(value).into()),
        "get" => context.get(key.as_bytes()).map(drop),
        _ => panic!("{verb:?} is no command of the faulty machine"),
    }
}

fn bomb(context: &mut Context<'_>) -> Result<(), ExecError> {
    let mut length = 1024;
    loop {
        context.put(b"bomb", vec![0; length])?;
        length *= 2;
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("the command takes a number")
}
