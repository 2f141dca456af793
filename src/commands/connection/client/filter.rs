//! Which clients `CLIENT LIST` and `CLIENT KILL` mean.
//!
//! Filters are those of Valkey 9, which include all older ones. A client passes when it passes
//! every filter; one that is given twice counts as the later, only ids add up. `NOT-` before a
//! filter turns it around.

use std::collections::HashSet;

use kvasir_proto::{Args, number};

use super::describe;
use crate::commands::arguments::is_word;
use crate::errors::CommandError;
use crate::route::connection::Connection;
use crate::route::core::CoreState;

/// The letters that [`describe::flags`] and the peers use.
const FLAG_LETTERS: &[u8] = b"AbBcdeFiIMNOPrRStTuUx";
/// The letters of capabilities.
const CAPABILITY_LETTERS: &[u8] = b"r";

/// A set of clients.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    tests: Vec<Test>,
    /// Whether the client that asks is left out.
    pub(super) skip_me: bool,
}

/// One condition of a filter.
#[derive(Debug, PartialEq, Eq)]
struct Test {
    condition: Condition,
    negated: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Id(HashSet<u64>),
    Kind(ClientKind),
    User(Vec<u8>),
    Peer(Vec<u8>),
    Local(Vec<u8>),
    Ip(Vec<u8>),
    Name(Vec<u8>),
    LibName(Vec<u8>),
    LibVersion(Vec<u8>),
    Flags(Vec<u8>),
    Capabilities(Vec<u8>),
    Db(u32),
    /// Connected for at least so many seconds.
    Age(u64),
    /// Idle for at least so many seconds.
    Idle(u64),
}

/// What a client is, as far as buffers and filters distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientKind {
    Normal,
    Primary,
    Replica,
    PubSub,
}

impl ClientKind {
    fn from_name(name: &[u8]) -> Result<Self, CommandError> {
        const NAMES: [(&str, ClientKind); 6] = [
            ("normal", ClientKind::Normal),
            ("primary", ClientKind::Primary),
            ("master", ClientKind::Primary),
            ("replica", ClientKind::Replica),
            ("slave", ClientKind::Replica),
            ("pubsub", ClientKind::PubSub),
        ];
        NAMES
            .iter()
            .find(|(known, _)| is_word(name, known))
            .map(|(_, kind)| *kind)
            .ok_or_else(|| CommandError::quoting("ERR Unknown client type '", name, "'"))
    }
}

impl Filter {
    /// Reads filters. `skip_me` holds unless they say otherwise.
    pub(super) fn parse(args: Args<'_>, skip_me: bool) -> Result<Self, CommandError> {
        let mut filter = Self { tests: Vec::new(), skip_me };
        let mut at = 0;
        while at < args.len() {
            let name = args.at(at);
            let (negated, bare) = match name.split_at_checked(4) {
                Some((prefix, rest)) if is_word(prefix, "NOT-") => (true, rest),
                _ => (false, name),
            };
            if is_word(bare, "ID") {
                at += 1;
                // No id at all is accepted, as by the peers; then no client passes.
                let mut ids = HashSet::new();
                while let Some(value) = args.get(at)
                    && let Some(id) = client_id(value)?
                {
                    ids.insert(id);
                    at += 1;
                }
                filter.add(Condition::Id(ids), negated);
                continue;
            }
            let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
            at += 2;
            if is_word(name, "SKIPME") {
                filter.skip_me = match value {
                    word if is_word(word, "YES") => true,
                    word if is_word(word, "NO") => false,
                    _ => return Err(CommandError::Syntax),
                };
                continue;
            }
            filter.add(Condition::parse(bare, value, negated)?, negated);
        }
        Ok(filter)
    }

    /// The clients with this address: what `CLIENT KILL addr` means.
    pub(super) fn of_address(address: &[u8]) -> Self {
        let condition = Condition::Peer(address.to_vec());
        Self { tests: vec![Test { condition, negated: false }], skip_me: false }
    }

    fn add(&mut self, mut condition: Condition, negated: bool) {
        let same = |test: &Test| {
            test.negated == negated
                && std::mem::discriminant(&test.condition) == std::mem::discriminant(&condition)
        };
        if let Some(known) = self.tests.iter().position(same) {
            let known = self.tests.swap_remove(known);
            if let (Condition::Id(ids), Condition::Id(more)) = (known.condition, &mut condition) {
                more.extend(ids);
            }
        }
        self.tests.push(Test { condition, negated });
    }

    /// Whether the connection passes, where `asking` is the id of the client that asks.
    pub(super) fn passes(&self, state: &CoreState, connection: &Connection, asking: u64) -> bool {
        let is_skipped = self.skip_me && connection.client.id == asking;
        !is_skipped
            && !connection.is_replay()
            && self.tests.iter().all(|test| test.condition.holds(state, connection) != test.negated)
    }
}

impl Condition {
    fn parse(name: &[u8], value: &[u8], negated: bool) -> Result<Self, CommandError> {
        let word = |known: &str| is_word(name, known);
        let bytes = || value.to_vec();
        Ok(match () {
            () if word("TYPE") => Self::Kind(ClientKind::from_name(value)?),
            () if word("USER") => Self::User(user(value)?),
            () if word("ADDR") => Self::Peer(bytes()),
            () if word("LADDR") => Self::Local(bytes()),
            () if word("IP") => Self::Ip(bytes()),
            () if word("NAME") => Self::Name(bytes()),
            () if word("LIB-NAME") => Self::LibName(bytes()),
            () if word("LIB-VER") => Self::LibVersion(bytes()),
            () if word("FLAGS") => Self::Flags(letters(value, FLAG_LETTERS, UNKNOWN_FLAGS)?),
            () if word("CAPA") => {
                Self::Capabilities(letters(value, CAPABILITY_LETTERS, UNKNOWN_CAPABILITY)?)
            }
            () if word("DB") => Self::Db(database(value)?),
            () if word("MAXAGE") && !negated => Self::Age(seconds("maxage", value)?),
            () if word("IDLE") && !negated => Self::Idle(seconds("idle", value)?),
            () => return Err(CommandError::Syntax),
        })
    }

    fn holds(&self, state: &CoreState, connection: &Connection) -> bool {
        let client = &connection.client;
        let has = |shown: &str, wanted: &[u8]| wanted.iter().all(|l| shown.as_bytes().contains(l));
        match self {
            Self::Id(ids) => ids.contains(&client.id),
            Self::Kind(kind) => {
                // Replication is not there yet.
                let subscribes = client.subscriptions.any();
                *kind == if subscribes { ClientKind::PubSub } else { ClientKind::Normal }
            }
            Self::User(user) => client.user == *user,
            Self::Peer(address) => client.socket.peer.as_bytes() == address,
            Self::Local(address) => client.socket.local.as_bytes() == address,
            Self::Ip(ip) => ip_of(&client.socket.peer).as_bytes() == ip,
            Self::Name(name) => client.name == *name,
            Self::LibName(name) => client.lib_name == *name,
            Self::LibVersion(version) => client.lib_ver == *version,
            Self::Flags(letters) => has(&describe::flags(state, connection), letters),
            Self::Capabilities(letters) => has(describe::capabilities(connection), letters),
            Self::Db(db) => client.view.db == *db,
            Self::Age(least) => describe::age_s(state, connection) >= *least,
            Self::Idle(least) => describe::idle_s(state, connection) >= *least,
        }
    }
}

/// An id; nothing when the argument is no number, and so the name of the next filter.
fn client_id(bytes: &[u8]) -> Result<Option<u64>, CommandError> {
    match number::parse_i64(bytes) {
        Some(id) if id > 0 => Ok(Some(id.unsigned_abs())),
        Some(_) => Err(CommandError::Other("ERR client-id should be greater than 0")),
        None => Ok(None),
    }
}

/// A user that exists: without an access control list that is the default user.
fn user(name: &[u8]) -> Result<Vec<u8>, CommandError> {
    if name == b"default" {
        return Ok(name.to_vec());
    }
    Err(CommandError::quoting("ERR No such user '", name, "'"))
}

const UNKNOWN_FLAGS: &str = "ERR Unknown flags found in the provided filter: ";
const UNKNOWN_CAPABILITY: &str = "ERR Unknown capability found in the provided filter: ";

/// Letters that are all known.
fn letters(value: &[u8], known: &[u8], refusal: &'static str) -> Result<Vec<u8>, CommandError> {
    if value.iter().all(|letter| known.contains(letter)) {
        return Ok(value.to_vec());
    }
    Err(CommandError::quoting(refusal, value, ""))
}

fn database(value: &[u8]) -> Result<u32, CommandError> {
    let db = number::parse_i64(value)
        .ok_or(CommandError::Other("ERR DB is not an integer or out of range"))?;
    u32::try_from(db)
        .map_err(|_| CommandError::Other("ERR DB number should be between 0 and 4294967295"))
}

fn seconds(name: &str, value: &[u8]) -> Result<u64, CommandError> {
    let Some(seconds) = number::parse_i64(value) else {
        return Err(CommandError::Custom(format!("ERR {name} is not an integer or out of range")));
    };
    u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| CommandError::Custom(format!("ERR {name} should be greater than 0")))
}

/// The host of `ip:port`, `[ip6]:port` or `path:0`.
fn ip_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvasir_proto::{ArgRanges, Limits, RequestParser, append_request};

    fn parse(line: &str) -> Result<Filter, String> {
        let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
        let mut request = Vec::new();
        append_request(&mut request, words);
        let mut ranges = ArgRanges::default();
        RequestParser::new().parse(&request, &Limits::default(), &mut ranges).unwrap();
        Filter::parse(ranges.view(&request), false).map_err(|error| error.to_string())
    }

    #[test]
    fn ids_go_on_until_the_next_filter() {
        let one = Test { condition: Condition::Id([1, 2, 3].into()), negated: false };
        let db = Test { condition: Condition::Db(4), negated: true };
        let expected = Filter { tests: vec![db, one], skip_me: true };
        assert_eq!(parse("ID 1 2 not-db 4 id 3 skipme yes"), Ok(expected));
    }

    #[test]
    fn the_later_of_two_counts() {
        let name = |name: &[u8]| Condition::Name(name.to_vec());
        let expected = vec![
            Test { condition: name(b"b"), negated: true },
            Test { condition: name(b"c"), negated: false },
        ];
        assert_eq!(parse("NAME a NOT-NAME b NAME c").unwrap().tests, expected);
    }

    #[test]
    fn refusals_have_the_peers_texts() {
        let check = |line: &str, expected: &str| {
            assert_eq!(parse(line).unwrap_err(), expected, "{line}");
        };
        check("ID x", "ERR syntax error");
        check("ID 10 wrong_arg", "ERR syntax error");
        check("ID 0", "ERR client-id should be greater than 0");
        check("ID 1 -1", "ERR client-id should be greater than 0");
        check("TYPE foo", "ERR Unknown client type 'foo'");
        check("USER nobody", "ERR No such user 'nobody'");
        check("SKIPME maybe", "ERR syntax error");
        check("MAXAGE x", "ERR maxage is not an integer or out of range");
        check("MAXAGE 0", "ERR maxage should be greater than 0");
        check("NOT-MAXAGE 1", "ERR syntax error");
        check("FLAGS N?", "ERR Unknown flags found in the provided filter: N?");
        check("FOO bar", "ERR syntax error");
        check("ADDR", "ERR syntax error");
    }

    #[test]
    fn the_host_of_an_address() {
        assert_eq!(ip_of("127.0.0.1:80"), "127.0.0.1");
        assert_eq!(ip_of("[::1]:80"), "::1");
        assert_eq!(ip_of("/tmp/a:b:0"), "/tmp/a:b");
    }
}
