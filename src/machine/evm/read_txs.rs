//! The transactions of blocks as they were read before their turn, kept until the blocks are opened.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::B256;
use revm::context::TxEnv;

use super::fork::Fork;
use super::root::transactions_root;
use super::sender_cache::SenderCache;
use super::tx::{open_tx, open_txs};
use crate::machine::TxInput;
use crate::types::{Slice, TxId};

/// Bytes of memory that kept transactions may take.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// The transactions of a block: a pure function of their bytes and the fork.
#[derive(Debug)]
pub(super) struct ReadTxs {
    /// Each transaction, or why it cannot be read.
    pub(super) txs: Vec<Result<TxEnv, String>>,
    /// The root of their trie.
    pub(super) root: B256,
}

/// What is read of a block before its turn.
#[derive(Debug)]
pub(super) struct Unread {
    /// The hash of the block, by which it is found again.
    pub(super) hash: B256,
    pub(super) fork: Fork,
    /// Identities and bytes of the transactions.
    pub(super) txs: Vec<(TxId, Slice)>,
}

/// A bounded memory of what was read before its turn; the oldest is forgotten first.
#[derive(Debug, Default)]
pub(super) struct TxsAhead(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    blocks: VecDeque<KeptBlock>,
    bytes: usize,
}

#[derive(Debug)]
struct KeptBlock {
    of: Unread,
    read: Arc<ReadTxs>,
    bytes: usize,
}

impl ReadTxs {
    /// Reads the transactions of a block whose turn has come.
    pub(super) fn of(txs: &[TxInput], fork: Fork, senders: &SenderCache) -> Self {
        // The root needs no state: computed here, it is off the path from block to block.
        let (txs, root) = rayon::join(
            || open_txs(txs, fork, senders),
            || transactions_root(txs.iter().map(|tx| &*tx.payload)),
        );
        Self { txs, root }
    }
}

impl Unread {
    /// Returns what it takes to keep the transactions, read and unread.
    fn kept_bytes(&self) -> usize {
        let payloads = self.txs.iter().map(|(_, payload)| payload.len().saturating_mul(2));
        let each = size_of::<(TxEnv, TxId, Slice)>().saturating_mul(self.txs.len());
        payloads.fold(each, usize::saturating_add)
    }
}

impl TxsAhead {
    /// Reads the transactions of a block to come, until told to stop; recovered senders stay known in any case.
    pub(super) fn read(&self, of: &Unread, senders: &SenderCache, must_stop: &dyn Fn() -> bool) {
        let mut txs = Vec::with_capacity(of.txs.len());
        for (id, payload) in &of.txs {
            if must_stop() {
                return;
            }
            txs.push(open_tx(*id, payload, of.fork, senders));
        }
        let root = transactions_root(of.txs.iter().map(|(_, payload)| &**payload));
        self.keep(of, ReadTxs { txs, root });
    }

    /// Returns the transactions of a block, if these very bytes were read.
    pub(super) fn find(&self, hash: B256, fork: Fork, txs: &[TxInput]) -> Option<Arc<ReadTxs>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let block = kept.blocks.iter().find(|block| {
            let of = &block.of;
            (of.hash, of.fork, of.txs.len()) == (hash, fork, txs.len())
                && of.txs.iter().zip(txs).all(|(of, tx)| (of.0, &of.1) == (tx.id, &tx.payload))
        });
        block.map(|block| Arc::clone(&block.read))
    }

    fn keep(&self, of: &Unread, read: ReadTxs) {
        let bytes = of.kept_bytes();
        if bytes > KEPT_BYTES_MAX {
            return;
        }
        // Copied, since a stretch would keep the whole buffer that it lies in.
        let txs = of.txs.iter().map(|(id, payload)| (*id, Slice::copy_from_slice(payload)));
        let block = KeptBlock {
            of: Unread { hash: of.hash, fork: of.fork, txs: txs.collect() },
            read: Arc::new(read),
            bytes,
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes = kept.bytes.saturating_add(bytes);
        kept.blocks.push_back(block);
        while kept.bytes > KEPT_BYTES_MAX {
            let Some(oldest) = kept.blocks.pop_front() else { break };
            kept.bytes = kept.bytes.saturating_sub(oldest.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Seq;

    fn unread(number: u8, payload_bytes: usize) -> Unread {
        let payload = Slice::from(vec![number; payload_bytes]);
        let id = TxId(alloy_primitives::keccak256(&payload).0);
        Unread { hash: B256::repeat_byte(number), fork: Fork::London, txs: vec![(id, payload)] }
    }

    fn inputs(of: &Unread) -> Vec<TxInput> {
        let input = |(id, payload): &(TxId, Slice)| TxInput {
            seq: Seq::FIRST,
            id: *id,
            payload: payload.clone(),
            created: None,
        };
        of.txs.iter().map(input).collect()
    }

    #[test]
    fn only_the_bytes_that_were_read_are_found() {
        let (ahead, senders) = (TxsAhead::default(), SenderCache::default());
        let block = unread(1, 100);
        let mut txs = inputs(&block);
        ahead.read(&unread(1, 100), &senders, &|| true);
        assert!(ahead.find(block.hash, block.fork, &txs).is_none(), "it was told to stop");
        ahead.read(&unread(1, 100), &senders, &|| false);
        let found = ahead.find(block.hash, block.fork, &txs).expect("it was read");
        let read = ReadTxs::of(&txs, block.fork, &senders);
        assert_eq!((found.root, &found.txs), (read.root, &read.txs));
        assert!(ahead.find(B256::ZERO, block.fork, &txs).is_none(), "another block");
        assert!(ahead.find(block.hash, Fork::Paris, &txs).is_none(), "another fork");
        assert!(ahead.find(block.hash, block.fork, &[]).is_none(), "fewer transactions");
        txs[0].payload = Slice::from(vec![2; 100]);
        assert!(ahead.find(block.hash, block.fork, &txs).is_none(), "other bytes");
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let (ahead, senders) = (TxsAhead::default(), SenderCache::default());
        let third = KEPT_BYTES_MAX / 6;
        let is_kept = |number: u8, bytes| {
            let block = unread(number, bytes);
            ahead.find(block.hash, block.fork, &inputs(&block)).is_some()
        };
        (1..=3).for_each(|number| ahead.read(&unread(number, third), &senders, &|| false));
        assert_eq!([1, 2, 3].map(|number| is_kept(number, third)), [false, true, true]);
        ahead.read(&unread(4, KEPT_BYTES_MAX), &senders, &|| false);
        assert!(!is_kept(4, KEPT_BYTES_MAX) && is_kept(3, third), "too large to be kept");
    }
}
