//! Command lines in tests: words split at spaces, with quotes and escapes as `valkey-cli` has them.

/// Splits a line into arguments.
///
/// `"..."` may hold spaces and the escapes `\n`, `\r`, `\t`, `\\`, `\"` and `\xHH`; `'...'` is taken
/// as it stands. Panics on a line that ends within quotes: it is written in a test.
#[track_caller]
pub fn words(line: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start().as_bytes();
    while !rest.is_empty() {
        let mut word = Vec::new();
        while let Some((&byte, tail)) = rest.split_first() {
            rest = match byte {
                b' ' => break,
                b'"' => double_quoted(tail, &mut word).unwrap_or_else(|| open_quotes(line)),
                b'\'' => single_quoted(tail, &mut word).unwrap_or_else(|| open_quotes(line)),
                _ => {
                    word.push(byte);
                    tail
                }
            };
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    words
}

#[track_caller]
fn open_quotes(line: &str) -> ! {
    panic!("quotes stay open in: {line}")
}

fn single_quoted<'a>(text: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let end = text.iter().position(|&byte| byte == b'\'')?;
    word.extend_from_slice(&text[..end]);
    Some(&text[end + 1..])
}

fn double_quoted<'a>(mut text: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (&byte, tail) = text.split_first()?;
        text = tail;
        match byte {
            b'"' => return Some(text),
            b'\\' => text = escape(text, word)?,
            _ => word.push(byte),
        }
    }
}

fn escape<'a>(text: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&letter, tail) = text.split_first()?;
    if letter == b'x' {
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        word.push(u8::from_str_radix(digits, 16).ok()?);
        return Some(&tail[2..]);
    }
    word.push(match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => other,
    });
    Some(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<String> {
        words(line).into_iter().map(|word| word.escape_ascii().to_string()).collect()
    }

    #[test]
    fn words_are_split_at_spaces_outside_quotes() {
        assert_eq!(split("SET  a 1 "), ["SET", "a", "1"]);
        assert_eq!(split(r#"SET "a b" '\x' "" "#), ["SET", "a b", r"\\x", ""]);
        assert_eq!(split(r#"SET k "\x00\r\n\"\\" "#), ["SET", "k", r#"\x00\r\n\"\\"#]);
        assert!(split("  ").is_empty());
    }
}
