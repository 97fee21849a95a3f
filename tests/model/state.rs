//! The state of the model: files, the process that has them open, and the oracle outside both.

use crate::database::Database;
use crate::list::List;
use crate::witness::Witness;

/// Everything at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub log: Database,
    pub main: Database,
    pub witness: Witness,
    pub sandbox: Spilled,
    pub process: Option<Process>,
    pub oracle: Oracle,
    pub faults: Faults,
}

/// `sandbox.db`: rehearsed blocks, named by the identities of their orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spilled {
    /// The block on which the rehearsal stands; zero for genesis.
    pub base: u8,
    /// Height of the first block.
    pub first: u8,
    pub blocks: List,
}

/// What a process that has the node open holds in memory.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, in any combination")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// How far the log goes, as the process knows it.
    pub head: u8,
    /// Whether the log was armed.
    pub armed: bool,
    /// Whether a commit failed, after which no transaction is begun.
    pub failed: bool,
    pub log: Doing,
    /// Whether the effects of a block are committed without its row; only a flaw does that.
    pub half_written: bool,
    /// Whether the checkpoint of main.db has written its pages and not synced them.
    pub main_moved: bool,
    /// Blocks that were rehearsed and not committed.
    pub rehearsed: List,
    /// How many of them are in `sandbox.db`.
    pub spilled: u8,
    /// Whether `sandbox.db` was looked at.
    pub resumed: bool,
    /// The slot of the witness that was synced last, where the rule for slots asks for it.
    pub stable_slot: u8,
}

/// How far the owner of the log is with what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doing {
    Nothing,
    /// The rows of an append are written; its COMMIT has not returned.
    Committing,
    /// The COMMIT has returned; nobody was answered.
    Committed,
    /// The pages of a checkpoint are written and not synced.
    Moved,
    /// The checkpoint is complete.
    Emptied,
}

/// What is known outside: who was answered what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Oracle {
    /// Events that were submitted: their identities are 1 to this number, in order.
    pub submitted: u8,
    /// Which of them are orders, one bit each.
    pub orders: u8,
    /// At which position each was logged.
    pub positions: List,
    /// Which of them were acknowledged, one bit each.
    pub acknowledged: u8,
    /// Blocks that were reported committed.
    pub reported: List,
    /// The event whose append was answered "unknown" last.
    pub unknown: u8,
}

/// What went wrong so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults {
    pub crashes: u8,
    pub losses: u8,
    pub errors: u8,
}

/// What a transaction of main.db holds of its block, in the bits above the identity.
pub const ROW_ONLY: u8 = 0x10;
pub const STATE_ONLY: u8 = 0x20;
const IDENTITY: u8 = 0x0f;

impl Oracle {
    pub fn is_order(&self, id: u8) -> bool {
        self.orders & (1 << id) != 0
    }

    pub fn is_acknowledged(&self, id: u8) -> bool {
        self.acknowledged & (1 << id) != 0
    }

    pub fn acknowledge(&mut self, id: u8) {
        self.acknowledged |= 1 << id;
    }

    pub fn position(&self, id: u8) -> u8 {
        self.positions.at(id).unwrap_or(0)
    }
}

impl State {
    /// Returns the orders among the first events of the log.
    pub fn orders(&self, end: u8) -> List {
        let mut orders = List::default();
        let events = self.log.rows.as_slice().iter().take(usize::from(end));
        events.filter(|id| self.oracle.is_order(**id)).for_each(|id| orders.push(*id));
        orders
    }

    /// Returns the rows of the block table.
    pub fn blocks(&self) -> List {
        self.without(STATE_ONLY)
    }

    /// Returns the blocks whose effects are in the state, each as often as they are.
    pub fn effects(&self) -> List {
        self.without(ROW_ONLY)
    }

    fn without(&self, part: u8) -> List {
        let mut list = List::default();
        let rows = self.main.rows.as_slice().iter();
        rows.filter(|row| **row & part == 0).for_each(|row| list.push(row & IDENTITY));
        list
    }

    /// Says whether a block that was ordered is not committed.
    pub fn is_behind(&self) -> bool {
        self.process.is_some_and(|process| self.orders(process.head).len() > self.blocks().len())
    }
}
