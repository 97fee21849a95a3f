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
}
