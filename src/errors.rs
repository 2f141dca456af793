//! What a command answers when it fails: a closed set, with the peers' exact wire texts.
//!
//! Handlers return variants; the text is written here and nowhere else.

use std::fmt;

/// What a connection from outside gets in protected mode: the peers' advice, shortened.
pub const PROTECTED_MODE: &str = "-DENIED Running in protected mode because protected mode is \
enabled and no password is set for the default user. In this mode connections are only accepted \
from the loopback interface. To connect from elsewhere: 1) set a password with CONFIG SET \
requirepass or in the configuration file, or 2) turn protected mode off with CONFIG SET \
protected-mode no, after making sure that the server cannot be reached from the internet.\r\n";

/// Why a command failed. [`CommandError::to_wire`] is the error reply without its leading `-`;
/// `Display` shows the same where that is UTF-8.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CommandError {
    /// The arguments do not form a valid request.
    Syntax,
    /// An argument is not an integer, or does not fit in 64 bits.
    NotAnInteger,
    /// An argument is not a floating-point number.
    NotAFloat,
    /// The key holds a value of another type.
    WrongType,
    /// The key must exist and does not.
    NoSuchKey,
    /// A database index out of `0..databases`.
    DatabaseOutOfRange,
    /// An index outside the value or the range that the command allows.
    IndexOutOfRange,
    /// The command's name in lower case (with `|subcommand`), for a wrong number of arguments.
    WrongArity(String),
    /// A command that does not exist: the name and the beginning of its arguments, as sent.
    UnknownCommand {
        /// The name as the client sent it, at most 128 bytes.
        name: Vec<u8>,
        /// The arguments, each quoted and followed by a space, about 128 bytes at most.
        arguments: Vec<u8>,
    },
    /// A subcommand that does not exist.
    UnknownSubcommand {
        /// The subcommand as the client sent it, at most 128 bytes.
        subcommand: Vec<u8>,
        /// The container command in upper case.
        command: Vec<u8>,
    },
    /// An expiry that is zero, negative or overflows; the command's name in lower case.
    InvalidExpire(&'static str),
    /// Memory for the write cannot be had.
    OutOfMemory,
    /// The data set is being loaded.
    Loading,
    /// Snapshots fail, so that what is written would be lost.
    CannotSave,
    /// The log cannot be written, for this reason of the system (its number).
    CannotLog(i32),
    /// The client has not authenticated.
    NoAuth,
    /// A feature of a later version: the sentence says which.
    NotYet(&'static str),
    /// Any other error of one command: the whole text, code included.
    Other(&'static str),
    /// An error whose text carries values: the whole text, code included.
    Custom(String),
    /// An error that quotes an argument; see [`CommandError::quoting`].
    Quoting {
        /// The text before the argument, code included.
        before: &'static str,
        /// The argument as the client sent it, up to its first zero byte.
        argument: Vec<u8>,
        /// The text behind it.
        after: &'static str,
    },
}

impl CommandError {
    /// An error that quotes an argument as the client sent it, which need not be UTF-8: up to its
    /// first zero byte, where the peers' texts end.
    pub fn quoting(before: &'static str, argument: &[u8], after: &'static str) -> Self {
        let end = argument.iter().position(|byte| *byte == 0).unwrap_or(argument.len());
        Self::Quoting { before, argument: argument[..end].to_vec(), after }
    }

    /// The error reply without its leading `-`: bytes, as it may quote what the client sent.
    pub fn to_wire(&self) -> Vec<u8> {
        match self {
            Self::UnknownCommand { name, arguments } => {
                [b"ERR unknown command '", &name[..], b"', with args beginning with: ", arguments]
                    .concat()
            }
            Self::UnknownSubcommand { subcommand, command } => {
                [b"ERR unknown subcommand '", &subcommand[..], b"'. Try ", command, b" HELP."]
                    .concat()
            }
            Self::Quoting { before, argument, after } => {
                [before.as_bytes(), argument, after.as_bytes()].concat()
            }
            other => other.to_string().into_bytes(),
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("ERR syntax error"),
            Self::NotAnInteger => f.write_str("ERR value is not an integer or out of range"),
            Self::NotAFloat => f.write_str("ERR value is not a valid float"),
            Self::WrongType => {
                f.write_str("WRONGTYPE Operation against a key holding the wrong kind of value")
            }
            Self::NoSuchKey => f.write_str("ERR no such key"),
            Self::DatabaseOutOfRange => f.write_str("ERR DB index is out of range"),
            Self::IndexOutOfRange => f.write_str("ERR index out of range"),
            Self::WrongArity(name) => {
                write!(f, "ERR wrong number of arguments for '{name}' command")
            }
            Self::UnknownCommand { .. } | Self::UnknownSubcommand { .. } | Self::Quoting { .. } => {
                f.write_str(&String::from_utf8_lossy(&self.to_wire()))
            }
            Self::InvalidExpire(name) => write!(f, "ERR invalid expire time in '{name}' command"),
            Self::CannotSave => f.write_str(
                "MISCONF Kvasir is configured to save RDB snapshots, but it's currently unable to \
                 persist to disk. Commands that may modify the data set are disabled, because this \
                 instance is configured to report errors during writes if RDB snapshotting fails \
                 (stop-writes-on-bgsave-error option). Please check the logs for details about the \
                 RDB error.",
            ),
            Self::CannotLog(code) => {
                let error = std::io::Error::from_raw_os_error(*code).to_string();
                let reason = error.split(" (os error").next().unwrap_or_default();
                write!(f, "MISCONF Errors writing to the AOF file: {reason}")
            }
            Self::Loading => f.write_str("LOADING Kvasir is loading the dataset in memory"),
            Self::OutOfMemory => {
                f.write_str("OOM command not allowed when used memory > 'maxmemory'.")
            }
            Self::NoAuth => f.write_str("NOAUTH Authentication required."),
            Self::NotYet(sentence) => write!(f, "ERR {sentence}"),
            Self::Other(text) => f.write_str(text),
            Self::Custom(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for CommandError {}

impl From<kvasir_shard::OutOfMemory> for CommandError {
    fn from(_: kvasir_shard::OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<kvasir_shard::AccessError> for CommandError {
    fn from(error: kvasir_shard::AccessError) -> Self {
        match error {
            kvasir_shard::AccessError::WrongType => Self::WrongType,
            kvasir_shard::AccessError::OutOfMemory => Self::OutOfMemory,
        }
    }
}
