//! The files of the log, and what tests make fail of them.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A file that is appended to. It is written at positions, so that a write which was cut short is
/// taken up where it ended.
#[derive(Debug)]
pub struct LogFile(File);

impl LogFile {
    /// Makes a file, or takes one that is there; its length.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn open(path: &Path) -> io::Result<(Self, u64)> {
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        let length = file.metadata()?.len();
        Ok((Self(file), length))
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.0
    }
}

/// A file of the log and how long it is.
#[derive(Debug)]
pub(super) struct Segment {
    file: Arc<LogFile>,
    pub(super) size: u64,
}

impl Segment {
    pub(super) fn new(file: LogFile, size: u64) -> Self {
        Self { file: Arc::new(file), size }
    }

    pub(super) fn file(&self) -> Arc<LogFile> {
        Arc::clone(&self.file)
    }
}

/// What is made to fail, once: for tests (`DEBUG AOF-FAULT`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Only so many bytes of a write reach the file, and then this error (its number) comes.
    Write {
        /// Bytes that are written.
        bytes: usize,
        /// The system's number of the error.
        code: i32,
    },
    /// A flush fails with this error.
    Flush {
        /// The system's number of the error.
        code: i32,
    },
}

impl Fault {
    /// Takes the fault that is due, if there is one, at a write that flushes or does not.
    pub(super) fn take(fault: &mut Option<Self>, flushes: bool) -> Option<Self> {
        match fault {
            Some(Self::Flush { .. }) if !flushes => None,
            _ => fault.take(),
        }
    }

    pub(super) fn error(self) -> io::Error {
        let (Self::Write { code, .. } | Self::Flush { code }) = self;
        io::Error::from_raw_os_error(code)
    }
}
