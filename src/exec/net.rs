//! What the blocks of a batch come to together: their net changes, and what they move in the mempool.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use rayon::prelude::*;

use crate::codec::CodecError;
use crate::exec::sealed::SealedBlock;
use crate::state::{Change, ChangeSet, KeyMap, value_memory};
use crate::types::{Bytes, Height, Seq};

/// Blocks that one thread opens and joins at least: below, handing them over costs more than joining them.
const SHARE_MIN: usize = 16;
/// Changes of a stretch. The more there are, the fewer keys are left to be joined by the commit; but a batch that ends
/// within a stretch opens its blocks.
const CHANGES_MAX: usize = 1 << 18;

/// What a stretch of blocks change together.
pub(crate) struct NetOf {
    first: Height,
    last: Height,
    blocks: usize,
    net: ChangeSet,
    memory: usize,
}

/// What blocks change together, joined in stretches while they are at hand.
pub(crate) struct Nets {
    changes_max: usize,
    /// In order.
    done: VecDeque<NetOf>,
    /// The stretch after them.
    open: Option<Open>,
}

struct Open {
    first: Height,
    last: Height,
    blocks: usize,
    changes: usize,
    net: Net,
}

impl Default for Nets {
    fn default() -> Self {
        Self { changes_max: CHANGES_MAX, done: VecDeque::new(), open: None }
    }
}

impl Nets {
    /// Takes up what the next block changes.
    pub(crate) fn add(&mut self, height: Height, changes: ChangeSet) {
        let (first, last) = (height, height);
        let new = || Open { first, last, blocks: 0, changes: 0, net: Net::default() };
        let open = self.open.get_or_insert_with(new);
        open.last = last;
        open.blocks = open.blocks.saturating_add(1);
        open.changes = open.changes.saturating_add(changes.changes().len());
        open.net.add(changes);
        if open.changes >= self.changes_max {
            self.close();
        }
    }

    fn close(&mut self) {
        let Some(Open { first, last, blocks, net, .. }) = self.open.take() else { return };
        let net = net.into_changes();
        let memory = net.memory();
        self.done.push_back(NetOf { first, last, blocks, net, memory });
    }

    /// Says whether what a block changes is joined already; asked of those before the last one that was taken up.
    pub(crate) fn cover(&self, height: Height) -> bool {
        let first = self.done.front().map(|done| done.first);
        let first = first.or(self.open.as_ref().map(|open| open.first));
        first.is_some_and(|first| first <= height)
    }

    /// Returns about how many bytes of memory they take.
    pub(crate) fn memory(&self) -> usize {
        let done: usize = self.done.iter().map(|done| done.memory).sum();
        done.saturating_add(self.open.as_ref().map_or(0, |open| open.net.memory()))
    }

    /// Takes those that end at or before a block.
    pub(crate) fn take_to(&mut self, last: Height) -> Vec<NetOf> {
        if self.open.as_ref().is_some_and(|open| open.last <= last) {
            self.close();
        }
        let taken = self.done.partition_point(|done| done.last <= last);
        self.done.drain(..taken).collect()
    }
}

#[derive(Default)]
struct Net {
    /// The values of each key before and after.
    values: KeyMap<(Option<Bytes>, Option<Bytes>)>,
    /// Bytes of keys and values that are not held in place.
    bytes: usize,
}

impl Net {
    /// Joins the changes of the next block: the first value before, the last value after.
    fn add(&mut self, changes: ChangeSet) {
        for Change { key, before, after } in changes.into_changes() {
            let new = value_memory(after.as_ref());
            match self.values.entry(key) {
                Entry::Vacant(place) => {
                    self.bytes += place.key().memory() + value_memory(before.as_ref()) + new;
                    place.insert((before, after));
                }
                Entry::Occupied(_) if planted!("net_keeps_the_first_value") => {}
                Entry::Occupied(mut held) => {
                    let last = &mut held.get_mut().1;
                    self.bytes = self.bytes + new - value_memory(last.as_ref());
                    *last = after;
                }
            }
        }
    }

    /// Returns about how many bytes of memory it takes.
    fn memory(&self) -> usize {
        // A byte for each place besides, and an eighth of the places stays free.
        let place = size_of::<(Bytes, (Option<Bytes>, Option<Bytes>))>() + 1;
        self.bytes.saturating_add(self.values.capacity().saturating_mul(place) / 7 * 8)
    }

    fn into_changes(self) -> ChangeSet {
        let changes = self.values.into_iter().filter(|(_, (before, after))| before != after);
        let changes = changes.map(|(key, (before, after))| Change { key, before, after });
        let mut changes: Vec<_> = changes.collect();
        // They may be kept for long.
        changes.shrink_to_fit();
        ChangeSet::new(changes)
    }
}

/// Joins the changes of blocks that follow each other. What was joined of them before is `joined`; where that is of other
/// blocks as well, it is left out.
pub(super) fn net_changes(
    blocks: &[SealedBlock],
    joined: Vec<NetOf>,
) -> Result<ChangeSet, CodecError> {
    let (mut parts, mut left) = (Vec::new(), blocks);
    for NetOf { first, last, blocks, net, .. } in joined {
        let start = left.partition_point(|block| block.order.height < first);
        let end = left.partition_point(|block| block.order.height <= last);
        let own = left.get(start..end).filter(|own| own.len() == blocks);
        let ends = own.and_then(|own| own.first().zip(own.last()));
        if ends.is_some_and(|(a, b)| (a.order.height, b.order.height) == (first, last)) {
            let (before, after) = (left.get(..start), left.get(end..));
            parts.extend(shares(before.unwrap_or_default()).map(Part::Blocks));
            parts.push(Part::Joined(net));
            left = after.unwrap_or_default();
        }
    }
    parts.extend(shares(left).map(Part::Blocks));
    let nets = parts.into_par_iter().map(Part::net);
    let net = nets.try_reduce_with(|one, later| Ok(one.then(later)));
    net.unwrap_or_else(|| Ok(ChangeSet::default()))
}

/// Blocks of which the net changes are joined with those of others.
enum Part<'a> {
    Blocks(&'a [SealedBlock]),
    Joined(ChangeSet),
}

impl Part<'_> {
    fn net(self) -> Result<ChangeSet, CodecError> {
        match self {
            Self::Joined(net) => Ok(net),
            Self::Blocks([only]) => only.body.changes(),
            Self::Blocks(blocks) => {
                let mut net = Net::default();
                for block in blocks {
                    net.add(block.body.changes()?);
                }
                Ok(net.into_changes())
            }
        }
    }
}

/// Parts blocks among the threads that there are.
fn shares(blocks: &[SealedBlock]) -> impl Iterator<Item = &[SealedBlock]> {
    let share = blocks.len().div_ceil(rayon::current_num_threads()).max(SHARE_MIN);
    blocks.chunks(share)
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
    use crate::types::Digest;

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
        let changes = ChangeSet::new(vec![change(b"k")]);
        let (txs, received) = (seqs(txs), seqs(received));
        SealedBlock::of(&RehearsedBlock { txs, changes, received, ..plain() })
    }

    fn order() -> OrderRef {
        OrderRef { height: Height(1), seq: Seq::FIRST, chain: Digest::ZERO }
    }

    fn plain() -> RehearsedBlock {
        RehearsedBlock {
            order: order(),
            header: Bytes::default(),
            txs: Vec::new(),
            receipts: Receipts(vec![Receipt::applied(*b"ok")]),
            changes: ChangeSet::default(),
            writers: Vec::new(),
            received: Vec::new(),
            settled: Vec::new(),
            quarantined: Vec::new(),
            dependencies: None,
        }
    }

    #[test]
    fn blocks_that_follow_each_other_have_the_first_value_before_and_the_last_after() {
        let blocks = [
            block(&[], &[], Some(b"0"), Some(b"1")),
            block(&[], &[], Some(b"1"), None),
            block(&[], &[], None, Some(b"2")),
        ];
        let net = |blocks: &[SealedBlock]| {
            let net = net_changes(blocks, Vec::new()).expect("canonical");
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

    /// Forty blocks, each of which writes some of ten keys.
    pub(in crate::exec) fn rehearsed() -> Vec<RehearsedBlock> {
        let mut state = [None; 10];
        let mut next = 7u8;
        let blocks = (1..=40).map(|height| {
            let changes = state.iter_mut().zip(b'a'..).filter_map(|(value, key)| {
                next = next.wrapping_mul(73).wrapping_add(19);
                let before = next.is_multiple_of(3).then_some(*value)?;
                *value = (!next.is_multiple_of(5)).then_some([next]);
                let bytes = |value: Option<[u8; 1]>| value.map(Bytes::from);
                Some(Change { key: [key].into(), before: bytes(before), after: bytes(*value) })
            });
            let changes = ChangeSet::new(changes.collect());
            // Numbers may be left out.
            let order = OrderRef { height: Height(3 * height), ..order() };
            RehearsedBlock { order, changes, ..plain() }
        });
        blocks.collect()
    }

    #[test]
    fn what_was_joined_before_is_what_opening_the_blocks_gives() {
        let rehearsed = rehearsed();
        let sealed: Vec<_> = rehearsed.iter().map(SealedBlock::of).collect();
        for batch in [1, 5, 16, 17, 40] {
            for joined in 1..=40 {
                let mut nets = Nets::default();
                for (block, number) in rehearsed.iter().zip(1..) {
                    nets.add(block.order.height, block.changes.clone());
                    if number % joined == 0 {
                        nets.close();
                    }
                }
                let all = nets.memory();
                assert!(nets.cover(Height(3)) && !nets.cover(Height(2)));
                for blocks in sealed.chunks(batch) {
                    let last = blocks.last().expect("blocks").order.height;
                    let net = net_changes(blocks, nets.take_to(last));
                    let what = format!("batches of {batch}, {joined} joined");
                    assert_eq!(net, net_changes(blocks, Vec::new()), "{what}");
                }
                assert!(all > 0 && nets.memory() == 0, "{all}, {} left", nets.memory());
                assert!(!nets.cover(Height(120)), "nothing is left");
            }
        }
        let all = rehearsed.into_iter().map(|block| block.changes);
        let all = all.reduce(ChangeSet::then).expect("blocks");
        assert_eq!(net_changes(&sealed, Vec::new()), Ok(all));
    }

    #[test]
    fn what_was_joined_of_other_blocks_as_well_is_left_out() {
        let rehearsed = rehearsed();
        let sealed: Vec<_> = rehearsed.iter().map(SealedBlock::of).collect();
        let blocks = sealed.get(10..20).expect("forty blocks");
        let expected = net_changes(blocks, Vec::new());
        for (from, to) in [(9, 15), (15, 21), (0, 10), (20, 40), (0, 40), (10, 20), (12, 14)] {
            let mut nets = Nets::default();
            for block in rehearsed.get(from..to).expect("forty blocks") {
                nets.add(block.order.height, block.changes.clone());
            }
            let joined = nets.take_to(Height::MAX);
            assert_eq!(joined.len(), 1);
            assert_eq!(net_changes(blocks, joined), expected, "{from} to {to}");
        }
    }

    #[test]
    fn the_memory_of_long_values_is_counted() {
        let long = |before: usize, after: usize| {
            let value = |length| Some(Bytes::from(vec![1; length].as_slice()));
            let change = Change { key: b"k".into(), before: value(before), after: value(after) };
            ChangeSet::new(vec![change])
        };
        let mut net = Net::default();
        let bytes = [(90, 100), (100, 2), (2, 200)].map(|(before, after)| {
            net.add(long(before, after));
            net.bytes
        });
        let [first, second, third] = bytes;
        assert!((190..256).contains(&first) && (90..128).contains(&second), "{bytes:?}");
        assert!((290..356).contains(&third), "{bytes:?}");
    }

    fn nets_of(changes_max: usize) -> Nets {
        Nets { changes_max, ..Nets::default() }
    }

    #[test]
    fn what_was_joined_before_is_taken_as_it_is() {
        let rehearsed = rehearsed();
        let sealed: Vec<_> = rehearsed.iter().map(SealedBlock::of).collect();
        let mut nets = Nets::default();
        for block in rehearsed.get(10..20).expect("forty blocks") {
            nets.add(block.order.height, block.changes.clone());
        }
        let mut joined = nets.take_to(Height::MAX);
        let marked = Change { key: b"marked".into(), before: None, after: Some(b"1".into()) };
        joined.first_mut().expect("a stretch").net = ChangeSet::new(vec![marked.clone()]);
        let net = net_changes(&sealed, joined).expect("canonical");
        assert_eq!(net.find(b"marked"), Some(&marked), "and no block of it is opened");
    }

    #[test]
    fn what_came_and_went_takes_no_memory() {
        let change = |number: u32, before: Option<&[u8]>, after: Option<&[u8]>| Change {
            key: number.to_be_bytes().as_slice().into(),
            before: before.map(Into::into),
            after: after.map(Into::into),
        };
        let mut nets = nets_of(2_000);
        nets.add(
            Height(1),
            ChangeSet::new((0..1_000).map(|n| change(n, None, Some(b"1"))).collect()),
        );
        assert!(nets.memory() > 1_000 * size_of::<Change>(), "{}", nets.memory());
        nets.add(
            Height(2),
            ChangeSet::new((0..1_000).map(|n| change(n, Some(b"1"), None)).collect()),
        );
        assert_eq!((nets.done.len(), nets.memory()), (1, 0));
    }

    #[test]
    fn a_stretch_ends_with_its_changes_and_is_put_in_order() {
        let change =
            |key: &[u8]| Change { key: key.into(), before: None, after: Some(b"1".into()) };
        let mut nets = nets_of(3);
        nets.add(Height(1), ChangeSet::new(vec![change(b"b"), change(b"c")]));
        assert!(nets.done.is_empty() && nets.memory() > 0);
        nets.add(Height(2), ChangeSet::new(vec![change(b"a")]));
        assert_eq!((nets.done.len(), nets.open.is_none()), (1, true));
        assert!(nets.take_to(Height(1)).is_empty(), "it goes beyond");
        let taken = nets.take_to(Height(2));
        let [NetOf { first, last, blocks, net, .. }] = &*taken else { panic!("one stretch") };
        assert_eq!((first.get(), last.get(), *blocks), (1, 2, 2));
        let keys: Vec<_> = net.changes().iter().map(|change| change.key.to_vec()).collect();
        assert_eq!(keys, [b"a", b"b", b"c"]);
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
