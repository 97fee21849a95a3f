//! Events: bytes that are accepted have no other form, and their chain covers each of them.

use rewake::event::{Event, EventBody, Kind, Order, Patch, Ruling, Tx, Verdict, chain_digest};
use rewake::types::{Bytes, Digest, Height, Seq, TxId, UnixMillis};

use super::Target;
use super::reached::reach;

pub const TARGET: Target =
    Target { name: "event_codec", run, seeds, smoke_runs: 700_000, places: PLACES };
const PLACES: &[&str] = &["a body", "an event"];

const KINDS: [Kind; 4] = [Kind::Patch, Kind::Tx, Kind::Order, Kind::Verdict];

fn run(bytes: &[u8]) {
    for kind in KINDS {
        if let Ok(body) = EventBody::decode(kind, bytes) {
            reach(TARGET.name, "a body");
            assert_eq!((body.kind(), body.encode()), (kind, bytes.to_vec()));
        }
    }
    let Ok(event) = Event::decode(bytes) else { return };
    reach(TARGET.name, "an event");
    assert_eq!(event.encode(), bytes);
    let Event { seq, created, body } = event;
    let chain = chain_digest(Digest::ZERO, seq, body.kind(), created, &body.encode());
    let mut whole = Digest::ZERO.0.to_vec();
    whole.extend_from_slice(bytes);
    assert_eq!(chain, Digest::of(&whole));
}

fn seeds() -> Vec<Vec<u8>> {
    let text = |text: &str| Bytes::from(text.as_bytes());
    let seq = |number| Seq::new(number).expect("not zero");
    let entries = [(text("a"), Some(text("1"))), (text("b"), None), (text("c"), Some(text("")))];
    let quarantine = Ruling::Quarantine { reason: "panicked: ü".to_owned(), attempts: 5 };
    let txs = vec![seq(2), seq(300), seq(1), seq(u64::MAX)];
    let bodies = [
        EventBody::Patch(Patch::new("genesis", true, entries)),
        EventBody::Tx(Tx { id: TxId([7; 32]), payload: text("pay 5 to 7") }),
        EventBody::Order(Order { height: Height(258), header: text("head"), txs }),
        EventBody::Verdict(Verdict { tx: seq(2), ruling: quarantine }),
        EventBody::Verdict(Verdict { tx: seq(2), ruling: Ruling::Release }),
        EventBody::Verdict(Verdict { tx: seq(2), ruling: Ruling::Discard }),
    ];
    let forms = |body: &EventBody| {
        let event = |created| Event { seq: seq(9), created, body: body.clone() }.encode();
        [body.encode(), event(None), event(Some(UnixMillis(1_700_000_000_123)))]
    };
    bodies.iter().flat_map(forms).collect()
}
