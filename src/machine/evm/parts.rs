//! The parts of a virtual machine that outlive a transaction: memory that the next one on the same thread uses again.
//!
//! INVARIANT: no part holds anything of an earlier transaction that the next one could notice. They are kept only after
//! a transaction that ended well, and its journal is finalized before.

use std::cell::Cell;

use alloy_primitives::map::AddressMap;
use revm::context::{JournalEntry, JournalInner, LocalContext};
use revm::context_interface::{FrameStack, LocalContextTr as _};
use revm::handler::EthFrame;
use revm::interpreter::interpreter::EthInterpreter;
use revm::primitives::hardfork::SpecId;
use revm::state::EvmState;

use super::layout::AccountRecord;

/// Frames of calls; each keeps a stack of 32 KiB.
pub(super) type Frames = FrameStack<EthFrame<EthInterpreter>>;
/// Records of accounts as they were before the step; `None` where there is none.
pub(super) type Records = AddressMap<Option<AccountRecord>>;

/// Depth of calls up to which frames are kept: 1 MiB.
const KEPT_DEPTH_MAX: usize = 32;
/// Bytes of the memory of calls that are kept.
const KEPT_MEMORY_MAX: usize = 1 << 20;
/// Accounts for which room is kept.
const KEPT_ACCOUNTS_MAX: usize = 1 << 10;

thread_local! {
    static SPARE: Cell<Option<Parts>> = const { Cell::new(None) };
}

/// What a machine is made of besides its block and its transaction.
#[derive(Default)]
pub(super) struct Parts {
    /// The fork to which the journal's warm addresses belong.
    pub(super) spec: SpecId,
    pub(super) frames: Frames,
    pub(super) local: LocalContext,
    pub(super) journal: JournalInner<JournalEntry>,
    pub(super) records: Records,
}

impl Parts {
    /// Returns the parts that the last transaction of this thread left, or new ones.
    pub(super) fn of_thread(spec: SpecId) -> Self {
        let mut parts = SPARE.take().unwrap_or_default();
        if parts.spec != spec {
            parts.journal = JournalInner::new();
        }
        parts.spec = spec;
        parts.journal.set_spec_id(spec);
        parts
    }

    /// Returns parts for a system call, which finds no address warm.
    pub(super) fn of_system_call(spec: SpecId) -> Self {
        let mut parts = Self { spec, ..Self::default() };
        parts.journal.set_spec_id(spec);
        parts
    }

    /// Makes parts of those of a machine that has ended a transaction.
    pub(super) fn new(
        frames: Frames,
        local: LocalContext,
        journal: JournalInner<JournalEntry>,
        records: Records,
    ) -> Self {
        Self { spec: journal.cfg.spec, frames, local, journal, records }
    }

    /// Keeps the parts for the next transaction of this thread, as far as they are not large.
    pub(super) fn keep(mut self, mut state: EvmState, deepest: usize) {
        if deepest > KEPT_DEPTH_MAX {
            self.frames = Frames::default();
        }
        if self.local.shared_memory_buffer().borrow().capacity() > KEPT_MEMORY_MAX {
            self.local = LocalContext::default();
        }
        if state.capacity() <= KEPT_ACCOUNTS_MAX {
            state.clear();
            self.journal.state = state;
        }
        if self.records.capacity() <= KEPT_ACCOUNTS_MAX {
            self.records.clear();
        } else {
            self.records = Records::default();
        }
        SPARE.set(Some(self));
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::Address;
    use revm::state::Account;

    use super::*;

    #[test]
    fn what_is_large_is_not_kept() {
        let check = |memory: usize, accounts: usize, is_kept: bool| {
            let mut parts = Parts::of_system_call(SpecId::LONDON);
            parts.local.shared_memory_buffer().borrow_mut().reserve_exact(memory);
            parts.records.reserve(accounts);
            let mut state = EvmState::default();
            state.reserve(accounts);
            state.insert(Address::ZERO, Account::default());
            parts.keep(state, 1);
            let parts = Parts::of_thread(SpecId::LONDON);
            assert!(parts.journal.state.is_empty(), "nothing of an earlier transaction");
            let kept = parts.local.shared_memory_buffer().borrow().capacity() >= memory;
            let room = [parts.journal.state.capacity(), parts.records.capacity()];
            assert_eq!((kept, room.map(|room| room >= accounts)), (is_kept, [is_kept; 2]));
        };
        check(1 << 16, 100, true);
        check(KEPT_MEMORY_MAX + 1, 2 * KEPT_ACCOUNTS_MAX, false);
    }

    #[test]
    fn warm_addresses_stay_within_their_fork() {
        let mut parts = Parts::of_thread(SpecId::LONDON);
        parts.journal.warm_addresses.set_coinbase(Address::ZERO);
        parts.keep(EvmState::default(), 1);
        let parts = Parts::of_thread(SpecId::CANCUN);
        assert_eq!(parts.journal.warm_addresses.coinbase(), None);
        assert_eq!(parts.journal.cfg.spec, SpecId::CANCUN);
    }
}
