//! Values of Lua to replies for clients.
//!
//! As the peers do it: a status is a table `{ok = ...}`, an error `{err = ...}`, RESP3's types are
//! tables with one field that names them. The other direction is in [`super::raw`].

use kvasir_proto::{Encoder, Resp};
use mlua::{Lua, LuaString, Table, Value};

/// Tables in tables that a reply may have, beyond which the peers say that their stack is full.
const DEPTH_MAX: usize = 1000;

/// The names of fields that conversions look for, made once.
pub(super) struct Names {
    err: LuaString,
    ok: LuaString,
    source: LuaString,
    line: LuaString,
    ignore: LuaString,
    double: LuaString,
    big_number: LuaString,
    verbatim: LuaString,
    format: LuaString,
    string: LuaString,
    map: LuaString,
    set: LuaString,
}

impl Names {
    pub(super) fn new(lua: &Lua) -> mlua::Result<Self> {
        Ok(Self {
            err: lua.create_string("err")?,
            ok: lua.create_string("ok")?,
            source: lua.create_string("source")?,
            line: lua.create_string("line")?,
            ignore: lua.create_string("ignore_error_stats_update")?,
            double: lua.create_string("double")?,
            big_number: lua.create_string("big_number")?,
            verbatim: lua.create_string("verbatim_string")?,
            format: lua.create_string("format")?,
            string: lua.create_string("string")?,
            map: lua.create_string("map")?,
            set: lua.create_string("set")?,
        })
    }
}

/// The code and the text of an error. Where `text` does not begin with `-` and a code, the code is
/// `ERR`.
pub(super) fn error_parts(text: &[u8]) -> (&[u8], &[u8]) {
    let (code, rest) = match text.strip_prefix(b"-") {
        None => (&b"ERR"[..], text),
        Some(text) => match memchr::memchr(b' ', text) {
            None => (&b"ERR"[..], text),
            Some(at) => (&text[..at], &text[at + 1..]),
        },
    };
    let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = rest.iter().position(|byte| !is_line_end(byte)).unwrap_or(rest.len());
    let end = rest.iter().rposition(|byte| !is_line_end(byte)).map_or(start, |last| last + 1);
    (code, &rest[start..end])
}

/// The table that an error is for a script: see [`error_parts`].
pub(super) fn error_table(lua: &Lua, names: &Names, text: &[u8]) -> mlua::Result<Table> {
    let (code, rest) = error_parts(text);
    let table = lua.create_table_with_capacity(0, 4)?;
    table.raw_set(&names.err, lua.create_string([code, b" ", rest].concat())?)?;
    Ok(table)
}

/// Whether a value is an error that has been counted already.
pub(super) fn counted(value: &Value, names: &Names) -> bool {
    let Value::Table(table) = value else { return false };
    matches!(table.raw_get(&names.ignore), Ok(Value::Boolean(true)))
}

/// The text of an error that has ended a script, and whether it has been counted.
pub(super) fn failure(value: &Value, names: &Names, script: &str) -> (Vec<u8>, bool) {
    let Value::Table(table) = value else {
        let text = text_of(value).unwrap_or_else(|| b"execution failure".to_vec());
        let text = &text[..text.len().min(100)];
        return ([format!("ERR Error running script {script}, ").as_bytes(), text].concat(), false);
    };
    let field = |name: &LuaString| table.raw_get::<Value>(name).ok().and_then(|v| text_of(&v));
    let mut text = field(&names.err).unwrap_or_else(|| b"ERR unknown error".to_vec());
    if let (Some(source), Some(line)) = (field(&names.source), field(&names.line)) {
        text.extend_from_slice(format!(" script: {script}, on ").as_bytes());
        text.extend_from_slice(&source);
        text.push(b':');
        text.extend_from_slice(&line);
        text.push(b'.');
    }
    (text, counted(value, names))
}

/// The text of what Lua takes for a string: strings and numbers.
pub(super) fn text_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Integer(integer) => Some(integer.to_string().into_bytes()),
        Value::Number(number) => Some(super::number::to_text(*number).into_bytes()),
        _ => None,
    }
}

/// Writes a script's result as a reply. `script_resp` is the version that the script has chosen for
/// itself, which decides about booleans.
pub(super) fn encode(value: &Value, names: &Names, script_resp: Resp, reply: &mut Encoder<'_>) {
    encode_at(value, names, script_resp, reply, 0);
}

fn encode_at(value: &Value, names: &Names, resp: Resp, reply: &mut Encoder<'_>, depth: usize) {
    match value {
        Value::String(text) => reply.bulk(&text.as_bytes()),
        Value::Boolean(value) if resp == Resp::V3 => reply.boolean(*value),
        Value::Boolean(true) => reply.integer(1),
        Value::Integer(integer) => reply.integer(*integer),
        // As a conversion in C, where what does not fit is the smallest integer.
        Value::Number(number) => reply.integer(to_integer(*number)),
        Value::Table(_) if depth >= DEPTH_MAX => reply.error("ERR reached lua stack limit"),
        Value::Table(table) => encode_table(table, names, resp, reply, depth + 1),
        _ => reply.null(),
    }
}

/// What a conversion of a double to a 64-bit integer gives on the peers' machines.
pub(super) fn to_integer(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) { number as i64 } else { i64::MIN }
}

fn field(table: &Table, name: &LuaString) -> Value {
    table.raw_get(name).unwrap_or(Value::Nil)
}

/// A text on one line.
fn one_line(text: &[u8]) -> Vec<u8> {
    let line = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
    text.iter().map(line).collect()
}

fn encode_table(table: &Table, names: &Names, resp: Resp, reply: &mut Encoder<'_>, depth: usize) {
    if let Value::String(text) = field(table, &names.err) {
        return reply.error_bytes(&text.as_bytes());
    }
    if let Value::String(text) = field(table, &names.ok) {
        reply.raw(b"+");
        reply.raw(&one_line(&text.as_bytes()));
        return reply.raw(b"\r\n");
    }
    match field(table, &names.double) {
        Value::Number(number) => return reply.double(number),
        Value::Integer(integer) => return reply.double(integer as f64),
        _ => {}
    }
    if let Value::String(digits) = field(table, &names.big_number) {
        return reply.big_number(&one_line(&digits.as_bytes()));
    }
    if let Value::Table(verbatim) = field(table, &names.verbatim)
        && let Value::String(format) = field(&verbatim, &names.format)
        && let Value::String(text) = field(&verbatim, &names.string)
    {
        let mut letters = *b"   ";
        for (letter, byte) in letters.iter_mut().zip(format.as_bytes().iter()) {
            *letter = *byte;
        }
        return reply.verbatim(letters, &text.as_bytes());
    }
    if let Value::Table(map) = field(table, &names.map) {
        let deferred = reply.defer_map();
        let mut length = 0;
        for (key, value) in map.pairs::<Value, Value>().flatten() {
            encode_at(&key, names, resp, reply, depth);
            encode_at(&value, names, resp, reply, depth);
            length += 1;
        }
        return reply.finish(deferred, length);
    }
    if let Value::Table(set) = field(table, &names.set) {
        let deferred = reply.defer_set();
        let mut length = 0;
        for (key, _) in set.pairs::<Value, Value>().flatten() {
            encode_at(&key, names, resp, reply, depth);
            length += 1;
        }
        return reply.finish(deferred, length);
    }
    let deferred = reply.defer_array();
    let mut length = 0;
    loop {
        match table.raw_get::<Value>(length + 1) {
            Ok(Value::Nil) | Err(_) => break,
            Ok(value) => encode_at(&value, names, resp, reply, depth),
        }
        length += 1;
    }
    reply.finish(deferred, length);
}
