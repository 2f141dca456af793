//! All that a server holds, as text that can be compared.

use std::collections::BTreeMap;

use kvasir_proto::Value;
use kvasir_testing::{Client, show};

/// The databases that the streams use.
const DATABASES: u32 = 4;

/// What there is by database and key, and the functions.
pub(crate) type Contents = BTreeMap<String, String>;

/// Which contents a server can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Depth {
    /// Those that all servers have.
    Common,
    /// The deadlines of elements, and what is remembered of producers, as well.
    Ours,
}

/// Everything that a server holds.
pub(crate) fn contents(client: &mut Client, depth: Depth) -> Contents {
    let mut contents = Contents::new();
    for db in 0..DATABASES {
        client.run(&format!("SELECT {db}"));
        let mut keys = texts(&client.run("KEYS *"));
        keys.sort();
        for key in keys {
            let name = format!("{db}: {}", key.escape_ascii());
            contents.insert(name, key_text(client, &key, depth));
        }
    }
    client.run("SELECT 0");
    contents.insert("functions".to_owned(), show(&client.run("FUNCTION LIST WITHCODE")));
    contents
}

fn texts(reply: &Value) -> Vec<Vec<u8>> {
    match reply {
        Value::Array(values) | Value::Set(values) => {
            values.iter().map(|value| value.as_bytes().unwrap_or_default().to_vec()).collect()
        }
        _ => Vec::new(),
    }
}

/// A reply as text, its elements sorted by so many at a time.
fn sorted(reply: &Value, step: usize) -> String {
    let Value::Array(values) = reply else { return show(reply) };
    let mut groups: Vec<String> = values
        .chunks(step)
        .map(|group| group.iter().map(show).collect::<Vec<_>>().join("="))
        .collect();
    groups.sort();
    groups.join(" ")
}

fn key_text(client: &mut Client, key: &[u8], depth: Depth) -> String {
    let mut ask = |words: &[&[u8]]| client.call(words);
    let kind = show(&ask(&[b"TYPE", key]));
    let deadline = show(&ask(&[b"PEXPIRETIME", key]));
    let value = match &*kind {
        "string" => show(&ask(&[b"GET", key])),
        "list" => show(&ask(&[b"LRANGE", key, b"0", b"-1"])),
        "set" => sorted(&ask(&[b"SMEMBERS", key]), 1),
        "hash" => sorted(&ask(&[b"HGETALL", key]), 2),
        "zset" => sorted(&ask(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]), 2),
        "stream" => stream_text(client, key),
        other => panic!("a key of type {other}"),
    };
    let elements = match depth {
        Depth::Common => String::new(),
        Depth::Ours => element_deadlines(client, key, &kind),
    };
    format!("{kind} {deadline} {value}{elements}")
}

/// Entries, groups, their consumers, and what is pending without how long it has been.
fn stream_text(client: &mut Client, key: &[u8]) -> String {
    let mut ask = |words: &[&[u8]]| client.call(words);
    let mut parts = vec![show(&ask(&[b"XRANGE", key, b"-", b"+"]))];
    let info = ask(&[b"XINFO", b"STREAM", key]);
    for field in ["length", "last-generated-id", "max-deleted-entry-id", "entries-added"] {
        parts.push(format!("{field}:{}", field_of(&info, field)));
    }
    let Value::Array(groups) = ask(&[b"XINFO", b"GROUPS", key]) else { return parts.join(" ") };
    for group in &groups {
        let name = bytes_of(group, "name");
        parts.push(format!("\n  group {}", name.escape_ascii()));
        for field in ["last-delivered-id", "entries-read", "pending"] {
            parts.push(format!("{field}:{}", field_of(group, field)));
        }
        let consumers = ask(&[b"XINFO", b"CONSUMERS", key, &name]);
        let Value::Array(consumers) = &consumers else { panic!("no consumers: {consumers:?}") };
        let mut names: Vec<String> =
            consumers.iter().map(|consumer| field_of(consumer, "name")).collect();
        names.sort();
        parts.push(format!("consumers:{}", names.join(",")));
        let pending = ask(&[b"XPENDING", key, &name, b"-", b"+", b"1000"]);
        let Value::Array(pending) = &pending else { panic!("nothing pending: {pending:?}") };
        for entry in pending {
            let Value::Array(fields) = entry else { panic!("a pending entry: {entry:?}") };
            let (id, consumer, count) = (show(&fields[0]), show(&fields[1]), show(&fields[3]));
            parts.push(format!("{id}/{consumer}/{count}"));
        }
    }
    parts.join(" ")
}

/// A field of a reply that has names and values by turns.
fn value_of<'v>(reply: &'v Value, field: &str) -> &'v Value {
    let Value::Array(values) = reply else { panic!("no fields: {reply:?}") };
    let found = values.chunks(2).find(|pair| pair[0].as_bytes() == Some(field.as_bytes()));
    &found.unwrap_or_else(|| panic!("no {field}: {reply:?}"))[1]
}

fn field_of(reply: &Value, field: &str) -> String {
    show(value_of(reply, field))
}

fn bytes_of(reply: &Value, field: &str) -> Vec<u8> {
    value_of(reply, field).as_bytes().unwrap_or_default().to_vec()
}

fn element_deadlines(client: &mut Client, key: &[u8], kind: &str) -> String {
    let (list, step, tell, word): (&[&[u8]], _, _, _) = match kind {
        "hash" => (&[b"HKEYS", key], 1, "HPEXPIRETIME", "FIELDS"),
        "set" => (&[b"SMEMBERS", key], 1, "SPEXPIRETIME", "MEMBERS"),
        "zset" => (&[b"ZRANGE", key, b"0", b"-1"], 1, "ZPEXPIRETIME", "MEMBERS"),
        _ => return String::new(),
    };
    let mut names = texts(&client.call(list));
    names.sort();
    let count = names.len().to_string();
    let mut request: Vec<&[u8]> = vec![tell.as_bytes(), key, word.as_bytes(), count.as_bytes()];
    request.extend(names.iter().step_by(step).map(|name| &**name));
    format!(" until {}", show(&client.call(&request)))
}

/// What differs between two servers' contents, a line each; nothing if they are the same.
pub(crate) fn differences(expected: &Contents, found: &Contents) -> Vec<String> {
    let names: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let nothing = "nothing".to_owned();
    let of = |contents: &Contents, name: &str| contents.get(name).unwrap_or(&nothing).clone();
    names
        .into_iter()
        .filter(|name| expected.get(*name) != found.get(*name))
        .map(|name| format!("{name}\n  was {}\n  is  {}", of(expected, name), of(found, name)))
        .collect()
}
