//! A node whose disk fails stops at once, and the next start knows what holds.

use std::collections::BTreeMap;

use rewake::machine::Registry;
use rewake::node::{Down, NewTx, Node as Service, NodeOptions, OnFull, StartError, SubmitError};
use rewake::store::DataDir;
use rewake::types::Bytes;

use crate::crash_points::{STRACE, has_strace};
use crate::kill::{run, say};
use crate::nodes::Node;
use crate::scripted::{await_unlocked, id};

const CALLERS: u8 = 8;
const ROUNDS: u8 = 4;

/// The work of a child: callers submit at once, in several rounds, and say how each was answered.
pub fn submit(dir: &DataDir) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let opened = Service::open(dir.clone(), Registry::built_in(), NodeOptions::default()).await;
        let service = match opened {
            Ok((service, ..)) => service,
            Err(StartError::Store(error)) => return say(&format!("start-store {error}")),
            Err(error) => return say(&format!("start {error}")),
        };
        for round in 0..ROUNDS {
            let mut callers = tokio::task::JoinSet::new();
            for caller in 0..CALLERS {
                let service = service.clone();
                let number = round * CALLERS + caller;
                callers.spawn(async move {
                    let tx = NewTx { id: id(number), payload: Bytes::from([number].as_slice()) };
                    let answer = service.submit_all(vec![tx], OnFull::Wait).await;
                    say(&format!("{number} {}", word(&answer)));
                });
            }
            while let Some(ended) = callers.join_next().await {
                ended.expect("no caller fails");
            }
        }
        let ended = service.shutdown().await;
        say(&format!("end {}", if ended.is_ok() { "orderly" } else { "down" }));
    });
}

fn word<T>(answer: &Result<T, SubmitError>) -> &'static str {
    match answer {
        Ok(_) => "acknowledged",
        Err(SubmitError::OutcomeUnknown(Down::Store(_))) => "unknown",
        Err(SubmitError::Down(Down::Store(_))) => "down",
        Err(_) => "else",
    }
}

#[test]
fn after_a_failure_of_the_disk_nothing_is_acknowledged_and_the_next_start_knows_what_holds() {
    if !has_strace() {
        return;
    }
    // One has nothing to recover, so that the appender is hit; the other is hit while it recovers.
    let behind = Node::ledger();
    crate::nodes::fill(
        &behind,
        &rewake::generate::Workload {
            accounts: 5,
            transfers: 10,
            block_txs: 5,
            mempool: 0,
            ..rewake::generate::Workload::default()
        },
    );
    let templates = [Node::ledger(), behind];
    let mut words: BTreeMap<String, u32> = BTreeMap::new();
    // Calls are counted by thread; the appender's own are the first of its thread.
    for (call, error) in [("fsync", "EIO"), ("pwrite64", "ENOSPC"), ("pwrite64", "EIO")] {
        // Early ones, some in the middle of the work, and one beyond its end.
        for number in (1..=16).chain([30, 31, 50, 51, 4_000]) {
            let node = templates[number % 2].copy();
            let number = number.div_ceil(2);
            let inject = format!("inject={call}:error={error}:when={number}+");
            let trace = format!("trace={call}");
            let under = [STRACE, "-f", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let (said, _) = run(&under, "submit restore all 1 0", node.dir.path());
            await_unlocked(&node);
            for word in check(&node, &said, &inject) {
                *words.entry(word).or_default() += 1;
            }
        }
    }
    for word in ["acknowledged", "unknown", "down", "orderly", "start-store"] {
        assert!(words.contains_key(word), "no child ever said {word}: {words:?}");
    }
    assert!(!words.contains_key("else"), "{words:?}");
}

/// Compares what a child said with what its log holds, and returns the words.
fn check(node: &Node, said: &[String], at: &str) -> Vec<String> {
    let examined = node.examine().unwrap_or_else(|refusal| panic!("{at}: {refusal}"));
    let mut stopped = None;
    let mut words = Vec::new();
    for line in said {
        let (number, word) = line.split_once(' ').expect("two words");
        if let Ok(number) = number.parse::<u8>() {
            let found =
                examined.store.log().find_tx(&id(number)).expect("a readable log").is_some();
            match word {
                "acknowledged" => assert!(found, "{at}: {number} was acknowledged and is lost"),
                "down" => assert!(!found, "{at}: {number} was not to be logged and is there"),
                _ => {}
            }
            // Callers of one round say it in any order; those of the next ones find the node down.
            let round = number / CALLERS;
            let is_later = stopped.is_some_and(|stopped| round > stopped);
            assert!(!is_later || word != "acknowledged", "{at}: acknowledged after a failure");
            if word != "acknowledged" {
                stopped = stopped.or(Some(round));
            }
        }
        words.push(if number.starts_with("start") { number } else { word }.to_owned());
    }
    let (_, report) =
        rewake::exec::Recovery::new(examined, rewake::exec::RecoveryOptions::default())
            .run()
            .expect("a recovery");
    assert!(report.halt.is_none(), "{at}");
    words
}
