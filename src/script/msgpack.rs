//! `cmsgpack`: `MessagePack` with the semantics of `lua-cmsgpack`.

use std::cmp::Ordering;

use mlua::{Lua, MultiValue, Table, Value};

use super::library::{Failure, add, one};

/// Tables in tables that are packed; deeper ones become nil, as in the peers.
const PACKED_NESTING_MAX: usize = 16;
/// Tables in tables that are unpacked: what a script's native stack surely holds.
const UNPACKED_NESTING_MAX: usize = 1000;

/// The functions of the library.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    add(lua, &library, "pack", |lua, args| {
        if args.args.is_empty() {
            return Err(Failure::Argument(0, "MessagePack pack needs input.".into()));
        }
        let mut packed = Vec::new();
        for value in args.args {
            pack(value, &mut packed, 0)?;
        }
        one(Value::String(lua.create_string(packed)?))
    })?;
    add(lua, &library, "unpack", |lua, args| {
        let text = args.string(lua, 0)?;
        unpack_all(lua, &text.as_bytes(), i64::MAX, 0, false)
    })?;
    add(lua, &library, "unpack_one", |lua, args| {
        let text = args.string(lua, 0)?;
        unpack_all(lua, &text.as_bytes(), 1, args.integer_or(1, 0)?, true)
    })?;
    add(lua, &library, "unpack_limit", |lua, args| {
        let text = args.string(lua, 0)?;
        args.number(1)?;
        let (limit, offset) = (args.integer_or(1, 0)?, args.integer_or(2, 0)?);
        let everything = limit == 0 && offset == 0;
        let limit = if everything { i64::MAX } else { limit };
        unpack_all(lua, &text.as_bytes(), limit, offset, !everything)
    })?;
    library.raw_set("_NAME", "cmsgpack")?;
    library.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    library.raw_set("_COPYRIGHT", "Copyright (C) 2012, Redis Ltd.")?;
    library.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(library)
}

fn pack(value: &Value, out: &mut Vec<u8>, level: usize) -> Result<(), Failure> {
    match value {
        Value::String(text) => pack_string(&text.as_bytes(), out),
        Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Integer(integer) => pack_integer(*integer, out),
        Value::Number(number) => pack_number(*number, out),
        Value::Table(table) if level < PACKED_NESTING_MAX => pack_table(table, out, level)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

fn pack_string(text: &[u8], out: &mut Vec<u8>) {
    match text.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..=0xff => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 0x100..=0xffff => head(0xda, &(length as u16).to_be_bytes(), out),
        length => head(0xdb, &(length as u32).to_be_bytes(), out),
    }
    out.extend_from_slice(text);
}

fn head(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(bytes);
}

fn pack_integer(integer: i64, out: &mut Vec<u8>) {
    match integer {
        -32..=0x7f => out.push(integer as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, integer as u8]),
        0x100..=0xffff => head(0xcd, &(integer as u16).to_be_bytes(), out),
        0x1_0000..=0xffff_ffff => head(0xce, &(integer as u32).to_be_bytes(), out),
        0x1_0000_0000.. => head(0xcf, &(integer as u64).to_be_bytes(), out),
        -128..=-33 => out.extend_from_slice(&[0xd0, integer as u8]),
        -0x8000..=-129 => head(0xd1, &(integer as i16).to_be_bytes(), out),
        -0x8000_0000..=-0x8001 => head(0xd2, &(integer as i32).to_be_bytes(), out),
        _ => head(0xd3, &integer.to_be_bytes(), out),
    }
}

fn pack_number(number: f64, out: &mut Vec<u8>) {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) && number.fract() == 0.0 {
        return pack_integer(number as i64, out);
    }
    let short = number as f32;
    // No number that is none equals itself: those stay long.
    if f64::from(short).partial_cmp(&number) == Some(Ordering::Equal) {
        head(0xca, &short.to_be_bytes(), out);
    } else {
        head(0xcb, &number.to_be_bytes(), out);
    }
}

fn pack_table(table: &Table, out: &mut Vec<u8>, level: usize) -> Result<(), Failure> {
    // Twice through the table: a handle on each of its values at once would be too many for Lua.
    let (mut length, mut max, mut is_array) = (0, 0.0, true);
    for pair in table.pairs::<Value, Value>() {
        let (key, _) = pair?;
        let index = match key {
            Value::Integer(index) => index as f64,
            Value::Number(index) => index,
            _ => 0.0,
        };
        is_array &= index > 0.0 && index.fract() == 0.0;
        max = index.max(max);
        length += 1;
    }
    if is_array && max as usize == length {
        match length {
            0..16 => out.push(0x90 | length as u8),
            16..=0xffff => head(0xdc, &(length as u16).to_be_bytes(), out),
            _ => head(0xdd, &(length as u32).to_be_bytes(), out),
        }
        for index in 1..=length {
            pack(&table.raw_get::<Value>(index)?, out, level + 1)?;
        }
        return Ok(());
    }
    match length {
        0..16 => out.push(0x80 | length as u8),
        16..=0xffff => head(0xde, &(length as u16).to_be_bytes(), out),
        _ => head(0xdf, &(length as u32).to_be_bytes(), out),
    }
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        pack(&key, out, level + 1)?;
        pack(&value, out, level + 1)?;
    }
    Ok(())
}

fn unpack_all(
    lua: &Lua,
    text: &[u8],
    limit: i64,
    offset: i64,
    tells_offset: bool,
) -> Result<MultiValue, Failure> {
    let length = text.len();
    if offset < 0 || limit < 0 {
        return Err(Failure::Text(format!(
            "Invalid request to unpack with offset of {offset} and limit of {length}."
        )));
    }
    let Some(rest) = usize::try_from(offset).ok().and_then(|offset| text.get(offset..)) else {
        return Err(Failure::Text(format!(
            "Start offset {offset} greater than input length {length}."
        )));
    };
    let mut reader = Reader { lua, rest };
    let mut values = MultiValue::new();
    while !reader.rest.is_empty() && (values.len() as i64) < limit {
        values.push_back(reader.value(0)?);
    }
    if tells_offset {
        let next = if reader.rest.is_empty() { -1 } else { (length - reader.rest.len()) as i64 };
        values.push_front(Value::Integer(next));
    }
    Ok(values)
}

struct Reader<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Failure> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or("Missing bytes in input.")?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        Ok(self.take(N)?.try_into().expect("invariant: so many bytes were taken"))
    }

    /// A length of so many bytes.
    fn length(&mut self, bytes: usize) -> Result<usize, Failure> {
        Ok(self.take(bytes)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn value(&mut self, depth: usize) -> Result<Value, Failure> {
        if depth > UNPACKED_NESTING_MAX {
            return Err("Bad data format in input.".into());
        }
        let [kind] = self.array()?;
        Ok(match kind {
            0x00..=0x7f => Value::Number(f64::from(kind)),
            0xe0..=0xff => Value::Number(f64::from(kind as i8)),
            0xcc => Value::Number(f64::from(u8::from_be_bytes(self.array()?))),
            0xcd => Value::Number(f64::from(u16::from_be_bytes(self.array()?))),
            0xce => Value::Number(f64::from(u32::from_be_bytes(self.array()?))),
            0xcf => Value::Number(u64::from_be_bytes(self.array()?) as f64),
            0xd0 => Value::Number(f64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => Value::Number(f64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => Value::Number(f64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => Value::Number(i64::from_be_bytes(self.array()?) as f64),
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xca => Value::Number(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => Value::Number(f64::from_be_bytes(self.array()?)),
            0xa0..=0xbf => self.string(usize::from(kind & 0x1f))?,
            0xc4 | 0xd9 => self.sized_string(1)?,
            0xc5 | 0xda => self.sized_string(2)?,
            0xc6 | 0xdb => self.sized_string(4)?,
            0x90..=0x9f => self.list(usize::from(kind & 0x0f), depth)?,
            0xdc => self.sized_list(2, depth)?,
            0xdd => self.sized_list(4, depth)?,
            0x80..=0x8f => self.map(usize::from(kind & 0x0f), depth)?,
            0xde => self.sized_map(2, depth)?,
            0xdf => self.sized_map(4, depth)?,
            _ => return Err("Bad data format in input.".into()),
        })
    }

    fn string(&mut self, length: usize) -> Result<Value, Failure> {
        let bytes = self.take(length)?;
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    fn sized_string(&mut self, bytes: usize) -> Result<Value, Failure> {
        let length = self.length(bytes)?;
        self.string(length)
    }

    fn sized_list(&mut self, bytes: usize, depth: usize) -> Result<Value, Failure> {
        let length = self.length(bytes)?;
        self.list(length, depth)
    }

    fn sized_map(&mut self, bytes: usize, depth: usize) -> Result<Value, Failure> {
        let length = self.length(bytes)?;
        self.map(length, depth)
    }

    /// Nothing is allocated for a length that the input does not bear out.
    fn list(&mut self, length: usize, depth: usize) -> Result<Value, Failure> {
        let table = self.lua.create_table()?;
        for index in 1..=length {
            table.raw_set(index, self.value(depth + 1)?)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, length: usize, depth: usize) -> Result<Value, Failure> {
        let table = self.lua.create_table()?;
        for _ in 0..length {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            let refused = matches!(key, Value::Nil)
                || matches!(key, Value::Number(number) if number.is_nan());
            if refused {
                return Err("Bad data format in input.".into());
            }
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }
}
