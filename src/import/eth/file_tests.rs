//! Tests of block files, and the real blocks of mainnet through the machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::event::Patch;
use crate::exec::{Dependencies, Executor, ExecutorSettings, Rulings, Scheduling};
use crate::import::eth::WitnessChain;
use crate::machine::evm::Evm;
use crate::machine::{BlockInput, TxInput};
use crate::state::MemoryState;
use crate::types::Seq;

/// Returns the folder with real data, `None` where there is none and none is required.
pub(crate) fn real_data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var_os("REWAKE_REQUIRE_REAL_DATA").is_some_and(|value| value == "1");
    assert!(!required, "{} is required and absent", path.display());
    println!("skipped: {} is absent", path.display());
    None
}

pub(crate) fn input(block: &EthBlock, patches: Vec<Patch>) -> BlockInput {
    let tx = |(index, (id, payload)): (usize, &(TxId, Bytes))| TxInput {
        seq: Seq::new(index as u64 + 1).expect("not zero"),
        id: *id,
        payload: payload.to_vec().into(),
        created: None,
    };
    let txs = block.txs.iter().enumerate().map(tx).collect();
    BlockInput { height: block.height, header: block.header.clone(), patches, txs }
}

fn mainnet_blocks() -> Option<Vec<EthBlock>> {
    let folder = real_data("mainnet")?;
    let files = std::fs::read_dir(folder).expect("a folder");
    let mut blocks: Vec<_> = files
        .map(|entry| read_block_file(&entry.expect("an entry").path()).expect("a valid file"))
        .map(|file| file.into_block(&ForkSchedule::mainnet()))
        .collect();
    blocks.sort_by_key(|block| block.height);
    Some(blocks)
}

#[test]
fn mainnet_blocks_give_what_their_headers_say() {
    let Some(blocks) = mainnet_blocks() else { return };
    assert_eq!(blocks.len(), 31);
    let executor = Executor::new(Arc::new(Evm::default()), ExecutorSettings::default());
    let (mut chain, mut state) = (WitnessChain::default(), MemoryState::default());
    let (mut followers, mut time) = (0, Duration::ZERO);
    let mut transactions = 0;
    for block in &blocks {
        let patch = chain.patch(block);
        followers += usize::from(!patch.replaces_state);
        let input = input(block, vec![patch]);
        let start = Instant::now();
        let executed = executor.execute(&input, &Rulings::new(), &state);
        time += start.elapsed();
        let executed = executed.unwrap_or_else(|failure| panic!("{failure}"));
        transactions += executed.receipts.0.len();
        state.apply(&executed.changes);
    }
    assert_eq!(followers, 5, "pairs of blocks that follow each other");
    println!("{} blocks with {transactions} transactions in {time:?}", blocks.len());
}

#[test]
fn mainnet_blocks_give_the_same_on_several_threads_and_teach_the_same() {
    let Some(blocks) = mainnet_blocks() else { return };
    let executor = |workers| {
        let scheduling = Scheduling::Parallel;
        let settings = ExecutorSettings { workers, scheduling, ..ExecutorSettings::default() };
        Executor::new(Arc::new(Evm::default()), settings)
    };
    let (one, several) = (executor(1), [executor(2), executor(4)]);
    let (mut chain, mut state) = (WitnessChain::default(), MemoryState::default());
    let mut dependent = 0;
    for block in &blocks {
        let input = input(block, vec![chain.patch(block)]);
        let run = |executor: &Executor, known: Option<&Dependencies>| {
            let executed = executor.execute_known(&input, &Rulings::new(), &state, known);
            executed.unwrap_or_else(|failure| panic!("{failure}"))
        };
        let expected = run(&one, None);
        let learned = expected.dependencies.as_ref();
        for executor in &several {
            for known in [None, learned] {
                assert!(run(executor, known) == expected, "block {}", block.height.get());
            }
        }
        let dependencies = |learned: &Dependencies| {
            (0..learned.txs()).filter(|tx| !learned.of(*tx).is_empty()).count()
        };
        dependent += learned.map_or(0, dependencies);
        state.apply(&expected.changes);
    }
    assert!(dependent > 1_000, "{dependent} transactions read what others wrote");
}

/// A block without transactions, whose hash and roots are right.
fn small_block() -> serde_json::Value {
    let header = Header { number: 46_148, ..Header::default() };
    let mut block = serde_json::to_value(&header).expect("a header is JSON");
    block["hash"] = serde_json::to_value(header.hash_slow()).expect("a hash is JSON");
    block["transactions"] = serde_json::json!([]);
    block["uncles"] = serde_json::json!([]);
    let account = serde_json::json!({ "balance": "0x5", "nonce": 1, "storage": {
        format!("0x{:064x}", 1): format!("0x{:064x}", 2), format!("0x{:064x}", 3): format!("0x{:064x}", 0),
    } });
    let prestate = serde_json::json!({ "0x0000000000000000000000000000000000000001": account });
    serde_json::json!({ "block": block, "prestate": prestate, "blockHashes": {} })
}

fn parse(file: &serde_json::Value) -> Result<EthBlockFile, EthImportError> {
    parse_block(Path::new("block.json"), &serde_json::to_vec_pretty(file).expect("JSON"))
}

#[test]
fn a_file_that_contradicts_itself_is_refused() {
    let check = |pointer: &str, value: serde_json::Value, words: &str| {
        let mut file = small_block();
        *file.pointer_mut(pointer).expect(pointer) = value;
        let refused = parse(&file).expect_err(words).to_string();
        assert!(refused.starts_with("block.json: "), "{refused}");
        assert!(refused.contains(words), "{refused}");
    };
    let one = format!("0x{:064x}", 1);
    check("/block/hash", one.clone().into(), "block.hash is 0x");
    check("/block/uncles", serde_json::json!([one]), "number of block.uncles is 1, expected 0");
}

#[test]
fn a_header_with_a_gap_between_its_fields_is_not_logged() {
    let header = Header { withdrawals_root: Some(B256::repeat_byte(1)), ..Header::default() };
    let mut file = small_block();
    file["block"]["withdrawalsRoot"] =
        serde_json::to_value(header.withdrawals_root).expect("a root");
    file["block"]["number"] = "0x0".into();
    file["block"]["hash"] = serde_json::to_value(header.hash_slow()).expect("a hash is JSON");
    let refused = parse(&file).expect_err("it has no base fee").to_string();
    assert!(refused.contains("block: the header lacks a field"), "{refused}");
}

#[test]
fn each_reason_to_refuse_a_file_names_it_and_what_to_do() {
    let missing = read_block_file(Path::new("no/such.json"));
    assert!(matches!(&missing, Err(EthImportError::Read { .. })), "{missing:?}");
    let cut = parse_block(Path::new("cut.json"), b"{\n  \"block\": {");
    let Err(EthImportError::Json { line: 2, column: 12, .. }) = &cut else { panic!("{cut:?}") };
    let mut file = small_block();
    file["block"]["gasUsed"] = "0xzz".into();
    let refused = parse(&file).expect_err("no number");
    let EthImportError::Json { line, reason, .. } = &refused else { panic!("{refused}") };
    assert!(*line > 1 && !reason.contains("line"), "{refused}");
    let mut file = small_block();
    file["blockHashes"] = serde_json::json!({ "twelve": format!("0x{:064x}", 1) });
    let refused = parse(&file).expect_err("no number").to_string();
    assert!(refused.contains("blockHashes.twelve"), "{refused}");
    let scratch = tempfile::tempdir().expect("a folder");
    let path = scratch.path().join("bomb.json.zst");
    let bomb = zstd::encode_all(&[b' '; 5000][..], 1).expect("compresses");
    std::fs::write(&path, bomb).expect("written");
    let refused = unpack_within(&path, 4999);
    assert!(matches!(&refused, Err(EthImportError::TooLarge { limit: 4999, .. })), "{refused:?}");
    assert_eq!(unpack_within(&path, 5000).expect("small enough").len(), 5000);
}

#[test]
fn transactions_are_rebuilt_from_their_fields() {
    let check = |change: fn(&mut serde_json::Value), words: &str| {
        let zero = format!("0x{:064x}", 0);
        let mut tx = serde_json::json!({ "hash": zero, "type": "0x2", "chainId": "0x1", "nonce": "0x0",
            "to": null, "value": "0x0", "gas": "0x1", "maxFeePerGas": "0x1", "input": "0x",
            "maxPriorityFeePerGas": "0x1", "accessList": [], "r": "0x1", "s": "0x1", "v": "0x0" });
        change(&mut tx);
        let mut file = small_block();
        file["block"]["transactions"] = serde_json::json!([tx]);
        let refused = parse(&file).expect_err(words).to_string();
        assert!(refused.contains("block.transactions[0]"), "{refused}");
        assert!(refused.contains(words), "{refused}");
    };
    check(|_| {}, "hash is 0x");
    check(|tx| tx["type"] = "0x9".into(), "type 9 is unknown");
    check(|tx| tx["maxFeePerGas"] = serde_json::Value::Null, "maxFeePerGas is missing");
    check(|tx| tx["v"] = "0x5".into(), "neither 0 nor 1");
    check(|tx| tx["type"] = "0x0".into(), "v is 0");
}

#[test]
fn only_a_block_that_follows_keeps_the_state() {
    let block = |number: u64, parent: u8, hash: u8, known: &[u8]| {
        let file = parse(&small_block()).expect("a valid file");
        let mut block = file.into_block(&ForkSchedule::mainnet());
        block.height = Height(number);
        (block.parent_hash, block.hash) = (B256::repeat_byte(parent), B256::repeat_byte(hash));
        for key in known {
            block.witness.put(&[*key], Some(vec![1]));
        }
        block
    };
    let mut chain = WitnessChain::default();
    let first = chain.patch(&block(5, 4, 5, b"xy"));
    assert!(first.replaces_state, "{}", first.label);
    // Config, account, slot and the two keys; a slot that is zero is absent.
    assert_eq!(first.entries.len(), 5);
    let second = chain.patch(&block(6, 5, 6, b"yz"));
    assert!(!second.replaces_state && second.label.contains("follows"), "{}", second.label);
    let keys: Vec<_> = second.entries.iter().map(|(key, _)| key.to_vec()).collect();
    assert_eq!(keys, [b"z".to_vec()]);
    let third = chain.patch(&block(7, 6, 7, b"x"));
    assert!(third.entries.is_empty(), "a key of the whole run is known");
    assert!(chain.patch(&block(8, 9, 8, b"x")).replaces_state, "another parent");
    assert!(chain.patch(&block(10, 8, 10, b"x")).replaces_state, "a gap");
}
