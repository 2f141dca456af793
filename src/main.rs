//! The `kvasir-server` program.

use std::process::ExitCode;

/// 8-byte size classes (see `.cargo/config.toml`) and fast frees from any core.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    kvasir_server::start::run(std::env::args_os())
}
