//! Losses of power: which files can be found afterwards.

use crate::action::Action;
use crate::state::{Spilled, State};

/// Lists the losses that can happen now, one for each combination of what the files may hold afterwards.
pub fn losses(state: &State, torn_max: usize, actions: &mut Vec<Action>) {
    let count = |outcomes: usize| u8::try_from(outcomes).unwrap();
    let logs = count(state.log.after_power_loss().len());
    let mains = count(state.main.after_power_loss().len());
    let witnesses = count(state.witness.after_power_loss(torn_max).len());
    let sandboxes: &[bool] =
        if state.sandbox == Spilled::default() { &[false] } else { &[false, true] };
    for log in 0..logs {
        for main in 0..mains {
            for witness in 0..witnesses {
                actions.extend(sandboxes.iter().map(|&keeps_sandbox| Action::PowerLoss {
                    log,
                    main,
                    witness,
                    keeps_sandbox,
                }));
            }
        }
    }
}

/// Returns what is found after one of them.
pub fn lose(state: &State, torn_max: usize, action: Action) -> State {
    let Action::PowerLoss { log, main, witness, keeps_sandbox } = action else {
        unreachable!("{action:?} is no loss of power");
    };
    let mut next = *state;
    next.process = None;
    next.faults.losses += 1;
    next.log = state.log.after_power_loss()[usize::from(log)];
    next.main = state.main.after_power_loss()[usize::from(main)];
    next.witness = state.witness.after_power_loss(torn_max)[usize::from(witness)];
    if !keeps_sandbox {
        next.sandbox = Spilled::default();
    }
    next
}
