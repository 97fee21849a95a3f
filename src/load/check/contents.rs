//! The contents: a block holds under an acknowledged identity the transfer that was submitted under it.

use crate::load::check::Finding;
use crate::load::wire::BlockTransaction;
use crate::machine::ledger::Transfer;

/// Holds a transaction that the driver submitted against its identity, which is a digest of the transfer.
pub(in crate::load) fn unaltered(height: u64, tx: &BlockTransaction) -> Option<Finding> {
    let is_it = tx.transaction.as_ref().map(Transfer::id) == Some(tx.id);
    (!is_it).then_some(Finding::Altered { id: tx.id, height })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::check::cases::tx;
    use crate::load::wire::TxStatus;

    #[test]
    fn another_transfer_under_the_same_identity_is_a_finding() {
        let sound = tx(1, 1, TxStatus::Applied);
        assert_eq!(unaltered(4, &sound), None);
        let other = tx(2, 2, TxStatus::Applied).transaction;
        for transaction in [other, None] {
            let wrong = BlockTransaction { transaction, ..sound };
            assert_eq!(unaltered(4, &wrong), Some(Finding::Altered { id: sound.id, height: 4 }));
        }
    }
}
