//! Execution: where the store and the machine meet.

mod above;
mod block;
mod bus;
mod clock;
mod commit;
mod intake;
mod panic_guard;
mod quarantine;
mod reader;
mod recover;
mod rehearsed;
mod report;
mod retry;
mod sandbox;
mod start;
mod unchecked;
mod watch;

pub use block::{Access, BlockFailure, Executed, Executor, ExecutorSettings, Rulings};
pub use bus::{Bus, Committed, Rehearsed};
pub use clock::{Clock, SystemClock};
pub use commit::{CommitMode, Difference};
pub use intake::{Intake, IntakeError, Logged, NewEvent, PAYLOAD_BYTES_MAX};
pub use quarantine::{Held, Quarantine, QuarantineError, Settlement};
pub use reader::{BlockReader, PendingBlock};
pub(crate) use reader::{TxWindow, tx_input};
pub use recover::{Gate, RecoverError, Recovery, RecoveryOptions};
pub use rehearsed::RehearsedBlock;
pub(crate) use report::peak_rss_bytes;
pub use report::{Halt, HaltCause, Outcome, Report};
pub use retry::RetryPolicy;
pub use sandbox::FailedBlock;
pub(crate) use start::READ_BYTES;
pub use start::{Examined, Refusal, examine};
pub use unchecked::Unchecked;
pub(crate) use watch::watched;
pub use watch::{Running, Watch};
