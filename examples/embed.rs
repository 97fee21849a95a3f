//! A node of one's own in one file: a state machine, the node around it, and the whole command line.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::process::ExitCode;

use anyhow::Result;
use rewake::block::Receipt;
use rewake::machine::{
    BlockInput, Context, ExecError, MachineVersion, OpenBlock, Opened, Registry, StateMachine,
};
use rewake::node::{NewTx, Node, NodeOptions};
use rewake::store::DataDir;
use rewake::types::{Bytes, Digest, Height, TxId};

/// A register of names: a transaction `name=owner` claims a name, and the first claim counts.
struct Names;

impl StateMachine for Names {
    fn version(&self) -> MachineVersion {
        MachineVersion::new("names", 1)
    }

    fn open_block<'a>(&'a self, block: &'a BlockInput) -> Opened<'a> {
        Ok(Box::new(Claims(block)))
    }
}

struct Claims<'a>(&'a BlockInput);

impl OpenBlock for Claims<'_> {
    fn execute(&self, index: usize, state: &mut Context<'_>) -> Result<Receipt, ExecError> {
        let payload = self.0.txs.get(index).map(|tx| String::from_utf8_lossy(&tx.payload));
        match payload.unwrap_or_default().split_once('=') {
            None => Ok(Receipt::rejected("no claim: write name=owner")),
            Some((name, _)) if state.get(name.as_bytes())?.is_some() => {
                Ok(Receipt::rejected("the name is taken"))
            }
            Some((name, owner)) => {
                state.put(name.as_bytes(), owner.as_bytes())?;
                Ok(Receipt::applied(*b""))
            }
        }
    }
}

/// `embed claim DIR name=owner…` runs the node; anything else is a command of rewake, for this machine.
fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args().collect();
    match arguments.get(1..) {
        Some([verb, dir, claims @ ..]) if verb == "claim" => run(dir, claims),
        _ => Ok(rewake::cli::main(Registry::default().with(Names))),
    }
}

#[tokio::main]
async fn run(dir: &str, claims: &[String]) -> Result<ExitCode> {
    let dir = DataDir::new(dir);
    if !dir.path().exists() {
        dir.create(&Names.version())?;
    }
    let registry = Registry::default().with(Names);
    let (node, report, waiting) = Node::open(dir, registry, NodeOptions::default()).await?;
    println!("recovered {} blocks; {} claims wait", report.blocks, waiting.len());
    let next = node.block(None).await?.map_or(0, |head| head.row.order.height.get() + 1);
    let mut ids = Vec::new();
    for claim in claims {
        let id = TxId(Digest::of(claim.as_bytes()).0);
        // When this returns, the claim is durable: no crash loses it, and no second call logs it twice.
        if node.submit(NewTx { id, payload: claim.as_bytes().into() }).await?.is_new {
            ids.push(id);
        }
    }
    node.order(Bytes::default(), ids).await?;
    for tx in node.subscribe(Height(next)).next_block().await?.txs {
        println!("{}: {:?}", String::from_utf8_lossy(&tx.payload), tx.receipt.status);
    }
    node.shutdown().await?;
    Ok(ExitCode::SUCCESS)
}
