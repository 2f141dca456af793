//! Replies of commands to values of Lua, and values of Lua to replies for clients.
//!
//! As the peers do both: a status is a table `{ok = ...}`, an error `{err = ...}`, RESP3's types
//! are tables with one field that names them. Only the server's own replies are read here, so what
//! is read is well-formed.

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

/// The table that an error is for a script. `text` may begin with `-` and a code; otherwise the
/// code is `ERR`.
pub(super) fn error_table(lua: &Lua, names: &Names, text: &[u8]) -> mlua::Result<Table> {
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
    let table = lua.create_table_with_capacity(0, 4)?;
    table.raw_set(&names.err, lua.create_string([code, b" ", &rest[start..end]].concat())?)?;
    Ok(table)
}

/// As [`error_table`], for an error that has been counted when it came about.
pub(super) fn counted_error(lua: &Lua, names: &Names, text: &[u8]) -> mlua::Result<Table> {
    let table = error_table(lua, names, text)?;
    table.raw_set(&names.ignore, true)?;
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

/// Reads one of the server's replies as a script sees it.
pub(super) fn decode(lua: &Lua, names: &Names, reply: &[u8]) -> mlua::Result<Value> {
    let mut reader = Reader { rest: reply };
    reader.value(lua, names)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The bytes up to the next line end, which goes too.
    fn line(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b'\r', self.rest).expect("invariant: a reply's lines end");
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 2..];
        line
    }

    fn integer(line: &[u8]) -> i64 {
        kvasir_proto::number::parse_i64(line).expect("invariant: a reply's numbers are numbers")
    }

    fn bulk(&mut self, length: usize) -> &'a [u8] {
        let bytes = &self.rest[..length];
        self.rest = &self.rest[length + 2..];
        bytes
    }

    fn value(&mut self, lua: &Lua, names: &Names) -> mlua::Result<Value> {
        let line = self.line();
        let (kind, text) = line.split_first().expect("invariant: a reply has a type");
        Ok(match kind {
            b'$' => match usize::try_from(Self::integer(text)) {
                Ok(length) => Value::String(lua.create_string(self.bulk(length))?),
                Err(_) => Value::Boolean(false),
            },
            b':' => Value::Number(Self::integer(text) as f64),
            b'+' => Self::named(lua, &names.ok, Value::String(lua.create_string(text)?))?,
            b'-' => Value::Table(counted_error(lua, names, &[b"-", text].concat())?),
            b'*' | b'>' => match usize::try_from(Self::integer(text)) {
                Ok(length) => self.array(lua, names, length)?,
                Err(_) => Value::Boolean(false),
            },
            b'%' => self.map(lua, names, text)?,
            b'~' => self.set(lua, names, text)?,
            b'#' => Value::Boolean(text == b"t"),
            b',' => {
                let number = kvasir_proto::number::parse_f64(text).unwrap_or(f64::NAN);
                Self::named(lua, &names.double, Value::Number(number))?
            }
            b'(' => Self::named(lua, &names.big_number, Value::String(lua.create_string(text)?))?,
            b'=' => self.verbatim(lua, names, text)?,
            b'|' => {
                for _ in 0..2 * Self::integer(text) {
                    self.value(lua, names)?;
                }
                self.value(lua, names)?
            }
            _ => Value::Nil,
        })
    }

    fn named(lua: &Lua, name: &LuaString, value: Value) -> mlua::Result<Value> {
        let table = lua.create_table_with_capacity(0, 1)?;
        table.raw_set(name, value)?;
        Ok(Value::Table(table))
    }

    fn array(&mut self, lua: &Lua, names: &Names, length: usize) -> mlua::Result<Value> {
        let table = lua.create_table_with_capacity(length, 0)?;
        for index in 1..=length {
            let value = self.value(lua, names)?;
            table.raw_set(index, value)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, lua: &Lua, names: &Names, text: &[u8]) -> mlua::Result<Value> {
        let pairs = lua.create_table()?;
        for _ in 0..Self::integer(text) {
            let key = self.value(lua, names)?;
            let value = self.value(lua, names)?;
            if !matches!(key, Value::Nil) {
                pairs.raw_set(key, value)?;
            }
        }
        Self::named(lua, &names.map, Value::Table(pairs))
    }

    fn set(&mut self, lua: &Lua, names: &Names, text: &[u8]) -> mlua::Result<Value> {
        let members = lua.create_table()?;
        for _ in 0..Self::integer(text) {
            let member = self.value(lua, names)?;
            if !matches!(member, Value::Nil) {
                members.raw_set(member, true)?;
            }
        }
        Self::named(lua, &names.set, Value::Table(members))
    }

    fn verbatim(&mut self, lua: &Lua, names: &Names, text: &[u8]) -> mlua::Result<Value> {
        let bytes = self.bulk(Self::integer(text) as usize);
        let fields = lua.create_table_with_capacity(0, 2)?;
        fields.raw_set(&names.string, lua.create_string(&bytes[4..])?)?;
        fields.raw_set(&names.format, lua.create_string(&bytes[..3])?)?;
        Self::named(lua, &names.verbatim, Value::Table(fields))
    }
}
