//! The `kvasir-server` program.

use std::process::ExitCode;

use kvasir_server::allocator::Allocator;

/// 8-byte size classes (see `.cargo/config.toml`) and fast frees from any core.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    kvasir_server::start::run(std::env::args_os())
}
