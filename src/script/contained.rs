//! Scripts whose text shows that they use no key but those that they are given.
//!
//! Most scripts in use are short, and every call in them reads `redis.call("GET", KEYS[1], ..)`.
//! Such a script cannot want a key of another shard than its request names, so nothing need be
//! kept to take it back, and who has sent it may have later requests executed before it ends, as
//! behind any other command.
//!
//! The text is looked at token by token, O(its length), and whatever is not plainly harmless counts
//! as not contained. The rules:
//!
//! - `redis` and `server` come only in front of a field. `call` and `pcall` come with a literal
//!   command whose one key is its first argument, and a given key as that argument. It may be a
//!   command of any number of keys, such as `DEL`, if that is the only argument.
//! - A given key is `KEYS[1]` (any number), or a local variable that is declared as that and used
//!   for nothing else. `KEYS` comes in no other way but `#KEYS`, so nobody can write to it.
//! - No other way leads to the functions that run commands: what gives access to globals by other
//!   names, compiles text or changes metatables is not mentioned.

use std::collections::HashSet;

use kvasir_proto::{ArgRange, Args};

use crate::commands::definition::Handler;
use crate::commands::table::table;

/// Names that could lead around the rules, and are in no script that is taken for contained.
const EVASIVE: &[&[u8]] = &[
    b"_G",
    b"_ENV",
    b"debug",
    b"dofile",
    b"getfenv",
    b"getmetatable",
    b"load",
    b"loadfile",
    b"loadstring",
    b"module",
    b"newproxy",
    b"package",
    b"rawget",
    b"rawset",
    b"require",
    b"setfenv",
    b"setmetatable",
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token<'a> {
    /// A name, or a reserved word.
    Name(&'a [u8]),
    /// What stands between quotes, if it stands for itself.
    Text(Option<&'a [u8]>),
    Number,
    /// One of `.`, `=` and whatever else is one character.
    Sign(u8),
    /// An operator of several characters.
    Operator,
}

/// Whether a script's code can use no key but those that it is given.
pub(super) fn is_contained(code: &[u8]) -> bool {
    let Some(tokens) = Tokens(code).collect::<Option<Vec<_>>>() else { return false };
    let aliases = aliases(&tokens);
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let rest = &tokens[at..];
        let length = match token {
            Token::Name(b"redis" | b"server") => of_server(rest, &aliases),
            Token::Name(b"local") => declaration(rest).map(|_| ALIAS_LENGTH).or(Some(1)),
            Token::Sign(b'#') if rest.get(1) == Some(&Token::Name(b"KEYS")) => Some(2),
            Token::Name(b"KEYS") => None,
            Token::Name(name) if EVASIVE.contains(name) || aliases.contains(name) => None,
            _ => Some(1),
        };
        match length {
            Some(length) => at += length,
            None => return false,
        }
    }
    true
}

/// How many tokens a harmless use of `redis` or `server` takes at the beginning of these.
fn of_server(tokens: &[Token<'_>], aliases: &HashSet<&[u8]>) -> Option<usize> {
    let [_, Token::Sign(b'.'), Token::Name(field), ..] = tokens else { return None };
    if !matches!(*field, b"call" | b"pcall") {
        return Some(3);
    }
    let [Token::Sign(b'('), Token::Text(Some(command)), Token::Sign(b','), key @ ..] = &tokens[3..]
    else {
        return None;
    };
    let length = match key {
        [Token::Name(name), ..] if aliases.contains(name) => 1,
        _ => given_key(key)?,
    };
    let is_alone = match key.get(length)? {
        Token::Sign(b')') => true,
        Token::Sign(b',') => false,
        _ => return None,
    };
    has_one_key(command, is_alone).then_some(6 + length)
}

/// Whether a command of this name uses its first argument as a key, and no other key; `is_alone`:
/// it has no other argument.
fn has_one_key(name: &[u8], is_alone: bool) -> bool {
    let whole = ArgRange { start: 0, len: name.len() as u32 };
    table().find(Args::new(name, &[whole])).is_some_and(|entry| {
        let is_plain = entry.first_key == Some(1)
            && entry.command.beyond.is_none()
            && entry.command.other_db.is_none();
        is_plain
            && match entry.command.handler {
                Handler::Shard(_) => true,
                Handler::Multi { .. } => is_alone,
                _ => false,
            }
    })
}

/// How many tokens a key takes that is written as it is given.
fn given_key(tokens: &[Token<'_>]) -> Option<usize> {
    let key =
        [Token::Name(b"KEYS"), Token::Sign(b'['), Token::Number, Token::Sign(b']')].as_slice();
    tokens.starts_with(key).then_some(key.len())
}

/// Tokens of the declaration of a key by another name.
const ALIAS_LENGTH: usize = 7;

/// The name that is declared for a given key at the beginning of these tokens.
fn declaration<'a>(tokens: &[Token<'a>]) -> Option<&'a [u8]> {
    let [Token::Name(b"local"), Token::Name(name), Token::Sign(b'='), key @ ..] = tokens else {
        return None;
    };
    let length = given_key(key)?;
    // What goes on behind it would make it something else.
    let ends = match key.get(length) {
        None | Some(Token::Sign(b';')) => true,
        Some(Token::Name(word)) => !matches!(*word, b"and" | b"or"),
        _ => false,
    };
    ends.then_some(*name)
}

fn aliases<'a>(tokens: &[Token<'a>]) -> HashSet<&'a [u8]> {
    (0..tokens.len()).filter_map(|at| declaration(&tokens[at..])).collect()
}

/// The tokens of a text; nothing in place of one where it is not as Lua wants it.
struct Tokens<'a>(&'a [u8]);

impl<'a> Tokens<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn length_while(&self, accepts: impl Fn(&u8) -> bool) -> usize {
        self.0.iter().take_while(|byte| accepts(byte)).count()
    }

    /// Passes over space and comments; nothing if one does not end.
    fn skip(&mut self) -> Option<()> {
        loop {
            let space = self.length_while(|byte| byte.is_ascii_whitespace() || *byte == b'\x0b');
            self.take(space);
            if !self.0.starts_with(b"--") {
                return Some(());
            }
            self.take(2);
            if self.level().is_some() {
                self.long()?;
            } else {
                let line = self.length_while(|byte| !matches!(byte, b'\n' | b'\r'));
                self.take(line);
            }
        }
    }

    /// How many `=` stand in the long bracket that opens here, if one does.
    fn level(&self) -> Option<usize> {
        let rest = self.0.strip_prefix(b"[")?;
        let level = rest.iter().take_while(|byte| **byte == b'=').count();
        (rest.get(level) == Some(&b'[')).then_some(level)
    }

    /// What stands in the long bracket that opens here.
    fn long(&mut self) -> Option<()> {
        let level = self.level()?;
        self.take(level + 2);
        let close = [b"]".as_slice(), &vec![b'='; level], b"]"].concat();
        let end = self.0.windows(close.len()).position(|window| window == close)?;
        self.take(end + close.len());
        Some(())
    }

    /// What stands in the quotes that open here; nothing if they do not close.
    fn quoted(&mut self) -> Option<Token<'a>> {
        let quote = self.take(1)[0];
        let (text, mut length) = (self.0, 0);
        loop {
            match text.get(length)? {
                b'\\' => length += 2,
                b'\n' | b'\r' => return None,
                byte if *byte == quote => break,
                _ => length += 1,
            }
        }
        let text = self.take(length);
        self.take(1);
        Some(Token::Text((!text.contains(&b'\\')).then_some(text)))
    }

    fn token(&mut self) -> Option<Token<'a>> {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        Some(match self.0[0] {
            b'\'' | b'"' => return self.quoted(),
            b'[' if self.level().is_some() => {
                self.long()?;
                Token::Text(None)
            }
            b'0'..=b'9' => {
                let length = self.length_while(|byte| is_word(byte) || *byte == b'.');
                let digits = self.take(length);
                // A number of another form is none that names a key.
                if digits.iter().all(u8::is_ascii_digit) { Token::Number } else { Token::Operator }
            }
            byte if is_word(&byte) => {
                let length = self.length_while(is_word);
                Token::Name(self.take(length))
            }
            b'.' | b'=' | b'~' | b'<' | b'>' => {
                let length = self.length_while(|byte| b".=~<>".contains(byte));
                match self.take(length) {
                    [sign] => Token::Sign(*sign),
                    _ => Token::Operator,
                }
            }
            sign if sign.is_ascii_graphic() => Token::Sign(self.take(1)[0]),
            _ => return None,
        })
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Option<Token<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.skip().is_none() {
            self.0 = b"";
            return Some(None);
        }
        if self.0.is_empty() {
            return None;
        }
        let token = self.token();
        if token.is_none() {
            self.0 = b"";
        }
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::cache;

    fn contained(code: &str) -> bool {
        cache::script([0; 20], code.as_bytes(), 0).unwrap().is_contained
    }

    #[test]
    fn scripts_that_name_their_keys_in_each_call_are_contained() {
        for code in [
            "return 1",
            "return redis.call('GET', KEYS[1])",
            "#!lua flags=no-writes\nreturn server.pcall(\"get\",KEYS[ 1 ])",
            "if redis.call('get',KEYS[1]) == ARGV[1] then return redis.call('del',KEYS[1]) end",
            "local v = redis.call('HGET', KEYS[2], ARGV[1]) or '' return #KEYS .. v .. #ARGV",
            "local key = KEYS[1]\nlocal now = tonumber(ARGV[1])\n\
             redis.call('ZADD', key, now, now)\nreturn redis.call('ZCARD', key)",
            "local key = KEYS[1]; return {redis.call('INCR', key), 'redis.call(KEYS'}",
            "-- redis.call('keys', '*')\n--[==[ KEYS ]] ]==] return redis.status_reply('x')",
            "local a = {} ; a.b = [[ KEYS ]] return redis.sha1hex(a.b) -- KEYS",
            "return redis.call('LPUSH', KEYS[1], unpack(ARGV))",
        ] {
            assert!(contained(code), "{code}");
        }
    }

    #[test]
    fn whatever_else_is_not() {
        for code in [
            "return redis.call('GET', 'key')",
            "return redis.call('GET', ARGV[1])",
            "return redis.call('GET', KEYS[1] .. 'x')",
            "return redis.call('GET', KEYS[#KEYS])",
            "return redis.call('GET', KEYS[-1])",
            "return redis.call('GET', KEYS[0x1])",
            "return redis.call('GET', KEYS[1][1])",
            "return redis.call(ARGV[1], KEYS[1])",
            "return redis.call('G\\69T', KEYS[1])",
            "return redis.call([[GET]], KEYS[1])",
            "return redis.call('MGET', KEYS[1], 'x')",
            "return redis.call('DEL', KEYS[1], 'x')",
            "return redis.call('MOVE', KEYS[1], 1)",
            "return redis.call('RENAME', KEYS[1], 'x')",
            "return redis.call('SORT', KEYS[1], 'BY', 'x*')",
            "return redis.call('SELECT', KEYS[1])",
            "return redis.call('PUBLISH', KEYS[1], 'x')",
            "return redis.call('OBJECT', 'ENCODING', KEYS[1])",
            "return redis.call('NONE', KEYS[1])",
            "return redis.call 'PING'",
            "return redis['call']('GET', 'x')",
            "local call = redis.call return call('GET', 'x')",
            "local r = redis return r.call('GET', 'x')",
            "return pcall(redis.call, 'GET', 'x')",
            "return _G['re' .. 'dis'].call('GET', 'x')",
            "return load('return re' .. 'dis.call(\"GET\", \"x\")')()",
            "KEYS[1] = 'x' return redis.call('GET', KEYS[1])",
            "KEYS[1], a = 'x', 1 return redis.call('GET', KEYS[1])",
            "table.insert(KEYS, 1, 'x') return redis.call('GET', KEYS[1])",
            "local k = KEYS k[1] = 'x' return redis.call('GET', KEYS[1])",
            "local key = KEYS[1] key = 'x' return redis.call('GET', key)",
            "local key = KEYS[1] .. 'x' return redis.call('GET', key)",
            "local key = KEYS[1] or 'x' return redis.call('GET', key)",
            "local key = 'x' do local key = KEYS[1] end return redis.call('GET', key)",
            "local key = KEYS[1] local f = function(key) return redis.call('GET', key) end f('x')",
            "local key, b = KEYS[1] return redis.call('GET', key)",
            "local key = KEYS[1] for key = 1, 2 do redis.call('GET', key) end",
            "for _, key in ipairs(KEYS) do redis.call('GET', key) end",
            "return 'unfinished",
            "return [[unfinished",
            "return 1 --[[unfinished",
            "return '\\",
            "return \u{1}",
        ] {
            assert!(!contained(code), "{code}");
        }
    }

    /// A global that the sandbox gets is to be thought about here.
    #[test]
    fn every_global_of_scripts_is_known_to_lead_nowhere_or_is_evasive() {
        let harmless = "ARGV KEYS __redis__err__handler __server__err__handler _VERSION assert \
            bit cjson cmsgpack collectgarbage coroutine error gcinfo ipairs math next os pairs \
            pcall print rawequal redis select server string struct table tonumber tostring type \
            unpack xpcall";
        let prelude = include_str!("prelude.lua");
        let allowed = prelude.split("local allowed = set {").nth(1).unwrap();
        let allowed = allowed.split('}').next().unwrap();
        let set = prelude.lines().filter_map(|line| line.trim_start().strip_prefix("G."));
        let set = set.filter_map(|line| line.split([' ', '=', '[', '.', ',']).next());
        let names = allowed.split(',').map(|name| name.trim().trim_matches('"')).chain(set);
        for name in names.filter(|name| !name.is_empty()) {
            let known = harmless.split_whitespace().any(|other| other == name)
                || EVASIVE.contains(&name.as_bytes());
            assert!(known, "{name}");
        }
    }
}
