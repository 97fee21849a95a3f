//! Tests of conformance cases, and the whole suite through the machine in memory.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use super::*;
use crate::exec::{Executor, ExecutorSettings, Rulings};
use crate::import::eth::file::tests::real_data;
use crate::import::eth::plan::{PlannedBlock, plan_case};
use crate::machine::evm::Evm;
use crate::machine::{BlockInput, TxInput};
use crate::types::Seq;

fn input(block: &PlannedBlock, patches: Vec<Patch>) -> BlockInput {
    let tx = |(index, (id, payload)): (usize, &(TxId, Bytes))| TxInput {
        seq: Seq::new(index as u64 + 1).expect("not zero"),
        id: *id,
        payload: payload.to_vec().into(),
        created: None,
    };
    let txs = block.txs.iter().enumerate().map(tx).collect();
    BlockInput { height: block.height, header: block.header.clone(), patches, txs }
}

/// Runs every branch of a case and compares the end with what the case says.
fn run_case(executor: &Executor, case: &ConformanceCase) -> Result<(), String> {
    let plan = plan_case(case);
    let (mut accepted, mut end) = (BTreeSet::new(), None);
    let mut refused: BTreeMap<usize, String> = BTreeMap::new();
    for branch in &plan.branches {
        let mut state = MemoryState::default();
        let mut patches = vec![case.genesis_patch.clone()];
        for block in branch {
            match executor.execute(
                &input(block, std::mem::take(&mut patches)),
                &Rulings::new(),
                &state,
            ) {
                Err(failure) => {
                    refused.insert(block.index, failure.to_string());
                    break;
                }
                Ok(executed) => state.apply(&executed.changes),
            }
            accepted.insert(block.index);
            if block.hash == case.last_hash {
                end = Some(state.clone());
            }
        }
    }
    for (index, block) in case.blocks.iter().enumerate() {
        let first = plan.repeats.get(&index).unwrap_or(&index);
        match (&block.exception, accepted.contains(first)) {
            (None, false) => {
                let why = refused.get(&index).map_or("its chain", String::as_str);
                return Err(format!("block {index} is refused: {why}"));
            }
            (Some(exception), true) => {
                return Err(format!("block {index} is accepted, expected {exception}"));
            }
            _ => {}
        }
    }
    let head = plan.head(case, |index| accepted.contains(&index));
    if head != case.last_hash {
        return Err(format!("the head is {head}, expected {}", case.last_hash));
    }
    match end {
        Some(state) => case.check_state(&state),
        None if head == case.genesis_hash => {
            let mut state = MemoryState::default();
            for (key, value) in &case.genesis_patch.entries {
                state.set(key.clone(), value.clone());
            }
            case.check_state(&state)
        }
        None => Err("the head was not executed".to_owned()),
    }
}

#[test]
fn the_suite_passes_in_memory() {
    use rayon::prelude::*;
    let Some(path) = real_data("ethereum-tests/blockchain-tests.tar.zst") else { return };
    let unpacked = unpack(&path).expect("a compressed archive");
    let mut archive = tar::Archive::new(unpacked.as_slice());
    let mut files = Vec::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").into_owned();
        if name.extension().is_some_and(|extension| extension == "json") {
            let mut json = Vec::new();
            entry.read_to_end(&mut json).expect("a whole entry");
            files.push((name, json));
        }
    }
    let executor = Executor::new(Arc::new(Evm::default()), ExecutorSettings::default());
    let start = std::time::Instant::now();
    let outcomes: Vec<(String, Result<(), String>)> = files
        .par_iter()
        .flat_map_iter(|(name, json)| {
            let cases = parse_cases(name, json).unwrap_or_else(|error| panic!("{error}"));
            let executor = executor.clone();
            cases.into_iter().map(move |(case_name, case)| {
                let case = case.unwrap_or_else(|error| panic!("{error}"));
                let outcome = run_case(&executor, &case);
                (format!("{}: {case_name}", name.display()), outcome)
            })
        })
        .collect();
    let failed: Vec<_> = outcomes
        .iter()
        .filter_map(|(name, outcome)| Some((name, outcome.as_ref().err()?)))
        .collect();
    for (name, reason) in &failed {
        println!("{name}: {}", reason.chars().take(400).collect::<String>());
    }
    let passed = outcomes.len() - failed.len();
    println!("{passed} cases passed, {} failed, in {:?}", failed.len(), start.elapsed());
    assert_eq!((outcomes.len(), failed.len()), (1878, 0));
}

#[test]
fn a_case_file_that_cannot_be_run_is_refused() {
    let case = |network: &str, rlp: &str| {
        let zero = format!("0x{:064x}", 0);
        let case = serde_json::json!({ "case": { "network": network, "genesisRLP": rlp,
            "genesisBlockHeader": { "hash": zero }, "pre": {}, "blocks": [{ "rlp": "0xc0",
            "expectExceptionALL": "bad" }], "lastblockhash": zero, "postState": {} } });
        let cases = parse_cases(Path::new("case.json"), &serde_json::to_vec(&case).expect("JSON"));
        cases.expect("a file of one case").remove(0).1
    };
    let refused = case("Metropolis", "0xc0");
    assert!(matches!(&refused, Err(EthImportError::Fork { .. })), "{refused:?}");
    let refused = case("Cancun", "0xc0");
    assert!(matches!(&refused, Err(EthImportError::Field { .. })), "{refused:?}");
    let block = alloy_consensus::Header::default();
    let mut rlp = Vec::new();
    let body = [alloy_rlp::encode(&block), vec![0xc0, 0xc0]].concat();
    RlpHead { list: true, payload_length: body.len() }.encode(&mut rlp);
    rlp.extend(body);
    let refused = case("Cancun", &format!("0x{}", crate::types::encode_hex(&rlp)));
    assert!(matches!(&refused, Err(EthImportError::Mismatch { .. })), "{refused:?}");
    let refused = parse_cases(Path::new("case.json"), b"{ \"case\": { \"blocks\": [{}] } }");
    let Err(EthImportError::Json { reason, column: 25, .. }) = &refused else {
        panic!("{refused:?}")
    };
    assert!(reason.contains("rlp"), "{reason}");
}

#[test]
fn an_exception_is_found_under_each_of_its_names() {
    for (key, found) in [
        ("expectException", true),
        ("expectExceptionALL", true),
        ("expectExceptionCancun", true),
        ("expectExceptionParis", false),
        ("comment", false),
    ] {
        let json = format!("{{ \"rlp\": \"0xc0\", \"{key}\": \"bad\" }}");
        let block = read_block("Cancun", serde_json::from_str(&json).expect("a block"));
        assert_eq!(block.exception.is_some(), found, "{key}");
        assert!(block.decoded.is_err(), "an empty list is no block");
    }
}
