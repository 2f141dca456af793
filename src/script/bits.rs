//! `bit`: operations on 32-bit integers, with the semantics of `LuaBitOp`.

use mlua::{Lua, MultiValue, Table, Value};

use super::api::{bad_argument, number_of};

/// 2^52 + 2^51: added to a number, it leaves the integer in the low bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// The functions of the library, each of which returns a failure, or nothing, and its result.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    add(lua, &library, "tobit", |args| args.number(0))?;
    add(lua, &library, "bnot", |args| Ok(!args.number(0)?))?;
    add(lua, &library, "bswap", |args| Ok(args.number(0)?.swap_bytes()))?;
    add(lua, &library, "band", |args| args.fold(|a, b| a & b))?;
    add(lua, &library, "bor", |args| args.fold(|a, b| a | b))?;
    add(lua, &library, "bxor", |args| args.fold(|a, b| a ^ b))?;
    add(lua, &library, "lshift", |args| args.shift(|a, n| a << n))?;
    add(lua, &library, "rshift", |args| args.shift(|a, n| ((a as u32) >> n) as i32))?;
    add(lua, &library, "arshift", |args| args.shift(|a, n| a >> n))?;
    add(lua, &library, "rol", |args| args.shift(i32::rotate_left))?;
    add(lua, &library, "ror", |args| args.shift(i32::rotate_right))?;
    let tohex = lua.create_function(|lua, args: MultiValue| {
        let args = Arguments { lua, name: "tohex", args: &args };
        let result = args.number(0).and_then(|number| {
            let digits = if args.args.len() > 1 { args.number(1)? } else { 8 };
            Ok(to_hex(number as u32, digits))
        });
        Ok(match result {
            Ok(text) => (Value::Nil, Value::String(lua.create_string(text)?)),
            Err(text) => (Value::String(lua.create_string(text)?), Value::Nil),
        })
    })?;
    library.raw_set("tohex", tohex)?;
    Ok(library)
}

/// Hexadecimal digits, the last `digits` of eight; upper case if that is negative.
fn to_hex(number: u32, digits: i32) -> String {
    let count = digits.unsigned_abs().min(8) as usize;
    let text = if digits < 0 { format!("{number:08X}") } else { format!("{number:08x}") };
    text[8 - count..].to_owned()
}

struct Arguments<'a> {
    lua: &'a Lua,
    name: &'static str,
    args: &'a MultiValue,
}

impl Arguments<'_> {
    /// An argument as the 32-bit integer that it is modulo 2^32, rounded to the nearest.
    fn number(&self, index: usize) -> Result<i32, String> {
        let value = self.args.get(index);
        let Some(number) = value.and_then(number_of) else {
            let found = value.map_or("no value", |value| value.type_name());
            let text = format!("number expected, got {found}");
            return Err(bad_argument(self.lua, index + 1, self.name, &text));
        };
        Ok((number + ROUNDER).to_bits() as u32 as i32)
    }

    fn fold(&self, join: impl Fn(i32, i32) -> i32) -> Result<i32, String> {
        let mut result = self.number(0)?;
        for index in 1..self.args.len() {
            result = join(result, self.number(index)?);
        }
        Ok(result)
    }

    fn shift(&self, shift: impl Fn(i32, u32) -> i32) -> Result<i32, String> {
        let number = self.number(0)?;
        Ok(shift(number, self.number(1)? as u32 & 31))
    }
}

fn add(
    lua: &Lua,
    library: &Table,
    name: &'static str,
    compute: impl Fn(&Arguments<'_>) -> Result<i32, String> + 'static,
) -> mlua::Result<()> {
    let function = lua.create_function(move |lua, args: MultiValue| {
        Ok(match compute(&Arguments { lua, name, args: &args }) {
            Ok(number) => (Value::Nil, Value::Number(f64::from(number))),
            Err(text) => (Value::String(lua.create_string(text)?), Value::Nil),
        })
    })?;
    library.raw_set(name, function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_those_asked_for() {
        assert_eq!(to_hex(0x00AB_CDEF, 8), "00abcdef");
        assert_eq!(to_hex(0x00AB_CDEF, -4), "CDEF");
        assert_eq!(to_hex(1, i32::MIN), "00000001");
        assert_eq!(to_hex(1, 0), "");
    }
}
