//! The HTTP interface of a node: probes, figures, and what its clients ask.
//!
//! [`Server`] serves any router within [`ServerLimits`]; [`routes`] and [`probe_routes`] make a node's.

mod api;
mod body;
mod budget;
mod connection;
mod descriptors;
mod dialect;
mod door;
mod limits;
mod panic_guard;
mod probes;
mod problem;
mod refuse;
mod routes;
mod server;
mod service;
mod stream;
mod track;

pub use dialect::{Dialect, OneOrMany, Resource, dialect_of, read_one_or_many};
pub use door::Door;
pub use limits::ServerLimits;
pub use probes::Probe;
pub use problem::{Problem, ProblemKind};
pub use routes::{probe_routes, routes};
pub use server::{BindError, Server};
