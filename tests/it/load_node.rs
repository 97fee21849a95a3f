//! A node of paper: just enough of the interface for the load driver, in memory or with a journal, right or wrong.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rewake::generate::Model;
use rewake::machine::ledger::{Account, Ledger, Transfer};
use rewake::types::{Digest, TxId, encode_hex};
use serde_json::{Value, json};

/// Accounts of the genesis block.
pub const ACCOUNTS: u64 = 12;
/// What each of them holds.
const OPENING: u64 = 1_000_000_000;
/// Transactions in a block.
const BLOCK_TXS: usize = 40;
/// The transaction that a wrong node is wrong about, by its index in the log.
const VICTIM: usize = 10;
/// How many connections ask whether a node with a history is ready until it is.
const LOOKS: u64 = 8;

/// What is wrong with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Breaks the connection before each fifth submission is logged, and after each seventh.
    DropsConnections,
    /// Is busy with each third submission, and not ready for each fifth.
    PutsOff,
    /// Leaves what came last in the mempool.
    KeepsMempool,
    Loses,
    Doubles,
    Moves,
    SharesSeq,
    Alters,
    AltersBalance,
    AltersNonce,
    /// States another supply than its accounts hold.
    Mints,
    /// Counts one transfer too many.
    Overcounts,
    /// States a supply that is no number.
    StatesNonsense,
    ForgetsAccount,
    BreaksParent,
    LacksBlock,
    Misnumbers,
    Miscounts,
    FlipsStatus,
    Quarantines,
    Forgets,
    Renumbers,
    Misnames,
    Refuses,
    NeverAcknowledges,
    IsAlwaysFull,
    NeverSettles,
    HasNoGenesis,
    HasPatches,
    AnswersNonsense,
    AnswersTooFew,
    AnswersTooMuch,
    HidesAccounts,
    BreaksReads,
    StallsReads,
    /// Ends with an error when it is asked to stop.
    StopsBadly,
}

impl Fault {
    /// Returns the fault of this name.
    pub fn named(name: &str) -> Self {
        let all = [Self::None, Self::IsAlwaysFull, Self::StopsBadly, Self::Loses];
        all.into_iter().find(|fault| format!("{fault:?}") == name).expect("a fault for children")
    }
}

/// The node; every connection has a thread.
pub struct PaperNode {
    fault: Fault,
    recovers: bool,
    state: Mutex<State>,
}

struct State {
    log: Vec<Transfer>,
    index: HashMap<TxId, usize>,
    model: Model,
    blocks: Vec<Value>,
    ordered: usize,
    submissions: u64,
    looks: u64,
    journal: Option<File>,
}

/// An answer: status and body; nothing where the connection breaks instead.
type Answer = Option<(u16, Value)>;

impl PaperNode {
    /// Starts a node in memory and returns where it listens.
    pub fn start(fault: Fault) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let node = Arc::new(Self::new(fault, None, Vec::new()));
        std::thread::spawn(move || node.serve(&listener));
        address
    }

    /// Makes a node whose log is a file.
    pub fn with_journal(fault: Fault, path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        // A kill may have torn the last line, which was not acknowledged then.
        let whole = text.rfind('\n').map_or("", |end| text.split_at(end + 1).0);
        let log = whole.lines().map(|line| serde_json::from_str(line).expect("a transfer"));
        let log = log.collect();
        let journal = OpenOptions::new().create(true).append(true).open(path).expect("a journal");
        journal.set_len(whole.len() as u64).expect("a journal");
        Self::new(fault, Some(journal), log)
    }

    fn new(fault: Fault, journal: Option<File>, log: Vec<Transfer>) -> Self {
        let opened = || (1..=ACCOUNTS).map(|number| (Account(number), OPENING));
        let patch = Ledger::genesis_patch(opened());
        let entries = patch.entries.iter().map(|(key, value)| {
            json!([encode_hex(key), value.as_ref().map(|value| encode_hex(value))])
        });
        let genesis = json!({
            "height": 0, "order_seq": 2, "digest": digest(0), "parent": Digest::ZERO,
            "committed_ms": 1, "txs": 0, "applied": 0, "rejected": 0, "quarantined": 0,
            "patches": [{
                "label": "genesis", "replaces_state": false,
                "entries": entries.collect::<Vec<_>>(),
            }],
            "transactions": [],
        });
        let state = State {
            index: log.iter().enumerate().map(|(index, tx)| (tx.id(), index)).collect(),
            log,
            model: Model::new(opened()),
            blocks: if fault == Fault::HasNoGenesis { vec![] } else { vec![genesis] },
            ordered: 0,
            submissions: 0,
            looks: 0,
            journal,
        };
        Self { fault, recovers: !state.log.is_empty(), state: Mutex::new(state) }
    }

    /// Answers until the process ends.
    pub fn serve(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            let (node, stream) = (Arc::clone(&self), stream.expect("a connection"));
            std::thread::spawn(move || node.converse(stream));
        }
    }

    fn converse(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut is_first = true;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let mut words = line.split_whitespace();
            let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
            let mut length = 0;
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).ok()?;
                let header = header.trim_end().to_ascii_lowercase();
                if header.is_empty() {
                    break;
                }
                if let Some(value) = header.strip_prefix("content-length: ") {
                    length = value.parse().ok()?;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let (status, value) = self.answer(&method, &path, &body, is_first)?;
            is_first = false;
            let text = value.to_string();
            let head = format!("HTTP/1.1 {status} Any\r\ncontent-length: {}\r\n\r\n", text.len());
            stream.write_all((head + &text).as_bytes()).ok()?;
        }
    }

    fn answer(&self, method: &str, path: &str, body: &[u8], is_first: bool) -> Answer {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let words: Vec<&str> = path.split('/').skip(1).collect();
        let mut state = self.state.lock().expect("no thread panics");
        match (method, words.as_slice()) {
            ("POST", ["v1", "transactions"]) => self.submit(&mut state, body),
            ("GET", ["readyz"]) => Some(self.readyz(&mut state, is_first)),
            ("GET", ["v1", "status"]) => self.status(&mut state),
            ("GET", ["v1", "mempool"]) => Some((200, self.mempool(&mut state, query))),
            ("GET", ["v1", "blocks", height]) => {
                let block = state.blocks.get(height.parse::<usize>().expect("a height"));
                let lacks = self.fault == Fault::LacksBlock && *height == "1";
                Some(block.filter(|_| !lacks).map_or_else(unknown, |it| (200, it.clone())))
            }
            ("GET", ["v1", "accounts", number]) => {
                Some(self.account(&state, Account(number.parse().expect("a number"))))
            }
            ("GET", ["v1", "state", key]) => Some(self.number(&state, key)),
            other => panic!("the driver asked for {other:?}"),
        }
    }

    fn readyz(&self, state: &mut State, is_first: bool) -> (u16, Value) {
        state.looks += u64::from(is_first);
        let recovers = self.recovers && state.looks < LOOKS;
        if recovers {
            (503, json!({"phase": "rehearsing"}))
        } else {
            (200, json!({"phase": "ready"}))
        }
    }

    fn submit(&self, state: &mut State, body: &[u8]) -> Answer {
        state.submissions += 1;
        let each = |nth: u64| state.submissions.is_multiple_of(nth);
        match self.fault {
            Fault::DropsConnections if each(5) => return None,
            Fault::PutsOff if each(3) => return Some(problem(503, "queue-full")),
            Fault::PutsOff if each(5) => return Some(problem(503, "outcome-unknown")),
            Fault::IsAlwaysFull => return Some(problem(503, "queue-full")),
            Fault::NeverAcknowledges => return Some(problem(503, "not-ready")),
            Fault::Refuses => return Some(problem(422, "refused")),
            Fault::AnswersNonsense => return Some((200, json!({"id": 5}))),
            Fault::AnswersTooFew => return Some((200, json!([]))),
            _ => {}
        }
        let drops = self.fault == Fault::DropsConnections && each(7);
        let value: Value = serde_json::from_slice(body).expect("JSON");
        let one =
            |value: &Value| serde_json::from_value::<Transfer>(value.clone()).expect("a transfer");
        let answer = match &value {
            Value::Array(several) => {
                several.iter().map(|value| self.log(state, one(value))).collect()
            }
            value => self.log(state, one(value)),
        };
        while state.log.len() - state.ordered >= BLOCK_TXS {
            self.order(state, BLOCK_TXS);
        }
        (!drops).then_some((200, answer))
    }

    fn log(&self, state: &mut State, transfer: Transfer) -> Value {
        let mut id = transfer.id();
        let known = state.index.get(&id).copied();
        let index = known.unwrap_or(state.log.len());
        if known.is_none() {
            if let Some(journal) = &mut state.journal {
                let line = serde_json::to_string(&transfer).expect("a transfer") + "\n";
                journal.write_all(line.as_bytes()).expect("a line");
            }
            state.log.push(transfer);
            state.index.insert(id, index);
        }
        let mut seq = seq(index);
        let mut is_new = known.is_none();
        match self.fault {
            Fault::Forgets => is_new = true,
            Fault::Renumbers if known.is_some() => seq += 1_000_000,
            Fault::Misnames if index == VICTIM => id = TxId([7; 32]),
            _ => {}
        }
        json!({"id": id, "seq": seq, "is_new": is_new})
    }

    /// Orders and confirms the next transactions.
    fn order(&self, state: &mut State, count: usize) {
        let height = state.blocks.len() as u64;
        let (from, to) = (state.ordered, state.ordered + count);
        let mut txs = Vec::new();
        for index in from..to {
            let transfer = state.log[index];
            let applied = state.model.apply(&transfer);
            let status = if applied { "applied" } else { "rejected" };
            let tx = json!({
                "id": transfer.id(), "seq": seq(index), "status": status, "transaction": transfer,
            });
            txs.extend(self.present(index, tx));
        }
        state.ordered = to;
        let count = |status: &str| txs.iter().filter(|tx| tx["status"] == status).count();
        let mut block = json!({
            "height": height, "order_seq": 1, "digest": digest(height),
            "parent": digest(height - 1), "committed_ms": 1, "txs": txs.len(),
            "applied": count("applied"), "rejected": count("rejected"),
            "quarantined": count("quarantined"),
            "patches": [], "transactions": txs,
        });
        match self.fault {
            Fault::BreaksParent if height == 1 => block["parent"] = json!(digest(9)),
            Fault::Misnumbers if height == 1 => block["height"] = json!(9),
            Fault::Miscounts if height == 1 => block["txs"] = json!(999),
            Fault::HasPatches => {
                block["patches"] = json!([{"label": "", "replaces_state": false, "entries": []}]);
            }
            _ => {}
        }
        state.blocks.push(block);
    }

    /// Shows a transaction of a block: as it is, or as a wrong node does.
    fn present(&self, index: usize, mut tx: Value) -> Vec<Value> {
        if index != VICTIM {
            return vec![tx];
        }
        match self.fault {
            Fault::Loses => return vec![],
            Fault::Doubles => return vec![tx.clone(), tx],
            Fault::Moves => tx["seq"] = json!(1_000_000),
            Fault::SharesSeq => tx["seq"] = json!(seq(VICTIM - 1)),
            Fault::Alters => tx["transaction"]["amount"] = json!(5_000),
            Fault::Quarantines => tx["status"] = json!("quarantined"),
            Fault::FlipsStatus if tx["status"] == "applied" => tx["status"] = json!("rejected"),
            Fault::FlipsStatus => tx["status"] = json!("applied"),
            _ => {}
        }
        vec![tx]
    }

    fn status(&self, state: &mut State) -> Answer {
        match self.fault {
            Fault::BreaksReads => return None,
            Fault::AnswersTooMuch => return Some((200, json!("long".repeat(2 << 20)))),
            Fault::StallsReads => loop {
                std::thread::park();
            },
            _ => {}
        }
        let height = state.blocks.len().checked_sub(1);
        Some((
            200,
            json!({
                "readiness": {"phase": "ready"}, "machine": {"id": "ledger", "version": 1},
                "log_head_seq": state.log.len() + 2, "block_height": height,
                "pending_blocks": u64::from(self.fault == Fault::NeverSettles), "pending_txs": 0,
            }),
        ))
    }

    fn mempool(&self, state: &mut State, query: &str) -> Value {
        let keeps = if self.fault == Fault::KeepsMempool { 5 } else { 0 };
        let due = state.log.len() - state.ordered;
        if due > keeps {
            self.order(state, due - keeps);
        }
        let number = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.parse().expect("a number"))
        };
        let after: u64 = number("after").unwrap_or(0);
        let limit: u64 = number("limit").expect("a limit");
        // Pages of two, so that several are asked for.
        let limit = usize::try_from(limit.min(2)).expect("it is small");
        let all: Vec<usize> = (state.ordered..state.log.len()).collect();
        let rest: Vec<_> = all.iter().filter(|index| seq(**index) > after).collect();
        let page = rest.iter().take(limit);
        let page = page.map(|index| json!({"seq": seq(**index), "id": state.log[**index].id()}));
        json!({
            "transactions": all.len(), "page": page.collect::<Vec<_>>(),
            "has_more": rest.len() > limit,
        })
    }

    fn number(&self, state: &State, key: &str) -> (u16, Value) {
        let is = |fault| u128::from(self.fault == fault);
        let number = match key {
            "73" if self.fault == Fault::StatesNonsense => return (200, json!({"value": "07"})),
            "73" => u128::from(ACCOUNTS * OPENING) + is(Fault::Mints),
            "74" => u128::from(state.model.applied()) + is(Fault::Overcounts),
            other => panic!("the driver asked for the state of {other}"),
        };
        (200, json!({"key": key, "value": encode_hex(&number.to_le_bytes())}))
    }

    fn account(&self, state: &State, account: Account) -> (u16, Value) {
        let (balance, nonce) = (state.model.balance(account), state.model.sent(account));
        let is_last = account == Account(ACCOUNTS) && state.ordered > 0;
        match (self.fault, balance) {
            (Fault::HidesAccounts, _) => problem(500, "internal"),
            (Fault::ForgetsAccount, _) if is_last => unknown(),
            (_, None) => unknown(),
            (fault, Some(balance)) => {
                let more = |with: Fault| u64::from(fault == with && is_last);
                let balance = balance + more(Fault::AltersBalance);
                let nonce = nonce + more(Fault::AltersNonce);
                (200, json!({"account": account, "balance": balance, "nonce": nonce}))
            }
        }
    }
}

fn seq(index: usize) -> u64 {
    index as u64 + 3
}

fn digest(height: u64) -> Digest {
    Digest::of(&height.to_le_bytes())
}

fn problem(status: u16, name: &str) -> (u16, Value) {
    let name_space = format!("urn:rewake:problem:{name}");
    (status, json!({"type": name_space, "title": name, "status": status, "detail": "on purpose"}))
}

fn unknown() -> (u16, Value) {
    problem(404, "not-found")
}
