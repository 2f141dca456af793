//! The operations of [`super::keyspace`] as requests, and their replies as they come back.

use kvasir_proto::Value;

use super::keyspace::{Key, Op, Reply};

/// What executes the commands of an [`Op::Script`], which are given to it as arguments, each with
/// their number before it.
const SCRIPT: &str = "local replies, at = {}, 1
while ARGV[at] do
  local count = tonumber(ARGV[at])
  replies[#replies + 1] = redis.pcall(unpack(ARGV, at + 1, at + count))
  at = at + 1 + count
end
return replies";

/// The name of a key.
pub fn key_name(key: Key) -> String {
    format!("key:{key}")
}

/// The requests that carry out an operation: several for a transaction, of which the last one's
/// reply is the operation's.
pub fn requests(op: &Op) -> Vec<Vec<String>> {
    let (Op::Multi(ops) | Op::Guarded(_, ops)) = op else { return vec![request(op)] };
    let word = |word: &str| vec![word.to_owned()];
    let ops = ops.iter().map(request);
    std::iter::once(word("MULTI")).chain(ops).chain([word("EXEC")]).collect()
}

fn request(op: &Op) -> Vec<String> {
    let named = |command: &str, keys: &[Key]| {
        let names = keys.iter().copied().map(key_name);
        std::iter::once(command.to_owned()).chain(names).collect::<Vec<_>>()
    };
    let with_value = |command: &str, key: &Key, value: &String| {
        let mut args = named(command, &[*key]);
        args.push(value.clone());
        args
    };
    let with_pairs = |command: &str, pairs: &[(Key, String)]| {
        let mut args = named(command, &[]);
        args.extend(pairs.iter().flat_map(|(key, value)| [key_name(*key), value.clone()]));
        args
    };
    match op {
        Op::Get(key) => named("GET", &[*key]),
        Op::Set(key, value) => with_value("SET", key, value),
        Op::SetNx(key, value) => with_value("SETNX", key, value),
        Op::GetDel(key) => named("GETDEL", &[*key]),
        Op::Append(key, tail) => with_value("APPEND", key, tail),
        Op::Incr(key) => named("INCR", &[*key]),
        Op::Del(keys) => named("DEL", keys),
        Op::Unlink(keys) => named("UNLINK", keys),
        Op::Exists(keys) => named("EXISTS", keys),
        Op::MGet(keys) => named("MGET", keys),
        Op::MSet(pairs) => with_pairs("MSET", pairs),
        Op::MSetNx(pairs) => with_pairs("MSETNX", pairs),
        Op::Rename(from, to) => named("RENAME", &[*from, *to]),
        Op::RenameNx(from, to) => named("RENAMENX", &[*from, *to]),
        Op::Copy(from, to) => named("COPY", &[*from, *to]),
        Op::FlushAll => named("FLUSHALL", &[]),
        Op::DbSize => named("DBSIZE", &[]),
        Op::Keys => vec!["KEYS".to_owned(), "*".to_owned()],
        Op::Script { declared, number, ops } => script(declared, *number, ops),
        Op::Multi(_) | Op::Guarded(..) => unreachable!("transactions do not nest"),
    }
}

fn script(declared: &[Key], number: u64, ops: &[Op]) -> Vec<String> {
    let text = format!("{SCRIPT} -- {number}");
    let mut args = vec!["EVAL".to_owned(), text, declared.len().to_string()];
    args.extend(declared.iter().copied().map(key_name));
    for command in ops.iter().map(request) {
        args.push(command.len().to_string());
        args.extend(command);
    }
    args
}

/// What the reply to an operation says; nothing when it is none that the operation can have.
pub fn reply(op: &Op, value: &Value) -> Option<Reply> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let bulk = |value: &Value| match value {
        Value::Bulk(bytes) => Some(Some(text(bytes))),
        Value::Null | Value::NullArray => Some(None),
        _ => None,
    };
    match (op, value) {
        (Op::Multi(ops) | Op::Guarded(_, ops) | Op::Script { ops, .. }, Value::Array(values)) => {
            let replies = ops.iter().zip(values).map(|(op, value)| reply(op, value));
            replies.collect::<Option<_>>().map(Reply::Many)
        }
        (_, Value::Simple(text)) if text == b"OK" => Some(Reply::Ok),
        (_, Value::Integer(number)) => Some(Reply::Int(*number)),
        (_, Value::Error(bytes)) => Some(Reply::Error(text(bytes))),
        (Op::Keys, Value::Array(names)) => sorted_keys(names).map(Reply::Names),
        (_, Value::Array(values)) => {
            values.iter().map(bulk).collect::<Option<_>>().map(Reply::Values)
        }
        (_, value) => bulk(value).map(Reply::Bulk),
    }
}

fn sorted_keys(names: &[Value]) -> Option<Vec<Key>> {
    let key = |value: &Value| {
        let digits = value.as_bytes()?.strip_prefix(b"key:")?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    let mut keys: Vec<Key> = names.iter().map(key).collect::<Option<_>>()?;
    keys.sort_unstable();
    Some(keys)
}
