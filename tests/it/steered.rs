//! The steered machine: what a transaction does next depends on what it reads.
//!
//! A payload is a text of commands that `;` separates, executed in order:
//!
//! | command | effect |
//! | --- | --- |
//! | `put KEY VALUE`, `delete KEY`, `add KEY NUMBER` | as the context's operation |
//! | `copy FROM TO` | writes the value of one key to another, or deletes it |
//! | `chase KEY NUMBER TO` | reads the key that the value of `KEY` names, and so on; writes where that ends |
//! | `refuse-if KEY VALUE` | the receipt is a refusal where the key has the value |
//! | `panic-if`, `poison-if`, `stuck-if KEY VALUE` | the execution fails so |
//! | `spin-if KEY VALUE` | reads until that fails, and takes no notice of the failure |
//! | `hang-if KEY VALUE` | runs until [`Steps::release`] and touches nothing |
//! | `tell-if KEY VALUE` | goes on |
//! | `gate` | waits until one of the five above was taken, where [`Steps::wait`] asks for that |

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rewake::block::{Receipt, Receipts};
use rewake::machine::{BlockInput, Context, ExecError, MachineVersion, OpenBlock, StateMachine};
use rewake::types::Bytes;

/// Time after which a gate was in vain.
const GATE_MAX: Duration = Duration::from_secs(30);

/// A machine whose transactions go where the state leads them.
#[derive(Clone, Default)]
pub(crate) struct Steered(pub(crate) Arc<Steps>);

/// What a test sees of the executions, and what it can tell them while they run.
#[derive(Default)]
pub(crate) struct Steps {
    waits: AtomicBool,
    went_astray: AtomicBool,
    is_released: AtomicBool,
}

impl Steps {
    /// Makes each gate wait until a transaction went astray.
    pub(crate) fn wait(&self) {
        self.waits.store(true, Ordering::Release);
    }

    /// Says whether any transaction went astray since the last time.
    pub(crate) fn went_astray(&self) -> bool {
        self.went_astray.swap(false, Ordering::AcqRel)
    }

    /// Lets everything that hangs return, now and later.
    pub(crate) fn release(&self) {
        self.is_released.store(true, Ordering::Release);
    }

    fn gate(&self, context: &mut Context<'_>) -> Result<(), ExecError> {
        let began = Instant::now();
        while self.waits.load(Ordering::Acquire) && !self.went_astray.load(Ordering::Acquire) {
            assert!(began.elapsed() < GATE_MAX, "nothing was executed ahead of its turn");
            // It may itself be executed ahead of its turn, and told to end.
            context.get(b"gate")?;
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl StateMachine for Steered {
    fn version(&self) -> MachineVersion {
        MachineVersion::new("steered", 1)
    }

    fn open_block<'a>(
        &'a self,
        block: &'a BlockInput,
    ) -> Result<Box<dyn OpenBlock + 'a>, ExecError> {
        Ok(Box::new(OpenSteered { steps: &self.0, block }))
    }
}

struct OpenSteered<'a> {
    steps: &'a Steps,
    block: &'a BlockInput,
}

impl OpenBlock for OpenSteered<'_> {
    fn begin(&self, context: &mut Context<'_>) -> Result<(), ExecError> {
        context.put(b"height", self.block.height.get().to_le_bytes())
    }

    fn execute(&self, index: usize, context: &mut Context<'_>) -> Result<Receipt, ExecError> {
        let script = std::str::from_utf8(&self.block.txs[index].payload).expect("it is text");
        for command in script.split(';') {
            let words: Vec<_> = command.split_whitespace().collect();
            if let Some(receipt) = self.command(&words, context)? {
                return Ok(receipt);
            }
        }
        Ok(Receipt::applied(Bytes::default()))
    }

    fn end(&self, receipts: &Receipts, context: &mut Context<'_>) -> Result<(), ExecError> {
        context.put(b"applied", receipts.counts().applied.to_le_bytes())
    }
}

impl OpenSteered<'_> {
    fn command(
        &self,
        words: &[&str],
        context: &mut Context<'_>,
    ) -> Result<Option<Receipt>, ExecError> {
        match *words {
            ["put", key, value] => context.put(key.as_bytes(), value.as_bytes())?,
            ["delete", key] => context.delete(key.as_bytes())?,
            ["add", key, number] => {
                context.add(key.as_bytes(), number.parse().expect("it is a number"))?;
            }
            ["copy", from, to] => {
                let value = context.get(from.as_bytes())?;
                write(context, to, value)?;
            }
            ["chase", key, number, to] => {
                let mut value = Some(Bytes::from(key.as_bytes()));
                for _ in 0..number.parse::<u32>().expect("it is a number") {
                    let Some(key) = value else { break };
                    value = context.get(&key)?;
                }
                write(context, to, value)?;
            }
            ["gate"] => self.steps.gate(context)?,
            [verb, key, expected] => {
                let value = context.get(key.as_bytes())?;
                if value.as_deref() == Some(expected.as_bytes()) {
                    return self.astray(verb, context);
                }
            }
            _ => panic!("{words:?} is no command of the steered machine"),
        }
        Ok(None)
    }

    fn astray(&self, verb: &str, context: &mut Context<'_>) -> Result<Option<Receipt>, ExecError> {
        if verb == "refuse-if" {
            return Ok(Some(Receipt::rejected("led here")));
        }
        self.steps.went_astray.store(true, Ordering::Release);
        match verb {
            "tell-if" => Ok(None),
            "panic-if" => panic!("led astray"),
            "poison-if" => Err(ExecError::Poison("led astray".to_owned())),
            "stuck-if" => Err(ExecError::Transient("led astray".to_owned())),
            "spin-if" => {
                while context.get(b"spin").is_ok() {}
                Ok(Some(Receipt::applied(*b"spun")))
            }
            "hang-if" => {
                while !self.steps.is_released.load(Ordering::Acquire) {
                    std::thread::yield_now();
                }
                Ok(None)
            }
            _ => panic!("{verb:?} is no command of the steered machine"),
        }
    }
}

fn write(context: &mut Context<'_>, key: &str, value: Option<Bytes>) -> Result<(), ExecError> {
    match value {
        Some(value) => context.put(key.as_bytes(), value),
        None => context.delete(key.as_bytes()),
    }
}
