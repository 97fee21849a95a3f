//! The fuzz targets: what each does with arbitrary bytes, and from which bytes it starts.
//!
//! `fuzz/` gives them to libFuzzer, `tests/it/fuzz_smoke.rs` to a plain mutator in every test run.

mod block_codec;
mod database;
mod event_codec;
mod http_body;
#[cfg(feature = "evm")]
mod import_eth;
mod import_jsonl;
mod input;
mod operation;
mod operations;
mod reached;
mod reference;
mod template;
mod witness;

/// One way of looking at arbitrary bytes.
pub struct Target {
    /// Its name, also that of its corpus and of its program.
    pub name: &'static str,
    /// Looks at bytes, and panics where something does not hold.
    pub run: fn(&[u8]),
    /// Returns bytes that reach far, from which mutation starts.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many mutated inputs a test run looks at: as many as take a second or two.
    pub smoke_runs: u64,
    /// Places to which some input of a test run must come, or it proves nothing.
    pub places: &'static [&'static str],
}

/// Every target.
pub const TARGETS: &[Target] = &[
    block_codec::TARGET,
    database::TARGET,
    event_codec::TARGET,
    http_body::TARGET,
    #[cfg(feature = "evm")]
    import_eth::TARGET,
    import_jsonl::TARGET,
    operations::TARGET,
    witness::TARGET,
];

impl Target {
    /// Returns how often inputs came to a place of it.
    pub fn reached(&self, place: &'static str) -> u64 {
        reached::times(self.name, place)
    }
}

/// Returns the target with a name.
pub fn find(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("no target is called {name}"))
}
