//! Configuration: the table of parameters, the snapshot that cores read, and its file.
//!
//! * [`table`]: one row for each parameter; everything else derives from it.
//! * [`Config`]: an immutable snapshot. The server keeps one in an `ArcSwap`; cores read its typed
//!   fields without a lock. CONFIG SET makes a new snapshot ([`Config::set`]) and the caller
//!   applies the [`parameter::Effect`]s before it publishes it.
//! * [`load`]: the configuration file, its includes, standard input and the command line.
//! * [`rewrite`]: CONFIG REWRITE.
//!
//! Invariant: nothing here touches a socket, a core or the process; side effects are the caller's.

pub mod choice;
pub mod groups;
pub mod kind;
pub mod load;
pub mod notify;
pub mod parameter;
pub mod quote;
pub mod rewrite;
pub mod set;
pub mod table;
pub mod title;
pub mod value;

use std::path::{Path, PathBuf};

use self::choice::ProtectedAction;
use self::load::Directive;
use self::parameter::Disposition;
use self::value::Value;

/// A snapshot of all parameters.
///
/// The typed groups are what code reads; they are written only by the rows' stores, from the
/// values, so that both views agree. A clone costs one allocation for each text.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listeners and connections.
    pub network: groups::Network,
    /// What one client may cost.
    pub clients: groups::Clients,
    /// The process and its cores.
    pub process: groups::Process,
    /// What is logged, how and where.
    pub log: groups::Log,
    /// Who may do what.
    pub security: groups::Security,
    /// Memory, eviction, expiry and freeing.
    pub memory: groups::Memory,
    /// Limits of the compact encodings.
    pub encodings: groups::Encodings,
    /// Slow commands, latencies, notifications.
    pub monitoring: groups::Monitoring,
    /// Dumps and files.
    pub persistence: groups::Persistence,
    /// One for each row of the table, in its order.
    values: Vec<Value>,
    /// The file that CONFIG REWRITE rewrites, absolute.
    file: Option<PathBuf>,
    /// What the file holds besides parameters.
    directives: Vec<Directive>,
}

impl Default for Config {
    /// Every parameter at its default.
    fn default() -> Self {
        let mut config = Self {
            network: groups::Network::default(),
            clients: groups::Clients::default(),
            process: groups::Process::default(),
            log: groups::Log::default(),
            security: groups::Security::default(),
            memory: groups::Memory::default(),
            encodings: groups::Encodings::default(),
            monitoring: groups::Monitoring::default(),
            persistence: groups::Persistence::default(),
            values: Vec::with_capacity(table::rows().len()),
            file: None,
            directives: Vec::new(),
        };
        for (index, row) in table::rows().iter().enumerate() {
            config.values.push(Value::Flag(false));
            config.put(index, row.default_value());
        }
        config
    }
}

impl Config {
    /// The value of a parameter by either of its names.
    pub fn value(&self, name: &str) -> Option<&Value> {
        table::lookup(name.as_bytes()).map(|name| &self.values[name.index])
    }

    /// What CONFIG GET answers for these patterns: names and values, no name twice.
    ///
    /// A pattern without wildcards names one parameter in any case, hidden ones included, and is
    /// answered in the spelling that was asked for. A pattern with wildcards matches names and
    /// older names alike, but no hidden ones. O(patterns x parameters).
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut add = |shown: &[u8], name: table::Name| {
            if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(shown)) {
                found.push((shown.to_vec(), self.show(name.index)));
            }
        };
        for pattern in patterns {
            if pattern.iter().any(|byte| b"[*?".contains(byte)) {
                for name in table::names().filter(|name| !name.parameter.is_hidden()) {
                    if crate::glob::matches_any_case(pattern, name.name.as_bytes()) {
                        add(name.name.as_bytes(), name);
                    }
                }
            } else if let Some(name) = table::lookup(pattern) {
                add(pattern, name);
            }
        }
        found
    }

    /// The file that the server was started with, absolute.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What the file holds besides parameters: renamed commands, users, modules.
    pub fn directives(&self) -> &[Directive] {
        &self.directives
    }

    /// One line for each parameter that was set but has no effect yet, for the log at the start.
    pub fn notices(&self) -> Vec<String> {
        table::rows().iter().filter_map(|row| self.notice(row.name)).collect()
    }

    /// The line of [`Self::notices`] about one parameter, for the log after a CONFIG SET.
    pub fn notice(&self, name: &str) -> Option<String> {
        let name = table::lookup(name.as_bytes())?;
        let Disposition::Later(what) = name.parameter.disposition else { return None };
        (self.values[name.index] != name.parameter.default_value()).then(|| {
            format!(
                "'{}' is stored but has no effect yet: {what} will come in a later version",
                name.parameter.name
            )
        })
    }

    /// Whether a client may do something that `action` restricts.
    pub fn permits(action: ProtectedAction, client_is_local: bool) -> bool {
        match action {
            ProtectedAction::Nobody => false,
            ProtectedAction::Everybody => true,
            ProtectedAction::Local => client_is_local,
        }
    }

    fn show(&self, index: usize) -> Vec<u8> {
        table::rows()[index].kind.show(&self.values[index])
    }

    /// The only way in which a value changes, so that the typed field follows.
    fn put(&mut self, index: usize, value: Value) {
        if let Some(store) = table::rows()[index].store {
            store(self, &value);
        }
        self.values[index] = value;
    }
}

#[cfg(test)]
mod tests;
