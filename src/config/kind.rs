//! The kinds of parameters: how a value of each is read from words and written back.
//!
//! Accepted forms and error texts are the peers', settled by running Valkey 8.1. One deviation: a
//! size that overflows 64 bits is refused here, where the peers wrap it around.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::choice::Choice;
use super::notify::KeyspaceEvents;
use super::value::{ClientClass, OutputLimit, PrimaryAddress, SavePoint, Value};

/// How a value is read and written.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// yes or no, in any case.
    Flag,
    /// A number within inclusive bounds.
    Number {
        /// The least value.
        lower: i128,
        /// The greatest value.
        upper: i128,
        /// How it is written.
        notation: Notation,
    },
    /// One of several names, in any case.
    Choice(&'static [Choice]),
    /// Several of several names, whose codes are bits.
    ChoiceSet(&'static [Choice]),
    /// Any bytes.
    Text(Empty),
    /// An existing directory, kept as an absolute path.
    Directory,
    /// `save`.
    Save,
    /// `client-output-buffer-limit`.
    OutputLimits,
    /// `oom-score-adj-values`.
    OomScores,
    /// `notify-keyspace-events`.
    Events,
    /// `bind` and the like: up to 16 addresses.
    Addresses,
    /// `replicaof`.
    Primary,
    /// `latency-tracking-info-percentiles`.
    Percentiles,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    /// Plain decimal digits, in the one canonical spelling.
    Decimal,
    /// Bytes with an optional unit: k, kb, m, mb, g, gb (k is 1000, kb 1024).
    Memory,
    /// As `Memory`, or a percentage.
    MemoryOrPercent,
    /// Octal digits.
    Octal,
}

/// What the empty text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// The parameter is not set: CONFIG REWRITE leaves its line out.
    MeansUnset,
    /// It is a value as any other.
    IsValue,
}

/// The longest list of addresses that the peers accept.
const ADDRESSES_MAX: usize = 16;
/// The peers cut the list of accepted names off here.
const CHOICES_TEXT_MAX: usize = 255;

impl Kind {
    /// Whether a value may be several words; the others take exactly one.
    pub fn takes_words(self) -> bool {
        matches!(
            self,
            Self::ChoiceSet(_)
                | Self::Save
                | Self::OutputLimits
                | Self::OomScores
                | Self::Addresses
                | Self::Primary
                | Self::Percentiles
        )
    }

    /// Reads a value. For a kind that takes one word, `words` holds exactly that.
    pub(super) fn parse(self, words: &[&[u8]], previous: Option<&Value>) -> Result<Value, String> {
        match self {
            Self::Flag => parse_flag(one(words)?),
            Self::Number { lower, upper, notation } => {
                parse_number(one(words)?, lower, upper, notation)
            }
            Self::Choice(choices) => parse_choices(choices, &[one(words)?]),
            Self::ChoiceSet(choices) => parse_choices(choices, words),
            Self::Text(_) => Ok(Value::Text(one(words)?.into())),
            Self::Directory => parse_directory(one(words)?, previous),
            Self::Save => parse_save(words),
            Self::OutputLimits => parse_output_limits(words, previous),
            Self::OomScores => parse_oom_scores(words),
            Self::Events => KeyspaceEvents::parse(one(words)?)
                .map(Value::Events)
                .ok_or_else(|| "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".into()),
            Self::Addresses => parse_addresses(words),
            Self::Primary => parse_primary(words),
            Self::Percentiles => parse_percentiles(words),
        }
    }

    /// What CONFIG GET shows for a value of this kind.
    pub fn show(self, value: &Value) -> Vec<u8> {
        match (self, value) {
            (_, Value::Flag(flag)) => if *flag { "yes" } else { "no" }.into(),
            (Self::Number { notation: Notation::Octal, .. }, Value::Number(number)) => {
                format!("{number:o}").into_bytes()
            }
            (_, Value::Number(number)) => number.to_string().into_bytes(),
            (_, Value::Percent(percent)) => format!("{percent}%").into_bytes(),
            (Self::Choice(choices) | Self::ChoiceSet(choices), Value::Choice(code)) => {
                show_choices(choices, *code).into_bytes()
            }
            (_, Value::Choice(code)) => code.to_string().into_bytes(),
            (_, Value::Text(text)) => text.to_vec(),
            (_, Value::Save(points)) => {
                join(points.iter().map(|point| format!("{} {}", point.seconds, point.changes)))
            }
            (_, Value::OutputLimits(limits)) => join(ClientClass::ALL.iter().map(|class| {
                let limit = limits[*class as usize];
                format!(
                    "{} {} {} {}",
                    class.shown_name(),
                    limit.hard_bytes,
                    limit.soft_bytes,
                    limit.soft_seconds
                )
            })),
            (_, Value::OomScores(scores)) => join(scores.iter().map(ToString::to_string)),
            (_, Value::Events(events)) => events.letters().into_bytes(),
            (_, Value::Words(words)) => words.join(&b' '),
            (_, Value::Primary(None)) => Vec::new(),
            (_, Value::Primary(Some(primary))) => {
                format!("{} {}", primary.host, primary.port).into_bytes()
            }
            (_, Value::Percentiles(list)) => join(list.iter().map(|&one| show_float(one))),
        }
    }
}

fn one<'a>(words: &[&'a [u8]]) -> Result<&'a [u8], String> {
    match words {
        [word] => Ok(word),
        _ => Err("wrong number of arguments".into()),
    }
}

fn join(parts: impl Iterator<Item = String>) -> Vec<u8> {
    parts.collect::<Vec<_>>().join(" ").into_bytes()
}

fn parse_flag(word: &[u8]) -> Result<Value, String> {
    if word.eq_ignore_ascii_case(b"yes") {
        Ok(Value::Flag(true))
    } else if word.eq_ignore_ascii_case(b"no") {
        Ok(Value::Flag(false))
    } else {
        Err("argument must be 'yes' or 'no'".into())
    }
}

fn parse_number(
    word: &[u8],
    lower: i128,
    upper: i128,
    notation: Notation,
) -> Result<Value, String> {
    let number = match notation {
        Notation::Decimal => {
            canonical_i64(word).ok_or("argument couldn't be parsed into an integer")?.into()
        }
        Notation::Memory => parse_memory(word).ok_or("argument must be a memory value")?.into(),
        Notation::MemoryOrPercent => match (parse_memory(word), word.split_last()) {
            (Some(bytes), _) => bytes.into(),
            (None, Some((b'%', digits))) if canonical_i64(digits).is_some_and(|n| n >= 0) => {
                return match canonical_i64(digits) {
                    Some(percent @ 0..=100) => Ok(Value::Percent(percent as u8)),
                    _ => Err("percentage argument must be less or equal to 100".into()),
                };
            }
            _ => return Err("argument must be a memory or percent value".into()),
        },
        Notation::Octal => std::str::from_utf8(word)
            .ok()
            .and_then(|text| i64::from_str_radix(text, 8).ok())
            .ok_or("argument couldn't be parsed as an octal number")?
            .into(),
    };
    if (lower..=upper).contains(&number) {
        return Ok(Value::Number(number));
    }
    Err(if notation == Notation::Octal {
        format!("argument must be between {lower:o} and {upper:o} inclusive")
    } else {
        format!("argument must be between {lower} and {upper} inclusive")
    })
}

/// A 64-bit number in its one canonical spelling: no sign but `-`, no leading zero, no blank.
fn canonical_i64(word: &[u8]) -> Option<i64> {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    let canonical = match digits {
        [b'0'] => digits.len() == word.len(),
        [b'1'..=b'9', ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if canonical { std::str::from_utf8(word).ok()?.parse().ok() } else { None }
}

/// Bytes with an optional unit. No digits at all is 0, as it is with the peers (`kb` means 0).
fn parse_memory(word: &[u8]) -> Option<u64> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = word.split_at(digits);
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    number
        .iter()
        .try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?
        .checked_mul(factor)
}

fn parse_choices(choices: &'static [Choice], words: &[&[u8]]) -> Result<Value, String> {
    let code_of = |word: &&[u8]| {
        choices.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|c| c.1)
    };
    let codes: Option<Vec<u32>> = words.iter().map(code_of).collect();
    match codes {
        Some(codes) if !codes.is_empty() => {
            Ok(Value::Choice(codes.iter().fold(0, |union, code| union | code)))
        }
        _ => {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            let mut text =
                format!("argument(s) must be one of the following: {}", names.join(", "));
            text.truncate(CHOICES_TEXT_MAX);
            Err(text)
        }
    }
}

/// The name of exactly this code, else the names of its bits.
fn show_choices(choices: &[Choice], code: u32) -> String {
    if let Some((name, _)) = choices.iter().find(|(_, known)| *known == code) {
        return (*name).into();
    }
    let bits = choices.iter().filter(|(_, known)| *known != 0 && code & known == *known);
    bits.map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

/// A relative path is relative to the previous value, as it is when a process changes directory.
fn parse_directory(word: &[u8], previous: Option<&Value>) -> Result<Value, String> {
    if word.is_empty() {
        return Err("dir can't be empty".into());
    }
    let base = previous.and_then(Value::path).unwrap_or_default();
    let path = base.join(Path::new(std::ffi::OsStr::from_bytes(word)));
    let absolute = checked_directory(&path).map_err(|error| io_reason(&error))?;
    Ok(Value::Text(absolute.as_os_str().as_bytes().into()))
}

fn checked_directory(path: &Path) -> std::io::Result<PathBuf> {
    let absolute = path.canonicalize()?;
    if absolute.is_dir() { Ok(absolute) } else { Err(std::io::ErrorKind::NotADirectory.into()) }
}

/// The C library's text for an I/O error, which the peers show, without Rust's number behind it.
pub fn io_reason(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotADirectory {
        return "Not a directory".into();
    }
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn decimal<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn parse_save(words: &[&[u8]]) -> Result<Value, String> {
    if matches!(words, [b""]) {
        return Ok(Value::Save([].into()));
    }
    let point = |pair: &[&[u8]]| {
        let [seconds, changes] = pair else {
            return None;
        };
        let seconds = decimal(seconds).filter(|&seconds| seconds >= 1)?;
        Some(SavePoint { seconds, changes: decimal(changes)? })
    };
    let points: Option<Box<[SavePoint]>> = words.chunks(2).map(point).collect();
    points.map(Value::Save).ok_or_else(|| "Invalid save parameters".into())
}

fn parse_output_limits(words: &[&[u8]], previous: Option<&Value>) -> Result<Value, String> {
    let mut limits = previous.map(Value::output_limits).unwrap_or_default();
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    for quadruple in words.chunks_exact(4) {
        let &[class, hard, soft, seconds] = quadruple else {
            unreachable!("invariant: chunks of four have four words")
        };
        let class = ClientClass::from_name(class)
            .ok_or("Invalid client class specified in buffer limit configuration.")?;
        let limit = (|| {
            Some(OutputLimit {
                hard_bytes: parse_memory(hard)?,
                soft_bytes: parse_memory(soft)?,
                soft_seconds: decimal(seconds)?,
            })
        })();
        limits[class as usize] = limit
            .ok_or("Error in hard, soft or soft_seconds setting in buffer limit configuration.")?;
    }
    Ok(Value::OutputLimits(limits))
}

fn parse_oom_scores(words: &[&[u8]]) -> Result<Value, String> {
    let words: &[&[u8]; 3] = words.try_into().map_err(|_| "wrong number of arguments")?;
    let mut scores = [0; 3];
    for (score, word) in scores.iter_mut().zip(words) {
        *score = decimal(word)
            .filter(|score: &i16| (-2000..=2000).contains(score))
            .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
    }
    Ok(Value::OomScores(scores))
}

fn parse_addresses(words: &[&[u8]]) -> Result<Value, String> {
    if words.len() > ADDRESSES_MAX {
        return Err("Too many bind addresses specified.".into());
    }
    if matches!(words, [b""]) {
        return Ok(Value::Words([].into()));
    }
    Ok(Value::Words(words.iter().map(|&word| word.into()).collect()))
}

fn parse_primary(words: &[&[u8]]) -> Result<Value, String> {
    let [host, port] = words else {
        // The default is written as no words at all; the peers have no such spelling in a file.
        return if words.is_empty() {
            Ok(Value::Primary(None))
        } else {
            Err("wrong number of arguments".into())
        };
    };
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        return Ok(Value::Primary(None));
    }
    let port = decimal(port).ok_or("Invalid primary port")?;
    Ok(Value::Primary(Some(PrimaryAddress { host: String::from_utf8_lossy(host).into(), port })))
}

fn parse_percentiles(words: &[&[u8]]) -> Result<Value, String> {
    if matches!(words, [b""]) {
        return Ok(Value::Percentiles([].into()));
    }
    let list = words.iter().map(|word| {
        let percentile: f64 = decimal(word)
            .filter(|one: &f64| !one.is_nan())
            .ok_or("Invalid latency-tracking-info-percentiles parameters")?;
        if (0.0..=100.0).contains(&percentile) {
            Ok(percentile)
        } else {
            Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
        }
    });
    Ok(Value::Percentiles(list.collect::<Result<_, &str>>()?))
}

/// Six decimals without trailing zeros, as the peers print a percentile.
pub(super) fn show_float(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(word: &str, lower: i128, upper: i128, notation: Notation) -> Result<String, String> {
        let kind = Kind::Number { lower, upper, notation };
        let value = kind.parse(&[word.as_bytes()], None)?;
        Ok(String::from_utf8(kind.show(&value)).unwrap())
    }

    #[test]
    fn decimal_numbers_have_one_spelling() {
        let port = |word| number(word, 0, 65_535, Notation::Decimal);
        assert_eq!(port("7000").unwrap(), "7000");
        assert_eq!(port("0").unwrap(), "0");
        for word in ["070", "+7", " 7", "7 ", "", "-", "-0", "7a", "99999999999999999999"] {
            assert_eq!(port(word).unwrap_err(), "argument couldn't be parsed into an integer");
        }
        assert_eq!(port("-1").unwrap_err(), "argument must be between 0 and 65535 inclusive");
        assert_eq!(port("65536").unwrap_err(), "argument must be between 0 and 65535 inclusive");
    }

    #[test]
    fn sizes_have_units() {
        let size = |word| number(word, 0, u64::MAX.into(), Notation::Memory);
        for (word, bytes) in [
            ("0", "0"),
            ("12b", "12"),
            ("1k", "1000"),
            ("1KB", "1024"),
            ("2m", "2000000"),
            ("2mb", "2097152"),
            ("3G", "3000000000"),
            ("3gb", "3221225472"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            assert_eq!(size(word).unwrap(), bytes);
        }
        for word in ["-1", "1tb", "1 kb", "x", "18446744073709551616", "99999999999gb"] {
            assert_eq!(size(word).unwrap_err(), "argument must be a memory value");
        }
    }

    #[test]
    fn a_share_of_maxmemory() {
        let limit = |word| number(word, 0, i64::MAX.into(), Notation::MemoryOrPercent);
        assert_eq!(limit("5%").unwrap(), "5%");
        assert_eq!(limit("1mb").unwrap(), "1048576");
        assert_eq!(limit("200%").unwrap_err(), "percentage argument must be less or equal to 100");
        for word in ["-1", "-5%", "%", "5%x"] {
            assert_eq!(limit(word).unwrap_err(), "argument must be a memory or percent value");
        }
    }

    #[test]
    fn octal_bounds_are_shown_in_octal() {
        let perm = |word| number(word, 0, 0o777, Notation::Octal);
        assert_eq!(perm("700").unwrap(), "700");
        assert_eq!(perm("1000").unwrap_err(), "argument must be between 0 and 777 inclusive");
        assert_eq!(perm("9").unwrap_err(), "argument couldn't be parsed as an octal number");
    }

    fn words(kind: Kind, text: &str) -> Result<String, String> {
        let words = crate::config::parameter::split_spaces(text.as_bytes());
        let value = kind.parse(&words, None)?;
        Ok(String::from_utf8(kind.show(&value)).unwrap())
    }

    #[test]
    fn sets_of_choices_keep_the_tables_order() {
        let kind = Kind::ChoiceSet(crate::config::choice::SHUTDOWN);
        assert_eq!(words(kind, "nosave force now").unwrap(), "nosave now force");
        assert_eq!(words(kind, "default").unwrap(), "default");
        let refused = "argument(s) must be one of the following: default, save, nosave, now, force";
        for text in ["", "foo", "now  force"] {
            assert_eq!(words(kind, text).unwrap_err(), refused);
        }
    }

    #[test]
    fn save_points() {
        assert_eq!(words(Kind::Save, "900 1 300 10").unwrap(), "900 1 300 10");
        assert_eq!(words(Kind::Save, "").unwrap(), "");
        for text in ["900", "900  1", "0 1", "900 -1", "1 2 3", "a b"] {
            assert_eq!(words(Kind::Save, text).unwrap_err(), "Invalid save parameters");
        }
    }

    #[test]
    fn output_limits_change_only_the_named_class() {
        let shown = "normal 0 0 0 slave 1048576 2048 3 pubsub 0 0 0";
        assert_eq!(words(Kind::OutputLimits, "replica 1mb 2kb 3").unwrap(), shown);
        for (text, reason) in [
            ("foo 1 2 3", "Invalid client class specified in buffer limit configuration."),
            ("master 1 2 3", "Invalid client class specified in buffer limit configuration."),
            ("replica 1 2", "Wrong number of arguments in buffer limit configuration."),
            (
                "replica 1 2 x",
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
            ),
        ] {
            assert_eq!(words(Kind::OutputLimits, text).unwrap_err(), reason);
        }
    }

    #[test]
    fn scores_addresses_primary_and_percentiles() {
        assert_eq!(words(Kind::OomScores, "0 200 -800").unwrap(), "0 200 -800");
        assert_eq!(words(Kind::OomScores, "1 2").unwrap_err(), "wrong number of arguments");
        assert_eq!(
            words(Kind::OomScores, "1 2 3000").unwrap_err(),
            "Invalid oom-score-adj-values, elements must be between -2000 and 2000."
        );
        assert_eq!(words(Kind::Addresses, "* -::*").unwrap(), "* -::*");
        assert_eq!(
            words(Kind::Addresses, &["a"; 17].join(" ")).unwrap_err(),
            "Too many bind addresses specified."
        );
        assert_eq!(words(Kind::Primary, "no one").unwrap(), "");
        assert_eq!(words(Kind::Primary, "host 6379").unwrap(), "host 6379");
        assert_eq!(words(Kind::Primary, "host abc").unwrap_err(), "Invalid primary port");
        assert_eq!(words(Kind::Primary, "host").unwrap_err(), "wrong number of arguments");
        assert_eq!(words(Kind::Percentiles, "50 99.95 100").unwrap(), "50 99.95 100");
        assert_eq!(
            words(Kind::Percentiles, "x").unwrap_err(),
            "Invalid latency-tracking-info-percentiles parameters"
        );
        assert_eq!(
            words(Kind::Percentiles, "101").unwrap_err(),
            "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
        );
    }
}
