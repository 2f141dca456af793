//! Requests: a resumable parser of RESP arrays of bulk strings and of inline requests.
//!
//! The parser works in place. It is given the bytes received so far, beginning with the request,
//! and answers with ranges into them; nothing is copied, except the arguments of an inline request
//! that has quotes. When the request is not complete it remembers how far it came, so that a
//! request that arrives in pieces costs O(bytes) in all, however small the pieces.
//!
//! It accepts and refuses what Valkey 8.1 does, including that the byte after a carriage return and
//! the two bytes after a bulk string may be anything. Where Valkey's answer depends on how the
//! bytes were split by the network, this parser gives the answer for bytes that come one by one:
//! the same stream gives the same requests and the same error, however it is split.
//!
//! Memory is bounded by what was received, never by what a client announces: eight bytes for each
//! argument that has arrived (which took at least six on the wire), growing by doubling.

use core::fmt;

use crate::args::{ArgRange, ArgRanges};
use crate::inline;

/// The longest line without its end, in bytes: an inline request or the line of a length.
pub const LINE_LENGTH_MAX: usize = 64 * 1024;
/// The most arguments that a client may announce before it has authenticated.
pub const UNAUTHENTICATED_ARGS_MAX: u32 = 10;
/// The longest argument that a client may announce before it has authenticated, in bytes.
pub const UNAUTHENTICATED_BULK_LENGTH_MAX: u64 = 16_384;
/// The longest request, in bytes: ranges of arguments are held in 32 bits.
pub const REQUEST_LENGTH_MAX: usize = u32::MAX as usize;

/// The length of the text of an `i64`, beyond which the peers do not look at a length at all.
const LENGTH_DIGITS_MAX: usize = 20;
/// How much more than doubling what is there [`Parsed::Incomplete`] ever asks for, in bytes: an
/// argument up to this long is received without its buffer ever growing, and memory that is only
/// reserved costs nothing yet.
pub const NEEDED_STEP: usize = 1024 * 1024;
/// Capacity, in arguments, that is always worth keeping for the next request.
const KEPT_CAPACITY: usize = 64;

/// What a connection may send at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest argument in bytes (`proto-max-bulk-len`).
    pub max_bulk_len: u64,
    /// The most arguments of one request.
    pub max_multibulk: u32,
    /// Whether the client has authenticated or need not; until then it may announce only small
    /// requests. Commands that authenticate take effect on the request after them, so parse no
    /// further than one request at a time while this is false.
    pub authenticated: bool,
}

impl Default for Limits {
    /// The peers' defaults: 512 MiB, `i32::MAX` arguments, no authentication required.
    fn default() -> Self {
        Self {
            max_bulk_len: 512 * 1024 * 1024,
            max_multibulk: i32::MAX as u32,
            authenticated: true,
        }
    }
}

/// What [`RequestParser::parse`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole request; its arguments (at least one) are in the `args` given.
    Complete {
        /// Bytes of the request; the next begins there.
        consumed: usize,
    },
    /// The request goes on after the input.
    Incomplete {
        /// How many bytes of input, counted from the start of the request, are worth having before
        /// the next call: more than there are now, at most what the request can use, and at most
        /// double what is there plus [`NEEDED_STEP`], so that reserving them is safe.
        needed: usize,
    },
    /// Bytes that ask for nothing: a blank line, or an array of no or negative length.
    Empty {
        /// Bytes to skip; the next request begins there.
        consumed: usize,
    },
}

/// A request that is no request; the connection must be closed once the error is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// An inline request longer than [`LINE_LENGTH_MAX`].
    BigInline,
    /// A line that announces the number of arguments and does not end.
    BigMultibulkCount,
    /// The number of arguments is no integer or out of range.
    InvalidMultibulkLength,
    /// More arguments than an unauthenticated client may send.
    UnauthenticatedMultibulkLength,
    /// A line that announces the length of an argument and does not end.
    BigBulkCount,
    /// Where an argument's length must begin with `$` stands this byte.
    ExpectedDollar(u8),
    /// The length of an argument is no integer or out of range.
    InvalidBulkLength,
    /// A longer argument than an unauthenticated client may send.
    UnauthenticatedBulkLength,
    /// Quotes in an inline request that do not pair.
    UnbalancedQuotes,
    /// More than [`REQUEST_LENGTH_MAX`] bytes in one request; the peers have no such limit of their
    /// own, but refuse it by `client-query-buffer-limit`.
    BigRequest,
}

impl ProtocolError {
    /// The text before the byte that was found, if any; all of it otherwise.
    fn text(self) -> &'static str {
        match self {
            Self::BigInline => "Protocol error: too big inline request",
            Self::BigMultibulkCount => "Protocol error: too big mbulk count string",
            Self::InvalidMultibulkLength => "Protocol error: invalid multibulk length",
            Self::UnauthenticatedMultibulkLength => {
                "Protocol error: unauthenticated multibulk length"
            }
            Self::BigBulkCount => "Protocol error: too big bulk count string",
            Self::ExpectedDollar(_) => "Protocol error: expected '$', got '",
            Self::InvalidBulkLength => "Protocol error: invalid bulk length",
            Self::UnauthenticatedBulkLength => "Protocol error: unauthenticated bulk length",
            Self::UnbalancedQuotes => "Protocol error: unbalanced quotes in request",
            Self::BigRequest => "Protocol error: too big request",
        }
    }

    /// Appends the peers' text, without the code `ERR` and without a line end.
    ///
    /// The byte of [`ProtocolError::ExpectedDollar`] goes out as it came, also when it cannot be
    /// printed; only the two that end a line become a space.
    pub fn append_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text().as_bytes());
        if let Self::ExpectedDollar(found) = self {
            out.push(if matches!(found, b'\r' | b'\n') { b' ' } else { found });
            out.push(b'\'');
        }
    }
}

impl fmt::Display for ProtocolError {
    /// The peers' text, for logs: a byte that cannot be printed is shown escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self {
            Self::ExpectedDollar(found) => write!(f, "{}'", found.escape_ascii()),
            _ => Ok(()),
        }
    }
}

impl core::error::Error for ProtocolError {}

/// Appends a request as clients send it: an array of bulk strings.
pub fn append_request<'a>(
    out: &mut Vec<u8>,
    args: impl IntoIterator<Item = &'a [u8], IntoIter: ExactSizeIterator>,
) {
    let args = args.into_iter();
    let mut encoder = crate::Encoder::new(out, crate::Resp::V2);
    encoder.array(args.len());
    for arg in args {
        encoder.bulk(arg);
    }
}

/// What the parser waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// The first byte of a request.
    #[default]
    Start,
    /// The end of an inline request's line.
    Inline,
    /// The end of the line with the number of arguments.
    Count,
    /// The end of a line with the length of an argument.
    Length,
    /// An argument whose length is known.
    Bulk {
        /// Its length in bytes.
        len: u32,
    },
}

/// The parser of one connection: 56 bytes when idle.
///
/// Call [`RequestParser::parse`] with all bytes received from the start of the request on. After
/// [`Parsed::Complete`] or [`Parsed::Empty`], drop `consumed` bytes and call it for the next one.
/// After an error the stream has no meaning any more; the same call gives the same error again.
#[derive(Debug, Default)]
pub struct RequestParser {
    stage: Stage,
    /// Arguments still to come.
    remaining: u32,
    /// Offset of the first byte that is not parsed: of a line, or of an argument's first byte.
    at: usize,
    /// Offset up to which the line at `at` is known to have no end.
    scanned: usize,
    /// The arguments of an incomplete request; unallocated between requests.
    saved: Vec<ArgRange>,
}

const _: () = assert!(size_of::<RequestParser>() == 56);

/// A whole line that holds a length.
struct LengthLine {
    /// The length, if the line was a valid integer.
    value: Option<i64>,
    /// Offset after the line's end.
    next: usize,
}

impl RequestParser {
    /// A parser at the start of a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of memory that the parser holds beside itself.
    pub fn allocated_bytes(&self) -> usize {
        self.saved.capacity() * size_of::<ArgRange>()
    }

    /// Parses one request from the start of `input`.
    ///
    /// `input` begins at the start of the request and only grows until the request is complete.
    /// `args` is overwritten; it holds the arguments after [`Parsed::Complete`] and may serve
    /// other parsers between calls, whatever was answered.
    ///
    /// Amortised O(bytes of input that are new), for an argument O(1) whatever its length.
    #[inline]
    pub fn parse(
        &mut self,
        input: &[u8],
        limits: &Limits,
        args: &mut ArgRanges,
    ) -> Result<Parsed, ProtocolError> {
        if self.stage == Stage::Start {
            match input.first() {
                None => return Ok(Parsed::Incomplete { needed: 1 }),
                Some(b'*') => {
                    self.stage = Stage::Count;
                    self.at = 0;
                    self.scanned = 0;
                }
                Some(_) => {
                    self.stage = Stage::Inline;
                    self.at = 0;
                    self.scanned = 0;
                }
            }
        }
        debug_assert!(self.at <= input.len(), "input shrank within a request");
        match self.stage {
            Stage::Inline => self.parse_inline(input, args),
            // A long argument that is still arriving is the common reason to wait.
            Stage::Bulk { len } if input.len() < self.at + len as usize + 2 => {
                Ok(incomplete(input, self.at + len as usize + 2))
            }
            _ => self.parse_multibulk(input, limits, args),
        }
    }

    fn parse_multibulk(
        &mut self,
        input: &[u8],
        limits: &Limits,
        args: &mut ArgRanges,
    ) -> Result<Parsed, ProtocolError> {
        args.clear();
        if self.stage == Stage::Count {
            let Some((count, next)) = self.count(input, limits)? else {
                return Ok(incomplete(input, input.len() + 1));
            };
            if count == 0 {
                self.stage = Stage::Start;
                return Ok(Parsed::Empty { consumed: next });
            }
            self.remaining = count;
            self.stage = Stage::Length;
            self.at = next;
            self.scanned = next;
            args.ranges.reserve((count as usize).min(KEPT_CAPACITY));
        } else if self.saved.capacity() > 0 {
            args.ranges = core::mem::take(&mut self.saved);
        }
        let result = self.parse_bulks(input, limits, &mut args.ranges);
        if matches!(result, Ok(Parsed::Incomplete { .. })) && !args.ranges.is_empty() {
            self.save(&mut args.ranges);
        }
        result
    }

    fn parse_bulks(
        &mut self,
        input: &[u8],
        limits: &Limits,
        ranges: &mut Vec<ArgRange>,
    ) -> Result<Parsed, ProtocolError> {
        loop {
            let len = if let Stage::Bulk { len } = self.stage {
                len as usize
            } else {
                let Some((len, next)) = self.bulk_length(input, limits)? else {
                    return Ok(incomplete(input, input.len() + 1));
                };
                if next + len + 2 > REQUEST_LENGTH_MAX {
                    return Err(ProtocolError::BigRequest);
                }
                self.at = next;
                len
            };
            let end = self.at + len + 2;
            if end > input.len() {
                self.stage = Stage::Bulk { len: len as u32 };
                return Ok(incomplete(input, end));
            }
            ranges.push(ArgRange::new(self.at, len));
            self.stage = Stage::Length;
            self.at = end;
            self.scanned = end;
            self.remaining -= 1;
            if self.remaining == 0 {
                self.stage = Stage::Start;
                return Ok(Parsed::Complete { consumed: end });
            }
        }
    }

    /// The number of arguments and where the first one's line begins; nothing if the line has not
    /// ended. Not positive counts are all given as 0.
    #[inline]
    fn count(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<(u32, usize)>, ProtocolError> {
        let (count, next) = match short_length(input, 1) {
            Some((count, next)) => (i64::from(count), next),
            None => match self.length_line(input, ProtocolError::BigMultibulkCount)? {
                None => return Ok(None),
                Some(LengthLine { value: None, .. }) => {
                    return Err(ProtocolError::InvalidMultibulkLength);
                }
                Some(LengthLine { value: Some(count), next }) => (count, next),
            },
        };
        if count > i64::from(limits.max_multibulk) {
            return Err(ProtocolError::InvalidMultibulkLength);
        }
        if count > i64::from(UNAUTHENTICATED_ARGS_MAX) && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        Ok(Some((count.max(0) as u32, next)))
    }

    /// The length of the argument whose line is at `self.at`, and where its bytes begin; nothing
    /// if the line has not ended.
    #[inline]
    fn bulk_length(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<(usize, usize)>, ProtocolError> {
        let (len, next) = match (input.get(self.at), short_length(input, self.at + 1)) {
            (Some(b'$'), Some((len, next))) => (i64::from(len), next),
            _ => match self.length_line(input, ProtocolError::BigBulkCount)? {
                None => return Ok(None),
                Some(_) if input[self.at] != b'$' => {
                    return Err(ProtocolError::ExpectedDollar(input[self.at]));
                }
                Some(LengthLine { value: None, .. }) => {
                    return Err(ProtocolError::InvalidBulkLength);
                }
                Some(LengthLine { value: Some(len), next }) => (len, next),
            },
        };
        let len = u64::try_from(len).map_err(|_| ProtocolError::InvalidBulkLength)?;
        if len > limits.max_bulk_len {
            return Err(ProtocolError::InvalidBulkLength);
        }
        if len > UNAUTHENTICATED_BULK_LENGTH_MAX && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        if len > REQUEST_LENGTH_MAX as u64 {
            return Err(ProtocolError::BigRequest);
        }
        Ok(Some((len as usize, next)))
    }

    /// The line at `self.at`: a byte that is not looked at, a length, a carriage return and any
    /// byte. Nothing if it has not ended; `overlong` if it is too long.
    #[inline(never)]
    fn length_line(
        &mut self,
        input: &[u8],
        overlong: ProtocolError,
    ) -> Result<Option<LengthLine>, ProtocolError> {
        let limit = input.len().min(self.at + LINE_LENGTH_MAX + 1);
        let Some(found) = memchr::memchr(b'\r', &input[self.scanned..limit]) else {
            self.scanned = limit;
            return if limit - self.at > LINE_LENGTH_MAX { Err(overlong) } else { Ok(None) };
        };
        let end = self.scanned + found;
        self.scanned = end;
        if end + 1 >= input.len() {
            return Ok(None);
        }
        // A carriage return in the place of the first byte leaves a line of no digits.
        let digits = input.get(self.at + 1..end).unwrap_or_default();
        let value =
            if digits.len() > LENGTH_DIGITS_MAX { None } else { crate::number::parse_i64(digits) };
        Ok(Some(LengthLine { value, next: end + 2 }))
    }

    /// Keeps the arguments of an incomplete request until the next call. Takes the memory over,
    /// unless most of it would lie idle in this connection.
    fn save(&mut self, ranges: &mut Vec<ArgRange>) {
        if ranges.capacity() <= (4 * ranges.len()).max(KEPT_CAPACITY) {
            self.saved = core::mem::take(ranges);
        } else {
            self.saved.clone_from(ranges);
        }
    }

    fn parse_inline(
        &mut self,
        input: &[u8],
        args: &mut ArgRanges,
    ) -> Result<Parsed, ProtocolError> {
        let limit = input.len().min(LINE_LENGTH_MAX + 1);
        // The peers search with a C function that stops at a NUL: a line with one never ends.
        let found = memchr::memchr2(b'\n', 0, &input[self.scanned..limit]);
        self.scanned = found.map_or(limit, |found| self.scanned + found);
        if found.is_none() || input[self.scanned] == 0 {
            return if input.len() > LINE_LENGTH_MAX {
                Err(ProtocolError::BigInline)
            } else {
                Ok(incomplete(input, input.len() + 1))
            };
        }
        let line = &input[..self.scanned];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        inline::split_line(line, args).map_err(|_| ProtocolError::UnbalancedQuotes)?;
        let consumed = self.scanned + 1;
        self.scanned = 0;
        if !args.is_empty() {
            self.stage = Stage::Start;
            return Ok(Parsed::Complete { consumed });
        }
        // The peers do not look for `*` after a line of blanks, as they do after an empty one: the
        // next line, too, is an inline request.
        self.stage = if line.is_empty() { Stage::Start } else { Stage::Inline };
        Ok(Parsed::Empty { consumed })
    }
}

/// Asks for `wanted` bytes, or for as much of them as is safe to reserve.
fn incomplete(input: &[u8], wanted: usize) -> Parsed {
    debug_assert!(wanted > input.len());
    Parsed::Incomplete { needed: wanted.min(2 * input.len() + NEEDED_STEP) }
}

/// A length of one to three digits at `at` and where the next line begins, if it is that simple:
/// no sign, no leading zero, and the two bytes of the line's end are there.
#[inline]
fn short_length(input: &[u8], at: usize) -> Option<(u32, usize)> {
    let &[first, second, third, fourth] = input.get(at..at + 4)?.first_chunk()?;
    let digit = |byte: u8| u32::from(byte.wrapping_sub(b'0'));
    let units = digit(first);
    if units > 9 {
        return None;
    }
    if second == b'\r' {
        return Some((units, at + 3));
    }
    if units == 0 || digit(second) > 9 {
        return None;
    }
    let tens = units * 10 + digit(second);
    if third == b'\r' {
        return Some((tens, at + 4));
    }
    if digit(third) > 9 || fourth != b'\r' || input.len() < at + 5 {
        return None;
    }
    Some((tens * 10 + digit(third), at + 5))
}

#[cfg(test)]
mod tests;
