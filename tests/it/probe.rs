//! A machine for tests whose every behaviour is asked for by its transactions.

use rewake::block::{Receipt, Receipts};
use rewake::exec::NewEvent;
use rewake::machine::{
    BlockInput, BlockOutcome, CheckFailure, Context, ExecError, MachineVersion, OpenBlock,
    PoisonPolicy, StateMachine,
};
use rewake::types::{Bytes, TxId};

/// Payloads: `s` · key · value bytes writes, `r` · key returns what is there, `p` panics, `l` reads without end.
///
/// A header that is not empty names the number of applied transactions.
#[derive(Clone, Copy)]
pub struct Probe {
    /// What becomes of a block with a panic.
    pub policy: PoisonPolicy,
    /// Writes another value where a value says `twist`: the same machine by its name, another by its results.
    pub twisted: bool,
    /// Panics where it is asked to.
    pub panics: bool,
}

impl Probe {
    /// Does what it is asked to.
    pub const SOUND: Self = Self { policy: PoisonPolicy::Quarantine, twisted: false, panics: true };

    /// Opens a block.
    pub const fn open(self, block: &BlockInput) -> Open<'_> {
        Open { machine: self, block }
    }
}

impl StateMachine for Probe {
    fn version(&self) -> MachineVersion {
        MachineVersion { id: "probe".to_owned(), version: 1 }
    }

    fn poison_policy(&self) -> PoisonPolicy {
        self.policy
    }

    fn open_block<'a>(
        &'a self,
        block: &'a BlockInput,
    ) -> Result<Box<dyn OpenBlock + 'a>, ExecError> {
        Ok(Box::new(self.open(block)))
    }
}

/// An open block.
pub struct Open<'a> {
    machine: Probe,
    block: &'a BlockInput,
}

impl OpenBlock for Open<'_> {
    fn begin(&self, _: &mut Context<'_>) -> Result<(), ExecError> {
        Ok(())
    }

    fn execute(&self, index: usize, context: &mut Context<'_>) -> Result<Receipt, ExecError> {
        match &*self.block.txs.get(index).expect("a transaction there").payload {
            [b's', key, value @ ..] => {
                let twisted = self.machine.twisted && value == b"twist";
                context.put(&[*key], if twisted { b"TWIST" } else { value })?;
                Ok(Receipt::applied(Bytes::default()))
            }
            [b'r', key] => Ok(Receipt::applied(context.get(&[*key])?.unwrap_or_default())),
            [b'p', key] if self.machine.panics => {
                let _read = context.get(&[*key])?;
                panic!("asked to")
            }
            [b'l', key] => loop {
                let _read = context.get(&[*key])?;
            },
            _ => Ok(Receipt::rejected("unknown")),
        }
    }

    fn end(&self, _: &Receipts, _: &mut Context<'_>) -> Result<(), ExecError> {
        Ok(())
    }

    fn check(&self, outcome: &BlockOutcome<'_>) -> Result<(), CheckFailure> {
        let applied = outcome.receipts.counts().applied;
        match &*self.block.header {
            [expected] if u64::from(*expected) != applied => Err(CheckFailure {
                what: "applied".to_owned(),
                expected: expected.to_string(),
                found: applied.to_string(),
                tx: None,
            }),
            _ => Ok(()),
        }
    }
}

/// Returns the event of a transaction with this payload, and its identity.
pub fn probe(payload: &[u8]) -> (NewEvent, TxId) {
    let id = TxId(*rewake::types::Digest::of(payload).0.first_chunk().expect("32 bytes"));
    (NewEvent::Tx { id, payload: payload.into() }, id)
}
