//! The receipts: an independent model applies or refuses each transaction, and the node must have done the same.

use crate::generate::Model;
use crate::load::check::Finding;
use crate::load::wire::{Block, TxStatus};

/// Lets the model execute a block and compares what becomes of each transaction.
///
/// What the node quarantined has left no trace there and leaves none in the model, but it is a finding: the ledger
/// applies or refuses every transfer, so a node that quarantined one did not execute it.
pub(in crate::load) fn execute(model: &mut Model, block: &Block) -> Vec<Finding> {
    let mut findings = Vec::new();
    for tx in &block.transactions {
        if tx.status == TxStatus::Quarantined {
            findings.push(Finding::Quarantined { id: tx.id, height: block.height });
            continue;
        }
        let applies = tx.transaction.is_some_and(|transfer| model.apply(&transfer));
        let expected = if applies { TxStatus::Applied } else { TxStatus::Rejected };
        if expected != tx.status {
            let (id, height, found) = (tx.id, block.height, tx.status);
            findings.push(Finding::StatusDiffers { id, height, expected, found });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::check::cases::{block, tx};
    use crate::load::wire::BlockTransaction;
    use crate::machine::ledger::Account;

    #[test]
    fn the_model_agrees_with_each_receipt_or_that_is_a_finding() {
        let (applied, rejected) = (TxStatus::Applied, TxStatus::Rejected);
        let unreadable = BlockTransaction { transaction: None, ..tx(7, 7, rejected) };
        let sound = vec![tx(1, 0, applied), tx(2, 1, applied), tx(3, 1, rejected), unreadable];
        let model = || Model::new([(Account(1), 100), (Account(2), 0)]);
        let mut executed = model();
        assert_eq!(execute(&mut executed, &block(1, sound.clone())), []);
        assert_eq!((executed.applied(), executed.balance(Account(2))), (2, Some(2)));
        let differs =
            |id, expected, found| vec![Finding::StatusDiffers { id, height: 1, expected, found }];
        for (index, status) in [(1, rejected), (2, applied), (3, applied)] {
            let mut wrong = sound.clone();
            wrong[index].status = status;
            let expected = if status == applied { rejected } else { applied };
            let found = execute(&mut model(), &block(1, wrong));
            assert_eq!(found, differs(sound[index].id, expected, status));
        }
    }

    #[test]
    fn a_transfer_that_was_quarantined_is_a_finding_and_leaves_no_trace_in_the_model() {
        let held = tx(1, 0, TxStatus::Quarantined);
        let mut model = Model::new([(Account(1), 100)]);
        let block = block(4, vec![held, tx(2, 0, TxStatus::Applied)]);
        let found = execute(&mut model, &block);
        assert_eq!(found, [Finding::Quarantined { id: held.id, height: 4 }]);
        assert_eq!((model.applied(), model.balance(Account(2))), (1, Some(1)));
    }
}
