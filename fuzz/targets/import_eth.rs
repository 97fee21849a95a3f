//! Imported JSON: Ethereum blocks with the state that they touch, and conformance cases.
//!
//! Hashes would keep every altered block out at the door. So an altered file is also looked at with the hashes and roots
//! mended, as somebody would who makes hostile files on purpose.

use std::path::Path;
use std::sync::Arc;

use rewake::event::{EventBody, Patch};
use rewake::exec::{BlockFailure, Executor, ExecutorSettings, Rulings};
use rewake::import::eth::{
    EthBlock, EthImportError, WitnessChain, parse_block, parse_cases, plan_case,
};
use rewake::machine::evm::{Evm, ForkSchedule, OrderHeader};
use rewake::machine::{BlockInput, TxInput};
use rewake::state::MemoryState;
use rewake::types::{Bytes, Seq, TxId, encode_hex};
use serde_json::Value;

use super::Target;
use super::input::Input;
use super::reached::reach;

pub const TARGET: Target =
    Target { name: "import_eth", run, seeds, smoke_runs: 10_000, places: PLACES };
const PLACES: &[&str] =
    &["a block", "a refusal", "a case", "a case that cannot be run", "not what its header says"];

/// The first byte of an input that edits the block below rather than being a file.
const EDITS: u8 = 0xff;
const EDITS_MAX: usize = 6;
/// Gas of a block that is executed, at most: what loops without end is stopped by it.
const GAS_MAX: u64 = 1_000_000;

/// Contradictions of one file that are mended.
const MENDS_MAX: usize = 8;

fn run(bytes: &[u8]) {
    let path = Path::new("block.json");
    let mut json = match bytes {
        [EDITS, choices @ ..] => edited(&mut Input(choices)),
        json => json.to_vec(),
    };
    for _ in 0..MENDS_MAX {
        let (expected, found) = match parse_block(path, &json) {
            Ok(file) => return check_block(&file.into_block(&ForkSchedule::mainnet())),
            Err(EthImportError::Mismatch { expected, found, .. }) => (expected, found),
            Err(error) => {
                reach(TARGET.name, "a refusal");
                assert!(error.to_string().starts_with("block.json: "), "{error}");
                break;
            }
        };
        let Ok(text) = String::from_utf8(json) else { return };
        json = text.replace(&expected, &found).into_bytes();
    }
    let Ok(cases) = parse_cases(path, &json) else { return };
    for (name, case) in cases {
        match case {
            Ok(case) => {
                reach(TARGET.name, "a case");
                let planned = plan_case(&case).branches.into_iter().flatten();
                planned.for_each(|block| assert!(block.index < case.blocks.len(), "{name}"));
            }
            Err(error) => {
                reach(TARGET.name, "a case that cannot be run");
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

/// What is logged of a block is read back as it was.
fn check_block(block: &EthBlock) {
    reach(TARGET.name, "a block");
    let (header, hash) = OrderHeader::decode(&block.header).expect("a header of ours");
    assert_eq!((header.encode(), hash), (block.header.to_vec(), block.hash));
    let patch = WitnessChain::default().patch(block);
    let body = EventBody::Patch(patch.clone());
    assert_eq!(EventBody::decode(body.kind(), &body.encode()).as_ref(), Ok(&body));
    if header.header.gas_limit <= GAS_MAX {
        execute(block, patch);
    }
}

/// The machine refuses or executes whatever was imported, and never panics.
fn execute(block: &EthBlock, patch: Patch) {
    let tx = |(index, (id, payload)): (u64, &(TxId, Bytes))| TxInput {
        seq: Seq::new(index).expect("not zero"),
        id: *id,
        payload: payload.to_vec().into(),
        created: None,
    };
    let txs = (1..).zip(&block.txs).map(tx).collect();
    let (height, header) = (block.height, block.header.clone());
    let input = BlockInput { height, header, patches: vec![patch], txs };
    let executor = Executor::new(Arc::new(Evm::default()), ExecutorSettings::default());
    match executor.execute(&input, &Rulings::new(), &MemoryState::default()) {
        Ok(_) => reach(TARGET.name, "executed"),
        Err(BlockFailure::Check { .. }) => reach(TARGET.name, "not what its header says"),
        Err(failure) => {
            reach(TARGET.name, "not executed");
            let why = failure.to_string();
            assert!(!why.contains("panicked"), "{why}");
        }
    }
}

/// Returns the block below with some of its fields taken out or replaced.
fn edited(input: &mut Input<'_>) -> Vec<u8> {
    let mut file: Value = serde_json::from_str(BLOCK).expect("JSON");
    let mut pointers = Vec::new();
    collect(&file, "", &mut pointers);
    for _ in 0..EDITS_MAX {
        if input.is_empty() {
            break;
        }
        let pointer = &pointers[input.u32() as usize % pointers.len()];
        let (parent, name) = pointer.rsplit_once('/').expect("below the root");
        let value = match input.u8() % 8 {
            0 => None,
            1 => Some(Value::Null),
            2 => Some(format!("0x{:x}", input.u64()).into()),
            3 => Some(format!("0x{}", encode_hex(input.take(3))).into()),
            4 => {
                Some(input.one_of(&["0x", "0x0", "0x00", "", "0xffffffffffffffffffffffff"]).into())
            }
            5 => Some(u64::from(input.u8()).into()),
            6 => Some(format!("0x{}", encode_hex(&[input.u8(); 32])).into()),
            // Something else of the same file.
            _ => file.pointer(&pointers[input.u32() as usize % pointers.len()]).cloned(),
        };
        match (file.pointer_mut(parent), value) {
            (Some(Value::Object(fields)), Some(value)) => drop(fields.insert(name.into(), value)),
            (Some(Value::Object(fields)), None) => drop(fields.remove(name)),
            (Some(Value::Array(values)), Some(value)) => values.push(value),
            (Some(Value::Array(values)), None) => drop(values.pop()),
            _ => {}
        }
    }
    serde_json::to_vec(&file).expect("JSON")
}

/// Collects the places of everything in a value.
fn collect(value: &Value, place: &str, pointers: &mut Vec<String>) {
    if !place.is_empty() {
        pointers.push(place.to_owned());
    }
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(name, field)| collect(field, &format!("{place}/{name}"), pointers));
        }
        Value::Array(values) => {
            let places = values.iter().enumerate();
            places.for_each(|(at, value)| collect(value, &format!("{place}/{at}"), pointers));
        }
        _ => {}
    }
}

/// A block with transactions of two kinds, a withdrawal and a witness; its hashes are mended.
const BLOCK: &str = include_str!("../corpus/import_eth/block.json");
const CASES: &str = include_str!("../corpus/import_eth/cases.json");

fn seeds() -> Vec<Vec<u8>> {
    let edit = |kind: u8| vec![EDITS, 3 * kind, 0, 0, 0, kind, 1, 2, 3, 4, 40, 0, 0, 0, kind, 9];
    let files = [BLOCK.into(), CASES.into(), br#"{"block":{},"prestate":{}}"#.into()];
    (0..8).map(edit).chain(files).collect()
}
