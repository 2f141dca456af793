//! Known faults of what we depend on, from an extract of the `RustSec` database.

use std::fs;

use kvasir_testing::source_root;
use semver::{Version, VersionReq};

use crate::metadata;

/// One row of `advisories.tsv`; a package alone has no advisories.
struct Row<'a> {
    package: &'a str,
    advisory: Option<Advisory<'a>>,
}

struct Advisory<'a> {
    id: &'a str,
    kind: &'a str,
    /// The versions that it does not concern.
    sound: Vec<VersionReq>,
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Self {
        let mut columns = line.split('\t');
        let package = columns.next().expect("a line begins with a package");
        let advisory = columns.next().map(|id| Advisory {
            id,
            kind: columns.next().expect("an advisory has a kind"),
            sound: columns
                .flat_map(|ranges| ranges.split(" | "))
                .filter(|range| !range.is_empty())
                .map(|range| range.parse().expect("the range is one of Cargo's"))
                .collect(),
        });
        Self { package, advisory }
    }
}

impl Advisory<'_> {
    fn concerns(&self, version: &Version) -> bool {
        !self.sound.iter().any(|range| range.matches(version))
    }
}

#[test]
fn no_dependency_has_a_known_fault() {
    let directory = source_root().join("tests/dependencies");
    let extract = fs::read_to_string(directory.join("advisories.tsv")).expect("read the extract");
    let rows: Vec<Row<'_>> =
        extract.lines().filter(|line| !line.starts_with('#')).map(Row::parse).collect();
    let accepted = accepted();
    let metadata = metadata();
    let mut faults = Vec::new();
    let mut used = Vec::new();
    for package in metadata["packages"].as_array().expect("cargo metadata lists packages") {
        if package["source"].is_null() {
            continue;
        }
        let name = package["name"].as_str().expect("a package has a name");
        let version = package["version"].as_str().expect("a package has a version");
        let version: Version = version.parse().expect("Cargo's version");
        let mut known = rows.iter().filter(|row| row.package == name).peekable();
        if known.peek().is_none() {
            faults.push(format!("{name}: not in the extract; run update-advisories"));
        }
        for advisory in known.filter_map(|row| row.advisory.as_ref()) {
            if !advisory.concerns(&version) {
            } else if accepted.iter().any(|id| id == advisory.id) {
                used.push(advisory.id.to_owned());
            } else {
                faults.push(format!("{name} {version}: {} ({})", advisory.id, advisory.kind));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let idle: Vec<&String> = accepted.iter().filter(|id| !used.contains(id)).collect();
    assert!(idle.is_empty(), "deny.toml accepts what concerns nothing: {idle:?}");
}

/// The advisories that deny.toml accepts, each with its reason there.
fn accepted() -> Vec<String> {
    let text = fs::read_to_string(source_root().join("deny.toml")).expect("read deny.toml");
    let (_, section) = text.split_once("[advisories]").expect("deny.toml has [advisories]");
    let section = section.split_once("\n[").map_or(section, |(section, _)| section);
    let ids = section.split('"').filter(|quoted| quoted.starts_with("RUSTSEC-"));
    ids.map(str::to_owned).collect()
}

#[test]
fn ranges_are_understood() {
    let row = Row::parse("rand\tRUSTSEC-1\tunsound\t>= 0.10.1 | < 0.10.0, >= 0.9.3\t< 0.7.0");
    let advisory = row.advisory.expect("the row has an advisory");
    for (version, concerned) in [
        ("0.6.9", false),
        ("0.7.0", true),
        ("0.9.2", true),
        ("0.9.3", false),
        ("0.10.0", true),
        ("0.10.1", false),
    ] {
        let version = version.parse().expect("a version");
        assert_eq!(advisory.concerns(&version), concerned, "{version}");
    }
    assert!(Row::parse("slab").advisory.is_none());
}
