//! Which files an append-only log consists of.
//!
//! A manifest is a text with a line for each file: `file NAME seq NUMBER type b|h|i`, in any order
//! and with further pairs of newer versions, which are ignored. `b` is the base, of which there is
//! one at most; `i` are the incremental files in the order of their numbers; `h` is history, which
//! a rewrite has replaced and which is to be removed. It is read as strictly as Valkey reads it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::config::quote;

/// Bytes of a line, with its end.
const LINE_MAX: usize = 1024;
/// Sequence numbers stay below, so that there is always a next one.
const SEQUENCE_MAX: i64 = i64::MAX / 2;

/// How a base holds the data set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BaseFormat {
    /// As a dump file (`aof-use-rdb-preamble yes`).
    Rdb,
    /// As commands.
    Commands,
}

impl BaseFormat {
    fn suffix(self) -> &'static str {
        match self {
            Self::Rdb => ".base.rdb",
            Self::Commands => ".base.aof",
        }
    }
}

/// A file of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogFile {
    /// Its name in the directory of the log.
    pub name: OsString,
    /// Its number among those of its type: positive, except in strange manifests.
    pub sequence: i64,
}

/// The files of a log. See the module's head.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Manifest {
    base: Option<LogFile>,
    incrs: Vec<LogFile>,
    history: Vec<LogFile>,
    /// The largest number that a base has had.
    base_sequence: i64,
    /// The largest number that an incremental file has had.
    incr_sequence: i64,
}

/// Why a manifest cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestError {
    /// The line with the mistake, counted from 1, and its text; `None` if no line is to blame.
    pub line: Option<(usize, Vec<u8>)>,
    /// What is wrong.
    pub kind: ManifestErrorKind,
}

/// What is wrong with a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ManifestErrorKind {
    /// There is nothing in it.
    Empty,
    /// A line has no end, or ends too late.
    LongLine,
    /// A line does not consist of pairs of words, or lacks one of the three that are needed.
    Format,
    /// A file's name leads out of the directory.
    Path,
    /// There is a second base.
    DuplicateBase,
    /// An incremental file has no larger number than the one before.
    Sequence,
    /// A type that is none of the three.
    Type,
}

impl fmt::Display for ManifestErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Found an empty AOF manifest",
            Self::LongLine => "The AOF manifest file contains too long line",
            Self::Format => "Invalid AOF manifest file format",
            Self::Path => "File can't be a path, just a filename",
            Self::DuplicateBase => "Found duplicate base file information",
            Self::Sequence => "Found a non-monotonic sequence number",
            Self::Type => "Unknown AOF file type",
        })
    }
}

/// The lines that Valkey logs.
impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\n*** FATAL AOF MANIFEST FILE ERROR ***\n")?;
        if let Some((number, text)) = &self.line {
            let text = String::from_utf8_lossy(text);
            write!(f, "Reading the manifest file, at line {number}\n>>> '{text}'\n")?;
        }
        write!(f, "{}", self.kind)
    }
}

impl std::error::Error for ManifestError {}

/// The manifest's name for a log of this name (`appendfilename`).
pub fn manifest_name(prefix: &OsStr) -> OsString {
    with_suffix(prefix, ".manifest")
}

/// The manifest's name until it is whole.
pub fn temporary_manifest_name(prefix: &OsStr) -> OsString {
    temporary(&manifest_name(prefix))
}

/// The name of the file that collects what is written until the first base is whole, when the log
/// is turned on while the server runs.
pub fn temporary_incr_name(prefix: &OsStr) -> OsString {
    temporary(&with_suffix(prefix, ".incr"))
}

fn temporary(name: &OsStr) -> OsString {
    let mut temporary = OsString::from("temp-");
    temporary.push(name);
    temporary
}

fn with_suffix(prefix: &OsStr, suffix: &str) -> OsString {
    let mut name = prefix.to_owned();
    name.push(suffix);
    name
}

impl Manifest {
    /// The manifest of a log that was one file, of before there were manifests: that file is its
    /// base and keeps its name.
    pub fn of_single_file(name: &OsStr) -> Self {
        let base = LogFile { name: name.to_owned(), sequence: 1 };
        Self { base: Some(base), base_sequence: 1, ..Self::default() }
    }

    /// Reads a manifest; O(n).
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let mut manifest = Self::default();
        let mut rest = text;
        let mut number = 0;
        while !rest.is_empty() {
            let (line, after) = take_line(rest);
            rest = after;
            number += 1;
            if line.starts_with(b"#") {
                continue;
            }
            if !line.ends_with(b"\n") || line.contains(&0) {
                return Err(ManifestError { line: None, kind: ManifestErrorKind::LongLine });
            }
            let line = trim(line);
            manifest
                .add_line(line)
                .map_err(|kind| ManifestError { line: Some((number, line.to_vec())), kind })?;
        }
        if number == 0 {
            return Err(ManifestError { line: None, kind: ManifestErrorKind::Empty });
        }
        Ok(manifest)
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), ManifestErrorKind> {
        let words = quote::split(line).ok_or(ManifestErrorKind::Format)?;
        if words.len() < 6 || words.len() % 2 != 0 {
            return Err(ManifestErrorKind::Format);
        }
        let (mut name, mut sequence, mut kind) = (None, 0, None);
        for pair in words.chunks_exact(2) {
            let value = &pair[1];
            match pair[0].to_ascii_lowercase().as_slice() {
                b"file" if value.iter().any(|byte| b"/\\".contains(byte)) => {
                    return Err(ManifestErrorKind::Path);
                }
                b"file" => name = Some(value.clone()),
                b"seq" => sequence = leading_number(value),
                b"type" => kind = value.first().copied(),
                _ => {}
            }
        }
        let name = name.filter(|name| !name.is_empty() && !name.contains(&0));
        let (Some(name), Some(kind)) = (name, kind) else { return Err(ManifestErrorKind::Format) };
        if sequence == 0 || sequence > SEQUENCE_MAX {
            return Err(ManifestErrorKind::Format);
        }
        let file = LogFile { name: OsString::from_vec(name), sequence };
        match kind {
            b'b' if self.base.is_some() => return Err(ManifestErrorKind::DuplicateBase),
            b'b' => {
                self.base = Some(file);
                self.base_sequence = sequence;
            }
            b'h' => self.history.push(file),
            b'i' if sequence <= self.incr_sequence => return Err(ManifestErrorKind::Sequence),
            b'i' => {
                self.incrs.push(file);
                self.incr_sequence = sequence;
            }
            _ => return Err(ManifestErrorKind::Type),
        }
        Ok(())
    }

    /// The manifest as text: base, history, incremental files; O(n).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let files = self.base.iter().map(|file| (file, 'b'));
        let files = files.chain(self.history.iter().map(|file| (file, 'h')));
        for (file, kind) in files.chain(self.incrs.iter().map(|file| (file, 'i'))) {
            text.extend_from_slice(b"file ");
            let name = file.name.as_bytes();
            let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\\\"'".contains(byte);
            if name.iter().all(plain) {
                text.extend_from_slice(name);
            } else {
                text.extend_from_slice(&quote::quote(name));
            }
            text.extend_from_slice(format!(" seq {} type {kind}\n", file.sequence).as_bytes());
        }
        text
    }

    /// The data set that the log starts from.
    pub fn base(&self) -> Option<&LogFile> {
        self.base.as_ref()
    }

    /// The files with the commands since then, the oldest first.
    pub fn incrs(&self) -> &[LogFile] {
        &self.incrs
    }

    /// Files that are no part of the log any more and may still be there, the newest first.
    pub fn history(&self) -> &[LogFile] {
        &self.history
    }

    /// Whether the log has no file.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incrs.is_empty()
    }

    /// The number of the newest incremental file there has been; 0 if there was none.
    pub fn incr_sequence(&self) -> i64 {
        self.incr_sequence
    }

    /// Adds an incremental file behind the others and returns its name.
    pub fn begin_incr(&mut self, prefix: &OsStr) -> OsString {
        self.incr_sequence = next_sequence(self.incr_sequence);
        let name = with_suffix(prefix, &format!(".{}.incr.aof", self.incr_sequence));
        self.incrs.push(LogFile { name: name.clone(), sequence: self.incr_sequence });
        name
    }

    /// Takes a new base in the place of the one before and of the incremental files with a number
    /// below `keep_from`, all of which become history. Returns the new base's name; O(files).
    pub fn replace_base(&mut self, prefix: &OsStr, format: BaseFormat, keep_from: i64) -> OsString {
        self.base_sequence = next_sequence(self.base_sequence);
        let name = with_suffix(prefix, &format!(".{}{}", self.base_sequence, format.suffix()));
        let base = LogFile { name: name.clone(), sequence: self.base_sequence };
        let old_base = self.base.replace(base);
        let kept = self.incrs.iter().position(|file| file.sequence >= keep_from);
        let old_incrs = self.incrs.drain(..kept.unwrap_or(self.incrs.len()));
        // The order in which Valkey lists them.
        let newest = old_incrs.chain(old_base);
        self.history.splice(..0, newest);
        name
    }

    /// Forgets the history, which is to be removed: the files' names.
    pub fn drop_history(&mut self) -> Vec<OsString> {
        self.history.drain(..).map(|file| file.name).collect()
    }
}

/// The number behind another one. Manifests with numbers below zero are read, but zero is not: to
/// count on from -1 would leave a log that does not start again, as Valkey does.
fn next_sequence(sequence: i64) -> i64 {
    sequence.max(0) + 1
}

/// What the C library reads as one line of limited length: with its end, unless there is none.
fn take_line(text: &[u8]) -> (&[u8], &[u8]) {
    let window = &text[..text.len().min(LINE_MAX)];
    let len = window.iter().position(|&byte| byte == b'\n').map_or(window.len(), |at| at + 1);
    text.split_at(len)
}

fn trim(line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| b" \t\r\n".contains(byte);
    let Some(start) = line.iter().position(|byte| !blank(byte)) else { return &[] };
    let end = line.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

/// The number that a word begins with, as the C library's `atoll` has it: 0 if there is none.
fn leading_number(word: &[u8]) -> i64 {
    let blanks = word.iter().take_while(|&&byte| quote::is_space(byte)).count();
    let (negative, digits) = match &word[blanks..] {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let value = digits.fold(0_i64, |value, digit| {
        value.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
    });
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix() -> &'static OsStr {
        OsStr::new("appendonly.aof")
    }

    fn kind_of(text: &str) -> Option<ManifestErrorKind> {
        Manifest::parse(text.as_bytes()).err().map(|error| error.kind)
    }

    #[test]
    fn a_manifest_of_valkey_comes_back() {
        let text = "file appendonly.aof.2.base.rdb seq 2 type b\n\
                    file appendonly.aof.1.incr.aof seq 1 type h\n\
                    file appendonly.aof.4.incr.aof seq 4 type i\n\
                    file appendonly.aof.5.incr.aof seq 5 type i\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.base().unwrap().sequence, 2);
        assert_eq!(manifest.incrs().len(), 2);
        assert_eq!(manifest.history().len(), 1);
        assert_eq!(String::from_utf8(manifest.to_bytes()).unwrap(), text);
    }

    #[test]
    fn comments_quotes_orders_and_newer_pairs_are_read() {
        let text = "#one\n\
                    TYPE incr seq 3x file \"a b\\x41\" startoffset 5 endoffset 9\r\n\
                    \t file 'c' seq 1 type base \n#";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.incrs(), [LogFile { name: "a bA".into(), sequence: 3 }]);
        assert_eq!(manifest.base().unwrap().name, "c");
        assert_eq!(Manifest::parse(b"#\n"), Ok(Manifest::default()));
    }

    #[test]
    fn what_is_wrong_is_told_as_valkey_tells_it() {
        use ManifestErrorKind as Kind;
        let base = "file a seq 1 type b\n";
        let cases = [
            ("", Kind::Empty),
            ("\n", Kind::Format),
            ("filx a seq 1 type b\n", Kind::Format),
            ("file a seq 1 b type x\n", Kind::Format),
            ("file a seq 1 type\n", Kind::Format),
            ("file a seq 0 type b\n", Kind::Format),
            ("file a seq z type b\n", Kind::Format),
            ("file a seq 9223372036854775807 type b\n", Kind::Format),
            ("file \"a seq 1 type b\n", Kind::Format),
            ("file '' seq 1 type b\n", Kind::Format),
            ("file a seq 1 type b newkey\n", Kind::Format),
            ("file a/b seq 1 type b\n", Kind::Path),
            ("file a seq 1 type x\n", Kind::Type),
            ("file a seq -1 type i\n", Kind::Sequence),
            ("file a seq 2 type i\nfile b seq 2 type i\n", Kind::Sequence),
            ("file a seq 1 type b", Kind::LongLine),
        ];
        for (text, kind) in cases {
            assert_eq!(kind_of(text), Some(kind), "{text:?}");
        }
        assert_eq!(kind_of(&base.repeat(2)), Some(Kind::DuplicateBase));
        let long = format!("file a seq 1 type b {}\n", "x ".repeat(512));
        assert_eq!(kind_of(&long), Some(Kind::LongLine));
        let error = Manifest::parse(b"#\n x y\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "\n*** FATAL AOF MANIFEST FILE ERROR ***\nReading the manifest file, at line 2\n\
             >>> 'x y'\nInvalid AOF manifest file format"
        );
    }

    #[test]
    fn a_rewrite_makes_history_of_what_it_replaces() {
        let mut manifest = Manifest::default();
        assert_eq!(
            manifest.replace_base(prefix(), BaseFormat::Rdb, 0),
            "appendonly.aof.1.base.rdb"
        );
        assert_eq!(manifest.begin_incr(prefix()), "appendonly.aof.1.incr.aof");
        manifest.begin_incr(prefix());
        manifest.begin_incr(prefix());
        let name = manifest.replace_base(prefix(), BaseFormat::Commands, 3);
        assert_eq!(name, "appendonly.aof.2.base.aof");
        assert_eq!(
            String::from_utf8(manifest.to_bytes()).unwrap(),
            "file appendonly.aof.2.base.aof seq 2 type b\n\
             file appendonly.aof.1.incr.aof seq 1 type h\n\
             file appendonly.aof.2.incr.aof seq 2 type h\n\
             file appendonly.aof.1.base.rdb seq 1 type h\n\
             file appendonly.aof.3.incr.aof seq 3 type i\n"
        );
        assert_eq!(manifest.drop_history().len(), 3);
        assert!(manifest.history().is_empty());
        assert_eq!(manifest.replace_base(prefix(), BaseFormat::Rdb, 9).len(), 25);
        assert!(manifest.incrs().is_empty());
        assert_eq!(manifest.begin_incr(prefix()), "appendonly.aof.4.incr.aof");
    }

    #[test]
    fn a_rewrite_of_a_base_with_a_number_below_zero_is_read_again() {
        let mut manifest = Manifest::parse(b"file a seq -1 type b\n").unwrap();
        let name = manifest.replace_base(prefix(), BaseFormat::Rdb, 0);
        assert_eq!(name, "appendonly.aof.1.base.rdb");
        assert!(Manifest::parse(&manifest.to_bytes()).is_ok());
    }

    #[test]
    fn names_are_the_peers() {
        assert_eq!(manifest_name(prefix()), "appendonly.aof.manifest");
        assert_eq!(temporary_manifest_name(prefix()), "temp-appendonly.aof.manifest");
        assert_eq!(temporary_incr_name(prefix()), "temp-appendonly.aof.incr");
        let old = Manifest::of_single_file(prefix());
        assert_eq!(old.to_bytes(), b"file appendonly.aof seq 1 type b\n");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in prop::collection::vec(
            prop_oneof![Just(b"file a seq 1 type i ".to_vec()), Just(b"\n".to_vec()),
                prop::collection::vec(any::<u8>(), 0..20)], 0..12))
        {
            if let Ok(manifest) = Manifest::parse(&text.concat()) {
                let bytes = manifest.to_bytes();
                if !bytes.is_empty() {
                    let again = Manifest::parse(&bytes).expect("it is our own");
                    prop_assert_eq!(again.to_bytes(), bytes);
                }
            }
        }
    }
}
