//! Views: what a node answers, as JSON.

use serde::Serialize;
use serde_json::Value;

use crate::block::{Receipt, Status};
use crate::event::Patch;
use crate::http::Dialect;
use crate::node::{BlockTx, BlockView, MempoolPage, Place, TxView};
use crate::types::{Digest, Height, Seq, TxId, UnixMillis, encode_hex};

#[derive(Serialize)]
pub(super) struct TxJson {
    id: TxId,
    seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_ms: Option<UnixMillis>,
    #[serde(flatten)]
    result: ResultJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<Height>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    transaction: Value,
}

#[derive(Serialize)]
struct ResultJson {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    output: String,
}

#[derive(Serialize)]
pub(super) struct BlockJson {
    height: Height,
    order_seq: Seq,
    digest: Digest,
    parent: Digest,
    committed_ms: UnixMillis,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_digest: Option<Digest>,
    txs: u64,
    applied: u64,
    rejected: u64,
    quarantined: u64,
    patches: Vec<PatchJson>,
    transactions: Vec<BlockTxJson>,
}

#[derive(Serialize)]
struct PatchJson {
    label: String,
    replaces_state: bool,
    entries: Vec<(String, Option<String>)>,
}

#[derive(Serialize)]
struct BlockTxJson {
    id: TxId,
    seq: Seq,
    #[serde(flatten)]
    result: ResultJson,
    transaction: Value,
}

#[derive(Serialize)]
pub(super) struct MempoolJson {
    transactions: u64,
    page: Vec<WaitingJson>,
    has_more: bool,
}

#[derive(Serialize)]
struct WaitingJson {
    seq: Seq,
    id: TxId,
}

impl TxJson {
    pub(super) fn new(view: TxView, dialect: &dyn Dialect) -> Self {
        let pending = |status| ResultJson { status, reason: None, output: String::new() };
        let (result, height, index) = match view.place {
            Place::Waiting => (pending("waiting"), None, None),
            Place::Ordered => (pending("ordered"), None, None),
            Place::Confirmed { height, index, receipt } => {
                (ResultJson::new(receipt), Some(height), Some(index))
            }
        };
        let (id, seq, created_ms) = (view.id, view.seq, view.created);
        let transaction = dialect.show(&view.payload);
        Self { id, seq, created_ms, result, height, index, transaction }
    }
}

impl ResultJson {
    fn new(receipt: Receipt) -> Self {
        let (status, reason) = match receipt.status {
            Status::Applied => ("applied", None),
            Status::Rejected(reason) => ("rejected", Some(reason)),
            Status::Quarantined(reason) => ("quarantined", Some(reason)),
        };
        Self { status, reason, output: encode_hex(&receipt.output) }
    }
}

impl BlockJson {
    pub(super) fn new(view: BlockView, dialect: &dyn Dialect) -> Self {
        let BlockView { row, patches, txs } = view;
        let transactions = txs.into_iter().map(|tx| BlockTxJson::new(tx, dialect));
        Self {
            height: row.order.height,
            order_seq: row.order.seq,
            digest: row.digest(),
            parent: row.parent,
            committed_ms: row.committed,
            state_digest: row.state_digest,
            txs: row.counts.txs,
            applied: row.counts.applied,
            rejected: row.counts.rejected,
            quarantined: row.counts.quarantined,
            patches: patches.into_iter().map(PatchJson::new).collect(),
            transactions: transactions.collect(),
        }
    }
}

impl PatchJson {
    fn new(patch: Patch) -> Self {
        let entry = |(key, value): &(crate::types::Bytes, Option<crate::types::Bytes>)| {
            (encode_hex(key), value.as_deref().map(encode_hex))
        };
        let entries = patch.entries.iter().map(entry).collect();
        Self { label: patch.label, replaces_state: patch.replaces_state, entries }
    }
}

impl BlockTxJson {
    fn new(tx: BlockTx, dialect: &dyn Dialect) -> Self {
        let transaction = dialect.show(&tx.payload);
        Self { id: tx.id, seq: tx.seq, result: ResultJson::new(tx.receipt), transaction }
    }
}

impl MempoolJson {
    pub(super) fn new(page: MempoolPage) -> Self {
        let waiting = page.txs.into_iter().map(|(seq, id)| WaitingJson { seq, id });
        Self { transactions: page.len, page: waiting.collect(), has_more: page.has_more }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::block::{BlockRow, Counts, OrderRef};
    use crate::http::dialect_of;
    use crate::types::Bytes;

    fn shown(place: Place, created: Option<UnixMillis>) -> Value {
        let (id, payload) = (TxId([1; 32]), Bytes::from([2, 3]));
        let view = TxView { id, seq: Seq::FIRST, created, payload, place };
        let json = TxJson::new(view, dialect_of("any").as_ref());
        serde_json::to_value(json).expect("it is plain")
    }

    #[test]
    fn a_transaction_is_shown_as_far_as_it_is() {
        let id = "01".repeat(32);
        let transaction = json!({"payload": "0203"});
        let waiting = json!({"id": id, "seq": 1, "status": "waiting", "transaction": transaction});
        assert_eq!(shown(Place::Waiting, None), waiting);
        let ordered = json!({
            "id": id, "seq": 1, "created_ms": 9, "status": "ordered", "transaction": transaction
        });
        assert_eq!(shown(Place::Ordered, Some(UnixMillis(9))), ordered);
        let confirmed = |receipt| Place::Confirmed { height: Height(4), index: 2, receipt };
        let cases = [
            (Receipt::applied([7]), json!({"status": "applied", "output": "07"})),
            (Receipt::rejected("no"), json!({"status": "rejected", "reason": "no"})),
            (Receipt::quarantined("bad"), json!({"status": "quarantined", "reason": "bad"})),
        ];
        for (receipt, mut expected) in cases {
            for (name, value) in [
                ("id", json!(id)),
                ("seq", json!(1)),
                ("height", json!(4)),
                ("index", json!(2)),
                ("transaction", transaction.clone()),
            ] {
                expected[name] = value;
            }
            assert_eq!(shown(confirmed(receipt), None), expected);
        }
    }

    #[test]
    fn a_block_is_shown_with_all_that_is_in_it() {
        let order = OrderRef { height: Height(3), seq: Seq::FIRST.next(), chain: Digest([8; 32]) };
        let row = BlockRow {
            order,
            parent: Digest([9; 32]),
            header: Bytes::default(),
            counts: Counts { txs: 1, applied: 1, ..Counts::default() },
            receipts_digest: Digest::ZERO,
            changes_digest: Digest::ZERO,
            committed: UnixMillis(5),
            state_digest: None,
        };
        let digest = row.digest().to_string();
        let entries = [(Bytes::from(*b"a"), Some(Bytes::from([1]))), (Bytes::from(*b"b"), None)];
        let patches = vec![Patch::new("genesis", false, entries)];
        let (id, payload, receipt) = (TxId([1; 32]), Bytes::from([2]), Receipt::applied([]));
        let txs = vec![BlockTx { id, seq: Seq::FIRST, payload, receipt }];
        let view = BlockView { row, patches, txs };
        let json = BlockJson::new(view, dialect_of("any").as_ref());
        let expected = json!({
            "height": 3, "order_seq": 2, "digest": digest, "parent": "09".repeat(32),
            "committed_ms": 5, "txs": 1, "applied": 1, "rejected": 0, "quarantined": 0,
            "patches": [{
                "label": "genesis", "replaces_state": false, "entries": [["61", "01"], ["62", null]]
            }],
            "transactions": [{
                "id": "01".repeat(32), "seq": 1, "status": "applied",
                "transaction": {"payload": "02"}
            }],
        });
        assert_eq!(serde_json::to_value(json).expect("it is plain"), expected);
    }

    #[test]
    fn a_page_of_the_mempool_says_how_many_there_are() {
        let txs = vec![(Seq::FIRST, TxId([1; 32]))];
        let json = MempoolJson::new(MempoolPage { len: 7, txs, has_more: true });
        let page = json!([{"seq": 1, "id": "01".repeat(32)}]);
        let expected = json!({"transactions": 7, "page": page, "has_more": true});
        assert_eq!(serde_json::to_value(json).expect("it is plain"), expected);
    }
}
