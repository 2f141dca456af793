//! The `kvasir-server` program.
fn main() {}
