//! What reads and writes files for the cores, which never do so themselves.

use std::io;
use std::sync::Arc;
use std::thread;

use super::load::Job;
use super::save::{SnapshotWriter, Target};
use crate::route::shared::Shared;

/// The files of a process. A simulation has none, or files of its own.
pub trait Disk: Send + Sync {
    /// Begins to write a dump file. The error is that there is no thread for it.
    fn write(&self, target: Target) -> io::Result<SnapshotWriter>;

    /// Begins to load a dump file; the end shows in [`Shared`]. The error is that there is no
    /// thread for it.
    fn load(&self, job: Job, shared: Arc<Shared>) -> io::Result<()>;

    /// Does something short with files; its result is left by the work itself. The error is that
    /// there is no thread for it.
    fn run(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<()>;
}

/// Files of the system, with a thread for each that is written or read.
#[derive(Clone, Copy, Debug)]
pub struct FileThreads {
    /// What such a thread does first: it leaves the core of the shard that has begun it.
    pub leave_core: fn(),
}

impl FileThreads {
    fn spawn(self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let whole = move || {
            (self.leave_core)();
            work();
        };
        thread::Builder::new().name(name.to_owned()).spawn(whole).map(drop)
    }
}

impl Disk for FileThreads {
    fn write(&self, target: Target) -> io::Result<SnapshotWriter> {
        let (writer, work) = SnapshotWriter::new(target);
        self.spawn("save", work)?;
        Ok(writer)
    }

    fn load(&self, job: Job, shared: Arc<Shared>) -> io::Result<()> {
        self.spawn("load", move || {
            // How it has ended is told by what is shared.
            job.run(&shared);
        })
    }

    fn run(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        self.spawn("files", work)
    }
}
