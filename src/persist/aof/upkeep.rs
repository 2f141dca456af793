//! The log's files while the server runs: continued after they have been loaded, begun anew at each
//! rewrite, and removed when nothing needs them any more.
//!
//! A rewrite begins a file for what is changed from its cut on, and names it in the manifest before
//! the cut: until there is the new base, the log is the old base and all files since. Where there
//! is no log yet, that file has a name that nobody loads until there is the base. All of this
//! touches the disk, and is for threads that may wait for it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::manifest::{BaseFormat, Manifest, temporary_incr_name};
use super::store;
use crate::config::Config;
use crate::persist::log::{Log, LogFile};
use crate::persist::rdb::write::file::{Needs, write_aux};
use crate::persist::save::{Piece, SnapshotWriter, Target};
use crate::persist::state::Persistence;
use crate::route::shared::Shared;

/// Where the log's files are, and what their names begin with.
#[derive(Clone, Debug)]
pub struct Place {
    /// The directory.
    pub directory: PathBuf,
    /// The beginning of the names.
    pub prefix: PathBuf,
    /// Files that are not used any more are kept.
    keeps_history: bool,
    /// The form of bases that are written (`aof-use-rdb-preamble`).
    format: BaseFormat,
}

impl Place {
    /// What the configuration says.
    pub fn of(config: &Config) -> Self {
        let log = &config.persistence.log;
        Self {
            directory: config.process.directory.join(&log.directory),
            prefix: log.file_name.clone(),
            keeps_history: log.keeps_history,
            format: if log.preamble { BaseFormat::Rdb } else { BaseFormat::Commands },
        }
    }

    fn path(&self, name: &OsStr) -> PathBuf {
        self.directory.join(name)
    }
}

/// The log's files.
#[derive(Debug, Default)]
pub struct Upkeep {
    manifest: Mutex<Manifest>,
    /// Bytes of all files but the one that is written.
    settled_bytes: AtomicU64,
    base_bytes: AtomicU64,
    /// Bytes of the log when it was last rewritten, or loaded.
    rewritten_bytes: AtomicU64,
    /// There are files that the log does not need any more.
    has_history: AtomicBool,
}

/// A file for what is changed from a cut on.
#[derive(Debug)]
pub struct NewFile {
    /// The file.
    pub file: LogFile,
    /// What it is to the log.
    pub begun: Begun,
}

/// An incremental file that was begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begun {
    /// Its number.
    sequence: i64,
    /// The manifest names it. Otherwise it has its name only together with a new base.
    announced: bool,
}

/// Continues the log that was loaded, or begins one, and records what is changed from now on.
///
/// # Errors
///
/// A line that tells what could not be done.
pub fn resume_log(shared: &Shared, manifest: Manifest) -> Result<(), String> {
    let config = shared.config.load_full();
    let Persistence { upkeep, log, .. } = &shared.persistence;
    upkeep.resume(&Place::of(&config), manifest, &config, log)?;
    log.set_on(true);
    Ok(())
}

impl Upkeep {
    fn manifest(&self) -> std::sync::MutexGuard<'_, Manifest> {
        self.manifest.lock().expect("invariant: a panic ends the process")
    }

    /// Bytes of the base.
    pub fn base_bytes(&self) -> u64 {
        self.base_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of all files.
    pub fn bytes(&self, log: &Log) -> u64 {
        self.settled_bytes.load(Ordering::Relaxed) + log.file_bytes()
    }

    /// Bytes of all files when they were last rewritten, or loaded.
    pub fn rewritten_bytes(&self) -> u64 {
        self.rewritten_bytes.load(Ordering::Relaxed)
    }

    /// Continues the log that was loaded, or begins one.
    ///
    /// # Errors
    ///
    /// A line that tells what could not be done.
    pub fn resume(
        &self,
        place: &Place,
        mut manifest: Manifest,
        config: &Config,
        log: &Log,
    ) -> Result<(), String> {
        let failed = |what: &str, name: &Path, error: io::Error| {
            format!("Can't {what} {}: {error}", name.display())
        };
        fs::create_dir_all(&place.directory)
            .map_err(|error| failed("open or create append-only dir", &place.directory, error))?;
        let is_new = manifest.is_empty();
        if is_new {
            let name = manifest.replace_base(place.prefix.as_os_str(), place.format, 0);
            write_empty_base(target(place, &name, config))
                .map_err(|error| failed("write the AOF base file", Path::new(&name), error))?;
            tracing::info!("Creating AOF base file {} on server start", Path::new(&name).display());
        }
        let begins = manifest.incrs().is_empty();
        if begins {
            let name = manifest.begin_incr(place.prefix.as_os_str());
            tracing::info!("Creating AOF incr file {} on server start", Path::new(&name).display());
        }
        let last = manifest.incrs().last().expect("invariant: there is one by now");
        let path = place.path(&last.name);
        let (file, bytes) = LogFile::open(&path)
            .map_err(|error| failed("open the append-only file", &path, error))?;
        if is_new || begins {
            store::store(&place.directory, &manifest, place.prefix.as_os_str())
                .map_err(|error| failed("write the AOF manifest in", &place.directory, error))?;
        }
        self.remove_history(place, &mut manifest);
        let size = |name: &OsStr| fs::metadata(place.path(name)).map_or(0, |data| data.len());
        let base_bytes = manifest.base().map_or(0, |base| size(&base.name));
        let (_, earlier) = manifest.incrs().split_last().expect("invariant: there is one by now");
        let earlier: u64 = earlier.iter().map(|incr| size(&incr.name)).sum();
        self.base_bytes.store(base_bytes, Ordering::Relaxed);
        self.settled_bytes.store(base_bytes + earlier, Ordering::Relaxed);
        self.rewritten_bytes.store(base_bytes + earlier + bytes, Ordering::Relaxed);
        *self.manifest() = manifest;
        log.open(file, bytes);
        Ok(())
    }

    /// Takes the manifest that lies in the directory, if there is one: for a log that is turned on
    /// while the server runs.
    ///
    /// # Errors
    ///
    /// Those of the system, and a manifest that cannot be read.
    pub fn adopt(&self, place: &Place) -> io::Result<()> {
        fs::create_dir_all(&place.directory)?;
        let loaded = store::load(&place.directory, place.prefix.as_os_str());
        let loaded = loaded.map_err(|error| io::Error::other(error.to_string()))?;
        let loaded = loaded.unwrap_or_default();
        self.has_history.store(!loaded.history().is_empty(), Ordering::Relaxed);
        *self.manifest() = loaded;
        Ok(())
    }

    /// Begins the file for what is changed from now on. With `announces` the manifest names it from
    /// now on, without it only together with a new base: what is there before that cannot be loaded
    /// without it, and until then it has a temporary name.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn begin_file(&self, place: &Place, announces: bool) -> io::Result<NewFile> {
        let mut manifest = self.manifest();
        let mut next = manifest.clone();
        let name = next.begin_incr(place.prefix.as_os_str());
        let name = if announces { name } else { temporary_incr_name(place.prefix.as_os_str()) };
        let path = place.path(&name);
        // What may be left there of a process that ended at this point is no part of any log.
        let _ = fs::remove_file(&path);
        let (file, _) = LogFile::open(&path)?;
        tracing::info!("Creating AOF incr file {} on background rewrite", name.display());
        if announces {
            store::store(&place.directory, &next, place.prefix.as_os_str())?;
        }
        let begun = Begun { sequence: next.incr_sequence(), announced: announces };
        *manifest = next;
        Ok(NewFile { file, begun })
    }

    /// Removes the file of a log that was to begin, and has no base.
    pub fn abandon_file(&self, place: &Place) {
        let name = temporary_incr_name(place.prefix.as_os_str());
        tracing::info!("Removing the temp incr aof file {} in the background", name.display());
        if let Err(error) = fs::remove_file(place.path(&name)) {
            tracing::warn!("Can't remove {}: {error}", name.display());
        }
    }

    /// Where the next base is to be written.
    pub fn base_target(&self, place: &Place, config: &Config) -> Target {
        let mut next = self.manifest().clone();
        let name = next.replace_base(place.prefix.as_os_str(), place.format, 0);
        target(place, &name, config)
    }

    /// The next base is there: from now on the log is this and the files from the one on that was
    /// begun; the base alone, without. Everything before is removed.
    ///
    /// # Errors
    ///
    /// Those of the system: the log is what it was before.
    pub fn install_base(&self, place: &Place, begun: Option<Begun>, log: &Log) -> io::Result<()> {
        let mut manifest = self.manifest();
        let mut next = manifest.clone();
        let keep_from = begun.map_or(i64::MAX, |begun| begun.sequence);
        let name = next.replace_base(place.prefix.as_os_str(), place.format, keep_from);
        if begun.is_some_and(|begun| !begun.announced) {
            let last = next.incrs().last().expect("invariant: what was begun is kept");
            let temporary = temporary_incr_name(place.prefix.as_os_str());
            fs::rename(place.path(&temporary), place.path(&last.name))?;
        }
        let base_bytes = fs::metadata(place.path(&name))?.len();
        store::store(&place.directory, &next, place.prefix.as_os_str())?;
        self.remove_history(place, &mut next);
        *manifest = next;
        log.note_base();
        self.base_bytes.store(base_bytes, Ordering::Relaxed);
        self.settled_bytes.store(base_bytes, Ordering::Relaxed);
        self.rewritten_bytes.store(base_bytes + log.file_bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// The file that was written until a cut stays, for as long as there is no new base.
    pub fn note_settled(&self, bytes: u64) {
        self.settled_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether there are files that the log does not need any more.
    pub fn has_history(&self) -> bool {
        self.has_history.load(Ordering::Relaxed)
    }

    /// Removes the files that the log does not need any more, when they were kept until now.
    pub fn follow_history(&self, place: &Place) {
        self.remove_history(place, &mut self.manifest());
    }

    /// Removes files that are no part of the log any more. One that cannot be removed does no harm.
    fn remove_history(&self, place: &Place, manifest: &mut Manifest) {
        let keeps = place.keeps_history && !manifest.history().is_empty();
        self.has_history.store(keeps, Ordering::Relaxed);
        if keeps || manifest.history().is_empty() {
            return;
        }
        for name in manifest.drop_history() {
            tracing::info!("Removing the history file {} in the background", name.display());
            if let Err(error) = fs::remove_file(place.path(&name)) {
                tracing::warn!("Can't remove {}: {error}", name.display());
            }
        }
        if let Err(error) = store::store(&place.directory, manifest, place.prefix.as_os_str()) {
            tracing::warn!("Can't write the AOF manifest: {error}");
        }
    }
}

/// A base's name until it is whole: the peers', by the process's number.
pub fn temporary_base_name() -> PathBuf {
    format!("temp-rewriteaof-bg-{}.aof", std::process::id()).into()
}

fn target(place: &Place, name: &OsStr, config: &Config) -> Target {
    Target {
        directory: place.directory.clone(),
        name: name.into(),
        temporary: temporary_base_name(),
        format: place.format,
        checksum: config.persistence.checksum && place.format == BaseFormat::Rdb,
        syncs: config.persistence.incremental_sync,
    }
}

/// Writes a base without keys.
fn write_empty_base(target: Target) -> io::Result<()> {
    let format = target.format;
    let (writer, work) = SnapshotWriter::new(target);
    let mut head = Vec::new();
    if format == BaseFormat::Rdb {
        write_aux(&mut head, b"aof-base", b"1");
    }
    for piece in [Piece::Records(head), Piece::End(Needs::Nothing)] {
        let taken = writer.offer(piece);
        assert!(taken.is_ok(), "invariant: there is room for two pieces");
    }
    work();
    writer.outcome().unwrap_or_else(|| Err(io::Error::other("it has not ended")))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        directory: tempfile::TempDir,
        place: Place,
        upkeep: Upkeep,
        log: Log,
    }

    impl World {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let place = Place {
                directory: directory.path().join("dir"),
                prefix: "log".into(),
                keeps_history: false,
                format: BaseFormat::Rdb,
            };
            Self { directory, place, upkeep: Upkeep::default(), log: Log::new(1) }
        }

        fn resume(&self) {
            let loaded = store::load(&self.place.directory, self.place.prefix.as_os_str());
            let manifest = loaded.unwrap().unwrap_or_default();
            self.upkeep.resume(&self.place, manifest, &Config::default(), &self.log).unwrap();
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.place.directory).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort_unstable();
            names
        }

        fn write_base(&self) {
            write_empty_base(self.upkeep.base_target(&self.place, &Config::default())).unwrap();
        }
    }

    #[test]
    fn a_log_begins_with_an_empty_base() {
        let world = World::new();
        world.resume();
        let names = ["log.1.base.rdb", "log.1.incr.aof", "log.manifest"];
        assert_eq!(world.names(), names);
        let base = fs::read(world.place.path(OsStr::new("log.1.base.rdb"))).unwrap();
        assert!(base.starts_with(b"REDIS0011"));
        assert_eq!(world.upkeep.bytes(&world.log), base.len() as u64);
        // The next process goes on with the same files.
        let again = World { upkeep: Upkeep::default(), log: Log::new(1), ..world };
        again.resume();
        assert_eq!(again.names(), names);
        assert_eq!(again.upkeep.rewritten_bytes(), base.len() as u64);
        drop(again.directory);
    }

    #[test]
    fn a_rewrite_leaves_nothing_of_what_was_before() {
        let world = World::new();
        world.resume();
        let new = world.upkeep.begin_file(&world.place, true).unwrap();
        let all = ["log.1.base.rdb", "log.1.incr.aof", "log.2.incr.aof", "log.manifest"];
        assert_eq!(world.names(), all);
        world.write_base();
        world.upkeep.install_base(&world.place, Some(new.begun), &world.log).unwrap();
        assert_eq!(world.names(), ["log.2.base.rdb", "log.2.incr.aof", "log.manifest"]);
        let manifest = store::load(&world.place.directory, OsStr::new("log")).unwrap().unwrap();
        assert_eq!((manifest.incrs().len(), manifest.history().len()), (1, 0));
        assert_eq!(manifest.base().unwrap().name, "log.2.base.rdb");
    }

    #[test]
    fn without_its_base_a_new_log_is_not_announced() {
        let world = World::new();
        world.upkeep.adopt(&world.place).unwrap();
        let new = world.upkeep.begin_file(&world.place, false).unwrap();
        assert!(store::load(&world.place.directory, OsStr::new("log")).unwrap().is_none());
        assert_eq!(world.names(), ["temp-log.incr"]);
        world.write_base();
        world.upkeep.install_base(&world.place, Some(new.begun), &world.log).unwrap();
        assert_eq!(world.names(), ["log.1.base.rdb", "log.1.incr.aof", "log.manifest"]);
        // One that comes to nothing leaves nothing, and the numbers go on from the manifest.
        world.upkeep.adopt(&world.place).unwrap();
        world.upkeep.begin_file(&world.place, false).unwrap();
        world.upkeep.abandon_file(&world.place);
        assert_eq!(world.names(), ["log.1.base.rdb", "log.1.incr.aof", "log.manifest"]);
        world.upkeep.adopt(&world.place).unwrap();
        assert_eq!(world.upkeep.begin_file(&world.place, false).unwrap().begun.sequence, 2);
    }

    #[test]
    fn failed_rewrites_leave_files_that_the_next_one_replaces() {
        let world = World::new();
        world.resume();
        world.upkeep.begin_file(&world.place, true).unwrap();
        let new = world.upkeep.begin_file(&world.place, true).unwrap();
        let manifest = store::load(&world.place.directory, OsStr::new("log")).unwrap().unwrap();
        let sequences: Vec<i64> = manifest.incrs().iter().map(|incr| incr.sequence).collect();
        assert_eq!(sequences, [1, 2, 3]);
        world.write_base();
        world.upkeep.install_base(&world.place, Some(new.begun), &world.log).unwrap();
        assert_eq!(world.names(), ["log.2.base.rdb", "log.3.incr.aof", "log.manifest"]);
    }

    #[test]
    fn a_base_of_commands_has_its_own_name() {
        let mut world = World::new();
        world.place.format = BaseFormat::Commands;
        world.resume();
        let names = ["log.1.base.aof", "log.1.incr.aof", "log.manifest"];
        assert_eq!(world.names(), names);
        assert_eq!(world.upkeep.base_bytes(), 0);
    }

    #[test]
    fn history_is_kept_until_it_is_not_wanted_any_more() {
        let mut world = World::new();
        world.place.keeps_history = true;
        world.resume();
        let new = world.upkeep.begin_file(&world.place, true).unwrap();
        world.write_base();
        world.upkeep.install_base(&world.place, Some(new.begun), &world.log).unwrap();
        assert!(world.upkeep.has_history());
        assert_eq!(world.names().len(), 5);
        world.place.keeps_history = false;
        world.upkeep.follow_history(&world.place);
        assert!(!world.upkeep.has_history());
        assert_eq!(world.names(), ["log.2.base.rdb", "log.2.incr.aof", "log.manifest"]);
    }
}
