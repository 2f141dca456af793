//! Reading a configuration: a file, its includes, standard input and the command line.
//!
//! All of them are one text to the peers, the last mention of a parameter deciding. An included
//! file is read where its `include` stands; its path may be a pattern, which may match nothing. A
//! relative path is relative to the last `dir` before it.
//!
//! An include that leads back to a file that is being read is an error when the file is named, and
//! is passed over when a pattern matches it, so that a file may include its own directory.

use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::kind::io_reason;
use super::value::Value;
use super::{Config, quote, table};

/// Where a configuration comes from: what the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Whether standard input is read after the file.
    pub stdin: bool,
    /// Lines that are read after both; see [`options_from_arguments`].
    pub options: Vec<u8>,
}

/// A line of the file that is no parameter, for the part of the server that understands it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// What kind of line it is.
    pub kind: DirectiveKind,
    /// All words after the first.
    pub words: Vec<Vec<u8>>,
    place: Place,
}

/// The lines that are no parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectiveKind {
    /// `rename-command OLD NEW`; an empty NEW takes the command away.
    RenameCommand,
    /// `user NAME RULE...`, as ACL SETUSER takes it.
    User,
    /// `loadmodule PATH ARGUMENT...`. This server loads none; its types are built in.
    LoadModule,
}

impl Directive {
    /// The error that ends the start because of this line.
    pub fn error(&self, reason: impl Into<String>) -> LoadError {
        self.place.clone().error(reason)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// The included file; `None` for the text that the command line names.
    file: Option<PathBuf>,
    line: usize,
    text: Vec<u8>,
}

impl Place {
    fn error(self, reason: impl Into<String>) -> LoadError {
        LoadError::Line { place: Box::new(LinePlace(self)), reason: reason.into() }
    }
}

/// The line of a [`LoadError`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePlace(Place);

/// Why the server cannot start with this configuration. `Display` is what goes to standard error,
/// after which the process exits with 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// A file cannot be read.
    Open {
        /// The file.
        path: PathBuf,
        /// The system's text.
        reason: String,
    },
    /// A line is wrong.
    Line {
        /// Which one.
        place: Box<LinePlace>,
        /// The peers' text.
        reason: String,
    },
    /// The lines are right but do not go together, or do not fit the system.
    Whole(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        let head = |f: &mut fmt::Formatter<'_>| {
            writeln!(f, "\n*** FATAL CONFIG FILE ERROR (Version {version}) ***")
        };
        match self {
            Self::Open { path, reason } => {
                write!(f, "Fatal error, can't open config file '{}': {reason}", path.display())
            }
            Self::Line { place, reason } => {
                let Place { file, line, text } = &place.0;
                head(f)?;
                match file {
                    None => writeln!(f, "Reading the configuration file, at line {line}")?,
                    Some(path) => {
                        writeln!(
                            f,
                            "Reading the included file {}, at line {line}",
                            path.display()
                        )?;
                    }
                }
                write!(f, ">>> '{}'\n{reason}", String::from_utf8_lossy(text))
            }
            Self::Whole(reason) => {
                head(f)?;
                f.write_str(reason)
            }
        }
    }
}

impl std::error::Error for LoadError {}

/// Turns command-line arguments into the lines that they stand for.
///
/// As with the peers, `--name` starts a line and further arguments are its values, quoted; a name
/// that has no value yet takes the next argument as one even if it starts with `--`. `--save` alone
/// means no snapshots. `--name value` may be one argument, and so may `--name=value`.
pub fn options_from_arguments(arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut lines = Vec::new();
    let mut name_has_value = true;
    for (at, argument) in arguments.iter().enumerate() {
        let Some(option) = argument.strip_prefix(b"--").filter(|_| name_has_value) else {
            lines.extend(quote::quote(argument));
            lines.push(b' ');
            name_has_value = true;
            continue;
        };
        if !lines.is_empty() {
            lines.push(b'\n');
        }
        if let Some((name, value)) = split_assignment(option) {
            lines.extend([name, b" ", &quote::quote(value)].concat());
            continue;
        }
        lines.extend([option, b" "].concat());
        name_has_value = quote::split(option).is_none_or(|words| words.len() != 1);
        let next_is_option = arguments.get(at + 1).is_none_or(|next| next.starts_with(b"--"));
        if option.eq_ignore_ascii_case(b"save") && next_is_option {
            lines.extend(b"\"\"");
            name_has_value = true;
        }
    }
    lines
}

/// Splits `name=value` when `name` is a parameter.
fn split_assignment(option: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = option.iter().position(|&byte| byte == b'=')?;
    table::lookup(&option[..at])?;
    Some((&option[..at], &option[at + 1..]))
}

impl Config {
    /// Reads the configuration that `source` describes. Blocks on files and standard input.
    pub fn load(source: &Source) -> Result<Config, LoadError> {
        let mut loader = Loader { config: Config::default(), save_seen: false, open: Vec::new() };
        let mut text = Vec::new();
        if let Some(file) = &source.file {
            let path = std::path::absolute(file).map_err(|error| open_error(file, &error))?;
            text = std::fs::read(&path).map_err(|error| open_error(file, &error))?;
            loader.open.push(path.canonicalize().unwrap_or_else(|_| path.clone()));
            loader.config.file = Some(path);
        }
        if source.stdin {
            let read = std::io::stdin().read_to_end(&mut text);
            read.map_err(|error| open_error(Path::new("-"), &error))?;
        }
        text.push(b'\n');
        text.extend(&source.options);
        loader.text(&text, None)?;
        loader.config.check_whole()?;
        Ok(loader.config)
    }

    /// Reads the lines of a text over the defaults.
    pub fn from_text(text: &str) -> Result<Config, LoadError> {
        Self::load(&Source { options: text.into(), ..Source::default() })
    }

    /// Conditions between parameters.
    fn check_whole(&self) -> Result<(), LoadError> {
        if let Some(file) = &self.log.file {
            let path = self.process.directory.join(file);
            let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
            if let Err(error) = opened {
                let reason = io_reason(&error);
                return Err(LoadError::Whole(format!("Can't open the log file: {reason}")));
            }
        }
        let cluster = self.value("cluster-enabled") == Some(&Value::Flag(true));
        if cluster && self.value("replicaof") != Some(&Value::Primary(None)) {
            let reason = "replicaof directive not allowed in cluster mode";
            return Err(LoadError::Whole(reason.into()));
        }
        Ok(())
    }
}

fn open_error(path: &Path, error: &std::io::Error) -> LoadError {
    LoadError::Open { path: path.into(), reason: io_reason(error) }
}

struct Loader {
    config: Config,
    /// The first `save` line replaces the default, the later ones add to it.
    save_seen: bool,
    /// The files being read, outermost first.
    open: Vec<PathBuf>,
}

impl Loader {
    fn text(&mut self, text: &[u8], file: Option<&Path>) -> Result<(), LoadError> {
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let text = line.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            let place = Place { file: file.map(Into::into), line: index + 1, text: text.to_vec() };
            self.line(text, place)?;
        }
        Ok(())
    }

    fn line(&mut self, text: &[u8], place: Place) -> Result<(), LoadError> {
        let Some(words) = quote::split(text) else {
            return Err(place.error("Unbalanced quotes in configuration line"));
        };
        let Some((first, rest)) = words.split_first() else {
            return Ok(());
        };
        if let Some(name) = table::lookup(first) {
            return self.parameter(name, rest).map_err(|reason| place.error(reason));
        }
        let kind = match (first.to_ascii_lowercase().as_slice(), rest) {
            (b"include", [path]) => return self.include(path, place),
            (b"rename-command", [_, _]) => DirectiveKind::RenameCommand,
            (b"user", [_, ..]) => DirectiveKind::User,
            (b"loadmodule", [_, ..]) => DirectiveKind::LoadModule,
            (b"sentinel", [_, ..]) => {
                return Err(place.error("sentinel directive while not in sentinel mode"));
            }
            (name, [_]) if table::FORGOTTEN.iter().any(|old| old.as_bytes() == name) => {
                return Ok(());
            }
            _ => return Err(place.error(bad_directive(first))),
        };
        self.config.directives.push(Directive { kind, words: rest.to_vec(), place });
        Ok(())
    }

    fn parameter(&mut self, name: table::Name, given: &[Vec<u8>]) -> Result<(), String> {
        let row = name.parameter;
        if !row.kind.takes_words() && given.len() != 1 {
            return Err("wrong number of arguments".into());
        }
        // One quoted word stands for several: `save "900 1"`.
        let split = match given {
            [word] if row.kind.takes_words() && !word.is_empty() => {
                Some(quote::split(word).ok_or("Unbalanced quotes in configuration line")?)
            }
            _ => None,
        };
        let words: Vec<&[u8]> =
            split.as_deref().unwrap_or(given).iter().map(Vec::as_slice).collect();
        let previous = &self.config.values[name.index];
        let mut value = row.parse(&words, Some(previous))?;
        if let (Value::Save(new), Value::Save(old)) = (&mut value, previous) {
            if self.save_seen && !new.is_empty() {
                *new = old.iter().chain(new.iter()).copied().collect();
            }
            self.save_seen = true;
        }
        self.config.put(name.index, value);
        Ok(())
    }

    fn include(&mut self, path: &[u8], place: Place) -> Result<(), LoadError> {
        let path = self.config.process.directory.join(std::ffi::OsStr::from_bytes(path));
        let is_pattern = path.as_os_str().as_bytes().iter().any(|byte| b"*?[".contains(byte));
        if !is_pattern {
            return self.include_file(&path, |path| {
                Err(place.error(format!("'{}' includes itself", path.display())))
            });
        }
        let pattern = path.to_string_lossy();
        let found = ::glob::glob(&pattern).map_err(|error| place.clone().error(error.msg))?;
        for path in found.flatten() {
            self.include_file(&path, |_| Ok(()))?;
        }
        Ok(())
    }

    /// Reads an included file; `if_open` decides when that file is being read already.
    fn include_file(
        &mut self,
        path: &Path,
        if_open: impl FnOnce(&Path) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let real = path.canonicalize().map_err(|error| open_error(path, &error))?;
        if self.open.contains(&real) {
            return if_open(path);
        }
        let text = std::fs::read(path).map_err(|error| open_error(path, &error))?;
        self.open.push(real);
        self.text(&text, Some(path))?;
        self.open.pop();
        Ok(())
    }
}

/// The peers' text, and what it may be about.
fn bad_directive(name: &[u8]) -> String {
    let text = "Bad directive or wrong number of arguments";
    match table::nearest(name) {
        Some(nearest) => format!("{text} (did you mean '{nearest}'?)"),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests;
