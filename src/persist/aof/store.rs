//! The manifest of a log as a file. Blocks: for threads that are no core's.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::manifest::{Manifest, ManifestError, manifest_name, temporary_manifest_name};

/// A manifest is a few lines a file; a larger one is none. Bytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// Why there is no manifest to be had.
#[derive(Debug)]
pub enum LoadError {
    /// It cannot be read.
    Io(io::Error),
    /// It is not as it has to be.
    Manifest(ManifestError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => {
                write!(f, "Fatal error: can't open the AOF manifest file for reading: {error}")
            }
            Self::Manifest(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

/// Reads the manifest of the log `prefix` in a directory; `None` when there is none.
pub fn load(directory: &Path, prefix: &OsStr) -> Result<Option<Manifest>, LoadError> {
    let path = directory.join(manifest_name(prefix));
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(LoadError::Io(error)),
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    load_file(&path).map(Some)
}

/// Reads this manifest.
pub fn load_file(path: &Path) -> Result<Manifest, LoadError> {
    let len = fs::metadata(path).map_err(LoadError::Io)?.len();
    if len > MANIFEST_BYTES_MAX {
        return Err(LoadError::Io(io::Error::other("it is too large for a manifest")));
    }
    let text = fs::read(path).map_err(LoadError::Io)?;
    Manifest::parse(&text).map_err(LoadError::Manifest)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Puts the manifest in the place of the one before, at once and for good: whenever the machine
/// stops, one of the two is there, and the new one from when this returns.
pub fn store(directory: &Path, manifest: &Manifest, prefix: &OsStr) -> io::Result<()> {
    let temporary = directory.join(temporary_manifest_name(prefix));
    let mut file = File::create(&temporary)?;
    file.write_all(&manifest.to_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, directory.join(manifest_name(prefix)))?;
    sync_directory(directory)
}

/// Brings the names in a directory to the disk.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::aof::manifest::BaseFormat;

    #[test]
    fn what_is_stored_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let (path, prefix) = (directory.path(), OsStr::new("a b"));
        assert!(load(path, prefix).unwrap().is_none());
        assert!(load(&path.join("missing"), prefix).unwrap().is_none());
        let mut manifest = Manifest::default();
        manifest.replace_base(prefix, BaseFormat::Rdb, 0);
        for _ in 0..2 {
            manifest.begin_incr(prefix);
            store(path, &manifest, prefix).unwrap();
            assert_eq!(load(path, prefix).unwrap().unwrap(), manifest);
        }
        assert_eq!(fs::read_dir(path).unwrap().count(), 1, "nothing temporary is left");
        assert!(store(&path.join("missing"), &manifest, prefix).is_err());
        fs::write(path.join(manifest_name(prefix)), "").unwrap();
        assert!(matches!(load(path, prefix), Err(LoadError::Manifest(_))));
    }
}
