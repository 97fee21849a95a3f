//! The accounts: what each holds and has sent, and what all hold together.

use crate::load::check::Finding;
use crate::machine::ledger::{Account, AccountState};

/// Holds an account against the model.
pub(in crate::load) fn compare(
    account: Account,
    expected: AccountState,
    found: Option<AccountState>,
) -> Option<Finding> {
    let differs = Finding::AccountDiffers { account, expected, found };
    (found != Some(expected)).then_some(differs)
}

/// Holds what all accounts hold together against what genesis gave them.
pub(in crate::load) fn supply(expected: u128, found: u128) -> Option<Finding> {
    (found != expected).then_some(Finding::SupplyDiffers { expected, found })
}

/// Holds what the ledger itself says of its supply and of the transfers that it applied against the model.
///
/// An account that the model does not know is read by nobody; what was minted into it shows here.
pub(in crate::load) fn stated(expected: Stated, found: Stated) -> Vec<Finding> {
    let supply = Finding::StatedSupplyDiffers { expected: expected.supply, found: found.supply };
    let applied = Finding::AppliedDiffers { expected: expected.applied, found: found.applied };
    let supply = (found.supply != expected.supply).then_some(supply);
    supply.into_iter().chain((found.applied != expected.applied).then_some(applied)).collect()
}

/// The two numbers that the ledger keeps about all accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::load) struct Stated {
    /// What all accounts hold together.
    pub(in crate::load) supply: u128,
    /// How many transfers were applied.
    pub(in crate::load) applied: u128,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_with_another_balance_or_nonce_or_none_is_a_finding() {
        let (account, expected) = (Account(3), AccountState { balance: 5, nonce: 2 });
        assert_eq!(compare(account, expected, Some(expected)), None);
        let other = [
            Some(AccountState { balance: 6, nonce: 2 }),
            Some(AccountState { balance: 5, nonce: 1 }),
            None,
        ];
        for found in other {
            let differs = Finding::AccountDiffers { account, expected, found };
            assert_eq!(compare(account, expected, found), Some(differs));
        }
    }

    #[test]
    fn another_supply_is_a_finding() {
        assert_eq!(supply(10, 10), None);
        let differs = Finding::SupplyDiffers { expected: 10, found: 11 };
        assert_eq!(supply(10, 11), Some(differs));
    }

    #[test]
    fn another_supply_or_counter_of_the_ledger_itself_is_a_finding() {
        let expected = Stated { supply: 10, applied: 4 };
        assert_eq!(stated(expected, expected), []);
        let supply = Finding::StatedSupplyDiffers { expected: 10, found: 11 };
        assert_eq!(stated(expected, Stated { supply: 11, ..expected }), [supply]);
        let applied = Finding::AppliedDiffers { expected: 4, found: 3 };
        assert_eq!(stated(expected, Stated { applied: 3, ..expected }), [applied]);
    }
}
