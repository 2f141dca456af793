//! The first line of a script that begins with `#!`: its engine and its flags.

use crate::errors::CommandError;

/// What a script has declared of itself.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the peers by itself")]
pub struct Declared {
    /// It has a first line of this kind: only then do the flags say anything.
    pub any: bool,
    /// `no-writes`.
    pub no_writes: bool,
    /// `allow-oom`.
    pub allow_oom: bool,
    /// `allow-stale`.
    pub allow_stale: bool,
    /// `no-cluster`.
    pub no_cluster: bool,
    /// `allow-cross-slot-keys`.
    pub allow_cross_slot_keys: bool,
}

impl Declared {
    /// Sets the flag of this name; false if there is none.
    pub fn set(&mut self, name: &[u8]) -> bool {
        let flag = match name {
            b"no-writes" => &mut self.no_writes,
            b"allow-oom" => &mut self.allow_oom,
            b"allow-stale" => &mut self.allow_stale,
            b"no-cluster" => &mut self.no_cluster,
            b"allow-cross-slot-keys" => &mut self.allow_cross_slot_keys,
            _ => return false,
        };
        *flag = true;
        true
    }

    /// The names of the flags that are set, in the peers' order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (self.no_writes, "no-writes"),
            (self.allow_oom, "allow-oom"),
            (self.allow_stale, "allow-stale"),
            (self.no_cluster, "no-cluster"),
            (self.allow_cross_slot_keys, "allow-cross-slot-keys"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
    }
}

/// Reads the first line of a script. Returns what it declares and where the code begins: at the end
/// of that line, so that the numbers of lines stay right.
pub fn parse(body: &[u8]) -> Result<(Declared, usize), CommandError> {
    let mut declared = Declared::default();
    if !body.starts_with(b"#!") {
        return Ok((declared, 0));
    }
    let end =
        memchr::memchr(b'\n', body).ok_or(CommandError::Other("ERR Invalid script shebang"))?;
    let mut parts = body[2..end].split(u8::is_ascii_whitespace).filter(|part| !part.is_empty());
    let engine = if body.get(2).is_some_and(u8::is_ascii_whitespace) || end == 2 {
        &b""[..]
    } else {
        parts.next().unwrap_or_default()
    };
    declared.any = true;
    for part in parts {
        let Some(flags) = part.strip_prefix(b"flags=") else {
            return Err(CommandError::quoting("ERR Unknown lua shebang option: ", part, ""));
        };
        for flag in flags.split(|byte| *byte == b',').filter(|_| !flags.is_empty()) {
            if !declared.set(flag) {
                let before = "ERR Unexpected flag in script shebang: ";
                return Err(CommandError::quoting(before, flag, ""));
            }
        }
    }
    if engine.eq_ignore_ascii_case(b"lua") {
        Ok((declared, end))
    } else {
        Err(CommandError::quoting("ERR Could not find scripting engine '", engine, "'"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_and_unknown_ones_refused() {
        let (declared, code) = parse(b"#!lua flags=no-writes,allow-stale\nreturn 1").unwrap();
        assert!(declared.any && declared.no_writes && declared.allow_stale && !declared.allow_oom);
        assert_eq!(code, 33);
        assert_eq!(parse(b"return 1").unwrap(), (Declared::default(), 0));
        let error = |body: &[u8]| parse(body).unwrap_err().to_string();
        assert_eq!(error(b"#!lua"), "ERR Invalid script shebang");
        assert_eq!(error(b"#!lua flags=x\n"), "ERR Unexpected flag in script shebang: x");
        assert_eq!(error(b"#!lua name=x\n"), "ERR Unknown lua shebang option: name=x");
        assert_eq!(error(b"#!perl\n"), "ERR Could not find scripting engine 'perl'");
    }
}
