//! Ledger transfers as JSON lines: one object a line, of which one is held in memory at a time.
//!
//! ```text
//! {"from":1,"to":2,"amount":5,"nonce":0}
//! {"from":1,"to":2,"amount":5,"nonce":1,"id":"<64 hexadecimal digits>"}
//! ```
//!
//! The four numbers are required and below 2^64; `id` is the identity under which the sender knows the transfer, and
//! [`Transfer::id`] where it is left out. Other fields are refused. Blank lines are skipped.

use std::io::{BufRead, Read};

use serde::{Deserialize, Serialize};

use crate::codec::count;
use crate::machine::ledger::{Account, Balance, Transfer};
use crate::types::{Bytes, TxId};

/// Most bytes of a line, its end not counted.
pub const LINE_BYTES_MAX: u64 = 64 << 10;

/// One line: a transfer, and its identity where the sender gives one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The sender.
    pub from: Account,
    /// The receiver.
    pub to: Account,
    /// How much, in the smallest unit.
    pub amount: Balance,
    /// How many transfers the sender has sent before.
    pub nonce: u64,
    /// The identity that the sender gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<TxId>,
}

impl From<Transfer> for Line {
    fn from(Transfer { from, to, amount, nonce }: Transfer) -> Self {
        Self { from, to, amount, nonce, id: None }
    }
}

/// Reads lines from any source, one after the other; ends after the first error.
#[derive(Debug)]
pub struct Lines<R> {
    source: R,
    file: String,
    number: u64,
    line: Vec<u8>,
    has_ended: bool,
}

/// A line that is no transfer, and where it is.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}:{column}: {fault}")]
pub struct LineError {
    /// Name of the file, as it was given.
    pub file: String,
    /// Number of the line, from 1.
    pub line: u64,
    /// Byte in the line, from 1.
    pub column: u64,
    /// What is wrong there.
    pub fault: LineFault,
}

/// What is wrong with a line, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LineFault {
    /// The source could not be read.
    #[error("the file cannot be read: {0}; check the disk and the permissions, then import again")]
    Io(#[from] std::io::Error),
    /// The line is too long for a transfer.
    #[error("the line is longer than {LINE_BYTES_MAX} bytes; write one transfer a line")]
    TooLong,
    /// The line holds something else than one JSON object.
    #[error(
        "the line is no JSON object; write {{\"from\":1,\"to\":2,\"amount\":5,\"nonce\":0}}, optionally with an \"id\""
    )]
    NoObject,
    /// The object is cut short, has other fields, or a field holds something else than it should.
    #[error(
        "{0}; write whole numbers below 2^64 under \"from\", \"to\", \"amount\" and \"nonce\", optionally 64 hexadecimal digits under \"id\", and nothing else"
    )]
    NoTransfer(String),
}

impl<R: BufRead> Lines<R> {
    /// Starts at the first line; `file` is the name that errors show.
    #[must_use]
    pub fn new(file: impl Into<String>, source: R) -> Self {
        Self { source, file: file.into(), number: 0, line: Vec::new(), has_ended: false }
    }

    /// Returns the number of lines read so far.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Reads the next line that is not blank; `None` after the last.
    fn next_line(&mut self) -> Result<Option<Line>, (u64, LineFault)> {
        loop {
            self.line.clear();
            self.number = self.number.saturating_add(1);
            // One byte more for the end of the line, which tells a line of the greatest length from a longer one.
            let mut limited = (&mut self.source).take(LINE_BYTES_MAX.saturating_add(1));
            let length = limited.read_until(b'\n', &mut self.line).map_err(|e| (1, e.into()))?;
            if length == 0 {
                self.number = self.number.saturating_sub(1);
                return Ok(None);
            }
            let text = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
            if count(text.len()) > LINE_BYTES_MAX {
                return Err((LINE_BYTES_MAX, LineFault::TooLong));
            }
            if !text.trim_ascii().is_empty() {
                return read_line(text).map(Some);
            }
        }
    }
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<(TxId, Bytes), LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let read = self.next_line();
        self.has_ended = !matches!(read, Ok(Some(_)));
        match read {
            Ok(line) => line.map(|line| Ok(transaction(line))),
            Err((column, fault)) => {
                let file = self.file.clone();
                Some(Err(LineError { file, line: self.number, column, fault }))
            }
        }
    }
}

fn transaction(line: Line) -> (TxId, Bytes) {
    let Line { from, to, amount, nonce, id } = line;
    let transfer = Transfer { from, to, amount, nonce };
    (id.unwrap_or_else(|| transfer.id()), Bytes::from(transfer.encode()))
}

fn read_line(text: &[u8]) -> Result<Line, (u64, LineFault)> {
    // serde would take an array of the fields as well, whose meaning hangs on their order.
    let indent = text.len().saturating_sub(text.trim_ascii_start().len());
    if text.get(indent) != Some(&b'{') {
        return Err((count(indent).saturating_add(1), LineFault::NoObject));
    }
    serde_json::from_slice(text).map_err(|error| {
        let column = count(error.column()).max(1);
        let place = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        (column, LineFault::NoTransfer(text.strip_suffix(&place).unwrap_or(&text).to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"from":1,"to":2,"amount":5,"nonce":0}"#;

    fn read(text: &str) -> (usize, Option<LineError>) {
        let (good, mut bad): (Vec<_>, Vec<_>) =
            Lines::new("a.jsonl", text.as_bytes()).partition(Result::is_ok);
        assert!(bad.len() <= 1, "reading goes on after an error");
        (good.len(), bad.pop().and_then(Result::err))
    }

    #[test]
    fn a_line_becomes_the_identity_and_the_payload() {
        let transfer = Transfer { from: Account(1), to: Account(2), amount: 5, nonce: 0 };
        let given = "ab".repeat(32);
        let with_id = GOOD.replace('}', &format!(r#","id":"{given}"}}"#));
        let text = format!("\n{GOOD}\r\n  \n{with_id}");
        let read: Result<Vec<_>, _> = Lines::new("a.jsonl", text.as_bytes()).collect();
        let payload = Bytes::from(transfer.encode());
        let expected = vec![(transfer.id(), payload.clone()), (TxId([0xab; 32]), payload)];
        assert_eq!(read.expect("both lines are transfers"), expected);
        let written = serde_json::to_string(&Line::from(transfer)).expect("it is plain");
        assert_eq!(written, GOOD);
    }

    #[test]
    fn an_error_says_where_what_and_what_to_do() {
        let no_object = "the line is no JSON object; write";
        let cases = [
            ("nonsense", 1, no_object),
            ("  [1,2,5,0]", 3, no_object),
            (r#"{"from":1,"to":2,"amount":5"#, 27, "EOF while parsing an object; write"),
            (r#"{"from":1,"to":2,"amount":5}"#, 28, "missing field `nonce`; write"),
            (r#"{"from":1,"fee":2}"#, 15, "unknown field `fee`, expected one of"),
            (r#"{"from":1,"from":2}"#, 16, "duplicate field `from`; write"),
            (r#"{"from":-1}"#, 10, "invalid value: integer `-1`, expected u64; write"),
            (r#"{"from":1.5}"#, 11, "invalid type: floating point `1.5`, expected u64; write"),
            (r#"{"from":18446744073709551616}"#, 28, "invalid type: floating point"),
            (r#"{"id":"abc"}"#, 12, "expected 64 hexadecimal digits, found \"abc\"; write"),
            (&format!("{GOOD} {GOOD}"), 40, "trailing characters; write"),
        ];
        for (text, column, expected) in cases {
            let (good, error) = read(&format!("{GOOD}\n\n{text}\n{GOOD}"));
            let error = error.expect(text).to_string();
            let place = format!("a.jsonl:3:{column}: {expected}");
            assert!(good == 1 && error.starts_with(&place), "{text}: {error}, not {place}");
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        let padding = usize::try_from(LINE_BYTES_MAX).expect("it is small") - GOOD.len();
        let longest = format!("{GOOD}{}", " ".repeat(padding));
        assert_eq!(read(&format!("{longest}\n{longest}")).0, 2);
        let (good, error) = read(&format!("{GOOD}\n{longest} \n"));
        let error = error.expect("it is too long");
        assert!(good == 1 && error.line == 2, "{error}");
        assert!(matches!(error.fault, LineFault::TooLong), "{error}");
    }

    #[test]
    fn an_endless_line_is_not_read_to_its_end() {
        let endless = std::io::BufReader::new(std::io::repeat(b'{'));
        let errors: Vec<_> = Lines::new("a.jsonl", endless).collect();
        assert!(matches!(&errors[..], [Err(LineError { fault: LineFault::TooLong, .. })]));
    }

    #[test]
    fn a_source_that_fails_is_an_error_at_its_line() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("unplugged"))
            }
        }
        let good = format!("{GOOD}\n");
        let source = std::io::BufReader::new(good.as_bytes().chain(Failing));
        let read: Vec<_> = Lines::new("a.jsonl", source).collect();
        let [Ok(_), Err(error)] = &read[..] else { panic!("{read:?}") };
        assert!(error.line == 2 && matches!(error.fault, LineFault::Io(_)), "{error}");
        assert!(error.to_string().contains("unplugged; check the disk"), "{error}");
    }
}
