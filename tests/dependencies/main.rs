//! What we depend on: licences, known faults, and that the lock file is what builds.
//!
//! `deny.toml` holds the policy, in the form that cargo-deny reads; this test applies it without
//! needing cargo-deny, whose build takes longer than all of ours. The database of advisories may be
//! out of reach where the tests run, so an extract of it is kept beside this file, and
//! `update-advisories` renews it; `tests/run` asks cargo-deny, too, where that is installed.

mod advisories;

use std::process::Command;

use kvasir_testing::source_root;
use serde_json::Value;

#[test]
fn every_dependency_has_a_permitted_licence() {
    let allowed = allowed_licences();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("cargo metadata lists packages");
    assert!(packages.len() > 20, "only {} packages", packages.len());
    let mut faults = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a package has a name");
        match package["license"].as_str() {
            Some(licence) if is_permitted(licence, &allowed) => {}
            Some(licence) => faults.push(format!("{name}: {licence}")),
            None => faults.push(format!("{name}: states no licence")),
        }
    }
    assert!(faults.is_empty(), "licences that deny.toml does not allow:\n{}", faults.join("\n"));
}

#[test]
fn everything_comes_from_the_registry_or_this_tree() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("cargo metadata lists packages");
    let sources = packages.iter().filter_map(|package| package["source"].as_str());
    let foreign: Vec<&str> = sources.filter(|source| !source.starts_with("registry+")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

/// The dependency graph of the platform that we build for, exactly as locked.
fn metadata() -> Value {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--format-version", "1", "--locked"]);
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let output = cargo.current_dir(source_root()).output().expect("run cargo metadata");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata --locked: {errors}");
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// The licences that deny.toml allows. It is read as far as its own layout goes: a value a line.
fn allowed_licences() -> Vec<String> {
    let path = source_root().join("deny.toml");
    let text = std::fs::read_to_string(path).expect("read deny.toml");
    let (_, section) = text.split_once("[licenses]").expect("deny.toml has [licenses]");
    let lines = section.lines().take_while(|line| !line.starts_with("[advisories]"));
    let allowed: Vec<String> =
        lines.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect();
    assert!(allowed.len() > 3, "deny.toml's licences were not understood");
    allowed
}

/// Whether an SPDX expression can be satisfied with allowed licences. `AND` binds closer than
/// `OR`; the old form with `/` means `OR`; an exception only ever widens what a licence permits.
fn is_permitted(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let (permitted, rest) = any_of(&tokens, allowed);
    permitted && rest.is_empty()
}

fn any_of<'a>(tokens: &'a [&'a str], allowed: &[String]) -> (bool, &'a [&'a str]) {
    let (mut permitted, mut rest) = all_of(tokens, allowed);
    while let ["OR", tail @ ..] = rest {
        let (other, after) = all_of(tail, allowed);
        (permitted, rest) = (permitted || other, after);
    }
    (permitted, rest)
}

fn all_of<'a>(tokens: &'a [&'a str], allowed: &[String]) -> (bool, &'a [&'a str]) {
    let (mut permitted, mut rest) = one(tokens, allowed);
    while let ["AND", tail @ ..] = rest {
        let (other, after) = one(tail, allowed);
        (permitted, rest) = (permitted && other, after);
    }
    (permitted, rest)
}

fn one<'a>(tokens: &'a [&'a str], allowed: &[String]) -> (bool, &'a [&'a str]) {
    match tokens {
        ["(", tail @ ..] => match any_of(tail, allowed) {
            (permitted, [")", after @ ..]) => (permitted, after),
            (_, rest) => (false, rest),
        },
        [name, "WITH", _, rest @ ..] | [name, rest @ ..] => {
            (allowed.iter().any(|licence| licence == name), rest)
        }
        [] => (false, tokens),
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT".to_owned(), "BSD-3-Clause".to_owned(), "Apache-2.0".to_owned()];
    let yes = ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(MIT OR GPL-2.0) AND BSD-3-Clause"];
    let no = ["GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT MIT", "", "GPL-2.0 OR (MIT AND LGPL-3.0)"];
    assert!(is_permitted("Apache-2.0 WITH LLVM-exception OR GPL-3.0", &allowed));
    assert!(yes.iter().all(|expression| is_permitted(expression, &allowed)));
    assert!(!no.iter().any(|expression| is_permitted(expression, &allowed)));
}
