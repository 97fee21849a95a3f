//! What the blocks of a batch come to together: their net changes, and what they move in the mempool.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;

use rayon::prelude::*;

use crate::codec::CodecError;
use crate::exec::sealed::SealedBlock;
use crate::state::{Change, ChangeSet, KeyMap};
use crate::types::{Bytes, Seq};

/// The values of each key before and after.
type Net = KeyMap<(Option<Bytes>, Option<Bytes>)>;

/// Blocks that one thread joins at least: below, handing them over costs more than joining them.
const SHARE_MIN: usize = 16;

/// Joins the changes of blocks that follow each other: the first value before, the last value after.
pub(super) fn net_changes(blocks: &[SealedBlock]) -> Result<ChangeSet, CodecError> {
    if let [only] = blocks {
        return only.body.changes();
    }
    let share = blocks.len().div_ceil(rayon::current_num_threads()).max(SHARE_MIN);
    let shares: Vec<_> = blocks.par_chunks(share).map(net_of).collect::<Result<_, _>>()?;
    let mut shares = shares.into_iter();
    let mut net = shares.next().unwrap_or_default();
    for share in shares {
        for (key, (before, after)) in share {
            join(&mut net, key, before, after);
        }
    }
    let net = net.into_iter().map(|(key, (before, after))| Change { key, before, after });
    Ok(ChangeSet::new(net.collect()))
}

fn net_of(blocks: &[SealedBlock]) -> Result<Net, CodecError> {
    let mut net = Net::default();
    for block in blocks {
        for Change { key, before, after } in block.body.changes()?.into_changes() {
            join(&mut net, key, before, after);
        }
    }
    Ok(net)
}

fn join(net: &mut Net, key: Bytes, before: Option<Bytes>, after: Option<Bytes>) {
    match net.entry(key) {
        Entry::Vacant(place) => drop(place.insert((before, after))),
        Entry::Occupied(_) if planted!("net_keeps_the_first_value") => {}
        Entry::Occupied(mut held) => held.get_mut().1 = after,
    }
}

/// Returns which transactions join the confirmed mempool with these blocks, and which leave it.
///
/// In order, since one transaction may be ordered, released and ordered again within one batch.
pub(super) fn mempool_moves(blocks: &[SealedBlock]) -> (Vec<Seq>, Vec<Seq>) {
    /// Whether a transaction was waiting before the first block, and whether it is after the last.
    #[derive(Clone, Copy)]
    struct Waits {
        before: bool,
        after: bool,
    }
    let mut moves: BTreeMap<Seq, Waits> = BTreeMap::new();
    for block in blocks {
        for seq in &block.joins {
            moves.entry(*seq).or_insert(Waits { before: false, after: true }).after = true;
        }
        for seq in &block.leaves {
            moves.entry(*seq).or_insert(Waits { before: true, after: false }).after = false;
        }
    }
    let select = |wanted: fn(Waits) -> bool| {
        let selected = moves.iter().filter(|(_, waits)| wanted(**waits));
        selected.map(|(seq, _)| *seq).collect()
    };
    (select(|waits| waits.after && !waits.before), select(|waits| waits.before && !waits.after))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::block::{OrderRef, Receipt, Receipts};
    use crate::exec::RehearsedBlock;
    use crate::types::{Digest, Height};

    fn seqs(numbers: &[u64]) -> Vec<Seq> {
        numbers.iter().map(|number| Seq::new(*number).expect("not zero")).collect()
    }

    /// A block of transactions that received some and changed one key.
    pub(in crate::exec) fn block(
        received: &[u64],
        txs: &[u64],
        before: Option<&[u8]>,
        after: Option<&[u8]>,
    ) -> SealedBlock {
        let change = |key: &[u8]| Change {
            key: key.into(),
            before: before.map(Into::into),
            after: after.map(Into::into),
        };
        SealedBlock::of(RehearsedBlock {
            order: OrderRef { height: Height(1), seq: Seq::FIRST, chain: Digest::ZERO },
            header: Bytes::default(),
            txs: seqs(txs),
            receipts: Receipts(vec![Receipt::applied(*b"ok")]),
            changes: ChangeSet::new(vec![change(b"k")]),
            writers: Vec::new(),
            received: seqs(received),
            settled: Vec::new(),
            quarantined: Vec::new(),
            dependencies: None,
        })
    }

    #[test]
    fn blocks_that_follow_each_other_have_the_first_value_before_and_the_last_after() {
        let blocks = [
            block(&[], &[], Some(b"0"), Some(b"1")),
            block(&[], &[], Some(b"1"), None),
            block(&[], &[], None, Some(b"2")),
        ];
        let net = |blocks: &[SealedBlock]| {
            let net = net_changes(blocks).expect("canonical");
            let changes = net.changes().iter();
            changes.map(|change| (change.before.clone(), change.after.clone())).collect::<Vec<_>>()
        };
        let value = |byte: &[u8; 1]| Some(Bytes::from(*byte));
        assert_eq!(net(&blocks[..1]), [(value(b"0"), value(b"1"))]);
        assert_eq!(net(&blocks[..2]), [(value(b"0"), None)]);
        assert_eq!(net(&blocks), [(value(b"0"), value(b"2"))]);
        let back = block(&[], &[], Some(b"2"), Some(b"0"));
        let [one, two, three] = blocks;
        assert_eq!(net(&[one, two, three, back]), []);
    }

    #[test]
    fn a_transaction_joins_or_leaves_the_confirmed_mempool_once_at_most() {
        let plain = |received: &[u64], txs: &[u64]| block(received, txs, None, Some(b"1"));
        let check = |name: &str, blocks: &[SealedBlock], joins: &[u64], leaves: &[u64]| {
            assert_eq!(mempool_moves(blocks), (seqs(joins), seqs(leaves)), "{name}");
        };
        check("received and left", &[plain(&[5, 6], &[])], &[5, 6], &[]);
        check("ordered from before", &[plain(&[], &[3])], &[], &[3]);
        check("received and ordered", &[plain(&[5], &[]), plain(&[], &[5])], &[], &[]);
        check("ordered, released", &[plain(&[], &[3]), plain(&[3], &[])], &[], &[]);
        let again = [plain(&[5], &[3]), plain(&[3], &[5]), plain(&[5], &[3])];
        check("ordered, released, ordered", &again, &[5], &[3]);
    }
}
