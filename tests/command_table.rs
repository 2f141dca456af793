//! What `COMMAND` tells about the commands, compared with what the real Valkey tells.
//!
//! Every command that both have is compared field by field, and the keys of generated requests
//! reply by reply. Where ours differs on purpose, [`DEVIATIONS`] says why; an entry there that is
//! no longer needed fails the test too.

use std::collections::{BTreeMap, BTreeSet};

use kvasir_proto::Value;
use kvasir_testing::{Client, Rng, Server, seed_from_environment, show};

/// The fields of `COMMAND INFO`, in order.
const INFO_FIELDS: [&str; 9] =
    ["name", "arity", "flags", "first key", "last key", "step", "categories", "tips", "key specs"];

/// Command, field, and why it differs from Valkey 8.1's.
const DEVIATIONS: &[(&str, &str, &str)] = &[
    ("bitop", "arguments", "DIFF, DIFF1, ANDOR and ONE of Redis 8.2"),
    ("client|kill", "arguments", "filters of Valkey 9"),
    ("client|list", "arguments", "filters of Valkey 9"),
    ("set", "arguments", "IFNE, IFDEQ and IFDNE of Redis 8.4"),
    ("xadd", "arguments", "KEEPREF, DELREF and ACKED of Redis 8.2, IDMP and IDMPAUTO of 8.6"),
    ("xread", "arguments", "MAXCOUNT and MAXSIZE of Redis 8.10"),
    ("xreadgroup", "arguments", "CLAIM of Redis 8.4, MAXCOUNT and MAXSIZE of 8.10"),
    ("xtrim", "arguments", "KEEPREF, DELREF and ACKED of Redis 8.2"),
];

/// Both servers, each with a connection that speaks RESP3.
struct Pair {
    ours: Client,
    theirs: Client,
    /// Keeps the processes alive.
    _servers: [Server; 2],
}

impl Pair {
    fn start() -> Self {
        let servers = [Server::kvasir(1), Server::valkey()];
        let [mut ours, mut theirs] = [servers[0].client(), servers[1].client()];
        ours.run("HELLO 3");
        theirs.run("HELLO 3");
        Self { ours, theirs, _servers: servers }
    }

    /// Sends the same requests to both.
    fn call<A: AsRef<[u8]>>(&mut self, requests: &[Vec<A>]) -> Vec<(Value, Value)> {
        let ours = self.ours.pipeline(requests);
        ours.into_iter().zip(self.theirs.pipeline(requests)).collect()
    }

    /// The full names of the commands and subcommands that both have.
    fn shared(&mut self) -> Vec<String> {
        let [ours, theirs] = [&mut self.ours, &mut self.theirs].map(|client| {
            let Value::Array(names) = client.run("COMMAND LIST") else { panic!("no list") };
            names.iter().map(text).collect::<BTreeSet<_>>()
        });
        ours.intersection(&theirs).cloned().collect()
    }
}

fn text(value: &Value) -> String {
    String::from_utf8(value.as_bytes().expect("a string").to_vec()).expect("ASCII")
}

/// Fields of a command by name.
type Fields = BTreeMap<String, Value>;

/// `COMMAND INFO` without its subcommands, which are compared as commands of their own.
fn info_fields(reply: &Value) -> Fields {
    let Value::Array(commands) = reply else { panic!("{}", show(reply)) };
    let [Value::Array(fields)] = &commands[..] else { panic!("{}", show(reply)) };
    INFO_FIELDS.map(str::to_owned).into_iter().zip(fields.iter().cloned()).collect()
}

/// `COMMAND DOCS` without its subcommands. The order of the fields is one of them.
fn docs_fields(reply: &Value) -> Fields {
    let Value::Map(commands) = reply else { panic!("{}", show(reply)) };
    let [(_, Value::Map(fields))] = &commands[..] else { panic!("{}", show(reply)) };
    let mut by_name: Fields =
        fields.iter().map(|(name, value)| (text(name), value.clone())).collect();
    if by_name.contains_key("subcommands") {
        by_name.insert("subcommands".into(), Value::Null);
    }
    let order = fields.iter().map(|(name, _)| name.clone()).collect();
    by_name.insert("order of the fields".into(), Value::Array(order));
    by_name
}

#[test]
fn descriptions_are_those_of_valkey() {
    let mut pair = Pair::start();
    let shared = pair.shared();
    assert!(shared.len() > 7, "both servers have commands: {shared:?}");
    let is_shared = |name: &str| shared.iter().any(|shared| shared == name);
    let mut expected: Vec<_> = DEVIATIONS.iter().filter(|(name, ..)| is_shared(name)).collect();
    let mut differences = Vec::new();
    for (what, fields) in [("INFO", info_fields as fn(&Value) -> Fields), ("DOCS", docs_fields)] {
        let requests: Vec<_> =
            shared.iter().map(|name| vec!["COMMAND", what, name.as_str()]).collect();
        for (name, (ours, theirs)) in shared.iter().zip(pair.call(&requests)) {
            let (ours, theirs) = (fields(&ours), fields(&theirs));
            let all: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
            for field in all.into_iter().filter(|field| ours.get(*field) != theirs.get(*field)) {
                let known = expected.iter().position(|(n, f, _)| n == name && f == field);
                if let Some(known) = known {
                    expected.remove(known);
                    continue;
                }
                let [ours, theirs] =
                    [&ours, &theirs].map(|f| f.get(field).map_or("absent".into(), show));
                differences.push(format!("{name}: {field}\n  ours   {ours}\n  theirs {theirs}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(expected.is_empty(), "no deviation any more: {expected:?}");
}

#[test]
fn the_list_can_be_filtered_as_in_valkey() {
    let mut pair = Pair::start();
    let shared: BTreeSet<_> = pair.shared().into_iter().collect();
    let filters = [
        "ACLCAT read",
        "ACLCAT WRITE",
        "ACLCAT string",
        "ACLCAT bitmap",
        "ACLCAT keyspace",
        "ACLCAT fast",
        "ACLCAT slow",
        "ACLCAT dangerous",
        "ACLCAT admin",
        "ACLCAT connection",
        "ACLCAT none-such",
        "PATTERN *",
        "PATTERN GET*",
        "PATTERN *|*",
        "PATTERN [^a-f]*",
        "PATTERN client|*",
        "MODULE none",
    ];
    for filter in filters {
        let line = format!("COMMAND LIST FILTERBY {filter}");
        let [ours, theirs] = [&mut pair.ours, &mut pair.theirs].map(|client| {
            let Value::Array(names) = client.run(&line) else { panic!("{line}") };
            let names = names.iter().map(text).filter(|name| shared.contains(name));
            names.collect::<BTreeSet<_>>()
        });
        assert_eq!(ours, theirs, "{line}");
    }
}

#[test]
fn errors_and_help_are_those_of_valkey() {
    let mut pair = Pair::start();
    let long = "x".repeat(300);
    let euros = "\u{20ac}".repeat(50);
    let requests: Vec<Vec<&[u8]>> = vec![
        vec![b"nope"],
        vec![b"nope", b"a", b"b c", b"'", b"\""],
        vec![b"no\r\npe", b"a\r\n", b"b\0c"],
        vec![long.as_bytes(), &long.as_bytes()[..100], &long.as_bytes()[..100], b"c"],
        vec![b"", b""],
        vec![b"\xff\xfe", b"\x80 \xe2\x82", euros.as_bytes()],
        vec![b"command", b"\xff"],
        vec![b"command", b"nope"],
        vec![b"CoMMand", b"no\npe", b"x"],
        vec![b"COMMAND", long.as_bytes()],
        vec![b"get"],
        vec![b"GET", b"a", b"b"],
        vec![b"COMMAND", b"COUNT", b"x"],
        vec![b"command", b"getkeys"],
        vec![b"COMMAND", b"HELP"],
        vec![b"COMMAND", b"INFO", b"nope", b"command|nope", b"get|", b"|", b"command|info|x"],
        vec![b"COMMAND", b"DOCS", b"nope", b"command|nope"],
        vec![b"COMMAND", b"LIST", b"x"],
        vec![b"COMMAND", b"LIST", b"FILTERBY", b"x", b"y"],
        vec![b"COMMAND", b"LIST", b"FILTERBY", b"ACLCAT"],
        vec![b"COMMAND", b"LIST", b"FILTERBY", b"ACLCAT", b"a", b"b"],
        vec![b"COMMAND", b"GETKEYS", b"nope"],
        vec![b"COMMAND", b"GETKEYS", b"command"],
        vec![b"COMMAND", b"GETKEYS", b"command", b"nope"],
        vec![b"COMMAND", b"GETKEYS", b"get"],
    ];
    for (request, (ours, theirs)) in requests.iter().zip(pair.call(&requests)) {
        let line = request.join(&b' ').escape_ascii().to_string();
        assert_eq!(show(&ours), show(&theirs), "{line}");
    }
}

/// Words that mean something to one command or another, and some that do not.
const WORDS: [&str; 24] = [
    "a",
    "b",
    "k",
    "1",
    "2",
    "3",
    "0",
    "-1",
    "01",
    "99999999999",
    "",
    "x",
    "get",
    "SET",
    "INCRBY",
    "OVERFLOW",
    "u8",
    "STORE",
    "KEYS",
    "STREAMS",
    "LIMIT",
    "COUNT",
    "NX",
    "EX",
];

#[test]
fn the_keys_of_requests_are_those_of_valkey() {
    let seed = seed_from_environment();
    let mut rng = Rng::new(seed);
    let mut pair = Pair::start();
    for name in pair.shared() {
        let requests: Vec<Vec<&str>> = (0..60)
            .map(|_| {
                let mut request = vec!["COMMAND", *rng.pick(&["GETKEYS", "GETKEYSANDFLAGS"])];
                request.extend(name.split('|'));
                request.extend((0..rng.below(9)).map(|_| *rng.pick(&WORDS)));
                request
            })
            .collect();
        for (request, (ours, theirs)) in requests.iter().zip(pair.call(&requests)) {
            if name == "pfmerge" && request.len() == 4 {
                // Valkey cannot tell the key of a PFMERGE without sources, which it executes. Here
                // a command goes where its keys are, so they must be known.
                continue;
            }
            assert_eq!(show(&ours), show(&theirs), "KVASIR_SEED={seed} {request:?}");
        }
    }
}
