//! Imported JSON: Ethereum blocks with the state that they touch, and conformance cases.
//!
//! Hashes would keep every altered block out at the door. So an altered file is also looked at with the hashes and roots
//! mended, as somebody would who makes hostile files on purpose.

use std::path::Path;

use rewake::event::EventBody;
use rewake::import::eth::{
    EthBlock, EthImportError, WitnessChain, parse_block, parse_cases, plan_case,
};
use rewake::machine::evm::{ForkSchedule, OrderHeader};

use super::Target;

pub const TARGET: Target = Target { name: "import_eth", run, seeds, smoke_runs: 25_000 };

/// Contradictions of one file that are mended.
const MENDS_MAX: usize = 8;

fn run(json: &[u8]) {
    let path = Path::new("block.json");
    let mut json = json.to_vec();
    for _ in 0..MENDS_MAX {
        let (expected, found) = match parse_block(path, &json) {
            Ok(file) => return check_block(&file.into_block(&ForkSchedule::mainnet())),
            Err(EthImportError::Mismatch { expected, found, .. }) => (expected, found),
            Err(error) => {
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
                let planned = plan_case(&case).branches.into_iter().flatten();
                planned.for_each(|block| assert!(block.index < case.blocks.len(), "{name}"));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// What is logged of a block is read back as it was.
fn check_block(block: &EthBlock) {
    let (header, hash) = OrderHeader::decode(&block.header).expect("a header of ours");
    assert_eq!((header.encode(), hash), (block.header.to_vec(), block.hash));
    let patch = EventBody::Patch(WitnessChain::default().patch(block));
    let read = EventBody::decode(patch.kind(), &patch.encode());
    assert_eq!(read.as_ref(), Ok(&patch));
}

/// A block with transactions of two kinds, a withdrawal and a witness; its hashes are mended.
const BLOCK: &str = include_str!("../corpus/import_eth/block.json");
const CASES: &str = include_str!("../corpus/import_eth/cases.json");

fn seeds() -> Vec<Vec<u8>> {
    vec![BLOCK.into(), CASES.into(), br#"{"block":{},"prestate":{}}"#.into()]
}
