//! The list of what was acknowledged: kept by the driver, outside the node, so that it can be held against it.
//!
//! In a file it is one JSON line an acknowledgement: `{"id":"…64 digits…","seq":17}`.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::load::check::Finding;
use crate::load::wire::Acknowledgement;
use crate::types::{Seq, TxId};

/// A file of acknowledgements that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AcknowledgedError {
    /// It cannot be read or written.
    #[error("the acknowledgements in {} cannot be kept: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A line is no acknowledgement.
    #[error("line {line} of {} is no acknowledgement: {detail}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        detail: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Line {
    id: TxId,
    seq: Seq,
}

/// Identities with the positions that the node promised; 40 bytes each.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    seqs: HashMap<TxId, Seq>,
    file: Option<Appended>,
}

#[derive(Debug)]
struct Appended {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl Acknowledged {
    /// Keeps the list in a file as well; what an earlier run wrote there counts as acknowledged.
    pub(super) fn in_file(path: &Path) -> Result<Self, AcknowledgedError> {
        let failed = |source| AcknowledgedError::Io { path: path.to_owned(), source };
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            found => found.map_err(failed)?,
        };
        // What follows the last line's end was being written when an earlier driver died.
        let whole = text.rfind('\n').map_or(0, |end| end.saturating_add(1));
        let seqs = read(path, text.get(..whole).unwrap_or_default())?;
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        file.set_len(u64::try_from(whole).unwrap_or(u64::MAX)).map_err(failed)?;
        let file = Appended { path: path.to_owned(), writer: BufWriter::new(file) };
        Ok(Self { seqs, file: Some(file) })
    }

    /// Keeps an answer; one that contradicts an earlier answer is a finding, and the earlier one stays.
    pub(super) fn keep(
        &mut self,
        answer: &Acknowledgement,
    ) -> Result<Option<Finding>, AcknowledgedError> {
        let Acknowledgement { id, seq, is_new } = *answer;
        if let Some(earlier) = self.seqs.get(&id).copied() {
            let differs = Finding::AnswerDiffers { id, acknowledged: earlier, again: seq };
            let forgot = Finding::AnswerForgotten { id, acknowledged: earlier };
            let finding = (earlier != seq).then_some(differs);
            return Ok(finding.or_else(|| is_new.then_some(forgot)));
        }
        self.seqs.insert(id, seq);
        let Some(file) = &mut self.file else { return Ok(None) };
        let written = serde_json::to_writer(&mut file.writer, &Line { id, seq });
        let written = written.map_err(std::io::Error::from);
        let written = written.and_then(|()| file.writer.write_all(b"\n"));
        let failed = |source| AcknowledgedError::Io { path: file.path.clone(), source };
        written.map_err(failed).map(|()| None)
    }

    /// Writes what is buffered.
    pub(super) fn flush(&mut self) -> Result<(), AcknowledgedError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let failed = |source| AcknowledgedError::Io { path: file.path.clone(), source };
        file.writer.flush().map_err(failed)
    }

    /// Returns every identity with its position.
    pub(super) const fn seqs(&self) -> &HashMap<TxId, Seq> {
        &self.seqs
    }
}

fn read(path: &Path, text: &str) -> Result<HashMap<TxId, Seq>, AcknowledgedError> {
    let lines = text.lines().zip(1..);
    let read = lines.map(|(text, line)| {
        let found: Result<Line, _> = serde_json::from_str(text);
        let found = found.map_err(|error| AcknowledgedError::Line {
            path: path.to_owned(),
            line,
            detail: error.to_string(),
        })?;
        Ok((found.id, found.seq))
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: u8, seq: u64, is_new: bool) -> Acknowledgement {
        Acknowledgement { id: TxId([id; 32]), seq: Seq::new(seq).expect("not zero"), is_new }
    }

    #[test]
    fn an_answer_that_contradicts_an_earlier_one_is_a_finding() {
        let mut list = Acknowledged::default();
        let (id, seven) = (TxId([1; 32]), Seq::new(7).expect("not zero"));
        let differs = Finding::AnswerDiffers { id, acknowledged: seven, again: seven.next() };
        let forgotten = Finding::AnswerForgotten { id, acknowledged: seven };
        for (given, expected) in [
            (answer(1, 7, true), None),
            (answer(1, 7, false), None),
            (answer(2, 8, false), None),
            (answer(1, 7, true), Some(forgotten)),
            (answer(1, 8, false), Some(differs)),
        ] {
            assert_eq!(list.keep(&given).expect("no file"), expected);
        }
        assert_eq!(list.seqs().get(&id), Some(&seven), "the first answer stays");
    }

    #[test]
    fn a_file_is_read_again_without_the_line_that_was_cut() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let path = scratch.path().join("acknowledged");
        let mut list = Acknowledged::in_file(&path).expect("a new file");
        list.keep(&answer(1, 7, true)).expect("a line");
        list.flush().expect("a line");
        let text = std::fs::read_to_string(&path).expect("the file");
        std::fs::write(&path, format!("{text}{{\"id\":\"01")).expect("the file");
        let mut list = Acknowledged::in_file(&path).expect("the file");
        list.keep(&answer(2, 8, true)).expect("a line");
        list.flush().expect("a line");
        let list = Acknowledged::in_file(&path).expect("the file");
        assert_eq!(list.seqs().len(), 2);
        std::fs::write(&path, format!("{text}nonsense\n")).expect("the file");
        let error = Acknowledged::in_file(&path).expect_err("a foreign line");
        assert!(matches!(error, AcknowledgedError::Line { line: 2, .. }), "{error}");
        let error = Acknowledged::in_file(scratch.path()).expect_err("a directory");
        assert!(matches!(error, AcknowledgedError::Io { .. }), "{error}");
    }
}
