//! Replies: the encoder of RESP2 and RESP3, appending to a byte vector.
//!
//! One call writes one element; the encoder keeps no tree and allocates nothing. What RESP2 lacks
//! is written as the peers write it for RESP2 clients: a map as an array of twice the length, a set
//! and a push as an array, a double, big number or verbatim string as a bulk string, a boolean as
//! an integer, every null as the null bulk string or the null array.
//!
//! When the length of an aggregate is known only after its elements, [`Encoder::defer_array`] and
//! the like leave room for a length of one digit; [`Encoder::finish`] moves the elements only when
//! the length turns out longer.

use crate::number::DoubleText;

/// The version of the protocol that a client has chosen by `HELLO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resp {
    /// What every client speaks.
    #[default]
    V2,
    /// Maps, sets, doubles, pushes and more, after `HELLO 3`.
    V3,
}

/// A place in the output to return to by [`Encoder::rollback`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(usize);

/// An aggregate whose length is still to be given by [`Encoder::finish`].
#[derive(Debug)]
#[must_use = "the reply is malformed until `Encoder::finish` gives the length"]
pub struct Deferred {
    /// Where its type byte stands.
    at: usize,
    /// Elements on the wire for one as the caller counts.
    factor: usize,
}

/// Appends replies to a connection's output.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    resp: Resp,
}

impl<'a> Encoder<'a> {
    /// An encoder of protocol version `resp` that appends to `out`.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, resp: Resp) -> Self {
        Self { out, resp }
    }

    /// The protocol version.
    #[inline]
    pub fn resp(&self) -> Resp {
        self.resp
    }

    /// Changes the protocol version of what follows: `HELLO` answers in the version it chose.
    pub fn set_resp(&mut self, resp: Resp) {
        self.resp = resp;
    }

    /// Bytes in the output, those before this encoder included.
    #[inline]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether the output is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// This place, to come back to when what follows turns out wrong.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark(self.out.len())
    }

    /// Removes all that was written since `mark`.
    pub fn rollback(&mut self, mark: Mark) {
        assert!(mark.0 <= self.out.len(), "a mark is of this output and not rolled back before");
        self.out.truncate(mark.0);
    }

    /// What was written since `mark`.
    pub fn since(&self, mark: Mark) -> &[u8] {
        &self.out[mark.0..]
    }

    /// Appends replies that are already encoded, such as those of another core.
    #[inline]
    pub fn raw(&mut self, encoded: &[u8]) {
        self.out.extend_from_slice(encoded);
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A simple string; `text` has no line end.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(!text.bytes().any(|byte| matches!(byte, b'\r' | b'\n')));
        self.line(b'+', text.as_bytes());
    }

    /// An error; `text` begins with its code, such as `ERR` or `WRONGTYPE`.
    ///
    /// Line ends around the text go, those inside become spaces, as the peers do: errors often
    /// quote what the client sent.
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// [`Encoder::error`] for a text that quotes bytes that are not UTF-8.
    pub fn error_bytes(&mut self, text: &[u8]) {
        let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let start = text.iter().position(|byte| !is_line_end(byte)).unwrap_or(text.len());
        let end = text.iter().rposition(|byte| !is_line_end(byte)).map_or(start, |last| last + 1);
        self.out.reserve(end - start + 3);
        self.out.push(b'-');
        let one_line = text[start..end].iter().map(|byte| match byte {
            b'\r' | b'\n' => b' ',
            &byte => byte,
        });
        self.out.extend(one_line);
        self.raw(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        match u8::try_from(value) {
            Ok(digit @ 0..=9) => self.raw(&[b':', b'0' + digit, b'\r', b'\n']),
            _ => self.line(b':', itoa::Buffer::new().format(value).as_bytes()),
        }
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 25);
        self.header(b'$', bytes.len());
        self.raw(bytes);
        self.raw(b"\r\n");
    }

    /// A bulk string, or null for nothing.
    #[inline]
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// An integer as a bulk string: a value that is stored as an integer.
    #[inline]
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A bulk string that is the concatenation of `parts`.
    pub fn bulk_parts(&mut self, parts: &[&[u8]]) {
        let length = parts.iter().map(|part| part.len()).sum();
        self.bulk_with(length, |out| {
            for part in parts {
                out.extend_from_slice(part);
            }
        });
    }

    /// A bulk string of `length` bytes, which `fill` must append, no more and no less.
    pub fn bulk_with(&mut self, length: usize, fill: impl FnOnce(&mut Vec<u8>)) {
        self.out.reserve(length + 25);
        self.header(b'$', length);
        let end = self.out.len() + length;
        fill(self.out);
        assert_eq!(self.out.len(), end, "a bulk string has the length that was announced");
        self.raw(b"\r\n");
    }

    /// Null in the place of a string or number.
    #[inline]
    pub fn null(&mut self) {
        match self.resp {
            Resp::V2 => self.raw(b"$-1\r\n"),
            Resp::V3 => self.raw(b"_\r\n"),
        }
    }

    /// Null in the place of an array.
    #[inline]
    pub fn null_array(&mut self) {
        match self.resp {
            Resp::V2 => self.raw(b"*-1\r\n"),
            Resp::V3 => self.raw(b"_\r\n"),
        }
    }

    /// An array; `length` elements must follow.
    #[inline]
    pub fn array(&mut self, length: usize) {
        self.header(b'*', length);
    }

    /// A map; `length` pairs of key and value must follow.
    #[inline]
    pub fn map(&mut self, length: usize) {
        match self.resp {
            Resp::V2 => self.header(b'*', 2 * length),
            Resp::V3 => self.header(b'%', length),
        }
    }

    /// A set; `length` elements must follow.
    #[inline]
    pub fn set(&mut self, length: usize) {
        self.header(self.or_array(b'~'), length);
    }

    /// An out-of-band message; `length` elements must follow. In RESP2 an array.
    #[inline]
    pub fn push(&mut self, length: usize) {
        self.header(self.or_array(b'>'), length);
    }

    /// Attributes of the reply that comes next; `length` pairs must follow. Only for RESP3: a RESP2
    /// client would take them for the reply.
    pub fn attribute(&mut self, length: usize) {
        assert_eq!(self.resp, Resp::V3, "attributes do not exist in RESP2");
        self.header(b'|', length);
    }

    /// A double, formatted as [`DoubleText`].
    pub fn double(&mut self, value: f64) {
        self.double_text(DoubleText::new(value).as_bytes());
    }

    /// A double that is formatted already: a distance with four decimals, a sum of long doubles.
    pub fn double_text(&mut self, text: &[u8]) {
        match self.resp {
            Resp::V2 => self.bulk(text),
            Resp::V3 => self.line(b',', text),
        }
    }

    /// A boolean.
    pub fn boolean(&mut self, value: bool) {
        self.raw(match (self.resp, value) {
            (Resp::V2, true) => b":1\r\n",
            (Resp::V2, false) => b":0\r\n",
            (Resp::V3, true) => b"#t\r\n",
            (Resp::V3, false) => b"#f\r\n",
        });
    }

    /// An integer beyond 64 bits, in decimal.
    pub fn big_number(&mut self, digits: &[u8]) {
        match self.resp {
            Resp::V2 => self.bulk(digits),
            Resp::V3 => self.line(b'(', digits),
        }
    }

    /// A text for people, with the three letters of its format: `txt` or `mkd`.
    pub fn verbatim(&mut self, format: [u8; 3], text: &[u8]) {
        match self.resp {
            Resp::V2 => self.bulk(text),
            Resp::V3 => {
                self.header(b'=', text.len() + 4);
                self.raw(&format);
                self.raw(b":");
                self.raw(text);
                self.raw(b"\r\n");
            }
        }
    }

    /// Begins an array whose length [`Encoder::finish`] gives.
    pub fn defer_array(&mut self) -> Deferred {
        self.defer(b'*', 1)
    }

    /// Begins a map whose number of pairs [`Encoder::finish`] gives.
    pub fn defer_map(&mut self) -> Deferred {
        match self.resp {
            Resp::V2 => self.defer(b'*', 2),
            Resp::V3 => self.defer(b'%', 1),
        }
    }

    /// Begins a set whose length [`Encoder::finish`] gives.
    pub fn defer_set(&mut self) -> Deferred {
        self.defer(self.or_array(b'~'), 1)
    }

    /// Begins a push whose length [`Encoder::finish`] gives.
    pub fn defer_push(&mut self) -> Deferred {
        self.defer(self.or_array(b'>'), 1)
    }

    /// Gives a deferred aggregate its length (for a map, its pairs), once its elements are written
    /// and all aggregates begun after it are finished.
    ///
    /// O(1) below ten; beyond, the elements are moved once by the digits of the length.
    #[expect(clippy::needless_pass_by_value, reason = "a length is given once")]
    pub fn finish(&mut self, deferred: Deferred, length: usize) {
        let Deferred { at, factor } = deferred;
        assert!(at + 4 <= self.out.len(), "a deferred length is of this output");
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(length * factor).as_bytes();
        if let [digit] = digits {
            self.out[at + 1] = *digit;
        } else {
            self.out.splice(at + 1..at + 2, digits.iter().copied());
        }
    }

    fn defer(&mut self, kind: u8, factor: usize) -> Deferred {
        let at = self.out.len();
        self.header(kind, 0);
        Deferred { at, factor }
    }

    fn or_array(&self, kind: u8) -> u8 {
        match self.resp {
            Resp::V2 => b'*',
            Resp::V3 => kind,
        }
    }

    #[inline]
    fn header(&mut self, kind: u8, length: usize) {
        if length < 10 {
            self.raw(&[kind, b'0' + length as u8, b'\r', b'\n']);
        } else if length < 100 {
            let (tens, units) = (length as u8 / 10, length as u8 % 10);
            self.raw(&[kind, b'0' + tens, b'0' + units, b'\r', b'\n']);
        } else {
            self.line(kind, itoa::Buffer::new().format(length).as_bytes());
        }
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.push(kind);
        self.raw(text);
        self.raw(b"\r\n");
    }
}

#[cfg(test)]
mod tests;
