//! The making of a node that is not there yet.

use std::sync::Arc;

use anyhow::Result;

use super::ServeArgs;
use crate::cli::{Advised, App, Exit};
use crate::exec::{Intake, SystemClock};
use crate::machine::ledger::Ledger;
use crate::machine::{MachineVersion, StateMachine as _};
use crate::store::{LogHead, Problem, StoreError};

/// Makes the node if that is asked for and the directory holds nothing.
pub(super) fn where_asked(args: &ServeArgs, app: &App) -> Result<()> {
    check(args)?;
    if !args.create {
        return Ok(());
    }
    let machine = app.machine(&args.machine)?.version();
    match args.node.dir().create(&machine) {
        Ok(()) => {}
        // CRASH: between the making of the node and the logging of its genesis; the latter is made up for here.
        Err(StoreError { problem: Problem::NotEmpty, .. }) if lacks_genesis(args, &machine) => {}
        // Whether that is a node shows when it is opened.
        Err(StoreError { problem: Problem::NotEmpty, .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    let node = args.node.examine(app)?;
    args.genesis.append(&mut Intake::new(&node, Arc::new(SystemClock)))?;
    node.store.settle()?;
    app.output.note(format_args!("made a node of {machine} in {}", args.node.data.display()));
    Ok(())
}

/// Says whether a node that is there was to have accounts, and has logged nothing yet.
fn lacks_genesis(args: &ServeArgs, machine: &MachineVersion) -> bool {
    if !args.genesis.opens_accounts() {
        return false;
    }
    // What cannot be opened is told by the start, which finds the same.
    args.node.dir().open().is_ok_and(|store| {
        let log = store.log();
        log.head() == LogHead::EMPTY && log.machine() == machine.id
    })
}

fn check(args: &ServeArgs) -> Result<(), Advised> {
    let refused = |what: String, advice| Err(Advised::new(Exit::Usage, what, advice));
    if args.genesis.opens_accounts() && !args.create {
        let what = "only a node that is made can open --accounts".to_owned();
        return refused(what, "add --create, or leave --accounts out");
    }
    if args.genesis.opens_accounts() && args.machine != Ledger.version().id {
        let what = format!("{} has no accounts that --accounts could open", args.machine);
        return refused(what, "leave --accounts out");
    }
    Ok(())
}
