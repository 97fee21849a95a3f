//! The rewake program: the command line with the machines in the box.

use std::process::ExitCode;

fn main() -> ExitCode {
    rewake::cli::main(rewake::machine::Registry::built_in())
}
