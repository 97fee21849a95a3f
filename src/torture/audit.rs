//! An audit of a copy: its whole history executed again, by a process that nobody disturbs.

use std::path::Path;

use crate::torture::child::{End, Ran, Runner};
use crate::torture::finding::Finding;
use crate::torture::round::Failure;

/// What an audit comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Audit {
    /// All that is stored agrees.
    Clean,
    /// What does not agree, or why nothing could be compared.
    Unclean(Finding),
}

/// Audits a copy; an audit that does not end as an audit may is a finding.
pub(super) fn audit(runner: &Runner, dir: &Path) -> Result<Audit, Failure> {
    let arguments = ["audit".into(), "--data".into(), dir.as_os_str().to_owned()];
    let ran = runner.run(&arguments, None)?;
    match ran.end {
        End::Code(0) => Ok(Audit::Clean),
        end if end.is_refusal() && !ran.panicked() => Ok(Audit::Unclean(found(&ran))),
        _ => Err(Finding(format!("the audit did not end well: {}", ran.how())).into()),
    }
}

/// Returns the first place that differs, which is an indented line after the one that counts them.
fn found(ran: &Ran) -> Finding {
    let mut lines = ran.out.lines().skip_while(|line| !line.contains("differ"));
    let place = lines.nth(1).map_or_else(|| ran.how(), |line| line.trim().to_owned());
    Finding(format!("the audit finds places that differ: {place}"))
}
