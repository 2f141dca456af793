//! `kvasir-check-aof`: whether an append-only log is whole, and what to cut off if it is not.
//!
//! Takes a manifest, or a file of a log, and prints what valkey-check-aof prints. What passes here
//! is loaded by a server, as far as its form goes.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::rdb;
use crate::persist::aof::load::is_dump;
use crate::persist::aof::reader::{CommandReader, LogError, LogErrorKind, Record, Strictness};
use crate::persist::aof::store;

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// The manifest, or a file of a log.
    pub file: PathBuf,
    /// Cuts off what is not whole, after asking.
    pub fixes: bool,
    /// Cuts off what is later than this Unix second, by the log's own annotations.
    pub until_s: Option<i64>,
}

/// Why the check ends early; what there is to say has been said.
enum Stop {
    /// The log is not as it should be.
    Refused,
    /// Nothing can be told to anybody.
    Mute(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Mute(error)
    }
}

type Checked<T> = Result<T, Stop>;

/// What a file has come to.
#[derive(Clone, Copy)]
enum Verdict {
    Valid,
    Empty,
    Cut,
    CutToTime(i64),
}

/// A file and its place in the log.
struct Part<'a> {
    /// As it is shown.
    name: String,
    path: &'a Path,
    is_last: bool,
}

struct Check<'a> {
    order: &'a Order,
    now_ms: u64,
    answers: &'a mut dyn BufRead,
    out: &'a mut dyn Write,
    /// Ends of lines in the files before: lines are counted over all files.
    lines: u64,
}

/// Checks a log, tells what is found, and does what was ordered; whether the log is whole now. The
/// error is that nothing can be told to anybody.
pub fn check(
    order: &Order,
    now_ms: u64,
    answers: &mut dyn BufRead,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let outcome = Check { order, now_ms, answers, out, lines: 0 }.run();
    match outcome {
        Ok(()) => Ok(true),
        Err(Stop::Refused) => Ok(false),
        Err(Stop::Mute(error)) => Err(error),
    }
}

impl Check<'_> {
    fn run(mut self) -> Checked<()> {
        let path = &self.order.file;
        if self.is_manifest(path)? {
            return self.check_parts();
        }
        let is_dump = self.begins_as_dump(path)?;
        writeln!(self.out, "Start checking Old-Style AOF")?;
        let name = path.display().to_string();
        let part = Part { name, path, is_last: true };
        let verdict = self.check_file(&part, is_dump)?;
        self.tell(verdict, "AOF", &part.name)
    }

    /// Says why it cannot go on.
    fn refuse<T>(&mut self, reason: std::fmt::Arguments<'_>) -> Checked<T> {
        writeln!(self.out, "{reason}")?;
        Err(Stop::Refused)
    }

    fn open(&mut self, path: &Path) -> Checked<File> {
        match File::open(path) {
            Ok(file) => Ok(file),
            Err(error) => self.refuse(format_args!("Cannot open file {}: {error}", path.display())),
        }
    }

    /// Whether the first line that is no comment is one of a manifest.
    fn is_manifest(&mut self, path: &Path) -> Checked<bool> {
        let mut source = io::BufReader::new(self.open(path)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = source.by_ref().take(1024).read_until(b'\n', &mut line);
            if let Err(error) = read {
                return self.refuse(format_args!("Cannot read file {}: {error}", path.display()));
            }
            if !line.starts_with(b"#") {
                return Ok(line.starts_with(b"file"));
            }
        }
    }

    fn begins_as_dump(&mut self, path: &Path) -> Checked<bool> {
        let mut head = Vec::new();
        match self.open(path)?.take(8).read_to_end(&mut head) {
            Ok(_) => Ok(head.len() == 8 && is_dump(&head)),
            Err(error) => self.refuse(format_args!("Cannot read file {}: {error}", path.display())),
        }
    }

    fn check_parts(&mut self) -> Checked<()> {
        writeln!(self.out, "Start checking Multi Part AOF")?;
        let manifest = match store::load_file(&self.order.file) {
            Ok(manifest) => manifest,
            Err(error) => return self.refuse(format_args!("{error}")),
        };
        let directory = self.order.file.parent().unwrap_or(Path::new("")).to_owned();
        let incrs = manifest.incrs();
        if let Some(base) = manifest.base() {
            let path = directory.join(&base.name);
            let is_dump = self.begins_as_dump(&path)?;
            let format = if is_dump { "RDB" } else { "RESP" };
            writeln!(self.out, "Start to check BASE AOF ({format} format).")?;
            let name = base.name.display().to_string();
            let part = Part { name, path: &path, is_last: incrs.is_empty() };
            let verdict = self.check_file(&part, is_dump)?;
            self.tell(verdict, "BASE AOF", &part.name)?;
        }
        if !incrs.is_empty() {
            writeln!(self.out, "Start to check INCR files.")?;
        }
        for (index, file) in incrs.iter().enumerate() {
            let path = directory.join(&file.name);
            let name = file.name.display().to_string();
            let part = Part { name, path: &path, is_last: index + 1 == incrs.len() };
            let verdict = self.check_file(&part, false)?;
            self.tell(verdict, "INCR AOF", &part.name)?;
        }
        writeln!(self.out, "All AOF files and manifest are valid")?;
        Ok(())
    }

    fn tell(&mut self, verdict: Verdict, what: &str, name: &str) -> Checked<()> {
        let out = &mut *self.out;
        match verdict {
            Verdict::Valid => writeln!(out, "{what} {name} is valid")?,
            Verdict::Empty => writeln!(out, "{what} {name} is empty")?,
            Verdict::Cut => writeln!(out, "Successfully truncated AOF {name}")?,
            Verdict::CutToTime(until_s) => {
                writeln!(out, "Successfully truncated AOF {name} to timestamp {until_s}")?;
            }
        }
        Ok(())
    }

    fn check_file(&mut self, part: &Part<'_>, is_dump: bool) -> Checked<Verdict> {
        let opened = File::open(part.path).and_then(|file| {
            let len = file.metadata()?.len();
            Ok((file, len))
        });
        let (mut file, len) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let path = part.path.display();
                return self.refuse(format_args!("Cannot open file {path}: {error}, aborting..."));
            }
        };
        if len == 0 {
            return Ok(Verdict::Empty);
        }
        let mut from = 0;
        if is_dump {
            let Some(end) = rdb::check_beginning(part.path, self.now_ms, self.out)? else {
                return self
                    .refuse(format_args!("RDB preamble of AOF file is not sane, aborting."));
            };
            writeln!(self.out, "RDB preamble is OK, proceeding with AOF tail...")?;
            from = end;
        }
        if let Err(error) = file.seek(SeekFrom::Start(from)) {
            return self.refuse(format_args!("Failed to fseek in AOF {}: {error}", part.name));
        }
        let mut reader = CommandReader::new(file, from, len, Strictness::Tool);
        if let Some(verdict) = self.read(part, &mut reader)? {
            return Ok(verdict);
        }
        let line = self.lines + reader.lines();
        self.lines = line - 1;
        self.judge(part, len, reader.whole(), line)
    }

    /// Reads a file up to its end, or to what is wrong with it. A verdict if it has been cut at a
    /// moment.
    fn read(
        &mut self,
        part: &Part<'_>,
        reader: &mut CommandReader<File>,
    ) -> Checked<Option<Verdict>> {
        loop {
            match reader.read() {
                Ok(Some(Record::Command)) => {}
                Ok(Some(Record::Remark)) => {
                    let (remark, at) = (reader.remark(), reader.start());
                    if let Some(verdict) = self.follow_remark(part, remark, at)? {
                        return Ok(Some(verdict));
                    }
                }
                Ok(None) => {
                    if let Some(at) = reader.open_transaction() {
                        let what = "Reached EOF before reading EXEC for MULTI";
                        writeln!(self.out, "0x{at:16x}: {what}")?;
                    }
                    return Ok(None);
                }
                Err(error) => {
                    self.tell_error(part, reader, &error)?;
                    return Ok(None);
                }
            }
        }
    }

    fn tell_error(
        &mut self,
        part: &Part<'_>,
        reader: &CommandReader<File>,
        error: &LogError,
    ) -> Checked<()> {
        let LogError { offset, kind } = error;
        let out = &mut *self.out;
        match kind {
            LogErrorKind::Io(error) => {
                let name = &part.name;
                return self
                    .refuse(format_args!("Failed to read from AOF {name}, aborting...: {error}"));
            }
            LogErrorKind::Prefix('*', _) if *offset == reader.start() => {
                writeln!(out, "AOF {} format error", part.name)?;
            }
            // The file ends between two lines.
            LogErrorKind::Cut if *offset == reader.offset() => {
                if reader.open_transaction().is_some() {
                    let what = "Reached EOF before reading EXEC for MULTI";
                    writeln!(out, "0x{offset:16x}: {what}")?;
                }
            }
            LogErrorKind::Multi | LogErrorKind::Exec => {
                writeln!(out, "0x{offset:16x}: {kind} in AOF {}", part.path.display())?;
            }
            kind => writeln!(out, "0x{offset:16x}: {kind}")?,
        }
        Ok(())
    }

    /// Cuts the file before a remark with a later moment than is wanted.
    fn follow_remark(
        &mut self,
        part: &Part<'_>,
        remark: &[u8],
        at: u64,
    ) -> Checked<Option<Verdict>> {
        let Some(until_s) = self.order.until_s else { return Ok(None) };
        let Some(text) = remark.strip_prefix(b"#TS:") else { return Ok(None) };
        let text = text.strip_suffix(b"\r\n").and_then(|text| std::str::from_utf8(text).ok());
        let Some(moment_s) = text.and_then(|text| text.parse::<i64>().ok()) else {
            return self.refuse(format_args!("Invalid timestamp annotation"));
        };
        if moment_s <= until_s {
            return Ok(None);
        }
        let path = part.path.display();
        if at == 0 {
            return self.refuse(format_args!(
                "AOF {path} has nothing before timestamp {until_s}, aborting..."
            ));
        }
        if !part.is_last {
            return self.refuse(format_args!(
                "Failed to truncate AOF {path} to timestamp {until_s} to offset {at} because it is \
                 not the last file.\nIf you insist, please delete all files after this file \
                 according to the manifest file and delete the corresponding records in manifest \
                 file manually. Then re-run kvasir-check-aof."
            ));
        }
        match cut(part.path, at) {
            Ok(()) => Ok(Some(Verdict::CutToTime(until_s))),
            Err(error) => self.refuse(format_args!(
                "Failed to truncate AOF {path} to timestamp {until_s}: {error}"
            )),
        }
    }

    /// Tells how much of a file is whole, and cuts off the rest if that is wanted.
    fn judge(&mut self, part: &Part<'_>, len: u64, whole: u64, line: u64) -> Checked<Verdict> {
        let (name, rest) = (&part.name, len - whole);
        if let (0, Some(until_s)) = (rest, self.order.until_s) {
            writeln!(self.out, "Truncate nothing in AOF {name} to timestamp {until_s}")?;
            return Ok(Verdict::Valid);
        }
        writeln!(
            self.out,
            "AOF analyzed: filename={name}, size={len}, ok_up_to={whole}, ok_up_to_line={line}, \
             diff={rest}"
        )?;
        if rest == 0 {
            return Ok(Verdict::Valid);
        }
        if !self.order.fixes {
            return self.refuse(format_args!(
                "AOF {name} is not valid. Use the --fix option to try fixing it."
            ));
        }
        if !part.is_last {
            return self.refuse(format_args!(
                "Failed to truncate AOF {name} because it is not the last file"
            ));
        }
        writeln!(
            self.out,
            "This will shrink the AOF {name} from {len} bytes, with {rest} bytes, to {whole} bytes"
        )?;
        write!(self.out, "Continue? [y/N]: ")?;
        self.out.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        if !answer.starts_with(['y', 'Y']) {
            return self.refuse(format_args!("Aborting..."));
        }
        match cut(part.path, whole) {
            Ok(()) => Ok(Verdict::Cut),
            Err(error) => self.refuse(format_args!("Failed to truncate AOF {name}: {error}")),
        }
    }
}

fn cut(path: &Path, len: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The tool's verdict and words on a log of these files, of which the first is checked.
    fn run(files: &[(&str, &[u8])], order: &Order, answer: &str) -> (bool, String, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let file = directory.path().join(files[0].0);
        let order = Order { file, ..order.clone() };
        let mut out = Vec::new();
        let whole = check(&order, 0, &mut answer.as_bytes(), &mut out).unwrap();
        (whole, String::from_utf8(out).unwrap(), directory.keep())
    }

    fn plain() -> Order {
        Order { file: PathBuf::new(), fixes: false, until_s: None }
    }

    const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

    #[test]
    fn a_cut_file_is_mended_when_somebody_agrees() {
        let text = [PING, PING, b"*1\r\n$4\r\nPI"].concat();
        let (whole, said, _) = run(&[("a.aof", &text)], &plain(), "");
        assert!(!whole && said.contains("ok_up_to=28, ok_up_to_line=9, diff=10"), "{said}");
        assert!(said.contains("Expected to read 6 bytes, got 2 bytes"), "{said}");
        let fixes = Order { fixes: true, ..plain() };
        let (whole, said, _) = run(&[("a.aof", &text)], &fixes, "n\n");
        assert!(!whole && said.ends_with("Aborting...\n"), "{said}");
        let (whole, said, path) = run(&[("a.aof", &text)], &fixes, "y\n");
        assert!(whole && said.contains("Successfully truncated AOF"), "{said}");
        assert_eq!(fs::read(path.join("a.aof")).unwrap(), [PING, PING].concat());
    }

    #[test]
    fn files_of_a_manifest_are_checked_together() {
        let manifest = b"file b seq 1 type b\nfile i seq 1 type i\nfile j seq 2 type i\n";
        let cut = &PING[..5];
        let order = Order { fixes: true, ..plain() };
        let files = [("a.manifest", &manifest[..]), ("b", PING), ("i", b""), ("j", PING)];
        let (whole, said, _) = run(&files, &order, "");
        assert!(whole && said.contains("INCR AOF i is empty\n"), "{said}");
        assert!(said.ends_with("All AOF files and manifest are valid\n"), "{said}");
        let files = [("a.manifest", &manifest[..]), ("b", PING), ("i", cut), ("j", PING)];
        let (whole, said, _) = run(&files, &order, "y\n");
        assert!(!whole && said.contains("Failed to truncate AOF i because it is not"), "{said}");
        let (whole, said, _) = run(&files[..2], &order, "");
        assert!(!whole && said.contains("Cannot open file"), "{said}");
        let (whole, said, _) = run(&[("a.manifest", b"file a\n")], &order, "");
        assert!(!whole && said.contains("Invalid AOF manifest file format"), "{said}");
    }

    #[test]
    fn a_file_is_cut_at_a_moment() {
        let text = [b"#TS:5\r\n", PING, b"#TS:7\r\n", PING].concat();
        let until = |until_s| Order { until_s: Some(until_s), ..plain() };
        let (whole, said, path) = run(&[("a", &text)], &until(6), "");
        assert!(whole && said.contains("to timestamp 6"), "{said}");
        assert_eq!(fs::read(path.join("a")).unwrap(), [b"#TS:5\r\n", PING].concat());
        let (whole, said, _) = run(&[("a", &text)], &until(7), "");
        assert!(whole && said.contains("Truncate nothing in AOF"), "{said}");
        let (whole, said, _) = run(&[("a", &text)], &until(4), "");
        assert!(!whole && said.contains("has nothing before timestamp 4"), "{said}");
        let (whole, said, _) = run(&[("a", b"#TS:x\r\n")], &until(4), "");
        assert!(!whole && said.contains("Invalid timestamp annotation"), "{said}");
    }
}
