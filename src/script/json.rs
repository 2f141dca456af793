//! `cjson`: JSON with the semantics and the texts of `lua-cjson`.
//!
//! Written over Lua's interface, so that the collector knows of every value that is under way.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::convert::to_integer;
use super::library::{Arguments, Failure, add, one};
use super::number;

mod decode;

/// Tables in tables, whatever the settings say: what a script's native stack surely holds.
const NESTING_MAX: i32 = 2000;

/// What scripts can set of a codec.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    sparse_convert: bool,
    sparse_ratio: i32,
    sparse_safe: i32,
    encode_depth_max: i32,
    decode_depth_max: i32,
    precision: i32,
    keep_buffer: bool,
    invalid: Invalid,
    decode_invalid: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth_max: 1000,
            decode_depth_max: 1000,
            precision: 14,
            keep_buffer: true,
            invalid: Invalid::Off,
            decode_invalid: true,
        }
    }
}

/// What becomes of numbers that JSON does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Invalid {
    Off,
    On,
    Null,
}

impl Invalid {
    fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Null => "null",
        }
    }
}

/// A codec with settings of its own.
pub(super) fn codec(lua: &Lua, settings: &Rc<Cell<Settings>>) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let own = Rc::clone(settings);
    add(lua, &library, "encode", move |lua, args| {
        let value = single(args)?;
        let mut json = Vec::new();
        Encode { settings: own.get(), json: &mut json }.value(&value, 0)?;
        one(Value::String(lua.create_string(json)?))
    })?;
    let own = Rc::clone(settings);
    add(lua, &library, "decode", move |lua, args| {
        single(args)?;
        let text = args.string(lua, 0)?;
        one(decode::decode(lua, &text.as_bytes(), own.get())?)
    })?;
    add_settings(lua, &library, settings)?;
    library.raw_set("null", Value::NULL)?;
    library.raw_set("_NAME", "cjson")?;
    library.raw_set("_VERSION", "2.1.0")?;
    Ok(library)
}

fn single(args: &Arguments<'_>) -> Result<Value, Failure> {
    match args.args.len() {
        1 => Ok(args.get(0)),
        _ => Err(Failure::Argument(1, "expected 1 argument".into())),
    }
}

fn add_settings(lua: &Lua, library: &Table, settings: &Rc<Cell<Settings>>) -> mlua::Result<()> {
    let own = Rc::clone(settings);
    add(lua, library, "encode_sparse_array", move |_, args| {
        let mut settings = checked(&own, args, 3)?;
        settings.sparse_convert = flag(args, settings.sparse_convert)?;
        settings.sparse_ratio = integer(args, 1, settings.sparse_ratio, 0, i32::MAX)?;
        settings.sparse_safe = integer(args, 2, settings.sparse_safe, 0, i32::MAX)?;
        own.set(settings);
        Ok([
            Value::Boolean(settings.sparse_convert),
            Value::Integer(settings.sparse_ratio.into()),
            Value::Integer(settings.sparse_safe.into()),
        ]
        .into_iter()
        .collect())
    })?;
    let own = Rc::clone(settings);
    add(lua, library, "encode_max_depth", move |_, args| {
        let mut settings = checked(&own, args, 1)?;
        settings.encode_depth_max = integer(args, 0, settings.encode_depth_max, 1, i32::MAX)?;
        own.set(settings);
        one(Value::Integer(settings.encode_depth_max.into()))
    })?;
    let own = Rc::clone(settings);
    add(lua, library, "decode_max_depth", move |_, args| {
        let mut settings = checked(&own, args, 1)?;
        settings.decode_depth_max = integer(args, 0, settings.decode_depth_max, 1, i32::MAX)?;
        own.set(settings);
        one(Value::Integer(settings.decode_depth_max.into()))
    })?;
    let own = Rc::clone(settings);
    add(lua, library, "encode_number_precision", move |_, args| {
        let mut settings = checked(&own, args, 1)?;
        settings.precision = integer(args, 0, settings.precision, 1, 14)?;
        own.set(settings);
        one(Value::Integer(settings.precision.into()))
    })?;
    add_switches(lua, library, settings)
}

fn add_switches(lua: &Lua, library: &Table, settings: &Rc<Cell<Settings>>) -> mlua::Result<()> {
    let own = Rc::clone(settings);
    add(lua, library, "encode_keep_buffer", move |_, args| {
        let mut settings = checked(&own, args, 1)?;
        settings.keep_buffer = flag(args, settings.keep_buffer)?;
        own.set(settings);
        one(Value::Boolean(settings.keep_buffer))
    })?;
    let own = Rc::clone(settings);
    add(lua, library, "encode_invalid_numbers", move |lua, args| {
        let mut settings = checked(&own, args, 1)?;
        settings.invalid = match args.get(0) {
            Value::Nil => settings.invalid,
            Value::Boolean(true) => Invalid::On,
            Value::Boolean(false) => Invalid::Off,
            Value::String(name) => [Invalid::Off, Invalid::On, Invalid::Null]
                .into_iter()
                .find(|choice| name == choice.name())
                .ok_or_else(|| {
                    let name = name.to_string_lossy();
                    Failure::Argument(1, format!("invalid option '{name}'"))
                })?,
            _ => {
                args.string(lua, 0)?;
                settings.invalid
            }
        };
        own.set(settings);
        one(match settings.invalid {
            Invalid::Off => Value::Boolean(false),
            Invalid::On => Value::Boolean(true),
            Invalid::Null => Value::String(lua.create_string("null")?),
        })
    })?;
    let own = Rc::clone(settings);
    add(lua, library, "decode_invalid_numbers", move |_, args| {
        let mut settings = checked(&own, args, 1)?;
        settings.decode_invalid = flag(args, settings.decode_invalid)?;
        own.set(settings);
        one(Value::Boolean(settings.decode_invalid))
    })
}

/// The settings, for a function that takes so many arguments at most.
fn checked(
    settings: &Cell<Settings>,
    args: &Arguments<'_>,
    most: usize,
) -> Result<Settings, Failure> {
    if args.args.len() > most {
        return Err(Failure::Argument(most + 1, "found too many arguments".into()));
    }
    Ok(settings.get())
}

fn flag(args: &Arguments<'_>, present: bool) -> Result<bool, Failure> {
    match args.get(0) {
        Value::Nil => Ok(present),
        Value::Boolean(flag) => Ok(flag),
        _ => Err(Failure::Argument(1, "boolean expected".into())),
    }
}

fn integer(
    args: &Arguments<'_>,
    index: usize,
    present: i32,
    least: i32,
    most: i32,
) -> Result<i32, Failure> {
    if matches!(args.get(index), Value::Nil) {
        return Ok(present);
    }
    let value = to_integer(args.number(index)?);
    i32::try_from(value).ok().filter(|value| (least..=most).contains(value)).ok_or_else(|| {
        let text = format!("expected integer between {least} and {most}");
        Failure::Argument(index + 1, text)
    })
}

struct Encode<'a> {
    settings: Settings,
    json: &'a mut Vec<u8>,
}

impl Encode<'_> {
    fn value(&mut self, value: &Value, depth: i32) -> Result<(), Failure> {
        match value {
            Value::String(text) => self.string(&text.as_bytes()),
            Value::Integer(integer) => self.number(*integer as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::Boolean(true) => self.json.extend_from_slice(b"true"),
            Value::Boolean(false) => self.json.extend_from_slice(b"false"),
            Value::Nil => self.json.extend_from_slice(b"null"),
            value if value.is_null() => self.json.extend_from_slice(b"null"),
            Value::Table(table) => self.table(table, depth + 1)?,
            other => return Err(cannot(other.type_name(), "type not supported")),
        }
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: i32) -> Result<(), Failure> {
        if depth > self.settings.encode_depth_max.min(NESTING_MAX) {
            return Err(Failure::Text(format!("Cannot serialise, excessive nesting ({depth})")));
        }
        match self.array_length(table)? {
            0 => self.object(table, depth),
            length => {
                for index in 1..=length {
                    self.json.push(if index == 1 { b'[' } else { b',' });
                    self.value(&table.raw_get::<Value>(index)?, depth)?;
                }
                self.json.push(b']');
                Ok(())
            }
        }
    }

    /// The length of a table that is encoded as an array; 0 for one that is not.
    fn array_length(&self, table: &Table) -> Result<i64, Failure> {
        let (mut max, mut items) = (0_i64, 0_i64);
        for pair in table.pairs::<Value, Value>() {
            let index = match pair?.0 {
                Value::Integer(index) => index as f64,
                Value::Number(index) => index,
                _ => return Ok(0),
            };
            if index < 1.0 || index.fract() != 0.0 {
                return Ok(0);
            }
            // Indices beyond 32 bits are excessive whatever they are.
            max = max.max(to_integer(index.min(f64::from(i32::MAX))));
            items += 1;
        }
        let Settings { sparse_ratio, sparse_safe, sparse_convert, .. } = self.settings;
        let sparse = sparse_ratio > 0
            && max > items.saturating_mul(sparse_ratio.into())
            && max > sparse_safe.into();
        match (sparse, sparse_convert) {
            (true, false) => Err(cannot("table", "excessively sparse array")),
            (true, true) => Ok(0),
            (false, _) => Ok(max),
        }
    }

    fn object(&mut self, table: &Table, depth: i32) -> Result<(), Failure> {
        self.json.push(b'{');
        for (number, pair) in table.pairs::<Value, Value>().enumerate() {
            let (key, value) = pair?;
            if number > 0 {
                self.json.push(b',');
            }
            match key {
                Value::String(text) => self.string(&text.as_bytes()),
                Value::Integer(index) => self.key(index as f64)?,
                Value::Number(index) => self.key(index)?,
                other => {
                    return Err(cannot(other.type_name(), "table key must be a number or string"));
                }
            }
            self.json.push(b':');
            self.value(&value, depth)?;
        }
        self.json.push(b'}');
        Ok(())
    }

    fn key(&mut self, index: f64) -> Result<(), Failure> {
        self.json.push(b'"');
        self.number(index)?;
        self.json.push(b'"');
        Ok(())
    }

    fn number(&mut self, value: f64) -> Result<(), Failure> {
        if !value.is_finite() {
            match self.settings.invalid {
                Invalid::Off => return Err(cannot("number", "must not be NaN or Inf")),
                Invalid::On if value.is_nan() => {
                    self.json.extend_from_slice(b"nan");
                    return Ok(());
                }
                Invalid::On => {}
                Invalid::Null => {
                    self.json.extend_from_slice(b"null");
                    return Ok(());
                }
            }
        }
        let text = number::general(value, self.settings.precision as usize);
        self.json.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn string(&mut self, text: &[u8]) {
        self.json.push(b'"');
        for &byte in text {
            match byte {
                b'"' => self.json.extend_from_slice(b"\\\""),
                b'\\' => self.json.extend_from_slice(b"\\\\"),
                b'/' => self.json.extend_from_slice(b"\\/"),
                8 => self.json.extend_from_slice(b"\\b"),
                b'\t' => self.json.extend_from_slice(b"\\t"),
                b'\n' => self.json.extend_from_slice(b"\\n"),
                12 => self.json.extend_from_slice(b"\\f"),
                b'\r' => self.json.extend_from_slice(b"\\r"),
                0..32 | 127 => {
                    self.json.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                }
                _ => self.json.push(byte),
            }
        }
        self.json.push(b'"');
    }
}

fn cannot(kind: &str, reason: &str) -> Failure {
    Failure::Text(format!("Cannot serialise {kind}: {reason}"))
}
