//! Replies read back: an owned tree of a reply of either protocol version.
//!
//! For clients of other servers, tests and benchmarks; the serving path never builds such a tree.
//! What comes from outside is bounded by [`ValueLimits`]; nothing is reserved by announced lengths
//! alone.

use core::fmt;

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `+`: a simple string.
    Simple(Vec<u8>),
    /// `-` or the long form `!`: an error with its code.
    Error(Vec<u8>),
    /// `:`.
    Integer(i64),
    /// `$`.
    Bulk(Vec<u8>),
    /// `_`, and RESP2's null bulk string.
    Null,
    /// RESP2's null array.
    NullArray,
    /// `*`.
    Array(Vec<Value>),
    /// `%`: pairs in the order sent.
    Map(Vec<(Value, Value)>),
    /// `~`: elements in the order sent.
    Set(Vec<Value>),
    /// `>`.
    Push(Vec<Value>),
    /// `,`.
    Double(f64),
    /// `#`.
    Boolean(bool),
    /// `(`: in decimal.
    BigNumber(Vec<u8>),
    /// `=`: three letters of format, and the text.
    Verbatim([u8; 3], Vec<u8>),
    /// `|`: pairs that describe the value that follows them.
    Attribute(Vec<(Value, Value)>, Box<Value>),
}

impl Value {
    /// Reads one reply from the start of `input`, with the default limits; see
    /// [`ValueLimits::parse`].
    pub fn parse(input: &[u8]) -> Result<Option<(Value, usize)>, ValueError> {
        ValueLimits::default().parse(input)
    }

    /// The text of a simple or bulk string, error, big number or verbatim string.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Simple(bytes)
            | Self::Error(bytes)
            | Self::Bulk(bytes)
            | Self::BigNumber(bytes)
            | Self::Verbatim(_, bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// A reply that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// An element that begins with this byte.
    UnknownType(u8),
    /// A length, integer, double or boolean that is none, or a line that ends badly.
    Malformed,
    /// Aggregates within aggregates beyond [`ValueLimits::depth`].
    TooDeep,
    /// More bytes or elements than [`ValueLimits`] allow.
    TooLong,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType(byte) => write!(f, "unknown reply type '{}'", byte.escape_ascii()),
            Self::Malformed => f.write_str("malformed reply"),
            Self::TooDeep => f.write_str("reply nested too deeply"),
            Self::TooLong => f.write_str("reply too long"),
        }
    }
}

impl core::error::Error for ValueError {}

/// What a reply may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueLimits {
    /// Aggregates within aggregates.
    pub depth: usize,
    /// Bytes of one string.
    pub string_length: usize,
    /// Elements of one aggregate (of a map, keys and values both counted).
    pub elements: usize,
}

impl Default for ValueLimits {
    /// 128 levels, strings of 512 MiB, 2^31 elements.
    fn default() -> Self {
        Self { depth: 128, string_length: 512 * 1024 * 1024, elements: 1 << 31 }
    }
}

/// A line without an end is an error beyond this length, in bytes.
const LINE_LENGTH_MAX: usize = 64 * 1024;

impl ValueLimits {
    /// Reads one reply from the start of `input`: the reply and the bytes it took, or nothing when
    /// it is not complete. Not resumable: each call reads from the start.
    pub fn parse(&self, input: &[u8]) -> Result<Option<(Value, usize)>, ValueError> {
        let mut reader = Reader { input, at: 0, limits: self };
        match reader.value(self.depth) {
            Ok(value) => Ok(Some((value, reader.at))),
            Err(Stop::Incomplete) => Ok(None),
            Err(Stop::Bad(error)) => Err(error),
        }
    }
}

/// Why reading stopped.
enum Stop {
    Incomplete,
    Bad(ValueError),
}

impl From<ValueError> for Stop {
    fn from(error: ValueError) -> Self {
        Self::Bad(error)
    }
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    limits: &'a ValueLimits,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        let kind = *self.input.get(self.at).ok_or(Stop::Incomplete)?;
        if !b"+-:$*_,#(=!%~>|".contains(&kind) {
            return Err(ValueError::UnknownType(kind).into());
        }
        self.at += 1;
        let line = self.line()?;
        Ok(match kind {
            b'+' => Value::Simple(line.to_vec()),
            b'-' => Value::Error(line.to_vec()),
            b':' => Value::Integer(crate::number::parse_i64(line).ok_or(ValueError::Malformed)?),
            b'_' if line.is_empty() => Value::Null,
            b',' => Value::Double(double(line)?),
            b'#' if line == b"t" => Value::Boolean(true),
            b'#' if line == b"f" => Value::Boolean(false),
            b'(' => Value::BigNumber(big_number(line)?.to_vec()),
            b'$' if line == b"-1" => Value::Null,
            b'*' if line == b"-1" => Value::NullArray,
            b'$' => Value::Bulk(self.string(line)?.to_vec()),
            b'!' => Value::Error(self.string(line)?.to_vec()),
            b'=' => self.verbatim(line)?,
            b'*' => Value::Array(self.elements(line, depth)?),
            b'~' => Value::Set(self.elements(line, depth)?),
            b'>' => Value::Push(self.elements(line, depth)?),
            b'%' => Value::Map(self.pairs(line, depth)?),
            b'|' => {
                let pairs = self.pairs(line, depth)?;
                Value::Attribute(pairs, Box::new(self.value(depth - 1)?))
            }
            _ => return Err(ValueError::Malformed.into()),
        })
    }

    /// The rest of the line, which must end with CR LF.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.input[self.at..];
        let window = &rest[..rest.len().min(LINE_LENGTH_MAX)];
        let Some(length) = memchr::memchr(b'\r', window) else {
            let overlong = window.len() == LINE_LENGTH_MAX;
            return Err(if overlong { ValueError::TooLong.into() } else { Stop::Incomplete });
        };
        match rest.get(length + 1) {
            None => Err(Stop::Incomplete),
            Some(b'\n') => {
                self.at += length + 2;
                Ok(&rest[..length])
            }
            Some(_) => Err(ValueError::Malformed.into()),
        }
    }

    fn length(line: &[u8], limit: usize) -> Result<usize, Stop> {
        let length = crate::number::parse_u64(line).ok_or(ValueError::Malformed)?;
        match usize::try_from(length) {
            Ok(length) if length <= limit => Ok(length),
            _ => Err(ValueError::TooLong.into()),
        }
    }

    fn string(&mut self, line: &[u8]) -> Result<&'a [u8], Stop> {
        let length = Self::length(line, self.limits.string_length)?;
        let rest = &self.input[self.at..];
        let end = rest.get(length..length + 2).ok_or(Stop::Incomplete)?;
        if end != b"\r\n" {
            return Err(ValueError::Malformed.into());
        }
        self.at += length + 2;
        Ok(&rest[..length])
    }

    fn verbatim(&mut self, line: &[u8]) -> Result<Value, Stop> {
        match self.string(line)? {
            [a, b, c, b':', text @ ..] => Ok(Value::Verbatim([*a, *b, *c], text.to_vec())),
            _ => Err(ValueError::Malformed.into()),
        }
    }

    fn elements(&mut self, line: &[u8], depth: usize) -> Result<Vec<Value>, Stop> {
        let length = Self::length(line, self.limits.elements)?;
        let depth = depth.checked_sub(1).ok_or(ValueError::TooDeep)?;
        let mut elements = Vec::new();
        for _ in 0..length {
            elements.push(self.value(depth)?);
        }
        Ok(elements)
    }

    fn pairs(&mut self, line: &[u8], depth: usize) -> Result<Vec<(Value, Value)>, Stop> {
        let length = Self::length(line, self.limits.elements / 2)?;
        let depth = depth.checked_sub(1).ok_or(ValueError::TooDeep)?;
        let mut pairs = Vec::new();
        for _ in 0..length {
            let key = self.value(depth)?;
            pairs.push((key, self.value(depth)?));
        }
        Ok(pairs)
    }
}

/// A double as servers write it: a decimal number, `inf`, `-inf` or `nan`.
fn double(line: &[u8]) -> Result<f64, ValueError> {
    if line.eq_ignore_ascii_case(b"nan") || line.eq_ignore_ascii_case(b"-nan") {
        return Ok(f64::NAN);
    }
    crate::number::parse_f64(line).ok_or(ValueError::Malformed)
}

fn big_number(line: &[u8]) -> Result<&[u8], ValueError> {
    let digits = line.strip_prefix(b"-").or(line.strip_prefix(b"+")).unwrap_or(line);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(ValueError::Malformed);
    }
    Ok(line)
}

#[cfg(test)]
mod tests;
