//! Panics of a machine: caught, attributed, and kept off the standard error stream.

use std::any::Any;
use std::cell::Cell;
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs code whose panics are reported by their catcher rather than printed.
pub(crate) fn run<R>(body: impl FnOnce() -> R) -> R {
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                previous(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = body();
    GUARDED.set(outer);
    result
}

/// Returns what a caught panic said.
pub(crate) fn reason(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("with a value that is no text"))
}
