//! Writing a dump file: a thread that takes pieces from a bounded channel.
//!
//! The file is written under another name, brought to the disk, and only then takes the place of
//! the one before: whatever happens, there is a whole file. The pieces are made by the shards
//! ([`super::part`]), all at the same time; that the channel is bounded holds them back when the
//! disk is slow.
//!
//! A record must lie in the file in one piece. A collection that is saved in parts, which may take
//! long and go on beside others, is collected in a file of its own and copied when it is whole.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};

use super::aof::manifest::BaseFormat;
use super::output::Output;
use super::rdb::write::file::{Needs, write_end};
use super::rdb::write::{length_bytes, write_string};
use super::rdb::{WriteOptions, crc64};

/// Pieces on their way to the thread.
const PIECES_AHEAD: usize = 16;
/// So much is brought to the disk at a time (`rdb-save-incremental-fsync`) where the file goes
/// through the system's cache, so that the system does not stop everybody for the whole file at its
/// end.
const SYNC_BYTES: u64 = 16 << 20;

/// Where a file is written, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// The directory.
    pub directory: PathBuf,
    /// The file's name in it.
    pub name: PathBuf,
    /// The file's name until it is whole.
    pub temporary: PathBuf,
    /// Whether it is a dump file or consists of commands.
    pub format: BaseFormat,
    /// Whether it ends with its checksum, or with zero (`rdbchecksum`).
    pub checksum: bool,
    /// Whether it is brought to the disk bit by bit (`rdb-save-incremental-fsync`): past the
    /// system's cache, where that is possible.
    pub syncs: bool,
}

/// The file's name until it is whole: the peers', by the process's number.
pub fn temporary_name() -> PathBuf {
    format!("temp-{}.rdb", std::process::id()).into()
}

/// Removes what is left of a file with this name that the end of the process has cut short.
pub fn remove_temporary(directory: &Path, name: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    // The file itself, and those of its parts; there are none, as a rule.
    let left = entries.filter_map(|entry| Some(entry.ok()?.path()));
    for path in left.filter(|path| {
        path.with_extension("") == directory.join(name)
            || path.file_name() == Some(name.as_os_str())
    }) {
        let _ = fs::remove_file(path);
    }
}

/// What encodes a record in the thread, in as many parts as it likes, and tells what the file needs
/// for it.
type Encode = Box<dyn FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<Needs> + Send>;

/// What encodes a part of a record in the thread.
type EncodePart = Box<dyn FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> + Send>;

/// What the thread is sent.
pub enum Piece {
    /// Whole records.
    Records(Vec<u8>),
    /// Whole records, with the places of strings that are to be compressed.
    Uncompressed(Vec<u8>, Vec<Range<usize>>),
    /// A record that is to be encoded.
    Unencoded(Encode),
    /// The next part of the record that has this number.
    Portion(u64, Vec<u8>),
    /// The same, which is to be encoded.
    PortionUnencoded(u64, EncodePart),
    /// The next part of what follows that record.
    PortionExtras(u64, Vec<u8>),
    /// The record that has this number is whole.
    PortionEnd(u64),
    /// Everything has been sent.
    End(Needs),
}

impl fmt::Debug for Piece {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Records(bytes) => write!(out, "Records({} bytes)", bytes.len()),
            Self::Uncompressed(bytes, texts) => {
                write!(out, "Uncompressed({} bytes, {} texts)", bytes.len(), texts.len())
            }
            Self::Unencoded(_) => out.write_str("Unencoded"),
            Self::Portion(number, bytes) => write!(out, "Portion({number}, {} bytes)", bytes.len()),
            Self::PortionUnencoded(number, _) => write!(out, "PortionUnencoded({number})"),
            Self::PortionExtras(number, bytes) => {
                write!(out, "PortionExtras({number}, {} bytes)", bytes.len())
            }
            Self::PortionEnd(number) => write!(out, "PortionEnd({number})"),
            Self::End(needs) => write!(out, "End({needs:?})"),
        }
    }
}

/// A file being written. When it is dropped before its end, nothing remains of it.
#[derive(Debug)]
pub struct SnapshotWriter {
    /// None when it was given up.
    pieces: Option<SyncSender<Piece>>,
    /// That it was, for the thread, which may have all pieces.
    given_up: Arc<AtomicBool>,
    outcome: Receiver<io::Result<()>>,
}

impl SnapshotWriter {
    /// A writer, and what its thread has to do.
    pub fn new(target: Target) -> (Self, impl FnOnce() + Send) {
        let (pieces, received) = mpsc::sync_channel(PIECES_AHEAD);
        let (told, outcome) = mpsc::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&given_up);
        let work = move || {
            // Whoever asked may not want to know any more.
            let _ = told.send(write(&target, &received, &flag));
        };
        (Self { pieces: Some(pieces), given_up, outcome }, work)
    }

    /// Where pieces are sent, for a shard. `None` after it was given up.
    pub fn pieces(&self) -> Option<SyncSender<Piece>> {
        self.pieces.clone()
    }

    /// Sends a piece, without waiting; back comes what there is no room for now. When the thread
    /// has ended, by an error that the outcome tells, the piece is lost.
    pub fn offer(&self, piece: Piece) -> Result<(), Piece> {
        let Some(pieces) = &self.pieces else { return Ok(()) };
        match pieces.try_send(piece) {
            Err(TrySendError::Full(piece)) => Err(piece),
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// Gives the file up. Once nobody can send pieces any more there is an outcome, and nothing of
    /// the file is left, unless it had its name already: then the outcome is a success.
    pub fn give_up(&mut self) {
        self.pieces = None;
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<io::Result<()>> {
        match self.outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                Some(Err(io::Error::other("the writing thread is gone")))
            }
        }
    }
}

/// Writes the file, or leaves nothing behind.
fn write(target: &Target, pieces: &Receiver<Piece>, given_up: &AtomicBool) -> io::Result<()> {
    let temporary = target.directory.join(&target.temporary);
    let written = write_temporary(&temporary, target, pieces).and_then(|()| {
        if given_up.load(Ordering::Relaxed) {
            return Err(gave_up());
        }
        fs::rename(&temporary, target.directory.join(&target.name))?;
        // The new name is on the disk when the directory is.
        File::open(&target.directory)?.sync_all()
    });
    if written.is_err() {
        // It may not have come to be.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Which version the file has is known at its end, when the first bytes are written once more. The
/// checksum is put together from that of the first bytes and that of the rest.
fn write_temporary(path: &Path, target: &Target, pieces: &Receiver<Piece>) -> io::Result<()> {
    let mut body = Body::create(path, target, target.syncs)?;
    let is_dump = target.format == BaseFormat::Rdb;
    if is_dump {
        body.file.write(&Needs::Nothing.header())?;
    }
    let mut spools = Spools::new(path, target);
    let mut encoded_needs = Needs::Nothing;
    let mut trials = Trials::default();
    let needs = loop {
        match pieces.recv() {
            Ok(Piece::Records(bytes)) => body.add(&bytes)?,
            Ok(Piece::Uncompressed(bytes, texts)) => {
                body.add_with(|out| compress(out, &bytes, &texts, &mut trials))?;
            }
            Ok(Piece::Unencoded(encode)) => {
                let needs = encode(&mut |bytes| body.add(bytes))?;
                encoded_needs = encoded_needs.max(needs);
            }
            Ok(Piece::Portion(number, bytes)) => spools.add((number, Place::Record), &bytes)?,
            Ok(Piece::PortionUnencoded(number, encode)) => {
                encode(&mut |bytes| spools.add((number, Place::Record), bytes))?;
            }
            Ok(Piece::PortionExtras(number, bytes)) => {
                spools.add((number, Place::Behind), &bytes)?;
            }
            Ok(Piece::PortionEnd(number)) => {
                let record = spools.take((number, Place::Record));
                body.append(record.expect("invariant: what ends has begun"))?;
                if let Some(behind) = spools.take((number, Place::Behind)) {
                    body.append(behind)?;
                }
            }
            Ok(Piece::End(needs)) => break needs.max(encoded_needs),
            Err(_) => return Err(gave_up()),
        }
    };
    assert!(spools.files.is_empty(), "what has begun has ended");
    if !is_dump {
        return body.file.finish()?.sync_all();
    }
    body.add_with(write_end)?;
    let header = needs.header();
    let whole = crc64::combine(crc64::update(0, &header), body.crc, body.len);
    body.file.write(&(if target.checksum { whole } else { 0 }).to_le_bytes())?;
    let file = body.file.finish()?;
    file.write_all_at(&header, 0)?;
    file.sync_all()
}

fn gave_up() -> io::Error {
    io::Error::other("it was given up")
}

/// Appends the records with these strings compressed, where that saves something and is worth a
/// try.
fn compress(out: &mut Vec<u8>, records: &[u8], texts: &[Range<usize>], trials: &mut Trials) {
    out.reserve(records.len());
    let mut from = 0;
    for text in texts {
        if !trials.is_due() {
            continue;
        }
        out.extend_from_slice(&records[from..text.start - length_bytes(text.len())]);
        let start = out.len();
        write_string(out, &records[text.clone()], WriteOptions { compress: true });
        trials.note(out.len() - start < text.len());
        from = text.end;
    }
    out.extend_from_slice(&records[from..]);
}

/// Whether to try to compress the next string, by how it went with the last ones: where nothing is
/// saved (images, what is encrypted or compressed already) it costs clients their processors.
#[derive(Default)]
struct Trials {
    /// How many of the last strings could not be compressed, one after the other.
    failed: u32,
    /// How many were not tried since the last one that was.
    skipped: u32,
}

impl Trials {
    /// After so many failures only one in [`Trials::SELDOM`] is tried.
    const FAILED_MAX: u32 = 64;
    const SELDOM: u32 = 8;

    fn is_due(&mut self) -> bool {
        self.skipped += 1;
        if self.failed >= Self::FAILED_MAX && self.skipped < Self::SELDOM {
            return false;
        }
        self.skipped = 0;
        true
    }

    fn note(&mut self, has_saved: bool) {
        self.failed = if has_saved { 0 } else { self.failed.saturating_add(1) };
    }
}

/// What follows a file's header, or a part of it.
struct Body {
    file: Output,
    checksum: bool,
    syncs: bool,
    crc: u64,
    len: u64,
    unsynced: u64,
}

impl Body {
    fn create(path: &Path, target: &Target, direct: bool) -> io::Result<Self> {
        let (checksum, syncs) = (target.checksum, target.syncs);
        let file = Output::create(path, direct)?;
        Ok(Self { file, checksum, syncs, crc: 0, len: 0, unsynced: 0 })
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.checksum {
            self.crc = crc64::update(self.crc, bytes);
        }
        self.file.write(bytes)?;
        self.note(bytes.len() as u64)
    }

    /// As [`Body::add`], for what is encoded only now: some hundred kilobytes at most.
    fn add_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let bytes = self.file.append(encode)?;
        if self.checksum {
            self.crc = crc64::update(self.crc, bytes);
        }
        let len = bytes.len() as u64;
        self.note(len)
    }

    /// Copies what was collected in a file of its own.
    fn append(&mut self, spool: Spool) -> io::Result<()> {
        let Spool { body: Body { file, crc, len, .. }, path: _path } = spool;
        let copied = self.file.copy(&mut file.finish()?)?;
        if copied != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.crc = crc64::combine(self.crc, crc, len);
        self.note(copied)
    }

    fn note(&mut self, bytes: u64) -> io::Result<()> {
        self.len += bytes;
        self.unsynced += bytes;
        if self.syncs && self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.file.sync()?;
        }
        Ok(())
    }
}

/// Where something goes that is collected: into a record, or directly behind it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Place {
    Record,
    Behind,
}

/// Records that come in parts.
struct Spools<'a> {
    path: &'a Path,
    target: &'a Target,
    files: HashMap<(u64, Place), Spool>,
}

impl<'a> Spools<'a> {
    /// For a file of this name.
    fn new(path: &'a Path, target: &'a Target) -> Self {
        Self { path, target, files: HashMap::new() }
    }

    fn add(&mut self, (number, place): (u64, Place), bytes: &[u8]) -> io::Result<()> {
        let spool = match self.files.entry((number, place)) {
            Entry::Occupied(spool) => spool.into_mut(),
            Entry::Vacant(vacant) => {
                let mut name = self.path.as_os_str().to_owned();
                let suffix = if place == Place::Behind { "x" } else { "" };
                name.push(format!(".{number:x}{suffix}"));
                vacant.insert(Spool::create(name.into(), self.target)?)
            }
        };
        spool.body.add(bytes)
    }

    fn take(&mut self, which: (u64, Place)) -> Option<Spool> {
        self.files.remove(&which)
    }
}

/// A part of a file in a file of its own, which is read again soon and goes through the cache.
struct Spool {
    body: Body,
    path: Removed,
}

impl Spool {
    fn create(path: PathBuf, target: &Target) -> io::Result<Self> {
        let body = Body::create(&path, target, false)?;
        Ok(Self { body, path: Removed(path) })
    }
}

/// A file that goes when this is dropped.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // Nothing depends on it: the next one of this name begins at nothing.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::rdb::dump::{Checksum, VersionCheck};
    use crate::persist::rdb::file::{FileReader, Item, ReadOptions};

    fn target(directory: &Path, checksum: bool) -> Target {
        Target {
            directory: directory.to_owned(),
            name: "dump.rdb".into(),
            temporary: "temp.rdb".into(),
            format: BaseFormat::Rdb,
            checksum,
            syncs: true,
        }
    }

    /// Offers the pieces and their end to a writer, and does its work here.
    fn save(target: Target, pieces: &[&[u8]], needs: Option<Needs>) -> io::Result<()> {
        let (writer, work) = SnapshotWriter::new(target);
        for piece in pieces {
            writer.offer(Piece::Records(piece.to_vec())).unwrap();
        }
        let SnapshotWriter { pieces, outcome, .. } = writer;
        let pieces = pieces.unwrap();
        if let Some(needs) = needs {
            pieces.send(Piece::End(needs)).unwrap();
        }
        drop(pieces);
        work();
        outcome.try_recv().unwrap()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_whole_whatever_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        for needs in [Needs::Nothing, Needs::Valkey] {
            for checksum in [true, false] {
                save(target(dir.path(), checksum), &[b"\0\x01k\x01", b"v"], Some(needs)).unwrap();
                assert_eq!(names(dir.path()), ["dump.rdb"]);
                let file = fs::read(dir.path().join("dump.rdb")).unwrap();
                assert_eq!(file.ends_with(&[0; 8]), !checksum);
                let options = ReadOptions {
                    databases: 1,
                    versions: VersionCheck::Strict,
                    checksum: Checksum::Verified,
                };
                let mut reader = FileReader::open(&file[..], None, options).unwrap();
                assert!(matches!(reader.next_item().unwrap(), Some(Item::Entry(_))));
                assert!(reader.next_item().unwrap().is_none());
            }
        }
    }

    #[test]
    fn what_is_given_up_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("dump.rdb"), "old").unwrap();
        save(target(dir.path(), true), &[b"\0\x01k\x01v"], None).unwrap_err();
        assert_eq!(names(dir.path()), ["dump.rdb"]);
        assert_eq!(fs::read(dir.path().join("dump.rdb")).unwrap(), b"old");
        let missing = dir.path().join("missing");
        let error = save(target(&missing, true), &[], Some(Needs::Nothing)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_given_up_at_the_end_leaves_the_old_file_too() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, work) = SnapshotWriter::new(target(dir.path(), true));
        writer.offer(Piece::End(Needs::Nothing)).unwrap();
        writer.give_up();
        work();
        writer.outcome().unwrap().unwrap_err();
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_compress_is_seldom_tried() {
        let mut trials = Trials::default();
        let mut tried = 0;
        for _ in 0..1000 {
            if trials.is_due() {
                tried += 1;
                trials.note(false);
            }
        }
        let seldom = (1000 - Trials::FAILED_MAX) / Trials::SELDOM;
        assert_eq!(tried, Trials::FAILED_MAX + seldom);
        while !trials.is_due() {}
        trials.note(true);
        assert!((0..100).all(|_| trials.is_due()), "one that does has all tried again");
    }

    #[test]
    fn records_in_parts_are_put_together() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, work) = SnapshotWriter::new(target(dir.path(), true));
        // Two sets of one member each, by turns, and a text that is encoded late.
        let part = |number, bytes: &[u8]| Piece::Portion(number, bytes.to_vec());
        let pieces = [
            part(1, b"\x02\x01a"),
            part(2, b"\x02\x01b"),
            Piece::Unencoded(Box::new(|pass_on| {
                pass_on(b"\0\x01k")?;
                pass_on(b"\x01v")?;
                Ok(Needs::Valkey)
            })),
            part(1, b"\x01\x01x"),
            // Said about the first set, directly behind it.
            Piece::PortionExtras(1, b"\xfa\x03for\x01".to_vec()),
            Piece::PortionExtras(1, b"a".to_vec()),
            Piece::PortionEnd(1),
            part(2, b"\x01\x01y"),
            Piece::PortionEnd(2),
            Piece::End(Needs::Nothing),
        ];
        for piece in pieces {
            writer.offer(piece).unwrap();
        }
        writer.pieces = None;
        work();
        writer.outcome().unwrap().unwrap();
        assert_eq!(names(dir.path()), ["dump.rdb"]);
        let file = fs::read(dir.path().join("dump.rdb")).unwrap();
        assert!(file.starts_with(b"VALKEY080"));
        let options = ReadOptions {
            databases: 1,
            versions: VersionCheck::Strict,
            checksum: Checksum::Verified,
        };
        let mut reader = FileReader::open(&file[..], None, options).unwrap();
        let items = std::iter::from_fn(|| reader.next_item().unwrap());
        let keys = items.map(|item| match item {
            Item::Entry(entry) => entry.key,
            Item::Aux { name, text } => [name, text].concat(),
            item => panic!("{item:?}"),
        });
        assert_eq!(keys.collect::<Vec<_>>(), [&b"k"[..], b"a", b"fora", b"b"]);
    }

    #[test]
    fn strings_are_compressed_by_the_thread() {
        let options = WriteOptions { compress: false };
        for len in [21, 63, 64, 1000, 20_000] {
            let noise: Vec<u8> = (0..len).map(|at: usize| ((at * at * 31) >> 3) as u8).collect();
            let texts = [vec![b'a'; len], noise];
            let (mut records, mut plain, mut places) = (vec![], vec![], vec![]);
            for text in &texts {
                for out in [&mut records, &mut plain] {
                    out.extend_from_slice(b"before");
                }
                write_string(&mut records, text, options);
                places.push(records.len() - len..records.len());
                write_string(&mut plain, text, WriteOptions { compress: true });
            }
            records.push(b'!');
            plain.push(b'!');
            let mut compressed = Vec::new();
            compress(&mut compressed, &records, &places, &mut Trials::default());
            assert_eq!(compressed, plain);
        }
    }

    #[test]
    fn parts_that_are_given_up_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, work) = SnapshotWriter::new(target(dir.path(), true));
        writer.offer(Piece::Portion(1, vec![2, 1, b'a'])).unwrap();
        writer.give_up();
        work();
        writer.outcome().unwrap().unwrap_err();
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_full_channel_gives_the_piece_back() {
        let (writer, work) = SnapshotWriter::new(target(Path::new("/"), true));
        for _ in 0..PIECES_AHEAD {
            writer.offer(Piece::Records(vec![1])).unwrap();
        }
        let back = writer.offer(Piece::Records(vec![7]));
        assert!(matches!(back, Err(Piece::Records(bytes)) if bytes == [7]));
        assert!(writer.outcome().is_none());
        drop(work);
        assert!(writer.offer(Piece::Records(vec![7])).is_ok(), "nobody wants it any more");
        assert!(writer.outcome().is_some_and(|outcome| outcome.is_err()));
    }
}
