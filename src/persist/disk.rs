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
}

/// Files of the system, with a thread for each that is written or read.
#[derive(Clone, Copy, Debug)]
pub struct FileThreads;

impl Disk for FileThreads {
    fn write(&self, target: Target) -> io::Result<SnapshotWriter> {
        let (writer, work) = SnapshotWriter::new(target);
        thread::Builder::new().name("save".to_owned()).spawn(work)?;
        Ok(writer)
    }

    fn load(&self, job: Job, shared: Arc<Shared>) -> io::Result<()> {
        thread::Builder::new().name("load".to_owned()).spawn(move || job.run(&shared))?;
        Ok(())
    }
}
