//! Reads a bundle: bytes from outside, bounded, verified, and every refusal naming its line.

use std::io::{BufRead, BufReader, Read};

use crate::block::{OrderRef, Receipt, Receipts};
use crate::codec::count;
use crate::event::Patch;
use crate::exec::{Dependencies, Rulings};
use crate::machine::{BlockInput, TxInput};
use crate::reproduce::format::TEXT_BYTES_MAX;
use crate::reproduce::lines::{BlockLine, FORMAT, HeadLine, Hex, Line, PatchLine};
use crate::reproduce::{Bundle, BundleBlock, BundleError, Expected};
use crate::state::{Change, ChangeSet, MemoryState};
use crate::types::{Bytes, Digest, Height, Seq, Slice};

/// The largest window that is unpacked with, as a power of two: what the writer's level uses at most.
const WINDOW_LOG_MAX: u32 = 27;

/// Reads a bundle.
pub(super) fn read(reader: impl Read) -> Result<Bundle, BundleError> {
    let foreign = |error: std::io::Error| BundleError::Foreign { found: error.to_string() };
    let mut frame = zstd::stream::read::Decoder::new(reader).map_err(foreign)?;
    frame.window_log_max(WINDOW_LOG_MAX).map_err(foreign)?;
    let text = BufReader::new(frame);
    let mut lines = Lines { text, hasher: blake3::Hasher::new(), line: 0, bytes: 0 };
    let head = lines.head()?;
    let mut state = MemoryState::default();
    let mut last: Option<Bytes> = None;
    for _ in 0..head.state {
        let Line::State(entry) = lines.next()? else { return Err(lines.unexpected("state")) };
        if last.as_ref().is_some_and(|last| *last >= entry.key.0) {
            return Err(lines.corrupt("keys do not ascend"));
        }
        last = Some(Bytes::clone(&entry.key.0));
        state.set(entry.key.0, Some(entry.value.0));
    }
    let mut blocks: Vec<BundleBlock> = Vec::new();
    for _ in 0..head.blocks {
        let above = blocks.last().map(|block| block.order.height);
        blocks.push(lines.block(above)?);
    }
    lines.end()?;
    Ok(Bundle { machine: head.machine, state, blocks })
}

struct Lines<R> {
    text: R,
    hasher: blake3::Hasher,
    line: u64,
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    fn head(&mut self) -> Result<HeadLine, BundleError> {
        /// What every format begins with.
        #[derive(serde::Deserialize)]
        struct Any {
            bundle: AnyFormat,
        }
        #[derive(serde::Deserialize)]
        struct AnyFormat {
            format: u32,
        }
        let bytes = match self.read_line() {
            Err(BundleError::Corrupt { what, .. }) => {
                return Err(BundleError::Foreign { found: what });
            }
            read => read?,
        };
        let any = serde_json::from_slice::<Any>(&bytes);
        let any = any.map_err(|error| BundleError::Foreign { found: error.to_string() })?;
        if any.bundle.format > FORMAT {
            return Err(BundleError::TooNew { found: any.bundle.format, known: FORMAT });
        }
        self.hasher.update(&bytes);
        match self.decode(&bytes)? {
            Line::Bundle(head) if head.format == FORMAT => Ok(head),
            _ => Err(self.unexpected("bundle")),
        }
    }

    fn block(&mut self, above: Option<Height>) -> Result<BundleBlock, BundleError> {
        let Line::Block(line) = self.next()? else { return Err(self.unexpected("block")) };
        if above.is_some_and(|above| line.height <= above) {
            return Err(self.corrupt("heights do not ascend"));
        }
        let BlockLine { height, order_seq, order_chain, header, patches, txs, receipts, changes } =
            line;
        let seq = Seq::new(order_seq).ok_or_else(|| self.corrupt("the order has no position"))?;
        let order = OrderRef { height, seq, chain: order_chain };
        let patches = (0..patches).map(|_| self.patch()).collect::<Result<_, _>>()?;
        let mut rulings = Rulings::new();
        let (txs, dependencies) = self.txs(txs, &mut rulings)?;
        let receipts = Receipts((0..receipts).map(|_| self.receipt()).collect::<Result<_, _>>()?);
        let changes = self.changes(changes)?;
        let expected = match self.next()? {
            Line::Effects(line) => Expected::Effects {
                receipts,
                changes,
                receipts_digest: line.receipts_digest,
                changes_digest: line.changes_digest,
            },
            Line::Failure(failure) if receipts.0.is_empty() && changes.changes().is_empty() => {
                Expected::Failure(failure)
            }
            _ => return Err(self.unexpected("effects or failure")),
        };
        let input = BlockInput { height, header: header.0, patches, txs };
        Ok(BundleBlock { order, input, rulings, dependencies, expected })
    }

    fn patch(&mut self) -> Result<Patch, BundleError> {
        let Line::Patch(line) = self.next()? else { return Err(self.unexpected("patch")) };
        let PatchLine { label, replaces_state, entries: length } = line;
        let mut entries: Vec<(Bytes, Option<Bytes>)> = Vec::new();
        for _ in 0..length {
            let Line::Entry(entry) = self.next()? else { return Err(self.unexpected("entry")) };
            if entries.last().is_some_and(|(last, _)| *last >= entry.key.0) {
                return Err(self.corrupt("keys do not ascend"));
            }
            entries.push((entry.key.0, entry.value.map(|Hex(value)| value)));
        }
        Ok(Patch { label, replaces_state, entries })
    }

    fn txs(
        &mut self,
        length: u64,
        rulings: &mut Rulings,
    ) -> Result<(Vec<TxInput>, Option<Dependencies>), BundleError> {
        let (mut txs, mut lists) = (Vec::new(), Vec::new());
        for _ in 0..length {
            let (tx, depends_on) = self.tx(rulings)?;
            if !txs.is_empty() && depends_on.is_some() == lists.is_empty() {
                return Err(self.corrupt("depends_on is in some lines of the block and not in all"));
            }
            if depends_on.as_ref().is_some_and(|list| !are_earlier(list, txs.len())) {
                return Err(self.corrupt("depends_on does not name earlier ones, nearest first"));
            }
            lists.extend(depends_on);
            txs.push(tx);
        }
        let dependencies = (!lists.is_empty()).then(|| Dependencies::new(lists));
        Ok((txs, dependencies))
    }

    fn tx(&mut self, rulings: &mut Rulings) -> Result<(TxInput, Option<Vec<u32>>), BundleError> {
        let Line::Tx(line) = self.next()? else { return Err(self.unexpected("tx")) };
        if let Some(reason) = line.ruling {
            rulings.insert(line.seq, reason);
        }
        // A position is read without its constructor.
        let seq = Seq::new(line.seq.get()).ok_or_else(|| self.corrupt("it has no position"))?;
        let payload = Slice::copy_from_slice(&line.payload.0);
        let tx = TxInput { seq, id: line.id, payload, created: line.created };
        Ok((tx, line.depends_on))
    }

    fn receipt(&mut self) -> Result<Receipt, BundleError> {
        let Line::Receipt(line) = self.next()? else { return Err(self.unexpected("receipt")) };
        Ok(Receipt { status: line.status, output: line.output.0 })
    }

    fn changes(&mut self, length: u64) -> Result<ChangeSet, BundleError> {
        let mut changes: Vec<Change> = Vec::new();
        for _ in 0..length {
            let Line::Change(line) = self.next()? else { return Err(self.unexpected("change")) };
            let value = |value: Option<Hex>| value.map(|Hex(value)| value);
            let (key, before, after) = (line.key.0, value(line.before), value(line.after));
            if before == after || changes.last().is_some_and(|last| last.key >= key) {
                return Err(self.corrupt("a change changes nothing, or keys do not ascend"));
            }
            changes.push(Change { key, before, after });
        }
        Ok(ChangeSet::new(changes))
    }

    fn end(mut self) -> Result<(), BundleError> {
        let (lines, digest): (u64, Digest) = (self.line, self.hasher.finalize().into());
        let Line::End(end) = self.next()? else { return Err(self.unexpected("end")) };
        if end.lines != lines {
            return Err(self.corrupt(&format!("{} lines are counted as {lines}", end.lines)));
        }
        if end.digest != digest {
            let what = format!("the lines before have digest {digest}, not {}", end.digest);
            return Err(self.corrupt(&what));
        }
        match self.text.fill_buf() {
            Ok([]) => Ok(()),
            Ok(_) => Err(self.corrupt("something follows the last line")),
            Err(error) => Err(self.corrupt(&error.to_string())),
        }
    }

    fn next(&mut self) -> Result<Line, BundleError> {
        let bytes = self.read_line()?;
        self.hasher.update(&bytes);
        self.decode(&bytes)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Line, BundleError> {
        serde_json::from_slice(bytes).map_err(|error| self.corrupt(&error.to_string()))
    }

    fn read_line(&mut self) -> Result<Vec<u8>, BundleError> {
        self.line = self.line.saturating_add(1);
        let mut bytes = Vec::new();
        // One byte more than is allowed tells a text that is too large from one that ends there.
        let left = TEXT_BYTES_MAX.saturating_sub(self.bytes).saturating_add(1);
        let read = self.text.by_ref().take(left).read_until(b'\n', &mut bytes);
        let read = read.map_err(|error| self.corrupt(&format!("unpacking: {error}")))?;
        self.bytes = self.bytes.saturating_add(count(read));
        if self.bytes > TEXT_BYTES_MAX {
            return Err(BundleError::TooLarge { line: self.line, bytes_max: TEXT_BYTES_MAX });
        }
        if bytes.last() != Some(&b'\n') {
            return Err(self.corrupt("it is cut short"));
        }
        Ok(bytes)
    }

    fn unexpected(&self, wanted: &str) -> BundleError {
        self.corrupt(&format!("a line of kind {wanted} has to come here"))
    }

    fn corrupt(&self, what: &str) -> BundleError {
        BundleError::Corrupt { line: self.line, what: what.to_owned() }
    }
}

/// Says whether a list names transactions before one in the only form in which it is written.
fn are_earlier(list: &[u32], index: usize) -> bool {
    let is_earlier = |nearest: &u32| u64::from(*nearest) < count(index);
    list.first().is_none_or(is_earlier) && list.is_sorted_by(|nearer, farther| nearer > farther)
}
