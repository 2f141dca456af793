//! The pid file, by which service managers find the process.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::groups::Process;
use crate::config::kind::io_reason;

/// Where a daemon leaves its process id when the configuration does not say.
const DEFAULT: &str = "/var/run/kvasir.pid";

/// The file with the process id. It is removed when this is dropped.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file, if the configuration asks for one or for a daemon. A file that cannot be
    /// written is worth a line of the log, as with the peers, and no more.
    pub fn write(process: &Process) -> Option<Self> {
        let default = process.daemonize.then(|| PathBuf::from(DEFAULT));
        let path = process.pid_file.clone().or(default)?;
        // The working directory may be another one at the end.
        let path = std::path::absolute(&path).unwrap_or(path);
        match fs::write(&path, format!("{}\n", std::process::id())) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                tracing::warn!("Failed to write PID file: {}", io_reason(&error));
                None
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        tracing::info!("Removing the pid file.");
        // Somebody may have removed it before.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(path: Option<PathBuf>) -> Process {
        Process { pid_file: path, ..Process::default() }
    }

    #[test]
    fn written_where_asked_and_removed_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let file = PidFile::write(&process(Some(path.clone()))).unwrap();
        assert_eq!(file.path(), path);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());

        let unwritable = directory.path().join("no/such/directory");
        assert!(PidFile::write(&process(Some(unwritable))).is_none());
        assert!(PidFile::write(&process(None)).is_none());
    }
}
