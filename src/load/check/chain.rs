//! The chain: heights without a gap, parents, and the counts of a block.

use crate::load::check::Finding;
use crate::load::wire::{Block, TxStatus};
use crate::types::Digest;

/// Holds a block against the height that it was asked for and against the digest of the block before.
pub(in crate::load) fn follows(height: u64, parent: Digest, block: &Block) -> Vec<Finding> {
    let found = block.height;
    let height_differs = (found != height).then_some(Finding::HeightDiffers { height, found });
    let found = block.parent;
    let differs = Finding::ParentDiffers { height, expected: parent, found };
    height_differs.into_iter().chain((found != parent).then_some(differs)).collect()
}

/// Holds the counts of a block against its transactions.
pub(in crate::load) fn counts(block: &Block) -> Vec<Finding> {
    let of = |status: TxStatus| {
        let found = block.transactions.iter().filter(|tx| tx.status == status).count();
        u64::try_from(found).unwrap_or(u64::MAX)
    };
    let all = u64::try_from(block.transactions.len()).unwrap_or(u64::MAX);
    let rows = [
        ("in it", block.txs, all),
        ("applied", block.applied, of(TxStatus::Applied)),
        ("rejected", block.rejected, of(TxStatus::Rejected)),
        ("quarantined", block.quarantined, of(TxStatus::Quarantined)),
    ];
    let height = block.height;
    let wrong = rows.into_iter().filter(|(_, counted, found)| counted != found);
    wrong
        .map(|(what, counted, found)| Finding::CountDiffers { height, what, counted, found })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::check::cases::{block, digest, tx};

    #[test]
    fn a_block_follows_the_one_before() {
        let sound = block(3, vec![]);
        assert_eq!(follows(3, digest(2), &sound), []);
        let broken = Finding::ParentDiffers { height: 3, expected: digest(9), found: digest(2) };
        assert_eq!(follows(3, digest(9), &sound), [broken]);
        let gap = Finding::HeightDiffers { height: 2, found: 3 };
        assert_eq!(follows(2, digest(2), &sound), [gap]);
    }

    #[test]
    fn a_block_counts_what_it_has() {
        let sound = block(3, vec![tx(1, 1, TxStatus::Applied), tx(2, 2, TxStatus::Rejected)]);
        assert_eq!(counts(&sound), []);
        let cut = Block { transactions: sound.transactions[1..].to_vec(), ..sound };
        let differs =
            |what, counted, found| Finding::CountDiffers { height: 3, what, counted, found };
        assert_eq!(counts(&cut), [differs("in it", 2, 1), differs("applied", 1, 0)]);
        let held = Block { quarantined: 1, rejected: 0, ..block(3, vec![]) };
        assert_eq!(counts(&held), [differs("quarantined", 1, 0)]);
    }
}
