//! The real Valkey and Redis programs, and Valkey's own test suite.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The directory that holds the peers' `bin/` and `suite/`, installed now if it is not there yet.
///
/// `KVASIR_PEERS` names a directory to use as it is; else `tests/peers/install` fills
/// `~/.cache/kvasir-peers`.
pub fn prefix() -> PathBuf {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(install).clone()
}

/// The path of a peer's program, for instance `valkey-server` or `redis-cli`.
pub fn program(name: &str) -> PathBuf {
    let path = prefix().join("bin").join(name);
    assert!(path.exists(), "{} is missing: run tests/peers/install", path.display());
    path
}

fn install() -> PathBuf {
    if let Some(given) = std::env::var_os("KVASIR_PEERS") {
        return PathBuf::from(given);
    }
    let home = std::env::var_os("HOME").expect("HOME is set: the peers go to its .cache");
    let prefix = PathBuf::from(home).join(".cache/kvasir-peers");
    let script = crate::source_root().join("tests/peers/install");
    let status = Command::new(script).arg(&prefix).status().expect("run tests/peers/install");
    assert!(status.success(), "tests/peers/install failed: {status}");
    prefix
}
