//! What the template nodes must come to, and how it is told from what an altered one came to.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, LazyLock};

use rewake::audit::{AuditRange, audit};
use rewake::exec::{Examined, Outcome, Recovery};
use rewake::machine::StateMachine;
use rewake::state::{StateDigest, StateRead as _};
use rewake::store::Store;
use rewake::types::{Bytes, Digest, Height, Seq};

use super::reached::reach;
use super::template::{self, CLOSED};

/// A whole node, but for what may differ.
#[derive(Debug, PartialEq, Eq)]
pub struct Reference {
    events: Vec<Digest>,
    blocks: Vec<(u64, [Digest; 3])>,
    state: BTreeMap<Bytes, Bytes>,
    lanes: Digest,
    mempool: Vec<Seq>,
}

/// What the template nodes come to undisturbed.
pub static UNDISTURBED: LazyLock<Reference> = LazyLock::new(|| {
    let disk = template::disk(&CLOSED);
    let node = template::open(&disk).expect("a sound node");
    let (node, report) = Recovery::new(node, template::options()).run().expect("a recovery");
    assert_eq!((report.outcome, report.blocks), (Outcome::Recovered, 3));
    Reference::of(&node.store).expect("a readable node")
});

impl Reference {
    fn of(store: &Store) -> Result<Self, Box<dyn Error>> {
        let (log, main) = (store.log(), store.main());
        let events = log.read(Seq::FIRST, usize::MAX)?;
        let (mut blocks, mut next) = (Vec::new(), Height::GENESIS);
        while let Some(row) = main.block_from(next)? {
            let body = main.body(row.order.height)?;
            let (receipts, changes) = (body.receipts_bytes()?, body.changes_bytes()?);
            let parts = [row.digest(), Digest::of(&receipts), Digest::of(&changes)];
            blocks.push((row.order.height.get(), parts));
            next = Height(row.order.height.get() + 1);
        }
        let (mut state, mut scanned) = (BTreeMap::new(), StateDigest::default());
        main.scan(&[], &mut |key, value| {
            scanned.add(key, value);
            state.insert(key.clone(), value.clone());
        })?;
        let lanes = main.lanes()?.digest();
        assert_eq!(lanes, scanned.digest(), "the digest is that of the state");
        let events = events.iter().map(|event| event.chain).collect();
        Ok(Self { events, blocks, state, lanes, mempool: main.unordered()? })
    }
}

/// Recovers an altered node that start-up took for sound. Either somebody notices, or it is the undisturbed one.
pub fn check(target: &'static str, node: Examined) {
    let recovered = Recovery::new(node, template::options()).run();
    let recovered = recovered.ok().filter(|(_, report)| report.outcome != Outcome::Halted);
    let Some((node, _)) = recovered else {
        // What cannot be read or executed is said, not answered from.
        return reach(target, "not recovered");
    };
    let machine: Arc<dyn StateMachine> = Arc::clone(&node.machine);
    let found = audit(&node.store, &machine, AuditRange::default(), &mut |_| {});
    if !found.expect("confirmed blocks").is_clean() {
        return reach(target, "a finding");
    }
    let whole = Reference::of(&node.store).expect("an audited node is readable");
    assert!(whole == *UNDISTURBED, "an altered node was taken for sound");
    reach(target, "sound");
}
