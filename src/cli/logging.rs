//! Logging to standard error, and what is said of a panic.

use std::io::Write as _;

use tracing_subscriber::EnvFilter;

/// The variable that chooses what is logged.
const VARIABLE: &str = "REWAKE_LOG";

/// Starts logging; a filter that cannot be read counts as the default, which is said once.
pub(super) fn start() {
    let chosen = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let filter = chosen.as_deref().map(EnvFilter::try_new);
    let unreadable = matches!(filter, Some(Err(_)));
    let filter = filter.and_then(Result::ok).unwrap_or_else(|| EnvFilter::new("warn"));
    // A subscriber that a host has set already stays.
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    if unreadable {
        tracing::warn!("{VARIABLE} is no filter; logging warnings");
    }
}

/// Says a panic in one line, without a backtrace.
pub(super) fn hook_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = info.payload_as_str().unwrap_or("a value that is no text");
        let text = text.replace('\n', " ");
        // Nobody is left to be told where this fails.
        let _ = writeln!(
            std::io::stderr().lock(),
            "error: internal failure at {place}: {text}\nhelp: the node's files are safe: run `rewake status`, and report this"
        );
    }));
}
