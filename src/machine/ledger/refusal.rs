//! Refusals: why a transfer is not applied, in words that never change.

use crate::block::Receipt;

/// Why the ledger refuses a transfer. The first rule that is broken counts, in the order given here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The payload is no transfer.
    Malformed,
    /// The amount is zero.
    ZeroAmount,
    /// Sender and receiver are one account.
    ToSelf,
    /// The sender has never held anything.
    UnknownSender,
    /// The sender has used the nonce.
    NonceUsed,
    /// The sender has not come to the nonce.
    NonceAhead,
    /// The sender has used every nonce below the last, which cannot be counted past.
    NonceExhausted,
    /// The sender holds less than the amount.
    Overdraft,
    /// The receiver would hold more than a balance can say.
    ReceiverFull,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::ZeroAmount,
        Self::ToSelf,
        Self::UnknownSender,
        Self::NonceUsed,
        Self::NonceAhead,
        Self::NonceExhausted,
        Self::Overdraft,
        Self::ReceiverFull,
    ];

    /// Returns the reason as the receipt says it. Receipts are hashed: a changed word needs a new machine version.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed payload",
            Self::ZeroAmount => "zero amount",
            Self::ToSelf => "transfer to self",
            Self::UnknownSender => "unknown sender",
            Self::NonceUsed => "nonce already used",
            Self::NonceAhead => "nonce ahead",
            Self::NonceExhausted => "nonces exhausted",
            Self::Overdraft => "overdraft",
            Self::ReceiverFull => "receiver full",
        }
    }

    pub(super) fn receipt(self) -> Receipt {
        Receipt::rejected(self.reason())
    }
}
