//! Writes a bundle as compressed lines.

use std::io::Write;

use crate::codec::count;
use crate::event::Patch;
use crate::reproduce::lines::{
    BlockLine, ChangeLine, EffectsLine, EndLine, EntryLine, FORMAT, HeadLine, Hex, Line, PatchLine,
    ReceiptLine, StateLine, TxLine,
};
use crate::reproduce::{Bundle, BundleBlock, BundleError, Expected};
use crate::types::Bytes;

/// The compression level: part of what makes the bytes of a bundle the same everywhere.
const LEVEL: i32 = 9;

/// Bytes of all lines together, written or read.
pub(super) const TEXT_BYTES_MAX: u64 = 1 << 30;

/// Writes a bundle.
pub(super) fn write(bundle: &Bundle) -> Result<Vec<u8>, BundleError> {
    let frame = zstd::stream::write::Encoder::new(Vec::new(), LEVEL).and_then(|mut frame| {
        frame.include_checksum(true)?;
        Ok(frame)
    });
    let frame = frame.map_err(|error| packing(&error))?;
    let mut writer = LineWriter { frame, hasher: blake3::Hasher::new(), lines: 0, bytes: 0 };
    writer.line(&Line::Bundle(HeadLine {
        format: FORMAT,
        machine: bundle.machine.clone(),
        state: count(bundle.state.entries().count()),
        blocks: count(bundle.blocks.len()),
    }))?;
    for (key, value) in bundle.state.entries() {
        writer.line(&Line::State(StateLine { key: hex(key), value: hex(value) }))?;
    }
    for block in &bundle.blocks {
        writer.block(block)?;
    }
    writer.finish()
}

struct LineWriter {
    frame: zstd::stream::write::Encoder<'static, Vec<u8>>,
    hasher: blake3::Hasher,
    lines: u64,
    bytes: u64,
}

impl LineWriter {
    fn line(&mut self, line: &Line) -> Result<(), BundleError> {
        let mut bytes = serde_json::to_vec(line).map_err(|error| packing(&error.into()))?;
        bytes.push(b'\n');
        self.hasher.update(&bytes);
        self.lines = self.lines.saturating_add(1);
        self.bytes = self.bytes.saturating_add(count(bytes.len()));
        if self.bytes > TEXT_BYTES_MAX {
            return Err(BundleError::TooLarge { line: self.lines, bytes_max: TEXT_BYTES_MAX });
        }
        self.frame.write_all(&bytes).map_err(|error| packing(&error))
    }

    fn block(&mut self, block: &BundleBlock) -> Result<(), BundleError> {
        let BundleBlock { order, input, rulings, dependencies, expected } = block;
        let known = dependencies.as_ref().filter(|known| known.txs() == input.txs.len());
        let (receipts, changes) = match expected {
            Expected::Effects { receipts, changes, .. } => {
                (receipts.0.as_slice(), changes.changes())
            }
            Expected::Failure(_) => (&[][..], &[][..]),
        };
        self.line(&Line::Block(BlockLine {
            height: order.height,
            order_seq: order.seq.get(),
            order_chain: order.chain,
            header: hex(&input.header),
            patches: count(input.patches.len()),
            txs: count(input.txs.len()),
            receipts: count(receipts.len()),
            changes: count(changes.len()),
        }))?;
        for patch in &input.patches {
            self.patch(patch)?;
        }
        for (index, tx) in input.txs.iter().enumerate() {
            self.line(&Line::Tx(TxLine {
                seq: tx.seq,
                id: tx.id,
                payload: Hex(Bytes::from(&*tx.payload)),
                created: tx.created,
                ruling: rulings.get(&tx.seq).cloned(),
                depends_on: known.map(|known| known.of(index).to_vec()),
            }))?;
        }
        for receipt in receipts {
            let (status, output) = (receipt.status.clone(), hex(&receipt.output));
            self.line(&Line::Receipt(ReceiptLine { status, output }))?;
        }
        for change in changes {
            let (key, before) = (hex(&change.key), change.before.as_ref().map(hex));
            let after = change.after.as_ref().map(hex);
            self.line(&Line::Change(ChangeLine { key, before, after }))?;
        }
        match expected {
            Expected::Effects { receipts_digest, changes_digest, .. } => {
                let (receipts_digest, changes_digest) = (*receipts_digest, *changes_digest);
                self.line(&Line::Effects(EffectsLine { receipts_digest, changes_digest }))
            }
            Expected::Failure(failure) => self.line(&Line::Failure(failure.clone())),
        }
    }

    fn patch(&mut self, patch: &Patch) -> Result<(), BundleError> {
        self.line(&Line::Patch(PatchLine {
            label: patch.label.clone(),
            replaces_state: patch.replaces_state,
            entries: count(patch.entries.len()),
        }))?;
        for (key, value) in &patch.entries {
            let (key, value) = (hex(key), value.as_ref().map(hex));
            self.line(&Line::Entry(EntryLine { key, value }))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>, BundleError> {
        let (lines, digest) = (self.lines, self.hasher.finalize().into());
        self.line(&Line::End(EndLine { lines, digest }))?;
        self.frame.finish().map_err(|error| packing(&error))
    }
}

fn hex(bytes: &Bytes) -> Hex {
    Hex(Bytes::clone(bytes))
}

fn packing(error: &std::io::Error) -> BundleError {
    BundleError::io("packing", error)
}
