//! Operations of a node, made from choices.

use rewake::exec::{CommitMode, Gate, NewEvent, NextTxs, RecoveryOptions};
use rewake::generate::Model;
use rewake::machine::ledger::{Account, Header, Transfer};
use rewake::plan::BatchLimits;
use rewake::types::{Bytes, TxId};
use rewake_simdisk::{Call, Fault, FaultKind, Lasting};

use super::input::Input;
use super::template;

/// What a node is asked to do.
pub enum Operation {
    /// To log a lot.
    Append(Vec<NewEvent>),
    /// To recover, perhaps only until so many blocks are committed.
    Recover { options: Box<RecoveryOptions>, until: Option<u64> },
    /// To close and open.
    Reopen,
}

/// How an operation is cut short.
#[derive(Clone, Copy)]
pub enum Cut {
    /// Not at all.
    None,
    /// The power is lost after so many operations of the disk, in 256ths; what survives is drawn.
    Power { at: usize, drawn: u64 },
    /// A call of the disk fails.
    Fault(Fault),
}

impl Operation {
    /// Takes an operation; `model` is the state after all that was ordered.
    pub fn take(input: &mut Input<'_>, model: &Model) -> Self {
        match input.u8() % 8 {
            0..=2 => {
                let count = input.place(4) + 1;
                Self::Append((0..count).map(|_| transfer(input, model)).collect())
            }
            3 | 4 => Self::Append(vec![next(input)]),
            5 | 6 => recover(input),
            _ => Self::Reopen,
        }
    }
}

impl Cut {
    /// Takes a way to be cut short.
    pub fn take(input: &mut Input<'_>) -> Self {
        let kinds = [FaultKind::IoDropping, FaultKind::IoKeeping, FaultKind::Full];
        match input.u8() % 8 {
            0..=3 => Self::None,
            4..=6 => Self::Power { at: input.u8().into(), drawn: input.u64() },
            _ => {
                let call = input.one_of(&[Call::Write, Call::Sync, Call::Truncate, Call::Link]);
                let (kind, number) = (input.one_of(&kinds), input.place(24) + 1);
                // A sync that fails by its nature loses or keeps what waits; it is never full.
                let kind =
                    if call == Call::Sync && kind == FaultKind::Full { kinds[0] } else { kind };
                Self::Fault(Fault { call, number, kind, lasting: Lasting::Once })
            }
        }
    }
}

/// Returns a transfer that is mostly one to be applied, sometimes a known one, sometimes no transfer at all.
fn transfer(input: &mut Input<'_>, model: &Model) -> NewEvent {
    let from = Account(u64::from(input.u8() % 6));
    let to = Account(u64::from(input.u8() % 6));
    let amount = input.one_of(&[1, 5, 1_000, 0, u64::MAX, 999_999_999]);
    let nonce = match input.u8() % 4 {
        0..=2 => model.sent(from) + u64::from(input.u8() % 3),
        _ => input.u64(),
    };
    let transfer = Transfer { from, to, amount, nonce };
    match input.u8() % 8 {
        0 => {
            let payload = Bytes::from(input.take(8));
            let digest = rewake::types::Digest::of(&payload);
            NewEvent::Tx { id: TxId(digest.0), payload }
        }
        _ => NewEvent::Tx { id: transfer.id(), payload: Bytes::from(transfer.encode()) },
    }
}

fn next(input: &mut Input<'_>) -> NewEvent {
    let header = Header { time_ms: 1 + u64::from(input.u8()) }.encode().into();
    let txs = match input.u8() % 4 {
        0 => NextTxs::Named(Vec::new()),
        _ => NextTxs::Waiting { txs_max: input.place(5) + 1 },
    };
    NewEvent::Next { header, txs }
}

fn recover(input: &mut Input<'_>) -> Operation {
    let txs_max = input.one_of(&[0, 1, 3, 50_000]);
    let options = RecoveryOptions {
        commit: input.one_of(&[CommitMode::Restore, CommitMode::Reexecute]),
        gate: input.one_of(&[Gate::All, Gate::Batch]),
        batch: BatchLimits { txs_max, ..BatchLimits::default() },
        memory_bytes: input.one_of(&[0, 1_000, 64 << 20]),
        ..template::options()
    };
    let until = input.u8();
    Operation::Recover {
        options: Box::new(options),
        until: until.is_multiple_of(4).then_some(u64::from(until / 4 % 4)),
    }
}
