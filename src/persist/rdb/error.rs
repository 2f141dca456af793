//! Why something could not be read.

use std::fmt;
use std::io;

/// What was wrong, and where.
#[derive(Debug)]
pub struct RdbError {
    /// Bytes of the source that had been read when it was noticed.
    pub offset: u64,
    /// What was wrong.
    pub kind: RdbErrorKind,
}

/// What was wrong with what was read.
#[derive(Debug)]
#[non_exhaustive]
pub enum RdbErrorKind {
    /// The source ends too early, or a length goes beyond its end.
    Truncated,
    /// The source cannot be read.
    Io(io::Error),
    /// A value that is damaged; the sentence says how.
    Corrupt(&'static str),
    /// A packed collection that is damaged: what it is, and how.
    Packed(&'static str, &'static str),
    /// A collection without elements, which no key can hold.
    EmptyCollection,
    /// A value type that does not exist.
    UnknownType(u8),
    /// A value of a module, by the module type's name.
    Module(String),
    /// Data of a module beside the keys, by the module type's name.
    ModuleData(String),
    /// A library of functions that cannot be loaded; the text says why.
    Library(String),
    /// The source does not begin as a dump file does.
    Signature,
    /// A file of a version that cannot be read.
    Version(u16),
    /// A file with more databases than there are.
    Database(u64),
    /// The checksum at the end of a file is another than that of its content.
    Checksum {
        /// What the content has.
        computed: u64,
        /// What the file says.
        stored: u64,
    },
}

impl fmt::Display for RdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RdbErrorKind::Truncated => f.write_str("the data ends too early")?,
            RdbErrorKind::Io(error) => write!(f, "reading failed: {error}")?,
            RdbErrorKind::Corrupt(how) => write!(f, "the data is damaged: {how}")?,
            RdbErrorKind::Packed(what, how) => write!(f, "{what} integrity check failed: {how}")?,
            RdbErrorKind::EmptyCollection => f.write_str("a collection without elements")?,
            RdbErrorKind::UnknownType(code) => write!(f, "no value type has the number {code}")?,
            RdbErrorKind::Module(name) => {
                write!(f, "a value of the module type {name:?}, which this server does not have")?;
            }
            RdbErrorKind::ModuleData(name) => {
                write!(f, "data of the module {name:?}, which this server does not have")?;
            }
            RdbErrorKind::Library(why) => {
                write!(f, "a library of functions cannot be loaded: {why}")?;
            }
            RdbErrorKind::Signature => f.write_str("wrong signature: this is no dump file")?,
            RdbErrorKind::Version(version) => {
                write!(f, "can't handle RDB format version {version}")?;
            }
            RdbErrorKind::Database(number) => {
                write!(f, "database {number} is beyond the configured number of databases")?;
            }
            RdbErrorKind::Checksum { computed, stored } => {
                write!(f, "RDB CRC error: {computed:016x} expected, {stored:016x} found")?;
            }
        }
        write!(f, " (at byte {})", self.offset)
    }
}

impl std::error::Error for RdbError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            RdbErrorKind::Io(error) => Some(error),
            _ => None,
        }
    }
}
