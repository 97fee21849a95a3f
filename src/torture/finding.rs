//! What the oracle has against a node: a sentence.

use crate::exec::Refusal;
use crate::state::StateError;
use crate::store::StoreError;

/// Something that must not be, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding(pub(super) String);

impl From<StoreError> for Finding {
    fn from(error: StoreError) -> Self {
        Self(format!("what recovery left cannot be read: {error}"))
    }
}

impl From<StateError> for Finding {
    fn from(error: StateError) -> Self {
        Self(format!("what recovery left cannot be read: {error}"))
    }
}

impl From<Box<Refusal>> for Finding {
    fn from(refusal: Box<Refusal>) -> Self {
        Self(format!("what recovery left is refused: {refusal}"))
    }
}
