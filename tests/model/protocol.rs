//! The protocol: which steps can be taken, and what each does.

use rewake::recovery::Action as Obligation;
use stateright::{Model, Property};

use crate::action::Action;
use crate::flaw::Flaw;
use crate::observe::examine;
use crate::power;
use crate::properties;
use crate::state::{Doing, Process, ROW_ONLY, STATE_ONLY, Spilled, State};

/// How far the walk goes, and what is wrong with the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    pub flaw: Option<Flaw>,
    /// Events that are ever submitted; at least two.
    pub events_max: u8,
    /// Orders among them.
    pub blocks_max: u8,
    pub crashes_max: u8,
    pub losses_max: u8,
    /// Failures of a write or a sync.
    pub errors_max: u8,
    /// Writes of the witness that one power cut tears.
    pub torn_max: usize,
}

impl Protocol {
    pub fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn needs_arming(&self, process: &Process) -> bool {
        !process.armed && !self.has(Flaw::NeverArms)
    }

    fn down(state: &State, actions: &mut Vec<Action>) {
        if examine(state).1 != Obligation::Refuse {
            actions.push(Action::Open);
        }
    }

    fn up(&self, state: &State, process: &Process, actions: &mut Vec<Action>) {
        match process.log {
            Doing::Nothing => self.idle(state, process, actions),
            Doing::Committing => {
                actions.push(Action::Commit);
                if state.faults.errors < self.errors_max {
                    actions.extend([Action::CommitFails, Action::CommitSyncFails]);
                }
            }
            Doing::Committed => actions.push(Action::Acknowledge),
            Doing::Moved => actions.push(Action::EmptyWal),
            Doing::Emptied if self.needs_arming(process) => actions.push(Action::Arm),
            Doing::Emptied => actions.push(Action::Settle),
        }
        self.main(state, process, actions);
        self.crashes(state, process, actions);
    }

    /// What the owner of the log, and whoever needs it for reading, may begin.
    fn idle(&self, state: &State, process: &Process, actions: &mut Vec<Action>) {
        let unarmed = self.needs_arming(process);
        if unarmed || state.log.is_unmoved(process.head) {
            actions.push(Action::MovePages);
            if state.log.is_unsynced() && state.faults.errors < self.errors_max {
                actions.push(Action::CheckpointSyncFails);
            }
        }
        if !unarmed && !process.failed && state.oracle.submitted < self.events_max {
            actions.push(Action::Insert { is_order: false });
            let orders = u8::try_from(state.oracle.orders.count_ones()).unwrap();
            let head = state.log.rows.at(process.head);
            let waits = head.is_some_and(|id| !state.oracle.is_order(id));
            if waits && orders < self.blocks_max {
                actions.push(Action::Insert { is_order: true });
            }
        }
        if !unarmed || self.has(Flaw::AnswersKnownUnarmed) {
            let known = state.log.rows.as_slice().iter().take(usize::from(process.head));
            let asked = known.filter(|id| !state.oracle.is_acknowledged(**id));
            actions.extend(asked.map(|id| Action::Known { id: *id }));
        }
        self.rehearsal(state, process, unarmed, actions);
    }

    fn rehearsal(
        &self,
        state: &State,
        process: &Process,
        unarmed: bool,
        actions: &mut Vec<Action>,
    ) {
        let behind = state.is_behind();
        if !behind && (process.resumed || !state.sandbox.blocks.as_slice().is_empty()) {
            actions.push(Action::RemoveSandbox);
        }
        if behind && !process.resumed && (!unarmed || self.has(Flaw::RehearsesUnarmed)) {
            actions.push(Action::Resume);
        }
        if process.resumed && Self::next_order(state, process).is_some() {
            actions.push(Action::Rehearse);
        }
        if process.resumed && process.rehearsed.len() > process.spilled {
            actions.push(Action::Spill);
        }
    }

    fn next_order(state: &State, process: &Process) -> Option<u8> {
        let done = state.blocks().len() + process.rehearsed.len();
        state.orders(process.head).at(done + 1)
    }

    /// The owner of main.db works beside the owner of the log.
    fn main(&self, state: &State, process: &Process, actions: &mut Vec<Action>) {
        if process.main_moved {
            actions.push(Action::EmptyMainWal);
            return;
        }
        if process.half_written {
            actions.push(Action::WriteRow);
        } else if process.rehearsed.len() > 0 {
            let splits = self.has(Flaw::SplitsBlock);
            actions.push(if splits { Action::WriteState } else { Action::Write });
        }
        if state.main.is_unmoved(state.main.rows.len()) {
            actions.push(Action::MoveMainPages);
            if state.main.is_unsynced() && state.faults.errors < self.errors_max {
                actions.push(Action::MainSyncFails);
            }
        }
    }

    fn crashes(&self, state: &State, process: &Process, actions: &mut Vec<Action>) {
        if process.failed {
            actions.push(Action::TakeDown);
        }
        if state.faults.crashes < self.crashes_max {
            actions.push(Action::Crash);
            match process.log {
                Doing::Committing => actions.push(Action::CrashUncommitted),
                Doing::Committed | Doing::Emptied => actions.push(Action::CrashTearing),
                _ => {}
            }
        }
    }

    /// Takes a step of the log's owner.
    fn step_log(&self, state: &mut State, process: &mut Process, action: Action) {
        match action {
            Action::Insert { is_order } => self.insert(state, process, is_order),
            Action::Commit => {
                if !self.has(Flaw::SyncsNoCommit) {
                    state.log.sync();
                }
                process.head = state.log.rows.len();
                process.log = Doing::Committed;
            }
            Action::Acknowledge => {
                let id = state.log.rows.at(process.head).unwrap();
                if !self.has(Flaw::WritesWitnessFirst) {
                    state.witness.write(self.slot(state, process), process.head, id);
                }
                state.oracle.acknowledge(id);
                process.log = Doing::Nothing;
            }
            Action::Known { id } => state.oracle.acknowledge(id),
            Action::MovePages => {
                if !process.armed && !self.has(Flaw::CheckpointsOverHole) {
                    state.log.rewrite();
                }
                state.log.move_pages(process.head);
                process.log = Doing::Moved;
            }
            Action::EmptyWal => {
                state.log.empty_wal(process.head);
                process.log = Doing::Emptied;
            }
            Action::Arm => {
                let slot = self.slot(state, process);
                self.sync_witness(state, process);
                let id = state.log.rows.at(process.head).unwrap_or(0);
                state.witness.write(slot, process.head, id);
                self.sync_witness(state, process);
                (process.armed, process.log) = (true, Doing::Nothing);
            }
            Action::Settle => {
                self.sync_witness(state, process);
                process.log = Doing::Nothing;
            }
            _ => unreachable!("{action:?} is no step of the log"),
        }
    }

    fn insert(&self, state: &mut State, process: &mut Process, is_order: bool) {
        let oracle = &mut state.oracle;
        oracle.submitted += 1;
        let (id, seq) = (oracle.submitted, process.head + 1);
        oracle.orders |= u8::from(is_order) << id;
        oracle.positions.push(seq);
        state.log.write(id);
        process.log = Doing::Committing;
        if self.has(Flaw::AcknowledgesBeforeCommit) {
            state.oracle.acknowledge(id);
        }
        if self.has(Flaw::WritesWitnessFirst) {
            state.witness.write(self.slot(state, process), seq, id);
        }
    }

    /// Returns the slot that the next mark of the witness goes to.
    fn slot(&self, state: &State, process: &Process) -> u8 {
        if process.armed && !self.has(Flaw::WritesSlotsInTurn) {
            1 - process.stable_slot
        } else {
            1 - state.witness.newest()
        }
    }

    fn sync_witness(&self, state: &mut State, process: &mut Process) {
        if !self.has(Flaw::NeverSyncsWitness) {
            state.witness.sync();
        }
        process.stable_slot =
            if self.has(Flaw::WritesSlotsInTurn) { 0 } else { state.witness.newest() };
    }

    /// Takes a step of the recovery.
    fn step_recovery(&self, state: &mut State, process: &mut Process, action: Action) {
        match action {
            Action::Resume => {
                process.rehearsed = crate::resume::find(self, state, process);
                process.spilled = process.rehearsed.len();
                if process.spilled == 0 {
                    state.sandbox = Spilled::default();
                }
                process.resumed = true;
            }
            Action::Rehearse => {
                let next = Self::next_order(state, process).unwrap();
                process.rehearsed.push(next);
            }
            Action::Spill => crate::resume::spill(state, process),
            Action::Write | Action::WriteRow => {
                let id = process.rehearsed.pop_front().unwrap();
                process.spilled = process.spilled.saturating_sub(1);
                let part = if process.half_written { ROW_ONLY } else { 0 };
                process.half_written = false;
                state.main.write(id | part);
                if state.blocks().len() > state.oracle.reported.len() {
                    state.oracle.reported.push(id);
                }
            }
            Action::WriteState => {
                state.main.write(process.rehearsed.at(1).unwrap() | STATE_ONLY);
                process.half_written = true;
            }
            Action::RemoveSandbox => {
                state.sandbox = Spilled::default();
                process.resumed = false;
            }
            Action::MoveMainPages => {
                if !self.has(Flaw::CheckpointsOverHoleOfMain) {
                    state.main.rewrite();
                }
                state.main.move_pages(state.main.rows.len());
                process.main_moved = true;
            }
            Action::EmptyMainWal => {
                state.main.empty_wal(state.main.rows.len());
                process.main_moved = false;
            }
            _ => self.step_log(state, process, action),
        }
    }

    /// Lets something fail while the process goes on; returns whether the action was of that kind.
    fn fail(&self, state: &mut State, process: &mut Process, action: Action) -> bool {
        match action {
            Action::CommitFails | Action::CommitSyncFails => {
                state.oracle.unknown = state.oracle.submitted;
                (process.failed, process.log) = (true, Doing::Nothing);
                if action == Action::CommitFails {
                    state.log.unwrite();
                } else {
                    state.log.fail_sync();
                }
                if self.has(Flaw::GoesOnAfterUnknown) {
                    (process.failed, process.head) = (false, state.log.rows.len());
                }
            }
            Action::CheckpointSyncFails => state.log.fail_sync(),
            Action::MainSyncFails => state.main.fail_sync(),
            _ => return false,
        }
        state.faults.errors += 1;
        true
    }

    /// Ends the process; returns whether the action was of that kind.
    fn end(&self, state: &mut State, process: &Process, action: Action) -> bool {
        match action {
            Action::TakeDown => {
                state.process = None;
                return true;
            }
            Action::CrashUncommitted => state.log.unwrite(),
            Action::CrashTearing => {
                let slot = self.slot(state, process);
                if process.log == Doing::Emptied && !self.has(Flaw::NeverSyncsWitness) {
                    state.witness.sync();
                }
                state.witness.tear(slot);
            }
            Action::Crash => {}
            _ => return false,
        }
        state.faults.crashes += 1;
        state.process = None;
        true
    }

    fn open(&self, state: &State) -> Process {
        Process {
            head: state.log.rows.len(),
            armed: self.has(Flaw::NeverArms),
            failed: false,
            log: Doing::Nothing,
            half_written: false,
            main_moved: false,
            rehearsed: crate::list::List::default(),
            spilled: 0,
            resumed: false,
            stable_slot: 0,
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        match &state.process {
            None => Self::down(state, actions),
            Some(process) => self.up(state, process, actions),
        }
        if state.faults.losses < self.losses_max {
            power::losses(state, self.torn_max, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        match (action, state.process) {
            (Action::PowerLoss { .. }, _) => next = power::lose(state, self.torn_max, action),
            (Action::Open, _) => next.process = Some(self.open(state)),
            (_, Some(process)) if self.end(&mut next, &process, action) => {}
            (_, Some(mut process)) => {
                if !self.fail(&mut next, &mut process, action) {
                    self.step_recovery(&mut next, &mut process, action);
                }
                next.process = Some(process);
            }
            (_, None) => return None,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
