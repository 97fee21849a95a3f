//! The rewake program.

fn main() {}
