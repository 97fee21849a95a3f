//! Everything that a node would answer, read from its store and asked of the running node.

use std::collections::BTreeMap;

use rewake::block::BlockRow;
use rewake::exec::Examined;
use rewake::machine::Registry;
use rewake::node::{BlockView, Node, NodeOptions, Place, TxView};
use rewake::state::StateRead as _;
use rewake::store::{DataDir, QuarantineRow, StoredEvent};
use rewake::types::{Bytes, Digest, Height, Seq, TxId};

use crate::damage_golden::singly;

type Read<T> = Result<T, String>;

/// What is stored, part by part, as far as it can be read.
#[derive(PartialEq)]
pub struct Answers {
    pub events: Read<Vec<StoredEvent>>,
    /// Where each transaction is found by its identity.
    pub found: Read<Vec<(TxId, Option<Seq>)>>,
    pub mempool: Vec<Seq>,
    pub blocks: Read<Vec<(BlockRow, Parts)>>,
    pub state: Read<BTreeMap<Bytes, Bytes>>,
    pub lanes: Read<Digest>,
    pub quarantine: Read<Vec<QuarantineRow>>,
}

/// Transactions, receipts and changes of a block, as canonical bytes.
type Parts = [Vec<u8>; 3];

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Answers {
    /// Reads everything; the identities that are looked for are those of `expected`, or all of the log.
    pub fn read(node: &Examined, expected: Option<&Self>) -> Self {
        let store = &node.store;
        let events = store.log().read(Seq::FIRST, usize::MAX).map_err(text);
        let ids = expected.map_or_else(|| ids(&events), Self::ids);
        let find = |id: TxId| store.log().find_tx(&id).map(|seq| (id, seq)).map_err(text);
        let mut state = BTreeMap::new();
        let scanned = store.main().scan(&[], &mut |key, value| {
            state.insert(key.clone(), value.clone());
        });
        let main = store.main();
        let blocks = || {
            let (mut blocks, mut next) = (Vec::new(), Height::GENESIS);
            while let Some(row) = main.block_from(next).map_err(text)? {
                next = Height(row.order.height.get() + 1);
                // A record of dependencies changes no result; nothing is answered from it.
                let body = main.body(row.order.height).map_err(text)?;
                let receipts = body.receipts_bytes().map_err(text)?.into_owned();
                let changes = body.changes_bytes().map_err(text)?.into_owned();
                blocks.push((row, [body.txs, receipts, changes]));
            }
            Ok(blocks)
        };
        Self {
            events,
            found: ids.into_iter().map(find).collect(),
            mempool: node.backlog.mempool.iter().collect(),
            blocks: blocks(),
            state: scanned.map(|()| state).map_err(text),
            lanes: main.lanes().map(|lanes| lanes.digest()).map_err(text),
            quarantine: main.held().map_err(text),
        }
    }

    /// Returns the identities of the transactions.
    pub fn ids(&self) -> Vec<TxId> {
        let found = self.found.iter().flatten();
        found.map(|(id, _)| *id).collect()
    }

    /// Returns how many parts cannot be read.
    pub fn unreadable(&self) -> usize {
        [
            self.events.is_err(),
            self.found.is_err(),
            self.blocks.is_err(),
            self.state.is_err(),
            self.lanes.is_err(),
            self.quarantine.is_err(),
        ]
        .into_iter()
        .filter(|is_unreadable| *is_unreadable)
        .count()
    }

    /// Names the parts that can be read and say something else.
    pub fn differing(&self, expected: &Self) -> Vec<&'static str> {
        fn differs<T: PartialEq>(found: &Read<T>, expected: &Read<T>) -> bool {
            found.is_ok() && found != expected
        }
        let parts = [
            ("events", differs(&self.events, &expected.events)),
            ("found", differs(&self.found, &expected.found)),
            ("mempool", self.mempool != expected.mempool),
            ("blocks", differs(&self.blocks, &expected.blocks)),
            ("state", differs(&self.state, &expected.state)),
            ("lanes", differs(&self.lanes, &expected.lanes)),
            ("quarantine", differs(&self.quarantine, &expected.quarantine)),
        ];
        parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

fn ids(events: &Read<Vec<StoredEvent>>) -> Vec<TxId> {
    let events = events.iter().flatten();
    let bodies = events.filter_map(|event| match event.decode() {
        Ok(rewake::event::EventBody::Tx(tx)) => Some(tx.id),
        _ => None,
    });
    bodies.collect()
}

/// What a running node says when it is asked for everything; an error is an answer of its own.
pub struct Said {
    blocks: Vec<Read<Option<BlockView>>>,
    txs: Vec<Read<Option<TxView>>>,
    state: Vec<Read<Option<Bytes>>>,
    mempool: Read<Vec<(Seq, TxId)>>,
}

/// Brings a node up and asks it for everything; an error where it does not come up.
pub fn ask(dir: DataDir, registry: Registry, expected: &Answers) -> Read<Said> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let options = NodeOptions { recovery: singly(), ..NodeOptions::default() };
    runtime.block_on(async {
        let (node, ..) = Node::open(dir, registry, options).await.map_err(text)?;
        let mut said = Said {
            blocks: Vec::new(),
            txs: Vec::new(),
            state: Vec::new(),
            mempool: Ok(Vec::new()),
        };
        for (row, _) in expected.blocks.iter().flatten() {
            said.blocks.push(node.block(Some(row.order.height)).await.map_err(text));
        }
        for id in expected.ids() {
            said.txs.push(node.transaction(id).await.map_err(text));
        }
        for key in expected.state.iter().flatten().map(|(key, _)| key.clone()) {
            said.state.push(node.state(key).await.map_err(text));
        }
        said.mempool = node.mempool(None, 1_000).await.map(|page| page.txs).map_err(text);
        // What is wrong with the end of a damaged node was told before it.
        let _ = node.shutdown().await;
        Ok(said)
    })
}

impl Said {
    /// Returns the transactions; whether one that is in no confirmed block waits is for the mempool to tell.
    fn placed(&self) -> Vec<Read<Option<TxView>>> {
        let mut views = self.txs.clone();
        for view in views.iter_mut().flatten().flatten() {
            if view.place == Place::Ordered {
                view.place = Place::Waiting;
            }
        }
        views
    }

    /// Names what is answered, and answered otherwise than by a sound node.
    pub fn differing(&self, sound: &Self) -> Vec<&'static str> {
        fn differ<T: PartialEq>(found: &[Read<T>], sound: &[Read<T>]) -> bool {
            found.iter().zip(sound).any(|(found, sound)| found.is_ok() && found != sound)
        }
        let parts = [
            ("block", differ(&self.blocks, &sound.blocks)),
            ("transaction", differ(&self.placed(), &sound.placed())),
            ("state", differ(&self.state, &sound.state)),
            ("mempool", self.mempool.is_ok() && self.mempool != sound.mempool),
        ];
        parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}
