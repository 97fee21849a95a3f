//! `rewake init`: makes an empty node, or one of the ledger with accounts.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;

use crate::cli::{Advised, App, Exit, NodeArgs};
use crate::exec::{Intake, IntakeError, NewEvent, SystemClock};
use crate::machine::StateMachine as _;
use crate::machine::ledger::{Account, Balance, Ledger};
use crate::types::{Bytes, Height};

/// What the node is to be.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// State machine that the node runs
    #[arg(long, value_name = "NAME", default_value = "ledger")]
    machine: String,
    #[command(flatten)]
    genesis: GenesisArgs,
}

/// What a new ledger begins with.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct GenesisArgs {
    /// Accounts that a new ledger opens at genesis, numbered from 1
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32))]
    accounts: u32,
    /// What each of them holds
    #[arg(long, default_value_t = crate::generate::GENESIS_BALANCE, value_name = "AMOUNT")]
    balance: Balance,
}

impl GenesisArgs {
    /// Says whether there are to be accounts.
    pub(crate) const fn opens_accounts(self) -> bool {
        self.accounts > 0
    }

    /// Logs the genesis block, unless there are to be no accounts.
    pub(crate) fn append(self, intake: &mut Intake) -> Result<(), IntakeError> {
        if self.accounts == 0 {
            return Ok(());
        }
        let accounts = (1..=self.accounts).map(|number| (Account(number.into()), self.balance));
        let patch = NewEvent::Patch(Ledger::genesis_patch(accounts));
        let (height, header, txs) = (Height::GENESIS, Bytes::default(), Vec::new());
        intake.append(vec![patch, NewEvent::Order { height, header, txs }]).map(drop)
    }
}

pub(crate) fn run(args: &InitArgs, app: &App) -> Result<Exit> {
    let machine = app.machine(&args.machine)?.version();
    let opens = args.genesis.accounts;
    if opens > 0 && machine.id != Ledger.version().id {
        let what = format!("{machine} has no accounts that --accounts could open");
        return Err(Advised::new(Exit::Usage, what, "leave --accounts out").into());
    }
    let dir = args.node.dir();
    dir.create(&machine)?;
    if opens > 0 {
        let node = args.node.examine(app)?;
        args.genesis.append(&mut Intake::new(&node, Arc::new(SystemClock)))?;
        node.store.settle()?;
    }
    let path = dir.path().display();
    match opens {
        0 => app.output.line(format_args!("made an empty node of {machine} in {path}")),
        _ => app.output.line(format_args!(
            "made a node of {machine} in {path}; `rewake recover` opens its {opens} accounts"
        )),
    }
    app.output.object(&serde_json::json!({
        "outcome": "done",
        "data": dir.path(),
        "machine": machine.id,
        "machine_version": machine.version,
        "accounts": opens,
    }));
    Ok(Exit::Done)
}
