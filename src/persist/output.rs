//! A file written from front to back, past the system's cache where the file system lets us.
//!
//! A dump file is written once and not read again soon. Through the cache each of its bytes would
//! be copied once more, push out of memory what others read, and be written later by the kernel's
//! own threads, in competition with clients for the processors; on the way of `O_DIRECT` the disk
//! takes it out of our buffer. That wants blocks of whole pages at addresses of whole pages, so the
//! buffer begins with some bytes that are passed over, and what is left at the end goes through the
//! cache after all.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What is collected before the system is asked to write.
const BUFFER_BYTES: usize = 1 << 20;
/// More than a piece of records adds to the buffer at a time, as a rule.
const SLACK_BYTES: usize = 256 * 1024;
/// Lengths and addresses of blocks are multiples of it: a page, and no disk has larger sectors.
const ALIGNMENT: usize = 4096;

/// The file. See the module's head.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    path: PathBuf,
    /// Whether the file is written past the cache.
    direct: bool,
    /// What is not written yet, behind `skipped` bytes that bring it to an aligned address.
    buffer: Vec<u8>,
    skipped: usize,
    written: u64,
}

impl Output {
    /// Begins an empty file, in place of one of this name. With `direct` it is written past the
    /// cache, where that is possible.
    pub(super) fn create(path: &Path, direct: bool) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        let opened = direct.then(|| options.clone().custom_flags(libc::O_DIRECT).open(path));
        // A file system that cannot do it refuses the flag.
        let (file, direct) = match opened {
            Some(Ok(file)) => (file, true),
            _ => (options.open(path)?, false),
        };
        let (buffer, skipped) = aligned(&[]);
        Ok(Self { file, path: path.to_owned(), direct, buffer, skipped, written: 0 })
    }

    /// Has `append` add bytes at the end, and returns them.
    pub(super) fn append(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> io::Result<&[u8]> {
        if self.buffer.len() - self.skipped >= BUFFER_BYTES {
            self.write_blocks()?;
        }
        let from = self.buffer.len();
        append(&mut self.buffer);
        Ok(&self.buffer[from..])
    }

    /// Adds bytes at the end.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        for part in bytes.chunks(SLACK_BYTES) {
            self.append(|buffer| buffer.extend_from_slice(part))?;
        }
        Ok(())
    }

    /// Adds what is left of a file; the number of bytes.
    pub(super) fn copy(&mut self, from: &mut File) -> io::Result<u64> {
        let mut copied = 0;
        loop {
            let mut read = Ok(0);
            self.append(|buffer| {
                read = from.take(SLACK_BYTES as u64).read_to_end(buffer);
            })?;
            match read? {
                0 => return Ok(copied),
                bytes => copied += bytes as u64,
            }
        }
    }

    /// Brings what is not written yet to the system, and lets go of the buffer. What is read and
    /// written from then on goes through the cache.
    pub(super) fn finish(mut self) -> io::Result<File> {
        self.write_blocks()?;
        if self.direct {
            self.leave_direct()?;
        }
        self.file.write_all(&self.buffer[self.skipped..])?;
        self.file.seek(SeekFrom::Start(0))?;
        Ok(self.file)
    }

    /// Brings what was written so far to the disk, for a file that goes through the cache.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.direct {
            return Ok(());
        }
        self.write_blocks()?;
        self.file.sync_data()
    }

    /// Writes all whole blocks.
    fn write_blocks(&mut self) -> io::Result<()> {
        let len = self.buffer.len() - self.skipped;
        let whole = if self.direct { len - len % ALIGNMENT } else { len };
        if whole == 0 {
            return Ok(());
        }
        if self.buffer.as_ptr().addr() % ALIGNMENT != (ALIGNMENT - self.skipped) % ALIGNMENT {
            // It has grown, and lies elsewhere.
            (self.buffer, self.skipped) = aligned(&self.buffer[self.skipped..]);
        }
        let blocks = self.skipped..self.skipped + whole;
        match self.file.write_all(&self.buffer[blocks.clone()]) {
            Err(error) if self.direct && error.kind() == io::ErrorKind::InvalidInput => {
                self.leave_direct()?;
                self.file.write_all(&self.buffer[blocks])?;
            }
            written => written?,
        }
        self.written += whole as u64;
        self.buffer.drain(self.skipped..self.skipped + whole);
        Ok(())
    }

    /// Goes on through the cache: at the end, or for a disk that wants larger blocks.
    fn leave_direct(&mut self) -> io::Result<()> {
        self.file = File::options().read(true).write(true).open(&self.path)?;
        self.file.seek(SeekFrom::Start(self.written))?;
        self.direct = false;
        Ok(())
    }
}

/// A buffer with these bytes at an aligned address, and how many bytes lie before them.
fn aligned(bytes: &[u8]) -> (Vec<u8>, usize) {
    let room = bytes.len().max(BUFFER_BYTES + SLACK_BYTES);
    let mut buffer: Vec<u8> = Vec::with_capacity(room + ALIGNMENT);
    let skipped = buffer.as_ptr().addr().wrapping_neg() % ALIGNMENT;
    buffer.resize(skipped, 0);
    buffer.extend_from_slice(bytes);
    (buffer, skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that differ from block to block.
    fn text(len: usize) -> Vec<u8> {
        (0..len as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
    }

    #[test]
    fn what_is_written_is_there_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for direct in [false, true] {
            for len in [0, 1, ALIGNMENT, BUFFER_BYTES, 3 * BUFFER_BYTES + 17] {
                let bytes = text(len);
                let mut output = Output::create(&path, direct).unwrap();
                for piece in bytes.chunks(100_001) {
                    output.write(piece).unwrap();
                    output.sync().unwrap();
                }
                drop(output.finish().unwrap());
                assert!(std::fs::read(&path).unwrap() == bytes, "{len} bytes, direct: {direct}");
            }
        }
    }

    #[test]
    fn a_piece_that_outgrows_the_buffer_is_no_matter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes = text(5 * BUFFER_BYTES);
        let mut output = Output::create(&path, true).unwrap();
        output.write(b"head").unwrap();
        assert_eq!(output.append(|buffer| buffer.extend_from_slice(&bytes)).unwrap(), bytes);
        output.write(b"tail").unwrap();
        drop(output.finish().unwrap());
        assert!(std::fs::read(&path).unwrap() == [b"head", &bytes[..], b"tail"].concat());
    }

    #[test]
    fn a_file_is_copied_to_the_end_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = text(2 * BUFFER_BYTES + 5);
        let mut part = Output::create(&dir.path().join("part"), false).unwrap();
        part.write(&bytes).unwrap();
        let mut part = part.finish().unwrap();
        let path = dir.path().join("file");
        let mut output = Output::create(&path, true).unwrap();
        output.write(b"head").unwrap();
        assert_eq!(output.copy(&mut part).unwrap(), bytes.len() as u64);
        drop(output.finish().unwrap());
        assert!(std::fs::read(&path).unwrap() == [b"head", &bytes[..]].concat());
    }
}
