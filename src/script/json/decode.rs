//! Reading JSON.

use mlua::{Lua, Value};

use super::{NESTING_MAX, Settings};
use crate::script::library::Failure;

/// Reads one JSON text.
pub(super) fn decode(lua: &Lua, text: &[u8], settings: Settings) -> Result<Value, Failure> {
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err("JSON parser does not support UTF-16 or UTF-32".into());
    }
    let mut reader = Reader { lua, text, at: 0, depth: 0, settings };
    let token = reader.token();
    let value = reader.value(token)?;
    match reader.token() {
        Token { kind: Kind::End, .. } => Ok(value),
        other => Err(unexpected("the end", &other)),
    }
}

/// What stands in the text, and where it begins.
struct Token {
    at: usize,
    kind: Kind,
}

enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Colon,
    Comma,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    End,
    Error(&'static str),
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::String(_) => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::End => "T_END",
            Self::Error(text) => text,
        }
    }
}

fn unexpected(wanted: &str, token: &Token) -> Failure {
    let (found, at) = (token.kind.name(), token.at + 1);
    Failure::Text(format!("Expected {wanted} but found {found} at character {at}"))
}

struct Reader<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
    depth: i32,
    settings: Settings,
}

impl Reader<'_> {
    /// The byte at a place; 0 behind the end, which no text contains outside of errors.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn value(&mut self, token: Token) -> Result<Value, Failure> {
        Ok(match token.kind {
            Kind::String(text) => Value::String(self.lua.create_string(text)?),
            Kind::Number(number) => Value::Number(number),
            Kind::Boolean(value) => Value::Boolean(value),
            Kind::Null => Value::NULL,
            Kind::ObjectBegin => self.object()?,
            Kind::ArrayBegin => self.array()?,
            _ => return Err(unexpected("value", &token)),
        })
    }

    fn descend(&mut self) -> Result<(), Failure> {
        self.depth += 1;
        if self.depth > self.settings.decode_depth_max.min(NESTING_MAX) {
            let (depth, at) = (self.depth, self.at);
            return Err(Failure::Text(format!(
                "Found too many nested data structures ({depth}) at character {at}"
            )));
        }
        Ok(())
    }

    fn object(&mut self) -> Result<Value, Failure> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.token();
        if !matches!(token.kind, Kind::ObjectEnd) {
            loop {
                let Kind::String(key) = token.kind else {
                    return Err(unexpected("object key string", &token));
                };
                let key = self.lua.create_string(key)?;
                let colon = self.token();
                if !matches!(colon.kind, Kind::Colon) {
                    return Err(unexpected("colon", &colon));
                }
                let next = self.token();
                table.raw_set(key, self.value(next)?)?;
                let behind = self.token();
                match behind.kind {
                    Kind::ObjectEnd => break,
                    Kind::Comma => token = self.token(),
                    _ => return Err(unexpected("comma or object end", &behind)),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }

    fn array(&mut self) -> Result<Value, Failure> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.token();
        if !matches!(token.kind, Kind::ArrayEnd) {
            for index in 1.. {
                table.raw_set(index, self.value(token)?)?;
                let behind = self.token();
                match behind.kind {
                    Kind::ArrayEnd => break,
                    Kind::Comma => token = self.token(),
                    _ => return Err(unexpected("comma or array end", &behind)),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }

    fn token(&mut self) -> Token {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let single = match self.byte(at) {
            b'{' => Some(Kind::ObjectBegin),
            b'}' => Some(Kind::ObjectEnd),
            b'[' => Some(Kind::ArrayBegin),
            b']' => Some(Kind::ArrayEnd),
            b':' => Some(Kind::Colon),
            b',' => Some(Kind::Comma),
            _ => None,
        };
        if let Some(kind) = single {
            self.at += 1;
            return Token { at, kind };
        }
        let rest = &self.text[at.min(self.text.len())..];
        let kind = match self.byte(at) {
            0 => Kind::End,
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            _ if rest.starts_with(b"true") => self.word(4, Kind::Boolean(true)),
            _ if rest.starts_with(b"false") => self.word(5, Kind::Boolean(false)),
            _ if rest.starts_with(b"null") => self.word(4, Kind::Null),
            b'+' | b'i' | b'I' | b'n' | b'N'
                if self.settings.decode_invalid && is_invalid_number(rest) =>
            {
                self.number()
            }
            _ => Kind::Error("invalid token"),
        };
        Token { at, kind }
    }

    fn word(&mut self, length: usize, kind: Kind) -> Kind {
        self.at += length;
        kind
    }

    fn number(&mut self) -> Kind {
        let rest = &self.text[self.at..];
        if !self.settings.decode_invalid && is_invalid_number(rest) {
            return Kind::Error("invalid number");
        }
        match prefix_number(rest) {
            Some((number, length)) => self.word(length, Kind::Number(number)),
            None => Kind::Error("invalid number"),
        }
    }

    /// Errors in a string are told where they are.
    fn string(&mut self) -> Token {
        let begin = self.at;
        self.at += 1;
        let mut text = Vec::new();
        loop {
            match self.byte(self.at) {
                b'"' => break,
                0 => return self.error("unexpected end of string"),
                b'\\' => {
                    let escaped = match self.byte(self.at + 1) {
                        byte @ (b'"' | b'\\' | b'/') => byte,
                        b'b' => 8,
                        b't' => b'\t',
                        b'n' => b'\n',
                        b'f' => 12,
                        b'r' => b'\r',
                        b'u' => {
                            let Some(character) = self.unicode() else {
                                return self.error("invalid unicode escape code");
                            };
                            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                            continue;
                        }
                        _ => return self.error("invalid escape code"),
                    };
                    text.push(escaped);
                    self.at += 2;
                }
                byte => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Token { at: begin, kind: Kind::String(text) }
    }

    fn error(&self, text: &'static str) -> Token {
        Token { at: self.at, kind: Kind::Error(text) }
    }

    /// The character of an escape `\uXXXX`, or of two that are a surrogate pair.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex(self.at + 2)?;
        if first & 0xF800 != 0xD800 {
            self.at += 6;
            return char::from_u32(first);
        }
        let second_at = self.at + 6;
        if first & 0x400 != 0 || self.byte(second_at) != b'\\' || self.byte(second_at + 1) != b'u' {
            return None;
        }
        let second = self.hex(second_at + 2)?;
        if second & 0xFC00 != 0xDC00 {
            return None;
        }
        self.at += 12;
        char::from_u32(((first & 0x3FF) << 10 | second & 0x3FF) + 0x10000)
    }

    fn hex(&self, at: usize) -> Option<u32> {
        (at..at + 4)
            .try_fold(0, |number, at| Some(number << 4 | char::from(self.byte(at)).to_digit(16)?))
    }
}

/// Whether a number is none in JSON, although C reads it.
fn is_invalid_number(rest: &[u8]) -> bool {
    let at = |index: usize| rest.get(index).copied().unwrap_or(0);
    if at(0) == b'+' {
        return true;
    }
    let sign = usize::from(at(0) == b'-');
    if at(sign) == b'0' {
        return at(sign + 1) | 0x20 == b'x' || at(sign + 1).is_ascii_digit();
    }
    let word = rest.get(sign..sign + 3).unwrap_or_default();
    word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")
}

/// The number that a text begins with, as C reads it, and its length.
fn prefix_number(text: &[u8]) -> Option<(f64, usize)> {
    let at = |index: usize| text.get(index).copied().unwrap_or(0);
    let sign = usize::from(matches!(at(0), b'-' | b'+'));
    let negate = |value: f64| if at(0) == b'-' { -value } else { value };
    let word = |word: &[u8]| {
        text.get(sign..sign + word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word))
    };
    for (name, value) in
        [(&b"infinity"[..], f64::INFINITY), (b"inf", f64::INFINITY), (b"nan", f64::NAN)]
    {
        if word(name) {
            return Some((negate(value), sign + name.len()));
        }
    }
    if at(sign) == b'0' && at(sign + 1) | 0x20 == b'x' && at(sign + 2).is_ascii_hexdigit() {
        let digits = text[sign + 2..].iter().take_while(|byte| byte.is_ascii_hexdigit());
        let length = digits.clone().count();
        let value = digits.fold(0.0, |value, byte| {
            value * 16.0 + f64::from(char::from(*byte).to_digit(16).unwrap_or(0))
        });
        return Some((negate(value), sign + 2 + length));
    }
    let digits = |from: usize| {
        text[from.min(text.len())..].iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let whole = digits(sign);
    let mut end = sign + whole;
    let mut fraction = 0;
    if at(end) == b'.' {
        fraction = digits(end + 1);
        if whole + fraction > 0 {
            end += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        return None;
    }
    if at(end) | 0x20 == b'e' {
        let exponent_sign = usize::from(matches!(at(end + 1), b'-' | b'+'));
        let exponent = digits(end + 1 + exponent_sign);
        if exponent > 0 {
            end += 1 + exponent_sign + exponent;
        }
    }
    let number = std::str::from_utf8(&text[..end]).ok()?;
    Some((number.parse().ok()?, end))
}
