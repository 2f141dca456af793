//! The functions that scripts call: the tables `server` and `redis`, and `math.random`.
//!
//! A function that can fail returns what it fails with before its result; the prelude raises it.

use std::cell::Cell;
use std::rc::Rc;

use kvasir_proto::Resp;
use kvasir_proto::number::{DoubleText, as_exact_i64};
use mlua::{Lua, LuaString, MultiValue, Table, Value};

use super::convert::{self, Names};
use super::exchange::{Call, Ending, Exchange};
use super::interpreter::{PRELUDE_NAME, die};
use super::{bits, json, message_of, msgpack, pack, raw};
use crate::commands::table::table;
use crate::identity;
use crate::sha1;

/// A failure, or nothing, and the result.
type Outcome = mlua::Result<(Value, Value)>;

/// What the prelude is given.
pub(super) fn natives(
    lua: &Lua,
    exchange: &Rc<Exchange>,
    names: &Rc<Names>,
) -> mlua::Result<Table> {
    let native = lua.create_table()?;
    add_calls(lua, &native, exchange, names)?;
    add_replies(lua, &native, names)?;
    add_settings(lua, &native, exchange, names)?;
    add_random(lua, &native, exchange)?;
    native.raw_set("handler", handler(lua, exchange, names)?)?;
    native.raw_set("versions", versions(lua)?)?;
    let libraries = lua.create_table()?;
    libraries.raw_set("bit", bits::library(lua)?)?;
    libraries.raw_set("cmsgpack", msgpack::library(lua)?)?;
    libraries.raw_set("struct", pack::library(lua)?)?;
    native.raw_set("libraries", libraries)?;
    let shared = Rc::clone(exchange);
    // The first codec is the one that all scripts see, whose settings each finds as they were.
    let first = Cell::new(true);
    let codec = lua.create_function(move |lua, ()| {
        let own = if first.take() { Rc::clone(&shared.json) } else { Rc::default() };
        json::codec(lua, &own)
    })?;
    native.raw_set("codec", codec)?;
    Ok(native)
}

fn failed(table: Table) -> (Value, Value) {
    (Value::Table(table), Value::Nil)
}

fn succeeded(value: Value) -> (Value, Value) {
    (Value::Nil, value)
}

/// `redis.call` and `redis.pcall`.
fn add_calls(
    lua: &Lua,
    native: &Table,
    exchange: &Rc<Exchange>,
    names: &Rc<Names>,
) -> mlua::Result<()> {
    let (shared, fields) = (Rc::clone(exchange), Rc::clone(names));
    let ending = lua.create_function(move |lua, ()| {
        let ending = shared.ending.get().unwrap_or(Ending::Abandoned);
        die(lua, &shared, ending)?;
        convert::error_table(lua, &fields, ending.text().as_bytes())
    })?;
    let (call, pcall) = raw::functions(lua, exchange, ending)?;
    native.raw_set("call", call)?;
    native.raw_set("pcall", pcall)
}

/// Adds an argument of a command; false when it is neither a string nor a number.
fn push_argument(call: &mut Call, value: &Value) -> bool {
    match value {
        Value::String(text) => call.push(&text.as_bytes()),
        Value::Integer(integer) => call.push(itoa::Buffer::new().format(*integer).as_bytes()),
        Value::Number(number) => match as_exact_i64(*number) {
            Some(integer) => call.push(itoa::Buffer::new().format(integer).as_bytes()),
            None => call.push(DoubleText::new(*number).as_bytes()),
        },
        _ => return false,
    }
    true
}

fn add_replies(lua: &Lua, native: &Table, names: &Rc<Names>) -> mlua::Result<()> {
    const WRONG: &[u8] = b"wrong number or type of arguments";
    let single = |args: &MultiValue| match (args.len(), args.front()) {
        (1, Some(Value::String(text))) => Some(text.clone()),
        _ => None,
    };
    let fields = Rc::clone(names);
    let error_reply = lua.create_function(move |lua, args: MultiValue| {
        let Some(text) = single(&args) else { return convert::error_table(lua, &fields, WRONG) };
        let text = text.as_bytes();
        let text = if text.starts_with(b"-") { text.to_vec() } else { [b"-", &text[..]].concat() };
        convert::error_table(lua, &fields, &text)
    })?;
    let fields = Rc::clone(names);
    let status_reply = lua.create_function(move |lua, args: MultiValue| {
        let Some(text) = single(&args) else { return convert::error_table(lua, &fields, WRONG) };
        let table = lua.create_table_with_capacity(0, 1)?;
        table.raw_set("ok", text)?;
        Ok(table)
    })?;
    let fields = Rc::clone(names);
    let sha1hex = lua.create_function(move |lua, args: MultiValue| {
        if args.len() != 1 {
            return Ok(failed(convert::error_table(lua, &fields, b"wrong number of arguments")?));
        }
        let text = convert::text_of(&args[0]).unwrap_or_default();
        let digest = sha1::to_hex(&sha1::sha1(&text));
        Ok(succeeded(Value::String(lua.create_string(digest)?)))
    })?;
    native.raw_set("error_reply", error_reply)?;
    native.raw_set("status_reply", status_reply)?;
    native.raw_set("sha1hex", sha1hex)
}

/// What Lua takes for a number: also a string that is one.
pub(super) fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(integer) => Some(*integer as f64),
        Value::Number(number) => Some(*number),
        Value::String(text) => {
            let text = text.as_bytes();
            std::str::from_utf8(&text).ok()?.trim().parse().ok()
        }
        _ => None,
    }
}

/// `log`, `setresp`, `set_repl` and `acl_check_cmd`.
fn add_settings(
    lua: &Lua,
    native: &Table,
    exchange: &Rc<Exchange>,
    names: &Rc<Names>,
) -> mlua::Result<()> {
    let fields = Rc::clone(names);
    let log = lua.create_function(move |lua, args: MultiValue| -> Outcome {
        Ok(match log_line(&args) {
            Ok(()) => succeeded(Value::Nil),
            Err(text) => failed(convert::error_table(lua, &fields, text.as_bytes())?),
        })
    })?;
    let (shared, fields) = (Rc::clone(exchange), Rc::clone(names));
    let setresp = lua.create_function(move |lua, args: MultiValue| -> Outcome {
        let fail = |text: &str| Ok(failed(convert::error_table(lua, &fields, text.as_bytes())?));
        if args.len() != 1 {
            return fail("server.setresp() requires one argument.");
        }
        let version = number_of(&args[0]).unwrap_or_default();
        match version as i64 {
            2 => shared.resp.set(Resp::V2),
            3 => shared.resp.set(Resp::V3),
            _ => return fail("RESP version must be 2 or 3."),
        }
        Ok(succeeded(Value::Nil))
    })?;
    let fields = Rc::clone(names);
    let set_repl = lua.create_function(move |lua, args: MultiValue| -> Outcome {
        let fail = |text: &str| Ok(failed(convert::error_table(lua, &fields, text.as_bytes())?));
        if args.len() != 1 {
            return fail("server.set_repl() requires one argument.");
        }
        let flags = number_of(&args[0]).unwrap_or_default() as i64;
        if flags & !3 != 0 {
            return fail(
                "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
            );
        }
        Ok(succeeded(Value::Nil))
    })?;
    let fields = Rc::clone(names);
    let acl_check_cmd = lua.create_function(move |lua, args: MultiValue| -> Outcome {
        let fail = |text: &str| Ok(failed(convert::error_table(lua, &fields, text.as_bytes())?));
        if args.is_empty() {
            return fail("Please specify at least one argument for this call");
        }
        let mut call = Call::default();
        if !args.iter().all(|arg| push_argument(&mut call, arg)) {
            return fail("Command arguments must be strings or integers");
        }
        if table().find(call.args()).is_none() {
            return fail("Invalid command passed to server.acl_check_cmd()");
        }
        // Every user may do everything, as long as there is only the one of `requirepass`.
        Ok(succeeded(Value::Boolean(true)))
    })?;
    native.raw_set("log", log)?;
    native.raw_set("setresp", setresp)?;
    native.raw_set("set_repl", set_repl)?;
    native.raw_set("acl_check_cmd", acl_check_cmd)
}

fn log_line(args: &MultiValue) -> Result<(), &'static str> {
    if args.len() < 2 {
        return Err("server.log() requires two arguments or more.");
    }
    let level = number_of(&args[0]).ok_or("First argument must be a number (log level).")?;
    let parts: Vec<Vec<u8>> = args.iter().skip(1).filter_map(convert::text_of).collect();
    let line = parts.join(&b' ');
    let line = String::from_utf8_lossy(&line);
    match level as i64 {
        0 => tracing::trace!("{line}"),
        1 => tracing::debug!("{line}"),
        2 => tracing::info!("{line}"),
        3 => tracing::warn!("{line}"),
        _ => return Err("Invalid log level."),
    }
    Ok(())
}

fn add_random(lua: &Lua, native: &Table, exchange: &Rc<Exchange>) -> mlua::Result<()> {
    let shared = Rc::clone(exchange);
    let random = lua.create_function(move |lua, args: MultiValue| -> Outcome {
        let fraction = shared.random.borrow_mut().fraction();
        let bound = |index| integer_argument(lua, &args, index, "random");
        let result = match args.len() {
            0 => Ok(fraction),
            1 => bound(0).and_then(|upper| {
                if upper < 1 {
                    return Err(bad_argument(lua, 1, "random", "interval is empty"));
                }
                Ok((fraction * f64::from(upper)).floor() + 1.0)
            }),
            2 => bound(0).and_then(|lower| Ok((lower, bound(1)?))).and_then(|(lower, upper)| {
                if lower > upper {
                    return Err(bad_argument(lua, 2, "random", "interval is empty"));
                }
                // Where the width has no place in 32 bits, it wraps as in the peers.
                let width = upper.wrapping_sub(lower).wrapping_add(1);
                Ok((fraction * f64::from(width)).floor() + f64::from(lower))
            }),
            _ => Err(position(lua) + "wrong number of arguments"),
        };
        match result {
            Ok(number) => Ok(succeeded(Value::Number(number))),
            Err(text) => Ok((Value::String(lua.create_string(text)?), Value::Nil)),
        }
    })?;
    let shared = Rc::clone(exchange);
    let randomseed = lua.create_function(move |lua, args: MultiValue| -> Outcome {
        match integer_argument(lua, &args, 0, "randomseed") {
            Ok(seed) => {
                shared.random.borrow_mut().seed(seed);
                Ok(succeeded(Value::Nil))
            }
            Err(text) => Ok((Value::String(lua.create_string(text)?), Value::Nil)),
        }
    })?;
    native.raw_set("random", random)?;
    native.raw_set("randomseed", randomseed)
}

fn integer_argument(
    lua: &Lua,
    args: &MultiValue,
    index: usize,
    function: &str,
) -> Result<i32, String> {
    let value = args.get(index);
    if let Some(number) = value.and_then(number_of) {
        return Ok(convert::to_integer(number) as i32);
    }
    let found = value.map_or("no value", |value| value.type_name());
    Err(bad_argument(lua, index + 1, function, &format!("number expected, got {found}")))
}

/// The text of an error about an argument, as Lua's own functions have it.
pub(super) fn bad_argument(lua: &Lua, number: usize, function: &str, text: &str) -> String {
    format!("{}bad argument #{number} to '{function}' ({text})", position(lua))
}

/// Where the script is that has called a function of ours, as the beginning of an error's text.
pub(super) fn position(lua: &Lua) -> String {
    // Level 0 is the function itself, 1 its wrapper in the prelude.
    let found = lua.inspect_stack(2, |debug| {
        let line = debug.current_line()?;
        Some(format!("{}:{line}: ", debug.source().short_src?))
    });
    found.flatten().unwrap_or_default()
}

/// What becomes of an error that a script does not catch: a table with the text and the place.
fn handler(lua: &Lua, exchange: &Rc<Exchange>, names: &Rc<Names>) -> mlua::Result<mlua::Function> {
    let (shared, fields) = (Rc::clone(exchange), Rc::clone(names));
    lua.create_function(move |lua, error: Value| {
        let table = match (shared.ending.get(), error) {
            (Some(ending), _) => {
                let text = ending.text().strip_prefix("ERR ").unwrap_or(ending.text());
                convert::error_table(lua, &fields, text.as_bytes())?
            }
            (None, Value::Table(table)) => table,
            (None, error) => convert::error_table(lua, &fields, &message_of(&error))?,
        };
        if let Some((source, line)) = raised_at(lua) {
            table.raw_set("source", source)?;
            table.raw_set("line", line)?;
        }
        Ok(table)
    })
}

/// Where an error was raised: in the function that raised it, or in its caller if that is one of C
/// or of ours.
fn raised_at(lua: &Lua) -> Option<(LuaString, i64)> {
    let mut level = 1;
    for foreign in ["=[C]", PRELUDE_NAME] {
        let is_foreign = lua.inspect_stack(level, |debug| {
            debug.source().source.is_some_and(|source| source == foreign)
        })?;
        level += usize::from(is_foreign);
    }
    let (source, line) = lua.inspect_stack(level, |debug| {
        let source = debug.source().source.unwrap_or_default().into_owned();
        (source, debug.current_line().map_or(-1, |line| line as i64))
    })?;
    Some((lua.create_string(source).ok()?, line))
}

fn versions(lua: &Lua) -> mlua::Result<Table> {
    let number = |version: &str| {
        version.split('.').fold(0_i64, |number, part| number << 8 | part.parse().unwrap_or(0))
    };
    let versions = lua.create_table()?;
    versions.raw_set("REDIS_VERSION", identity::REDIS_VERSION)?;
    versions.raw_set("REDIS_VERSION_NUM", number(identity::REDIS_VERSION))?;
    versions.raw_set("VALKEY_VERSION", identity::VALKEY_VERSION)?;
    versions.raw_set("VALKEY_VERSION_NUM", number(identity::VALKEY_VERSION))?;
    versions.raw_set("SERVER_NAME", "valkey")?;
    Ok(versions)
}
