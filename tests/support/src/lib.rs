//! What the tests that run a whole server share.
//!
//! - [`Server`]: a server process (ours or a real peer) on a port and in a directory of its own.
//! - [`Client`]: a small blocking RESP client; [`check`] runs a table of commands and replies.
//! - [`peers`]: where the real Valkey and Redis programs are, installed on first use.
//! - [`linear`]: a linearizability checker for recorded histories.
//! - [`words`]: a command line split into arguments.
//! - [`Rng`]: seeded pseudo-random numbers, so that a failing run can be repeated.
//!
//! The program under test is the one that cargo built beside the running test; the environment
//! variable `KVASIR_SERVER` names another (for instance a real `valkey-server`, to see whether a
//! test is right about the peers).

mod client;
mod command_line;
pub mod linear;
pub mod peers;
mod ports;
mod rng;
mod server;
mod wait;

pub use client::{Client, NoReply, check, show};
pub use command_line::words;
pub use ports::{ReservedPort, ReservedRange};
pub use rng::{Rng, seed_from_environment};
pub use server::{Program, Server, ServerBuilder};
pub use wait::{poll_every, wait_until};

use std::path::{Path, PathBuf};

/// The root of the source tree, whatever package the running test belongs to.
pub fn source_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("invariant: this crate lies two levels down").to_path_buf()
}

/// A directory under `target/` that outlives a run: virtual environments, downloaded packages.
pub fn cache_dir(name: &str) -> PathBuf {
    let dir = target_dir().join("test-cache").join(name);
    std::fs::create_dir_all(&dir).expect("create a directory under target/");
    dir
}

/// The `target/<profile>` directory that the running test or example was built into.
fn profile_dir() -> PathBuf {
    let program = std::env::current_exe().expect("path of the running program");
    let here = program.parent().expect("invariant: an executable lies in a directory");
    // Tests and examples have directories of their own below it.
    if here.ends_with("deps") || here.ends_with("examples") {
        here.parent().unwrap_or(here).to_path_buf()
    } else {
        here.to_path_buf()
    }
}

fn target_dir() -> PathBuf {
    let profile = profile_dir();
    profile.parent().unwrap_or(&profile).to_path_buf()
}
