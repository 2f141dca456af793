//! The first line of a library's code: `#!lua name=NAME`.

use crate::config::quote;
use crate::errors::CommandError;

/// What the first line of a library tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Metadata {
    /// The library's name.
    pub(super) name: Box<str>,
    /// Where the code for the interpreter begins: at the end of that line, so that the numbers of
    /// lines stay right.
    pub(super) code_at: usize,
}

/// What a text has up to its first zero byte, which is where the peers' end.
pub(super) fn before_zero(text: &[u8]) -> &[u8] {
    memchr::memchr(0, text).map_or(text, |end| &text[..end])
}

/// A name of a library or a function, if it may be one.
pub(super) fn valid_name(name: &[u8]) -> Option<&str> {
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let name = (!name.is_empty() && name.iter().all(is_valid)).then_some(name)?;
    std::str::from_utf8(name).ok()
}

/// Reads the first line. Errors are those of `FUNCTION LOAD`, in the peers' order.
pub(super) fn parse(code: &[u8]) -> Result<Metadata, CommandError> {
    const INVALID: CommandError = CommandError::Other("ERR Invalid library metadata");
    if !code.starts_with(b"#!") {
        return Err(CommandError::Other("ERR Missing library metadata"));
    }
    let code_at = memchr::memchr(b'\n', before_zero(code)).ok_or(INVALID)?;
    let words = quote::split(&code[..code_at]).ok_or(INVALID)?;
    let (engine, options) = words.split_first().ok_or(INVALID)?;
    let mut name = None;
    for option in options {
        match option.split_at_checked(5) {
            Some((key, value)) if key.eq_ignore_ascii_case(b"name=") => {
                if name.replace(value).is_some() {
                    return Err(CommandError::Other(
                        "ERR Invalid metadata value, name argument was given multiple times",
                    ));
                }
            }
            _ => {
                let before = "ERR Invalid metadata value given: ";
                return Err(CommandError::quoting(before, option, ""));
            }
        }
    }
    let name = name.ok_or(CommandError::Other("ERR Library name was not given"))?;
    let name = valid_name(name).ok_or(CommandError::Other(
        "ERR Library names can only contain letters, numbers, or underscores(_) and must be at \
         least one character long",
    ))?;
    let engine = engine.get(2..).unwrap_or_default();
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err(CommandError::quoting("ERR Engine '", engine, "' not found"));
    }
    Ok(Metadata { name: name.into(), code_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_engine_and_the_library() {
        for line in ["#!lua name=lib_1\n", "#!LUA NAME=\"lib_1\" \n", "#!lua  name=lib_1\n"] {
            let metadata = parse(line.as_bytes()).unwrap();
            assert_eq!((&*metadata.name, metadata.code_at), ("lib_1", line.len() - 1));
        }
    }

    #[test]
    fn other_first_lines_are_refused_in_the_peers_words() {
        let cases = [
            ("", "Missing library metadata"),
            ("return 1\n", "Missing library metadata"),
            ("#!lua name=x", "Invalid library metadata"),
            ("#!lua name=x\0\n", "Invalid library metadata"),
            ("#!lua name=\"x\n", "Invalid library metadata"),
            ("#!lua\n", "Library name was not given"),
            ("#!lua x name=y\n", "Invalid metadata value given: x"),
            (
                "#!lua name=x name=y\n",
                "Invalid metadata value, name argument was given multiple times",
            ),
            ("#! name=x\n", "Engine '' not found"),
            ("#!perl name=x\n", "Engine 'perl' not found"),
        ];
        for (code, expected) in cases {
            let error = parse(code.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, format!("ERR {expected}"), "{code:?}");
        }
        for name in ["", "a-b", "a\\0", "\"a\\x00\"", "\u{e9}"] {
            let error = parse(format!("#!lua name={name}\n").as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("ERR Library names can only contain"), "{name}: {error}");
        }
    }
}
