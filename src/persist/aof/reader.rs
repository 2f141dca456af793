//! Reading a file of commands: the requests of a log in order, and the remarks between them.
//!
//! A command is an array of bulk strings, as a client sends it; a remark is a line that begins with
//! `#`. Valkey's server and its tool for checks accept different things (the server does not look
//! at the ends of lines); [`Strictness`] tells which one is followed.
//!
//! Memory is bounded by the largest command, and no length is believed beyond the source's end.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use kvasir_proto::{ArgRange, Args};

/// The longest line that is read in one piece, without the byte that ends a text in C.
const LINE_BYTES_MAX: u64 = 1023;
/// Bytes of a command must be countable in 32 bits.
const COMMAND_BYTES_MAX: u64 = u32::MAX as u64;
/// What is asked of the source at a time.
const BUFFER_BYTES: usize = 256 * 1024;
/// The end of a line.
const LINE_END: [u8; 2] = *b"\r\n";

/// How much is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strictness {
    /// What the peers' servers check when they load a log.
    Server,
    /// What their tool checks: lines end as they must, and transactions begin and end in turn.
    Tool,
}

/// What was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// A remark: [`CommandReader::remark`].
    Remark,
    /// A command: [`CommandReader::args`].
    Command,
}

/// Why no more can be read.
#[derive(Debug)]
pub struct LogError {
    /// Where what is wrong begins, counted from the start of the file.
    pub offset: u64,
    /// What is wrong.
    pub kind: LogErrorKind,
}

/// What is wrong with a file of commands.
#[derive(Debug)]
pub enum LogErrorKind {
    /// It ends within a line.
    Cut,
    /// It ends within an argument: so many bytes were to come, and so many did.
    CutArgument(u64, u64),
    /// A line begins with another character than this one.
    Prefix(char, u8),
    /// Something else stands in the place of the end of a line.
    LineEnd([u8; 2]),
    /// An argument's length is none.
    Length(i64),
    /// A command has so many arguments.
    Count(i64),
    /// A command is larger than any may be.
    Size,
    /// `MULTI` within a transaction.
    Multi,
    /// `EXEC` without a transaction.
    Exec,
    /// The file cannot be read.
    Io(io::Error),
}

impl LogErrorKind {
    /// Whether what is there is right, and only its end is missing.
    pub fn is_cut(&self) -> bool {
        matches!(self, Self::Cut | Self::CutArgument(..))
    }
}

/// In the words of Valkey's tool, where it has words for it.
impl fmt::Display for LogErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("Unexpected end of file"),
            Self::CutArgument(wanted, got) => {
                write!(f, "Expected to read {wanted} bytes, got {got} bytes")
            }
            Self::Prefix(wanted, got) => {
                write!(f, "Expected prefix '{wanted}', got: '{}'", got.escape_ascii())
            }
            Self::LineEnd([one, two]) => {
                write!(f, "Expected \\r\\n, got: {one:02x}{two:02x}")
            }
            Self::Length(len) => write!(
                f,
                "Expected to read string of {len} bytes, which is not in the suitable range"
            ),
            Self::Count(count) => write!(f, "Expected a command, got {count} arguments"),
            Self::Size => f.write_str("A command of 4 GiB or more"),
            Self::Multi => f.write_str("Unexpected MULTI"),
            Self::Exec => f.write_str("Unexpected EXEC"),
            Self::Io(error) => write!(f, "Reading failed: {error}"),
        }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}", self.kind, self.offset)
    }
}

impl std::error::Error for LogError {}

/// A file of commands. See the module's head.
pub struct CommandReader<R> {
    source: BufReader<R>,
    strictness: Strictness,
    /// Bytes read, counted from the start of the file.
    offset: u64,
    /// The file's length.
    len: u64,
    /// Where the last record began.
    start: u64,
    /// Behind the last whole record that is in no transaction.
    whole: u64,
    /// Where the transaction begins that has not ended.
    multi: Option<u64>,
    /// Ends of lines passed, and one.
    lines: u64,
    line: Vec<u8>,
    /// The last command as a client would send it.
    text: Vec<u8>,
    ranges: Vec<ArgRange>,
}

impl<R: Read> CommandReader<R> {
    /// Reads from `offset` on, where the source stands, of a file with `len` bytes in all.
    pub fn new(source: R, offset: u64, len: u64, strictness: Strictness) -> Self {
        Self {
            source: BufReader::with_capacity(BUFFER_BYTES, source),
            strictness,
            offset,
            len,
            start: offset,
            whole: offset,
            multi: None,
            lines: 1,
            line: Vec::new(),
            text: Vec::new(),
            ranges: Vec::new(),
        }
    }

    /// Reads the next record; `None` at the end of the file. After an error, or `None`, there is
    /// no more.
    pub fn read(&mut self) -> Result<Option<Record>, LogError> {
        self.start = self.offset;
        if !self.read_line()? {
            return Ok(None);
        }
        let record = match self.line[0] {
            b'#' if self.line.ends_with(b"\n") || self.line.len() as u64 == LINE_BYTES_MAX => {
                Record::Remark
            }
            b'#' => return Err(self.error(LogErrorKind::Cut)),
            b'*' => {
                self.read_command()?;
                self.follow_transaction()?;
                Record::Command
            }
            other => return Err(self.error(LogErrorKind::Prefix('*', other))),
        };
        if self.multi.is_none() {
            self.whole = self.offset;
        }
        Ok(Some(record))
    }

    /// The last remark, with its `#` and the end of its line.
    pub fn remark(&self) -> &[u8] {
        &self.line
    }

    /// The last command.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.text, &self.ranges)
    }

    /// The last command as a client would send it.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Where the last record begins.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Where the next record begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Where to cut the file so that it ends with a whole record, and in no transaction.
    pub fn whole(&self) -> u64 {
        self.whole
    }

    /// Where the transaction begins that has not ended, if there is one.
    pub fn open_transaction(&self) -> Option<u64> {
        self.multi
    }

    /// The line that comes next, by the ends of lines that belong to commands.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    fn error(&self, kind: LogErrorKind) -> LogError {
        error_at(self.start, kind)
    }

    /// Reads a line with its end, or as much of it as is read in one piece; false at the end of the
    /// file.
    fn read_line(&mut self) -> Result<bool, LogError> {
        self.line.clear();
        let mut limited = (&mut self.source).take(LINE_BYTES_MAX);
        let read = limited.read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| self.error(LogErrorKind::Io(error)))?;
        self.offset += read as u64;
        Ok(read > 0)
    }

    /// The number of the line that was read, which begins at `at` with `prefix`.
    fn number(&mut self, at: u64, prefix: char) -> Result<i64, LogError> {
        let wrong = |kind| Err(error_at(at, kind));
        match self.line.first() {
            None => return wrong(LogErrorKind::Cut),
            Some(&first) if char::from(first) != prefix => {
                return wrong(LogErrorKind::Prefix(prefix, first));
            }
            Some(_) => {}
        }
        let text = &self.line[1..];
        let (negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let value = digits[..len].iter().fold(0_i64, |value, digit| {
            value.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
        });
        let end = &digits[len..];
        if !end.ends_with(b"\n") && (self.line.len() as u64) < LINE_BYTES_MAX {
            return wrong(LogErrorKind::Cut);
        }
        if self.strictness == Strictness::Tool && end != LINE_END {
            let byte = |at| end.get(at).copied().unwrap_or(0);
            return wrong(LogErrorKind::LineEnd([byte(0), byte(1)]));
        }
        self.lines += 1;
        Ok(if negative { -value } else { value })
    }

    fn read_command(&mut self) -> Result<(), LogError> {
        let count = self.number(self.start, '*')?;
        if count < 1 || count > i64::from(i32::MAX) {
            return Err(self.error(LogErrorKind::Count(count)));
        }
        self.text.clear();
        self.ranges.clear();
        self.write_header(b'*', count);
        for _ in 0..count {
            self.read_argument()?;
        }
        Ok(())
    }

    fn write_header(&mut self, prefix: u8, number: i64) {
        self.text.push(prefix);
        self.text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.text.extend_from_slice(&LINE_END);
    }

    fn read_argument(&mut self) -> Result<(), LogError> {
        let at = self.offset;
        self.read_line()?;
        let number = self.number(at, '$')?;
        let len = u64::try_from(number).ok().filter(|len| *len < u64::MAX / 2);
        let len = len.ok_or_else(|| error_at(at, LogErrorKind::Length(number)))?;
        let at = self.offset;
        let wanted = len + LINE_END.len() as u64;
        let left = self.len.saturating_sub(at);
        if wanted > left {
            return Err(error_at(at, LogErrorKind::CutArgument(wanted, left)));
        }
        self.write_header(b'$', number);
        let start = self.text.len();
        if start as u64 + wanted > COMMAND_BYTES_MAX {
            return Err(error_at(at, LogErrorKind::Size));
        }
        self.text.reserve(wanted as usize);
        let read = (&mut self.source).take(wanted).read_to_end(&mut self.text);
        let read = read.map_err(|error| error_at(at, LogErrorKind::Io(error)))? as u64;
        self.offset += read;
        if read < wanted {
            return Err(error_at(at, LogErrorKind::CutArgument(wanted, read)));
        }
        self.ranges.push(ArgRange { start: start as u32, len: len as u32 });
        // A server does not look at what stands there.
        let end = self.text.len() - LINE_END.len();
        let found = [self.text[end], self.text[end + 1]];
        if self.strictness == Strictness::Tool && found != LINE_END {
            return Err(error_at(at, LogErrorKind::LineEnd(found)));
        }
        self.text[end..].copy_from_slice(&LINE_END);
        self.lines += 1;
        Ok(())
    }

    fn follow_transaction(&mut self) -> Result<(), LogError> {
        let name = self.args().at(0);
        let is_strict = self.strictness == Strictness::Tool;
        if name.eq_ignore_ascii_case(b"multi") {
            if is_strict && self.multi.is_some() {
                return Err(self.error(LogErrorKind::Multi));
            }
            self.multi.get_or_insert(self.start);
        } else if name.eq_ignore_ascii_case(b"exec") {
            if is_strict && self.multi.is_none() {
                return Err(self.error(LogErrorKind::Exec));
            }
            self.multi = None;
        } else if name.eq_ignore_ascii_case(b"discard") && !is_strict {
            self.multi = None;
        }
        Ok(())
    }
}

fn error_at(offset: u64, kind: LogErrorKind) -> LogError {
    LogError { offset, kind }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STRICT: Strictness = Strictness::Tool;
    const LENIENT: Strictness = Strictness::Server;

    /// The commands up to the first error, with that, and where to cut.
    fn read(text: &[u8], strictness: Strictness) -> (Vec<String>, Option<LogErrorKind>, u64) {
        let mut reader = CommandReader::new(text, 0, text.len() as u64, strictness);
        let mut commands = Vec::new();
        let error = loop {
            match reader.read() {
                Ok(None) => break None,
                Ok(Some(Record::Remark)) => {
                    commands.push(String::from_utf8_lossy(reader.remark()).trim().to_owned());
                }
                Ok(Some(Record::Command)) => {
                    let words: Vec<_> =
                        reader.args().iter().map(|word| word.escape_ascii().to_string()).collect();
                    commands.push(words.join(" "));
                }
                Err(error) => break Some(error.kind),
            }
        };
        (commands, error, reader.whole())
    }

    fn command(line: &str) -> Vec<u8> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut text = Vec::new();
        kvasir_proto::append_request(&mut text, words);
        text
    }

    #[test]
    fn commands_and_remarks_are_read() {
        let text =
            [&command("set a b"), &b"#TS:17\r\n"[..], &command("MULTI"), &command("exec")].concat();
        for strictness in [STRICT, LENIENT] {
            let (commands, error, whole) = read(&text, strictness);
            assert_eq!(commands, ["set a b", "#TS:17", "MULTI", "exec"]);
            assert!(error.is_none());
            assert_eq!(whole, text.len() as u64);
        }
        let mut reader = CommandReader::new(&text[..], 0, text.len() as u64, STRICT);
        reader.read().unwrap();
        assert_eq!(reader.text(), command("set a b"));
        assert_eq!((reader.start(), reader.offset(), reader.lines()), (0, 27, 8));
    }

    #[test]
    fn a_server_forgives_what_the_tool_does_not() {
        let text = b"*1\n$4x\nPINGxx";
        assert_eq!(read(text, LENIENT).0, ["PING"]);
        assert!(matches!(read(text, STRICT).1, Some(LogErrorKind::LineEnd([b'\n', 0]))));
        let text = b"*1\r\n$4\r\nPINGxx";
        assert!(matches!(read(text, STRICT).1, Some(LogErrorKind::LineEnd([b'x', b'x']))));
        let mut reader = CommandReader::new(&text[..], 0, text.len() as u64, LENIENT);
        reader.read().unwrap();
        assert_eq!(reader.text(), b"*1\r\n$4\r\nPING\r\n");
        assert!(matches!(read(&command("exec"), STRICT).1, Some(LogErrorKind::Exec)));
        let twice = command("multi").repeat(2);
        assert!(matches!(read(&twice, STRICT).1, Some(LogErrorKind::Multi)));
        assert!(read(&twice, LENIENT).1.is_none());
    }

    #[test]
    fn wherever_it_is_cut_it_ends_with_the_last_whole_command() {
        let parts = [
            command("select 0"),
            command("set key value"),
            b"#TS:17\r\n".to_vec(),
            [command("MULTI"), command("del a"), command("del b"), command("EXEC")].concat(),
            command("set last one"),
        ];
        let text = parts.concat();
        let mut ends = vec![0];
        for part in &parts {
            ends.push(ends[ends.len() - 1] + part.len());
        }
        for len in 0..=text.len() {
            for strictness in [STRICT, LENIENT] {
                let (_, error, whole) = read(&text[..len], strictness);
                let end = *ends.iter().rfind(|end| **end <= len).unwrap();
                assert_eq!(whole, end as u64, "{len}");
                assert!(error.is_none_or(|error| error.is_cut()), "{len}");
            }
        }
    }

    #[test]
    fn lengths_are_not_believed() {
        let cases = [
            "*0\r\n",
            "*-1\r\n",
            "*x\r\n",
            "*2147483648\r\n",
            "*99999999999999999999\r\n",
            "*1\r\n$-1\r\n",
            "*1\r\nPING\r\n",
            "PING\r\n",
            "\r\n",
        ];
        for text in cases {
            for strictness in [STRICT, LENIENT] {
                let (commands, error, whole) = read(text.as_bytes(), strictness);
                assert!(error.is_some_and(|error| !error.is_cut()), "{text:?}");
                assert_eq!((commands.len(), whole), (0, 0));
            }
        }
        for len in ["4", "4294967296", "9223372036854775807", "99999999999999999999"] {
            let text = format!("*2147483647\r\n${len}\r\nPIN");
            let (_, error, _) = read(text.as_bytes(), LENIENT);
            assert!(error.is_some(), "{text:?}");
        }
    }

    #[test]
    fn long_lines_are_read_in_pieces() {
        let text =
            [b"#".to_vec(), vec![b'x'; 1022], b"#more\r\n".to_vec(), command("ping")].concat();
        assert_eq!(read(&text, LENIENT).0.len(), 3);
        let text = [b"#".to_vec(), vec![b'x'; 2000], b"\r\n".to_vec()].concat();
        assert!(matches!(read(&text, LENIENT).1, Some(LogErrorKind::Prefix('*', b'x'))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(parts in prop::collection::vec(
            prop_oneof![Just(b"*2\r\n".to_vec()), Just(b"$1\r\nx\r\n".to_vec()),
                Just(b"#\r\n".to_vec()), Just(command("multi")), Just(command("EXEC")),
                prop::collection::vec(any::<u8>(), 0..6)], 0..30))
        {
            let text = parts.concat();
            for strictness in [STRICT, LENIENT] {
                let (_, _, whole) = read(&text, strictness);
                let whole = &text[..whole as usize];
                let (_, error, again) = read(whole, strictness);
                prop_assert!(error.is_none() && again == whole.len() as u64);
            }
        }
    }
}
