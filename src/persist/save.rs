//! Writing a dump file: a thread that takes finished pieces from a bounded channel.
//!
//! The file is written under another name, brought to the disk, and only then takes the place of
//! the one before: whatever happens, there is a whole file. What takes no more than memory, the
//! pieces, is made by the shards (`commands::server::snapshot`).

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};

use super::rdb::crc64;
use super::rdb::write::file::{Needs, write_end};

/// Pieces on their way to the thread.
const PIECES_AHEAD: usize = 16;
/// What is collected before the system is asked to write.
const BUFFER_BYTES: usize = 1 << 20;

/// Where a file is written, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// The directory.
    pub directory: PathBuf,
    /// The file's name in it.
    pub name: PathBuf,
    /// The file's name until it is whole.
    pub temporary: PathBuf,
    /// Whether it ends with its checksum, or with zero (`rdbchecksum`).
    pub checksum: bool,
}

/// The file's name until it is whole: the peers', by the process's number.
pub fn temporary_name() -> PathBuf {
    format!("temp-{}.rdb", std::process::id()).into()
}

/// Removes what is left of a file that the end of the process has cut short.
pub fn remove_temporary(directory: &Path) {
    // There is none, as a rule.
    let _ = fs::remove_file(directory.join(temporary_name()));
}

/// What the thread is sent.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    /// Everything has been sent.
    End(Needs),
}

/// What became of a piece.
#[derive(Debug)]
pub enum Offered {
    /// It is on its way.
    Taken,
    /// There is no room now: to be offered again.
    Full(Vec<u8>),
    /// The thread has ended, by an error that the outcome tells.
    Ended,
}

/// A file being written. When it is dropped before its end, nothing remains of it.
#[derive(Debug)]
pub struct SnapshotWriter {
    /// None when it was given up.
    pieces: Option<SyncSender<Piece>>,
    outcome: Receiver<io::Result<()>>,
}

impl SnapshotWriter {
    /// A writer, and what its thread has to do.
    pub fn new(target: Target) -> (Self, impl FnOnce() + Send) {
        let (pieces, received) = mpsc::sync_channel(PIECES_AHEAD);
        let (told, outcome) = mpsc::channel();
        let work = move || {
            // Whoever asked may not want to know any more.
            let _ = told.send(write(&target, &received));
        };
        (Self { pieces: Some(pieces), outcome }, work)
    }

    /// Hands over a piece of the file, without waiting.
    pub fn offer(&self, piece: Vec<u8>) -> Offered {
        let Some(pieces) = &self.pieces else { return Offered::Ended };
        match pieces.try_send(Piece::Bytes(piece)) {
            Ok(()) => Offered::Taken,
            Err(TrySendError::Full(Piece::Bytes(piece))) => Offered::Full(piece),
            Err(_) => Offered::Ended,
        }
    }

    /// Tells that all pieces have been taken, and what they need; false when there is no room to
    /// say so now.
    pub fn end(&self, needs: Needs) -> bool {
        let sent = self.pieces.as_ref().map(|pieces| pieces.try_send(Piece::End(needs)));
        !matches!(sent, Some(Err(TrySendError::Full(_))))
    }

    /// Gives the file up. Once there is an outcome, nothing of it is left.
    pub fn give_up(&mut self) {
        self.pieces = None;
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
fn write(target: &Target, pieces: &Receiver<Piece>) -> io::Result<()> {
    let temporary = target.directory.join(&target.temporary);
    let written = write_temporary(&temporary, target.checksum, pieces).and_then(|()| {
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
fn write_temporary(path: &Path, checksum: bool, pieces: &Receiver<Piece>) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, File::create(path)?);
    file.write_all(&Needs::Nothing.header())?;
    let (mut crc, mut len) = (0, 0);
    let mut add = |file: &mut BufWriter<File>, bytes: &[u8]| {
        if checksum {
            crc = crc64::update(crc, bytes);
        }
        len += bytes.len() as u64;
        file.write_all(bytes)
    };
    let needs = loop {
        match pieces.recv() {
            Ok(Piece::Bytes(bytes)) => add(&mut file, &bytes)?,
            Ok(Piece::End(needs)) => break needs,
            Err(_) => return Err(io::Error::other("it was given up")),
        }
    };
    let mut end = Vec::new();
    write_end(&mut end);
    add(&mut file, &end)?;
    let header = needs.header();
    let whole = crc64::combine(crc64::update(0, &header), crc, len);
    file.write_all(&(if checksum { whole } else { 0 }).to_le_bytes())?;
    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header)?;
    file.sync_all()
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
            checksum,
        }
    }

    /// Offers the pieces and their end to a writer, and does its work here.
    fn save(target: Target, pieces: &[&[u8]], needs: Option<Needs>) -> io::Result<()> {
        let (writer, work) = SnapshotWriter::new(target);
        for piece in pieces {
            assert!(matches!(writer.offer(piece.to_vec()), Offered::Taken));
        }
        let SnapshotWriter { pieces, outcome } = writer;
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
    fn a_full_channel_gives_the_piece_back() {
        let (writer, work) = SnapshotWriter::new(target(Path::new("/"), true));
        for _ in 0..PIECES_AHEAD {
            assert!(matches!(writer.offer(vec![1]), Offered::Taken));
        }
        assert!(matches!(writer.offer(vec![7]), Offered::Full(piece) if piece == [7]));
        assert!(!writer.end(Needs::Nothing));
        assert!(writer.outcome().is_none());
        drop(work);
        assert!(matches!(writer.offer(vec![7]), Offered::Ended));
        assert!(writer.outcome().is_some_and(|outcome| outcome.is_err()));
    }
}
