//! Progress of long work, with its rate and the time that remains.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::cli::Output;

const BOUNDED: &str = "{prefix:>9} [{bar:32}] {human_pos}/{human_len} {msg}  {rate}  {eta} left";
const UNBOUNDED: &str = "{prefix:>9} {spinner} {human_pos} {msg}  {rate}  {elapsed}";

/// Starts a bar that counts `unit`, of which there are `length`; `None` where nobody knows.
pub(crate) fn bar(
    output: &Output,
    verb: &'static str,
    unit: &'static str,
    length: Option<u64>,
) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let target = ProgressDrawTarget::stderr_with_hz(10);
    let bar = ProgressBar::with_draw_target(length, target);
    let template = if length.is_some() { BOUNDED } else { UNBOUNDED };
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let rate = |state: &ProgressState, text: &mut dyn Write| {
        // Nothing can be done about a terminal that takes no text.
        let _ = write!(text, "{:.0}/s", state.per_sec());
    };
    let style = style.with_key("rate", rate).progress_chars("=> ");
    bar.with_style(style).with_prefix(verb).with_message(unit)
}
