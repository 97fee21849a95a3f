//! Torture: kills, faults and damage against copies of a node, and an oracle that looks at what recovery made of them.
//!
//! What is tortured is always a child process of the program itself, on a scratch copy; the oracle sits in this one.
//! Everything that is chosen follows from the seed and the number of the round, so that a round can be repeated: alike
//! in what is done, and as far as time allows in when.

mod acknowledged;
mod append;
mod audit;
mod bench;
mod campaign;
mod child;
mod damage;
mod error;
mod fault;
mod finding;
mod hand;
mod leavings;
mod options;
mod oracle;
mod report;
mod round;
mod scratch;
mod space;
mod tally;
mod undisturbed;

pub use append::Appends;
pub use campaign::{Torture, Watcher};
pub use error::TortureError;
pub use fault::{Fault, Kind, Subject};
pub use leavings::Leavings;
pub use options::{Extent, Launch, Source, TortureOptions};
pub use report::{KindReport, TortureReport, Verdict, Violation};
pub use tally::{Outcome, Tally};
