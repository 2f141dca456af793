//! Tells the program what it is built from: commit, whether files differ from it, and a build id.
//!
//! Only for optimized builds: elsewhere every commit would build the whole crate anew.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    // What packages the source without its history may name the commit itself.
    println!("cargo::rerun-if-env-changed=KVASIR_GIT_SHA");
    for name in ["HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    for folder in ["src", "proto", "shard", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    let named = std::env::var("KVASIR_GIT_SHA").ok();
    let commit = named.or_else(|| git(&["rev-parse", "--short=8", "HEAD"])).unwrap_or_default();
    let changes = git(&["diff", "HEAD"]).unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (&commit, &changes, std::env::var("TARGET").ok()).hash(&mut hasher);
    if !commit.is_empty() {
        println!("cargo::rustc-env=KVASIR_GIT_SHA={commit}");
    }
    println!("cargo::rustc-env=KVASIR_GIT_DIRTY={}", u8::from(!changes.is_empty()));
    println!("cargo::rustc-env=KVASIR_BUILD_ID={:016x}", hasher.finish());
}

/// The output of git, or `None` where there is no git or no repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
