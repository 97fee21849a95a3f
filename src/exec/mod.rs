//! Execution: where the store and the machine meet.

mod block;
mod clock;
mod panic_guard;
mod retry;
mod watch;

pub use block::{Access, BlockFailure, Executed, Executor, ExecutorSettings, Rulings};
pub use clock::{Clock, SystemClock};
pub use retry::RetryPolicy;
pub use watch::Watch;
