//! The table of parameters: everything that can be configured, each in one row.
//!
//! A row is all there is to a parameter: reading it from a file, the command line or CONFIG SET,
//! showing it, rewriting it, its documentation and its typed field derive from the row.
//! Defaults, bounds and aliases are Valkey 9.1's and, for what only Redis has, Redis 8.0's.

mod check;
mod clients;
mod cluster;
mod debugging;
mod encodings;
mod logging;
mod memory;
mod monitoring;
mod network;
mod persistence;
mod process;
mod replication;
mod security;
mod tls;

use std::collections::HashMap;
use std::sync::LazyLock;

use super::parameter::Parameter;

/// The topics, in the order in which CONFIG GET shows their rows.
const TOPICS: [&[Parameter]; 13] = [
    network::PARAMETERS,
    clients::PARAMETERS,
    process::PARAMETERS,
    logging::PARAMETERS,
    security::PARAMETERS,
    memory::PARAMETERS,
    encodings::PARAMETERS,
    monitoring::PARAMETERS,
    persistence::PARAMETERS,
    replication::PARAMETERS,
    cluster::PARAMETERS,
    tls::PARAMETERS,
    debugging::PARAMETERS,
];

/// The greatest 32-bit signed number, which bounds what the peers keep in an `int`.
const I32_MAX: i128 = i32::MAX as i128;
/// The least one.
const I32_MIN: i128 = i32::MIN as i128;
/// The greatest 32-bit unsigned number.
const U32_MAX: i128 = u32::MAX as i128;
/// The greatest 64-bit signed number.
const I64_MAX: i128 = i64::MAX as i128;
/// The greatest 64-bit unsigned number.
const U64_MAX: i128 = u64::MAX as i128;

/// See [`super::parameter::Disposition::Later`].
const ACL: &str = "ACL";
/// See [`super::parameter::Disposition::Later`].
const CLUSTER: &str = "cluster mode";
/// See [`super::parameter::Disposition::Later`].
const MPTCP: &str = "multipath TCP";
/// See [`super::parameter::Disposition::Later`].
const PERSISTENCE: &str = "persistence";
/// See [`super::parameter::Disposition::Later`].
const PINNING: &str = "the choice of cores by number";
/// See [`super::parameter::Disposition::Later`].
const REPLICATION: &str = "replication";
/// See [`super::parameter::Disposition::Later`].
/// See [`super::parameter::Disposition::Later`].
const SEED: &str = "a fixed hash seed";
/// See [`super::parameter::Disposition::Later`].
const SORTING: &str = "SORT";
/// See [`super::parameter::Disposition::Later`].
const TLS: &str = "TLS";

/// Directives of the peers' older versions that are read and forgotten, with one value each.
pub(super) const FORGOTTEN: [&str; 4] = [
    "list-max-ziplist-entries",
    "list-max-ziplist-value",
    "lua-replicate-commands",
    "io-threads-do-reads",
];

static ROWS: LazyLock<Vec<&'static Parameter>> =
    LazyLock::new(|| TOPICS.into_iter().flatten().collect());

static NAMES: LazyLock<HashMap<&'static str, Name>> = LazyLock::new(|| {
    let names = ROWS.iter().enumerate().flat_map(|(index, row)| {
        let name = Name { index, name: row.name, parameter: row };
        let alias = row.alias.map(|alias| Name { name: alias, ..name });
        std::iter::once(name).chain(alias)
    });
    names.map(|name| (name.name, name)).collect()
});

/// A name of a parameter: its own or its older one.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// The position of the parameter's value in a [`super::Config`].
    pub(super) index: usize,
    /// The name, in lower case.
    pub name: &'static str,
    /// The row.
    pub parameter: &'static Parameter,
}

/// Every parameter, in a fixed order.
pub fn rows() -> &'static [&'static Parameter] {
    &ROWS
}

/// Every name in the order of the rows, an older name after the one that it stands for.
pub(super) fn names() -> impl Iterator<Item = Name> {
    rows().iter().flat_map(|row| {
        let names = std::iter::once(row.name).chain(row.alias);
        names.map(|name| NAMES[name])
    })
}

/// The parameter of a name or older name, in any case. O(length of the name).
pub fn lookup(name: &[u8]) -> Option<Name> {
    let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
    NAMES.get(name.as_str()).copied()
}

/// The known name that is nearest to a misspelt one, if any is near.
pub fn nearest(name: &[u8]) -> Option<&'static str> {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase().replace('_', "-");
    let scored = names()
        .filter(|known| !known.parameter.is_hidden())
        .map(|known| (known.name, strsim::damerau_levenshtein(&name, known.name)));
    let (nearest, distance) = scored.min_by_key(|&(_, distance)| distance)?;
    (distance <= nearest.len().min(name.len()).div_ceil(4)).then_some(nearest)
}

#[cfg(test)]
mod tests;
