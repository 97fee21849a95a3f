//! The tests that a mutated core is held against: fast, and of nothing above the core.
//!
//! `tests/mutation/run` makes this the one test binary of its copy; `cargo test` runs the same modules in `it`.

#![expect(unreachable_pub, reason = "items of a test are shared between its modules")]
#![expect(dead_code, reason = "some of them only with the modules that are left out here")]

#[cfg(test)]
#[path = "../it/decisions.rs"]
mod decisions;
#[cfg(test)]
#[path = "../it/determinism.rs"]
mod determinism;
#[cfg(test)]
#[path = "../it/executor.rs"]
mod executor;
#[cfg(test)]
#[path = "../it/faulty.rs"]
mod faulty;
#[cfg(test)]
#[path = "../it/golden.rs"]
mod golden;
#[cfg(test)]
#[path = "../it/limits.rs"]
mod limits;
#[cfg(test)]
#[path = "../it/nodes.rs"]
mod nodes;
#[cfg(test)]
#[path = "../it/power_loss_bugs.rs"]
mod power_loss_bugs;
#[cfg(test)]
#[path = "../it/quarantine.rs"]
mod quarantine;
#[cfg(test)]
#[path = "../it/recover.rs"]
mod recover;
#[cfg(test)]
#[path = "../it/replay_cases.rs"]
mod replay_cases;
#[cfg(test)]
#[path = "../it/resume.rs"]
mod resume;
#[cfg(test)]
#[path = "../it/scripted.rs"]
mod scripted;
#[cfg(test)]
#[path = "../it/simulated.rs"]
mod simulated;
