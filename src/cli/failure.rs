//! Failures: what is told about an error, to people and to programs, and what to do next.

use std::ffi::OsString;

use serde::Serialize;

use crate::cli::{App, Exit, Finding, Output};
use crate::exec::{IntakeError, RecoverError, Refusal};
use crate::store::StoreError;

/// An error of a command with the exit code that it has and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Advised {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What is wrong, a lower-case fragment.
    pub(crate) what: String,
    /// What the user can do next, a lower-case fragment.
    pub(crate) advice: String,
}

impl Advised {
    pub(crate) fn new(exit: Exit, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { exit, what: what.into(), advice: advice.into() }
    }
}

/// An error as it is told.
#[derive(Debug, Serialize)]
struct Told {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
    error: String,
    advice: Option<String>,
    exit_code: u8,
}

/// Tells an error with its cause and its advice, and returns its exit code.
pub(crate) fn tell(error: &anyhow::Error, app: &App) -> Exit {
    let (told, exit) = classify(error);
    for (index, line) in told.error.lines().enumerate() {
        let lead = if index == 0 { "error: " } else { "       " };
        app.output.error(format_args!("{lead}{line}"));
    }
    if let Some(advice) = &told.advice {
        app.output.error(format_args!("help: {advice}"));
    }
    app.output.object(&told);
    exit
}

/// Tells that the command line was not understood; help and version that were asked for are no errors.
pub(crate) fn not_understood(error: &clap::Error, arguments: &[OsString], output: Output) -> Exit {
    let json = arguments.iter().any(|argument| argument == "--json");
    let output = output.with(json, false);
    let text = error.render().to_string();
    if !error.use_stderr() {
        output.raw(text.as_bytes());
        return output.finish(Exit::Done);
    }
    output.error(text.trim_end());
    let what = text.lines().next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(what).to_owned();
    let advice = Some("see `rewake --help`".to_owned());
    let exit = Exit::Usage;
    let exit_code = exit.code();
    output.object(&Told { outcome: "error", decision: None, error: what, advice, exit_code });
    output.finish(exit)
}

fn classify(error: &anyhow::Error) -> (Told, Exit) {
    let text = text(error);
    let found = error.chain().find_map(known);
    let Known { outcome, decision, exit, advice } = found.unwrap_or(Known {
        outcome: "error",
        decision: None,
        exit: Exit::Unexpected,
        advice: None,
    });
    let exit_code = exit.code();
    (Told { outcome, decision, error: text, advice, exit_code }, exit)
}

/// The message with those of its causes that say more than it.
fn text(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str("\ncaused by: ");
            text.push_str(&cause);
        }
    }
    text
}

struct Known {
    outcome: &'static str,
    decision: Option<&'static str>,
    exit: Exit,
    advice: Option<String>,
}

/// Recognises the errors that have an exit code and advice of their own.
fn known(cause: &(dyn std::error::Error + 'static)) -> Option<Known> {
    let refusal = cause.downcast_ref::<Refusal>();
    if let Some(refusal) = refusal.or_else(|| Some(cause.downcast_ref::<Box<Refusal>>()?)) {
        return Some(Known {
            outcome: "refused",
            decision: Some(refusal.label.name()),
            exit: refused(refusal),
            advice: Some(refusal.advice.clone()),
        });
    }
    if let Some(Advised { exit, advice, .. }) = cause.downcast_ref() {
        let (exit, advice) = (*exit, Some(advice.clone()));
        return Some(Known { outcome: "error", decision: None, exit, advice });
    }
    if let Some(RecoverError(error)) = cause.downcast_ref() {
        return Some(halted(error));
    }
    if let Some(IntakeError::Store(error)) = cause.downcast_ref() {
        return Some(failed(error));
    }
    cause.downcast_ref().map(failed)
}

pub(crate) fn refused(refusal: &Refusal) -> Exit {
    let problem = refusal.source.as_ref().map(|error| &error.problem);
    Finding::Refused(refusal.label, problem).exit()
}

fn failed(error: &StoreError) -> Known {
    let exit = Finding::Failed(&error.problem).exit();
    Known { outcome: "error", decision: None, exit, advice: Some(error.advice()) }
}

/// A store that fails during a recovery; a full disk is a halt, and the same command goes on later.
fn halted(error: &StoreError) -> Known {
    let exit = Finding::Stopped(&error.problem).exit();
    let outcome = if exit == Exit::Halted { "halted" } else { "error" };
    Known { outcome, exit, ..failed(error) }
}
