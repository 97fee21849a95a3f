//! The integration tests, in one binary, so that it links once.

#![expect(unreachable_pub, reason = "items of a test are shared between its modules")]

// The attribute tells clippy that helpers are tests too: they may expect, index and panic.
#[cfg(test)]
mod audit;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod cli_demo;
#[cfg(test)]
mod cli_import;
#[cfg(test)]
mod cli_machines;
#[cfg(test)]
mod cli_refusals;
#[cfg(test)]
mod crash_points;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod damage_answers;
#[cfg(test)]
mod damage_bugs;
#[cfg(test)]
mod damage_golden;
#[cfg(test)]
mod damage_kinds;
#[cfg(test)]
mod decisions;
#[cfg(test)]
mod determinism;
#[cfg(test)]
mod determinism_processes;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod estimate;
#[cfg(test)]
mod executor;
#[cfg(debug_assertions)]
#[cfg(test)]
mod fail_points;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod fuzz_smoke;
#[cfg(test)]
#[path = "../../fuzz/targets/mod.rs"]
mod fuzz_targets;
#[cfg(test)]
mod generate;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod house;
#[cfg(test)]
mod http;
#[cfg(test)]
mod http_client;
#[cfg(test)]
mod http_command;
#[cfg(test)]
mod http_hostile;
#[cfg(test)]
mod http_node;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod limits_signals;
#[cfg(test)]
mod load;
#[cfg(test)]
mod load_faults;
#[cfg(test)]
mod load_kills;
#[cfg(test)]
mod load_node;
#[cfg(test)]
mod log_store;
#[cfg(test)]
mod long_kills;
#[cfg(test)]
mod mainnet;
#[cfg(test)]
mod node;
#[cfg(test)]
mod node_faults;
#[cfg(test)]
mod node_hostile;
#[cfg(test)]
mod node_kills;
#[cfg(test)]
mod node_metrics;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod older;
#[cfg(test)]
mod overlap;
#[cfg(test)]
mod packed;
#[cfg(test)]
mod parallel;
#[cfg(test)]
mod parallel_recovery;
#[cfg(test)]
mod planted;
#[cfg(test)]
mod power_loss;
#[cfg(test)]
mod power_loss_bugs;
#[cfg(test)]
mod power_loss_life;
#[cfg(test)]
mod power_loss_stories;
#[cfg(test)]
mod probe;
#[cfg(test)]
mod program;
#[cfg(test)]
mod quarantine;
#[cfg(test)]
mod recover;
#[cfg(test)]
mod replay_cases;
#[cfg(test)]
mod reproduce;
#[cfg(test)]
mod reproduce_dependencies;
#[cfg(test)]
mod reproduce_golden;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod steered;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod sweep;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod torture;
