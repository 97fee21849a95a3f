//! Output: the only place that writes to the standard streams.
//!
//! A reader that went away ends nothing: what a command does to a node does not depend on who listens.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::cli::Exit;

/// Where a command prints, and for whom.
pub struct Output {
    streams: Mutex<Streams>,
    json: bool,
    quiet: bool,
    shows_progress: bool,
}

struct Streams {
    out: Sink,
    err: Sink,
}

struct Sink {
    writer: Box<dyn Write + Send>,
    fault: Option<std::io::Error>,
}

impl Sink {
    fn new(writer: impl Write + Send + 'static) -> Self {
        Self { writer: Box::new(writer), fault: None }
    }

    /// Writes unless an earlier write failed; the failure is told at the end.
    fn write(&mut self, bytes: &[u8]) {
        if self.fault.is_none() {
            let written = self.writer.write_all(bytes).and_then(|()| self.writer.flush());
            self.fault = written.err();
        }
    }
}

impl Output {
    /// Prints to the standard streams of the process.
    #[must_use]
    pub fn standard() -> Self {
        let shows_progress = std::io::stderr().is_terminal();
        Self { shows_progress, ..Self::to(std::io::stdout(), std::io::stderr()) }
    }

    /// Prints to other streams, without progress.
    #[must_use]
    pub fn to(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        let streams = Streams { out: Sink::new(out), err: Sink::new(err) };
        Self { streams: Mutex::new(streams), json: false, quiet: false, shows_progress: false }
    }

    /// Prints into memory: standard output and standard error.
    #[must_use]
    pub fn captured() -> (Self, Captured, Captured) {
        let (out, err) = (Captured::default(), Captured::default());
        (Self::to(out.clone(), err.clone()), out, err)
    }

    pub(crate) fn with(self, json: bool, quiet: bool) -> Self {
        Self { json, quiet, ..self }
    }

    /// Says whether a program reads the output.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Says whether progress is shown.
    pub(crate) const fn shows_progress(&self) -> bool {
        self.shows_progress && !self.json && !self.quiet
    }

    /// Says whether nobody reads standard output any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.streams().out.fault.is_some()
    }

    /// Prints a line for people.
    pub(crate) fn line(&self, text: impl Display) {
        if !self.json {
            self.raw(format!("{text}\n").as_bytes());
        }
    }

    /// Prints named values for people, one a line, the values under each other.
    pub(crate) fn table<'a>(&self, rows: impl IntoIterator<Item = (&'a str, String)>) {
        let rows: Vec<_> = rows.into_iter().collect();
        let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in rows {
            self.line(format_args!("{name:<width$}  {value}"));
        }
    }

    /// Prints the JSON object of the command for programs; a command does so once, at its end.
    pub(crate) fn object(&self, object: &impl Serialize) {
        if self.json {
            match serde_json::to_vec(object) {
                Ok(mut text) => {
                    text.push(b'\n');
                    self.raw(&text);
                }
                Err(error) => self.error(format_args!("error: the JSON object failed: {error}")),
            }
        }
    }

    /// Prints bytes on standard output for whoever reads it.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        self.streams().out.write(bytes);
    }

    /// Prints a remark for people on standard error, unless they asked for none.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet && !self.json {
            self.error(text);
        }
    }

    /// Prints a line on standard error.
    pub(crate) fn error(&self, text: impl Display) {
        self.streams().err.write(format!("{text}\n").as_bytes());
    }

    /// Ends the output; output that was lost to anything but a reader that left is a failure of its own.
    pub(crate) fn finish(&self, exit: Exit) -> Exit {
        let mut streams = self.streams();
        let Streams { out, err } = &mut *streams;
        match &out.fault {
            Some(fault) if fault.kind() != ErrorKind::BrokenPipe => {
                err.write(
                    format!("error: writing to standard output failed: {fault}\n").as_bytes(),
                );
                if exit == Exit::Done { Exit::Unexpected } else { exit }
            }
            _ => exit,
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Text that was printed into memory.
#[derive(Clone, Debug, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    /// Returns what was printed so far.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
