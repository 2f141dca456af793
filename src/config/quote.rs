//! The quoting of configuration lines: words split at blanks, with single and double quotes.
//!
//! The peers share one set of rules between their configuration files and inline requests:
//! * words are separated by white space;
//! * inside double quotes `\n`, `\r`, `\t`, `\b`, `\a`, `\xHH` and `\c` (any other `c`) are
//!   escapes;
//! * inside single quotes only `\'` is;
//! * a closing quote ends its word, so it must be followed by white space or the end.

/// Splits `line` into words. `None` says that a quote is not closed, or that text follows one.
///
/// O(n); every word is one allocation. The inverse of [`quote`] for any bytes.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = skip_space(rest);
        if rest.is_empty() {
            return Some(words);
        }
        let (word, after) = take_word(rest)?;
        words.push(word);
        rest = after;
    }
}

/// Writes `bytes` as one double-quoted word that [`split`] reads back unchanged.
pub fn quote(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 2);
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x07 => out.extend(b"\\a"),
            0x08 => out.extend(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => out.extend(format!("\\x{byte:02x}").into_bytes()),
        }
    }
    out.push(b'"');
    out
}

/// What the C library's `isspace` calls white space: Rust's set and the vertical tab.
pub(crate) fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn skip_space(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|&&byte| is_space(byte)).count();
    &text[blanks..]
}

/// Takes one word off the front of `text`, which starts with something that is no white space.
fn take_word(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return close(take_double(&text[at + 1..], word)?),
            b'\'' => return close(take_single(&text[at + 1..], word)?),
            _ if is_space(byte) => break,
            _ => word.push(byte),
        }
        at += 1;
    }
    Some((word, &text[at..]))
}

/// A closing quote must end its word.
fn close((word, rest): (Vec<u8>, &[u8])) -> Option<(Vec<u8>, &[u8])> {
    rest.first().is_none_or(|&byte| is_space(byte)).then_some((word, rest))
}

fn take_double(mut text: &[u8], mut word: Vec<u8>) -> Option<(Vec<u8>, &[u8])> {
    loop {
        match text {
            [b'\\', b'x', high, low, rest @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex_digit(*high) << 4 | hex_digit(*low));
                text = rest;
            }
            [b'\\', escaped, rest @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                text = rest;
            }
            [b'"', rest @ ..] => return Some((word, rest)),
            [byte, rest @ ..] => {
                word.push(*byte);
                text = rest;
            }
            [] => return None,
        }
    }
}

fn take_single(mut text: &[u8], mut word: Vec<u8>) -> Option<(Vec<u8>, &[u8])> {
    loop {
        match text {
            [b'\\', b'\'', rest @ ..] => {
                word.push(b'\'');
                text = rest;
            }
            [b'\'', rest @ ..] => return Some((word, rest)),
            [byte, rest @ ..] => {
                word.push(*byte);
                text = rest;
            }
            [] => return None,
        }
    }
}

/// The value of an ASCII hexadecimal digit.
fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(line: &str, expected: Option<&[&[u8]]>) {
        let words = split(line.as_bytes());
        let words: Option<Vec<&[u8]>> = words.as_ref().map(|w| w.iter().map(|w| &w[..]).collect());
        assert_eq!(words.as_deref(), expected, "{line}");
    }

    #[test]
    fn splits_as_the_peers_do() {
        check("", Some(&[]));
        check(" \t ", Some(&[]));
        check("port 6379", Some(&[b"port", b"6379"]));
        check("save \"\"", Some(&[b"save", b""]));
        check("logfile ''", Some(&[b"logfile", b""]));
        check(r#"requirepass "a\x00\xfF\"b\n""#, Some(&[b"requirepass", b"a\x00\xff\"b\n"]));
        check(r#"a "\xzz""#, Some(&[b"a", b"xzz"]));
        check(r"a 'it\'s \n'", Some(&[b"a", b"it's \\n"]));
        check("mid\"dle\" x", Some(&[b"middle", b"x"]));
        check("a \"open", None);
        check("a 'open", None);
        check("a \"closed\"text", None);
        check("a 'closed'text", None);
        check(r#"a "\"#, None);
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(words in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..40), 0..6))
        {
            let line = words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(&b' ');
            prop_assert!(line.iter().all(|byte| (b' '..=b'~').contains(byte)));
            prop_assert_eq!(split(&line), Some(words));
        }

        #[test]
        fn any_line_splits_or_is_refused(line in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(words) = split(&line) {
                prop_assert!(words.iter().map(Vec::len).sum::<usize>() <= line.len());
            }
        }
    }
}
