//! The log's files as they lie on the disk.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Prints how many pages of each file the system still has to write to the disk (`cachestat`, of
/// Linux 6.5), or fails where it cannot tell.
const COUNT_PAGES: &str = r#"
    for my $path (@ARGV) {
        open(my $file, "<", $path) or exit 2;
        my ($range, $counts) = (pack("QQ", 0, 0), "\0" x 40);
        exit 3 if syscall(451, fileno($file), $range, $counts, 0) != 0;
        my ($cached, $dirty, $written) = unpack("QQQ", $counts);
        print $dirty + $written, "\n";
    }
"#;

/// The files that the manifest names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogFiles {
    pub(crate) base: Option<PathBuf>,
    /// The oldest first.
    pub(crate) incrs: Vec<PathBuf>,
}

impl LogFiles {
    /// Those of a server's directory; `None` when there is no manifest.
    pub(crate) fn of(dir: &Path) -> Option<Self> {
        let dir = dir.join("appendonlydir");
        let manifest = fs::read_to_string(dir.join("appendonly.aof.manifest")).ok()?;
        let mut files = Self { base: None, incrs: Vec::new() };
        for line in manifest.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let path = dir.join(words[1]);
            match words[5] {
                "b" => files.base = Some(path),
                "i" => files.incrs.push(path),
                _ => {}
            }
        }
        Some(files)
    }

    /// The file that is appended to.
    pub(crate) fn last(&self) -> &Path {
        self.incrs.last().expect("a log has a file that is appended to")
    }

    /// The length of the file that is appended to.
    pub(crate) fn last_bytes(&self) -> u64 {
        bytes(self.last())
    }

    /// What the last file builds on has to be on the disk before there is something in it. `label`
    /// tells which test finds it otherwise.
    pub(crate) fn check_order(&self, label: &str) {
        let (last, earlier) = self.incrs.split_last().expect("a log has a file");
        let mut settled: Vec<&PathBuf> = self.base.iter().collect();
        if bytes(last) > 0 {
            settled.extend(earlier);
        }
        assert_flushed(&settled, label);
    }
}

/// A file's length.
pub(crate) fn bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// That files are on the disk and not in the system's memory only. Nothing is known where the
/// system does not tell.
pub(crate) fn assert_flushed<P: AsRef<Path>>(paths: &[P], label: &str) {
    for (path, pages) in paths.iter().zip(unflushed_pages(paths).unwrap_or_default()) {
        assert_eq!(pages, 0, "{label}: pages of {} are not flushed", path.as_ref().display());
    }
}

/// How many pages of each file are not on the disk; `None` where the system does not tell.
pub(crate) fn unflushed_pages<P: AsRef<Path>>(paths: &[P]) -> Option<Vec<u64>> {
    let output = Command::new("perl")
        .args(["-e", COUNT_PAGES])
        .args(paths.iter().map(AsRef::as_ref))
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().map(|line| line.parse().expect("perl prints a number")).collect())
}

/// Cuts a file.
pub(crate) fn cut(path: &Path, length: u64) {
    let file = File::options().write(true).open(path).expect("open the file");
    file.set_len(length).expect("cut the file");
}

/// Adds to a file.
pub(crate) fn add(path: &Path, bytes: &[u8]) {
    let mut file = File::options().append(true).open(path).expect("open the file");
    file.write_all(bytes).expect("write to the file");
}
