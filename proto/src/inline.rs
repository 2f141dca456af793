//! Splitting a line into arguments by the peers' quoting rules: inline requests, and lines of
//! configuration files.
//!
//! The rules are Valkey's, oddities included:
//! - Arguments are separated by blanks: space, tab, newline, carriage return, vertical tab and form
//!   feed before an argument, but only the first four end an unquoted one.
//! - A quote may open anywhere in an argument; its closing quote ends the argument and must be
//!   followed by a blank or the end.
//! - In double quotes `\n \r \t \b \a \xHH` stand for what they do in C and a backslash before
//!   anything else stands for that; in single quotes only `\'` is special; outside none is.
//! - A NUL ends the line.
//! - The byte 0xFF, unless written `\xff`, vanishes from its argument.

use crate::args::{ArgRange, ArgRanges};

/// A quote that is not closed, or that is closed in the middle of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnbalancedQuotes;

impl core::fmt::Display for UnbalancedQuotes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("unbalanced quotes")
    }
}

impl core::error::Error for UnbalancedQuotes {}

/// Splits `line` into `args`, replacing what they held.
///
/// A line without quotes is addressed in place; otherwise the unescaped arguments are put in the
/// scratch space of `args`. [`ArgRanges::view`] hides the difference. On error `args` is empty.
///
/// `line` must not be longer than `u32::MAX` bytes. O(length).
pub fn split_line(line: &[u8], args: &mut ArgRanges) -> Result<(), UnbalancedQuotes> {
    assert!(u32::try_from(line.len()).is_ok(), "the caller bounds the length of a line");
    args.clear();
    let line = memchr::memchr(0, line).map_or(line, |end| &line[..end]);
    if memchr::memchr3(b'"', b'\'', 0xff, line).is_none() {
        split_plain(line, args);
        return Ok(());
    }
    let result = split_quoted(line, args);
    if result.is_err() {
        args.clear();
    }
    result
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn ends_unquoted(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn split_plain(line: &[u8], args: &mut ArgRanges) {
    let mut at = 0;
    while let Some(skipped) = line[at..].iter().position(|&byte| !is_blank(byte)) {
        let start = at + skipped;
        let rest = &line[start..];
        let length = rest.iter().position(|&byte| ends_unquoted(byte)).unwrap_or(rest.len());
        args.push(ArgRange::new(start, length));
        at = start + length;
    }
}

fn split_quoted(line: &[u8], args: &mut ArgRanges) -> Result<(), UnbalancedQuotes> {
    args.use_scratch();
    let mut at = 0;
    while let Some(skipped) = line[at..].iter().position(|&byte| !is_blank(byte)) {
        at += skipped;
        let start = args.scratch().len();
        at += unescape_argument(&line[at..], args.scratch())?;
        let length = args.scratch().len() - start;
        args.push(ArgRange::new(start, length));
    }
    Ok(())
}

/// Appends the argument that `text` begins with; returns how many bytes of `text` it took.
fn unescape_argument(text: &[u8], out: &mut Vec<u8>) -> Result<usize, UnbalancedQuotes> {
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'"' => return Ok(at + 1 + unescape_double(&text[at + 1..], out)?),
            b'\'' => return Ok(at + 1 + unescape_single(&text[at + 1..], out)?),
            _ if ends_unquoted(byte) => return Ok(at),
            0xff => {}
            _ => out.push(byte),
        }
    }
    Ok(text.len())
}

/// The inside of double quotes; returns the bytes taken, closing quote included.
fn unescape_double(text: &[u8], out: &mut Vec<u8>) -> Result<usize, UnbalancedQuotes> {
    let mut at = 0;
    loop {
        match text[at..] {
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex_digit(high) << 4 | hex_digit(low));
                at += 4;
            }
            [b'\\', escaped, ..] => {
                match escaped {
                    b'n' => out.push(b'\n'),
                    b'r' => out.push(b'\r'),
                    b't' => out.push(b'\t'),
                    b'b' => out.push(0x08),
                    b'a' => out.push(0x07),
                    0xff => {}
                    other => out.push(other),
                }
                at += 2;
            }
            [b'"', ..] => return closed(text, at),
            [byte, ..] => {
                if byte != 0xff {
                    out.push(byte);
                }
                at += 1;
            }
            [] => return Err(UnbalancedQuotes),
        }
    }
}

/// The inside of single quotes; returns the bytes taken, closing quote included.
fn unescape_single(text: &[u8], out: &mut Vec<u8>) -> Result<usize, UnbalancedQuotes> {
    let mut at = 0;
    loop {
        match text[at..] {
            [b'\\', b'\'', ..] => {
                out.push(b'\'');
                at += 2;
            }
            [b'\'', ..] => return closed(text, at),
            [byte, ..] => {
                if byte != 0xff {
                    out.push(byte);
                }
                at += 1;
            }
            [] => return Err(UnbalancedQuotes),
        }
    }
}

/// A closing quote at `at` is good only before a blank or the end.
fn closed(text: &[u8], at: usize) -> Result<usize, UnbalancedQuotes> {
    match text.get(at + 1) {
        Some(&next) if !is_blank(next) => Err(UnbalancedQuotes),
        _ => Ok(at + 1),
    }
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &[u8], expected: &[&[u8]]) {
        let mut args = ArgRanges::default();
        assert_eq!(split_line(line, &mut args), Ok(()), "{}", line.escape_ascii());
        let split: Vec<&[u8]> = args.view(line).iter().collect();
        assert_eq!(split, expected, "{}", line.escape_ascii());
    }

    fn check_unbalanced(line: &[u8]) {
        let mut args = ArgRanges::default();
        assert_eq!(split_line(line, &mut args), Err(UnbalancedQuotes), "{}", line.escape_ascii());
        assert!(args.is_empty());
    }

    #[test]
    fn plain_words() {
        check(b"", &[]);
        check(b" \t\r\n\x0b\x0c ", &[]);
        check(b"PING", &[b"PING"]);
        check(b"  set\tkey   value  ", &[b"set", b"key", b"value"]);
        check(b"\x0bPING", &[b"PING"]);
        check(b"SET k a\x0bb\x0c", &[b"SET", b"k", b"a\x0bb\x0c"]);
        check(b"back\\slash\\n", &[b"back\\slash\\n"]);
        check(b"cut here\0never seen", &[b"cut", b"here"]);
    }

    #[test]
    fn quotes_and_escapes() {
        check(b"set \"a b\" ''", &[b"set", b"a b", b""]);
        check(br#""\x41\n\r\t\b\a\q\\\"""#, &[b"A\n\r\t\x08\x07q\\\""]);
        check(br#""\x4" "\xzz""#, &[b"x4", b"xzz"]);
        check(br"'a\'b\n'", &[br"a'b\n"]);
        check(b"a\"b c\" d'e'", &[b"ab c", b"de"]);
        check(b"\"a\"\x0bb", &[b"a", b"b"]);
    }

    #[test]
    fn the_byte_ff_vanishes_unless_escaped() {
        check(b"ECHO \x80\xff", &[b"ECHO", b"\x80"]);
        check(b"ECHO \xff", &[b"ECHO", b""]);
        check(b"'\xffa' \"\xff\\\xff\\xff\"", &[b"a", b"\xff"]);
    }

    #[test]
    fn unbalanced_quotes() {
        check_unbalanced(b"\"PING");
        check_unbalanced(b"ok 'PING");
        check_unbalanced(b"\"PI\"NG");
        check_unbalanced(b"'PI'NG");
        check_unbalanced(b"\"a\\\"");
        check_unbalanced(b"'a\\'");
        check_unbalanced(b"\"a\\");
        check_unbalanced(b"\"cut\0\"");
        check_unbalanced(b"a\"b\"'c'");
    }
}
