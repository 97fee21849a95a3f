//! A minimal ERC-20 contract, assembled by hand: balances at the hash of address and slot 0, `transfer`, and its event.

use alloy_primitives::{Address, B256, Bytes, U256, address, hex, keccak256};

/// A contract.
pub(crate) struct Contract {
    pub(crate) address: Address,
    pub(crate) code: &'static [u8],
}

/// The token. It moves what the sender has and returns true; anything else reverts.
pub(crate) const TOKEN: Contract = Contract {
    address: address!("00000000000000000000000000000000000000e2"),
    code: &hex!(
        // CALLDATALOAD(0) >> 224 is the selector of transfer(address,uint256), or jump to the end.
        "5f35 60e0 1c 63a9059cbb 14 15 6069 57"
        // The sender's slot: KECCAK256(sender, 0), with its value and the amount above it.
        "33 5f 52 6040 5f 20 80 54 6024 35"
        // value < amount reverts.
        "80 82 10 6069 57"
        // SSTORE(slot, value - amount).
        "80 91 03 90 91 55"
        // SSTORE(the receiver's slot, its value + amount).
        "6004 35 5f 52 6040 5f 20 80 54 82 01 90 55"
        // LOG3(Transfer, sender, receiver) with the amount.
        "5f 52 6004 35 33 7fddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef 6020 5f a3"
        "6001 5f 52 6020 5f f3"
        "5b 5f 5f fd"
    ),
};

/// Returns the slot of an account's balance.
pub(crate) fn balance_slot(account: Address) -> U256 {
    keccak256([account.into_word(), B256::ZERO].concat()).into()
}

/// Returns the input of a call of `transfer(address,uint256)`.
pub(crate) fn transfer_input(to: Address, amount: U256) -> Bytes {
    let amount = B256::from(amount);
    [&hex!("a9059cbb")[..], to.into_word().as_slice(), amount.as_slice()].concat().into()
}
