//! `struct`: packing values as C structures, with the semantics of the library of that name.

use mlua::{Lua, MultiValue, Table, Value};

use super::convert::to_integer;
use super::library::{Arguments, Failure, add, one};

/// The largest integer in bytes.
const INTEGER_MAX: usize = 32;
/// The alignment that `!` means without a number.
const ALIGNMENT: usize = 8;

/// The functions of the library.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    add(lua, &library, "pack", pack)?;
    add(lua, &library, "unpack", unpack)?;
    add(lua, &library, "size", size)?;
    Ok(library)
}

/// A format that is being read.
struct Format<'a> {
    text: &'a [u8],
    at: usize,
    little: bool,
    alignment: usize,
}

/// One item of a format.
struct Item {
    option: u8,
    size: usize,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Self {
        // A format ends at its first zero byte.
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        Self { text: &text[..end], at: 0, little: true, alignment: 1 }
    }

    fn next(&mut self) -> Result<Option<Item>, Failure> {
        let Some(&option) = self.text.get(self.at) else { return Ok(None) };
        self.at += 1;
        let size = match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > INTEGER_MAX {
                    return Err(Failure::Text(format!(
                        "integral size {size} is larger than limit of {INTEGER_MAX}"
                    )));
                }
                size
            }
            _ => 0,
        };
        Ok(Some(Item { option, size }))
    }

    /// A number in the format, which fits in 31 bits.
    fn number(&mut self, default: usize) -> Result<usize, Failure> {
        let mut number = None;
        while let Some(digit) = self.text.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            let next = number.unwrap_or(0) * 10 + usize::from(digit - b'0');
            if next > i32::MAX as usize {
                return Err("integral size overflow".into());
            }
            number = Some(next);
            self.at += 1;
        }
        Ok(number.unwrap_or(default))
    }

    /// Bytes before an item at this offset.
    fn padding(&self, offset: usize, item: &Item) -> usize {
        if item.size == 0 || item.option == b'c' {
            return 0;
        }
        let size = item.size.min(self.alignment);
        // As in the original, which takes the size for a power of 2.
        size.wrapping_sub(offset & (size - 1)) & (size - 1)
    }

    /// Obeys an option that stands for no value.
    fn control(&mut self, option: u8) -> Result<(), Failure> {
        match option {
            b' ' => {}
            b'>' => self.little = false,
            b'<' => self.little = true,
            b'!' => {
                let alignment = self.number(ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    return Err(Failure::Text(format!(
                        "alignment {alignment} is not a power of 2"
                    )));
                }
                self.alignment = alignment;
            }
            _ => {
                let text = format!("invalid format option '{}'", char::from(option));
                return Err(Failure::Argument(1, text));
            }
        }
        Ok(())
    }

    /// Bytes in the format's order, from the order of this machine or to it.
    fn ordered<const N: usize>(&self, mut bytes: [u8; N]) -> [u8; N] {
        if !self.little {
            bytes.reverse();
        }
        bytes
    }
}

fn pack(lua: &Lua, args: &Arguments<'_>) -> Result<MultiValue, Failure> {
    let text = args.string(lua, 0)?;
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let mut out = Vec::new();
    let mut arg = 1;
    while let Some(item) = format.next()? {
        out.resize(out.len() + format.padding(out.len(), &item), 0);
        match item.option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                pack_integer(args.number(arg)?, item.size, format.little, &mut out);
                arg += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                let bytes = (args.number(arg)? as f32).to_le_bytes();
                out.extend_from_slice(&format.ordered(bytes));
                arg += 1;
            }
            b'd' => {
                let bytes = args.number(arg)?.to_le_bytes();
                out.extend_from_slice(&format.ordered(bytes));
                arg += 1;
            }
            b'c' | b's' => {
                let value = args.string(lua, arg)?;
                let value = value.as_bytes();
                arg += 1;
                let size = if item.size == 0 { value.len() } else { item.size };
                let Some(value) = value.get(..size) else {
                    return Err(Failure::Argument(arg + 1, "string too short".into()));
                };
                out.extend_from_slice(value);
                if item.option == b's' {
                    out.push(0);
                }
            }
            other => format.control(other)?,
        }
    }
    one(Value::String(lua.create_string(out)?))
}

/// The low bytes of an integer; what is beyond eight is zero.
fn pack_integer(number: f64, size: usize, little: bool, out: &mut Vec<u8>) {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    // Above the signed range, the unsigned one goes on.
    let value = if number >= LIMIT { number as u64 } else { to_integer(number) as u64 };
    let mut bytes = [0; INTEGER_MAX];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    let bytes = &mut bytes[..size];
    if !little {
        bytes.reverse();
    }
    out.extend_from_slice(bytes);
}

fn unpack(lua: &Lua, args: &Arguments<'_>) -> Result<MultiValue, Failure> {
    let text = args.string(lua, 0)?;
    let text = text.as_bytes();
    let data = args.string(lua, 1)?;
    let data = data.as_bytes();
    let position = args.integer_or(2, 1)?;
    if position == 0 {
        return Err(Failure::Argument(3, "offset must be 1 or greater".into()));
    }
    let mut position = (position as usize).wrapping_sub(1);
    let mut format = Format::new(&text);
    let mut values = MultiValue::new();
    let short = || Failure::Argument(2, "data string too short".into());
    while let Some(item) = format.next()? {
        position = position.saturating_add(format.padding(position, &item));
        let mut size = item.size;
        let bytes = position.checked_add(size).and_then(|end| data.get(position..end));
        let bytes = bytes.ok_or_else(short)?;
        match item.option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let signed = item.option.is_ascii_lowercase();
                values.push_back(Value::Number(integer_of(bytes, format.little, signed)));
            }
            b'x' => {}
            b'f' => {
                let bytes: [u8; 4] = bytes.try_into().expect("invariant: four bytes");
                let number = f32::from_le_bytes(format.ordered(bytes));
                values.push_back(Value::Number(number.into()));
            }
            b'd' => {
                let bytes: [u8; 8] = bytes.try_into().expect("invariant: eight bytes");
                values.push_back(Value::Number(f64::from_le_bytes(format.ordered(bytes))));
            }
            b'c' => {
                let mut bytes = bytes;
                if size == 0 {
                    let Some(Value::Number(length)) = values.pop_back() else {
                        return Err("format 'c0' needs a previous size".into());
                    };
                    size = usize::try_from(to_integer(length)).map_err(|_| short())?;
                    let end = position.checked_add(size);
                    bytes = end.and_then(|end| data.get(position..end)).ok_or_else(short)?;
                }
                values.push_back(Value::String(lua.create_string(bytes)?));
            }
            b's' => {
                let rest = &data[position..];
                let end = memchr::memchr(0, rest).ok_or("unfinished string in data")?;
                values.push_back(Value::String(lua.create_string(&rest[..end])?));
                size = end + 1;
            }
            other => format.control(other)?,
        }
        position += size;
    }
    values.push_back(Value::Number((position + 1) as f64));
    Ok(values)
}

/// An integer of any length, of which the low eight bytes count.
fn integer_of(bytes: &[u8], little: bool, signed: bool) -> f64 {
    let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    let value = if little { bytes.iter().rev().fold(0, fold) } else { bytes.iter().fold(0, fold) };
    if !signed {
        return value as f64;
    }
    let bits = (bytes.len() * 8).min(64) as u32;
    if bits == 0 {
        return 0.0;
    }
    let shift = 64 - bits;
    ((value << shift) as i64 >> shift) as f64
}

fn size(lua: &Lua, args: &Arguments<'_>) -> Result<MultiValue, Failure> {
    let text = args.string(lua, 0)?;
    let text = text.as_bytes();
    let mut format = Format::new(&text);
    let mut position = 0_usize;
    while let Some(item) = format.next()? {
        position = position.saturating_add(format.padding(position, &item));
        match (item.option, item.size) {
            (b's', _) => {
                return Err(Failure::Argument(1, "option 's' has no fixed size".into()));
            }
            (b'c', 0) => {
                return Err(Failure::Argument(1, "option 'c0' has no fixed size".into()));
            }
            (option, _) if !option.is_ascii_alphanumeric() => format.control(option)?,
            _ => {}
        }
        position = position.saturating_add(item.size);
    }
    one(Value::Number(position as f64))
}
