//! `kvasir-check-rdb`: whether a dump file is whole, and what is in it.
//!
//! Prints what valkey-check-rdb prints, line by line, and says at the end what can be done. The
//! file is read as a server reads it, so that what passes here is loaded there.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use crate::config::choice::VersionCheck;
use crate::persist::load::advice;
use crate::persist::rdb::dump::Checksum;
use crate::persist::rdb::file::{FileEntry, FileReader, Item, ReadOptions};
use crate::persist::rdb::{RdbError, RdbErrorKind, Value};

/// Whatever a server could have been configured to take: what is no dump file's fault passes.
const OPTIONS: ReadOptions = ReadOptions {
    databases: u32::MAX as u64,
    versions: VersionCheck::Relaxed,
    checksum: Checksum::Verified,
};

/// Bytes that are read from the file at a time.
const CHUNK: usize = 256 * 1024;

/// What a file has been found to hold.
#[derive(Default)]
struct Found {
    keys: u64,
    /// Keys with a deadline.
    expires: u64,
    /// Keys whose deadline has passed.
    expired: u64,
    /// Fields of hashes, and members of sets and sorted sets, with a deadline.
    subexpires: u64,
    functions: u64,
    /// The key that was read last.
    last: Option<Vec<u8>>,
    db: Option<u32>,
}

/// Reads a file and tells what is in it; whether it is whole. The error is that nothing can be
/// told to anybody.
pub fn check(path: &Path, now_ms: u64, out: &mut dyn Write) -> io::Result<bool> {
    Ok(check_beginning(path, now_ms, out)?.is_some())
}

/// Reads what a file begins with and tells what is in it; where it ends, if it is whole.
pub fn check_beginning(path: &Path, now_ms: u64, out: &mut dyn Write) -> io::Result<Option<u64>> {
    writeln!(out, "[offset 0] Checking RDB file {}", path.display())?;
    let mut found = Found::default();
    let outcome = match open(path) {
        Ok((source, len)) => read(source, len, now_ms, &mut found, out)?,
        Err(error) => Err(RdbError { offset: 0, kind: RdbErrorKind::Io(error) }),
    };
    if let Err(error) = &outcome {
        tell_error(error, &found, out)?;
    }
    let Found { keys, expires, expired, subexpires, functions, .. } = found;
    writeln!(out, "[info] {keys} keys read")?;
    writeln!(out, "[info] {expires} expires")?;
    writeln!(out, "[info] {expired} already expired")?;
    writeln!(out, "[info] {subexpires} subexpires")?;
    writeln!(out, "[info] {functions} libraries of functions")?;
    Ok(outcome.ok())
}

fn open(path: &Path) -> io::Result<(impl Read, Option<u64>)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // What a pipe will bring is not known.
    let len = metadata.is_file().then_some(metadata.len());
    Ok((BufReader::with_capacity(CHUNK, file), len))
}

/// Reads everything; within, where it ends, or what is wrong with it.
fn read(
    source: impl Read,
    len: Option<u64>,
    now_ms: u64,
    found: &mut Found,
    out: &mut dyn Write,
) -> io::Result<Result<u64, RdbError>> {
    let mut reader = match FileReader::open(source, len, OPTIONS) {
        Ok(reader) => reader,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        let before = reader.offset();
        match reader.next_item() {
            Ok(Some(item)) => found.note(item, before, reader.offset(), now_ms, out)?,
            Ok(None) => break,
            Err(error) => return Ok(Err(error)),
        }
    }
    let end = reader.offset();
    if reader.is_checked() {
        writeln!(out, "[offset {end}] Checksum OK")?;
    } else {
        writeln!(out, "[offset {end}] The file has no checksum: damage may have gone unnoticed")?;
    }
    writeln!(out, "[offset {end}] \\o/ RDB looks OK! \\o/")?;
    Ok(Ok(end))
}

impl Found {
    fn note(
        &mut self,
        item: Item,
        before: u64,
        after: u64,
        now_ms: u64,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        match item {
            Item::Aux { name, text } => {
                let (name, text) = (name.escape_ascii(), text.escape_ascii());
                writeln!(out, "[offset {after}] AUX FIELD {name} = '{text}'")
            }
            Item::Extras(extras) => {
                self.subexpires += extras.deadlines.len() as u64;
                Ok(())
            }
            Item::Function(_) => {
                self.functions += 1;
                Ok(())
            }
            Item::EmptyKey(key) => {
                writeln!(out, "[offset {after}] The key '{}' is empty", key.escape_ascii())
            }
            Item::Entry(entry) => {
                if self.db != Some(entry.db) {
                    writeln!(out, "[offset {before}] Selecting DB ID {}", entry.db)?;
                }
                self.count(*entry, now_ms);
                Ok(())
            }
        }
    }

    fn count(&mut self, entry: FileEntry, now_ms: u64) {
        self.keys += 1;
        self.expires += u64::from(entry.deadline_ms.is_some());
        self.expired += u64::from(entry.deadline_ms.is_some_and(|deadline| deadline <= now_ms));
        if let Value::Hash(hash) = &entry.value {
            self.subexpires += hash.deadlines.iter().flatten().count() as u64;
        }
        self.db = Some(entry.db);
        self.last = Some(entry.key);
    }
}

fn tell_error(error: &RdbError, found: &Found, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "--- RDB ERROR DETECTED ---")?;
    writeln!(out, "[offset {}] {error}", error.offset)?;
    if let Some(key) = &found.last {
        writeln!(out, "[additional info] The last whole key is '{}'", key.escape_ascii())?;
    }
    writeln!(out, "[additional info] {}", advice(&error.kind))
}
