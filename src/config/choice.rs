//! Parameters whose value is one of a few names: the names, their codes, and the Rust enums of
//! them.

/// One accepted name and the code it stands for. Several names may share a code: the first one is
/// what CONFIG GET shows.
pub type Choice = (&'static str, u32);

/// A Rust enum that a [`super::Kind::Choice`] parameter is read as.
pub trait ChoiceEnum: Sized {
    /// The accepted names, in the order in which an error lists them.
    const CHOICES: &'static [Choice];

    /// The variant of a code in [`Self::CHOICES`].
    fn from_code(code: u32) -> Self;
}

/// Defines an enum together with its names, so that the two cannot disagree.
///
/// A variant may have several names. The first is the `Default`, with which a group of parameters
/// is built before the table's defaults are stored.
macro_rules! choices {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $($text:literal)|+),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum $name {
            #[default]
            $($(#[$variant_doc])* $variant),+
        }

        impl ChoiceEnum for $name {
            const CHOICES: &'static [Choice] = &[$($(($text, $name::$variant as u32)),+),+];

            fn from_code(code: u32) -> Self {
                $(if code == $name::$variant as u32 {
                    return $name::$variant;
                })+
                unreachable!("invariant: a choice holds a code of its own table")
            }
        }
    };
}

choices! {
    /// When the append-only log is brought to the disk.
    FlushPolicy {
        /// Once a second.
        EverySecond = "everysec",
        /// Before a command that has changed something is answered.
        Always = "always",
        /// When the system likes.
        No = "no",
    }
}

choices! {
    /// Which versions of dumps and files are read.
    VersionCheck {
        /// Those whose every type is known here: up to Redis's 12, and Valkey's 80. Valkey itself
        /// is stricter, as it does not know the types of 12.
        Strict = "strict",
        /// Any: whether a value can be read is seen when it is read.
        Relaxed = "relaxed",
    }
}

choices! {
    /// The least severe message that is logged.
    LogLevel {
        /// Everything, for developers.
        Debug = "debug",
        /// Rarely useful detail, without the mess of `debug`.
        Verbose = "verbose",
        /// What an operator wants to see.
        Notice = "notice",
        /// Only what needs attention.
        Warning = "warning",
        /// Nothing at all.
        Nothing = "nothing",
    }
}

choices! {
    /// How a log line is written. `peer` and `json` are Kvasir's own; the others are Valkey's.
    LogFormat {
        /// `PID:ROLE DD Mon YYYY HH:MM:SS.mmm LEVEL message`.
        Peer = "legacy" | "peer",
        /// `pid=.. role=.. timestamp=".." level=.. message=".."`.
        Logfmt = "logfmt",
        /// One JSON object a line, with the event's fields as members.
        Json = "json",
    }
}

choices! {
    /// How the moment of a log line is written.
    TimestampFormat {
        /// `DD Mon YYYY HH:MM:SS.mmm`, local time.
        Peer = "legacy",
        /// `YYYY-MM-DDTHH:MM:SS.mmm+HH:MM`.
        Iso8601 = "iso8601",
        /// Milliseconds since 1970.
        Milliseconds = "milliseconds",
    }
}

choices! {
    /// Who may do something that is dangerous by default (DEBUG, MODULE, protected parameters).
    ProtectedAction {
        /// Nobody.
        Nobody = "no",
        /// Every client that may run the command.
        Everybody = "yes",
        /// Clients of the loopback address or the unix socket.
        Local = "local",
    }
}

choices! {
    /// Which keys are evicted when `maxmemory` is reached.
    MaxmemoryPolicy {
        /// Keys with a time to live, the least recently used.
        VolatileLru = "volatile-lru",
        /// Keys with a time to live, the least frequently used.
        VolatileLfu = "volatile-lfu",
        /// Keys with a time to live, at random.
        VolatileRandom = "volatile-random",
        /// Keys with a time to live, the next to expire.
        VolatileTtl = "volatile-ttl",
        /// Any key, the least recently used.
        AllkeysLru = "allkeys-lru",
        /// Any key, the least frequently used.
        AllkeysLfu = "allkeys-lfu",
        /// Any key, at random.
        AllkeysRandom = "allkeys-random",
        /// None: writes that need memory fail.
        NoEviction = "noeviction",
    }
}

choices! {
    /// The init system that is told when the server is ready.
    Supervised {
        /// Upstart, by SIGSTOP.
        Upstart = "upstart",
        /// systemd, by `NOTIFY_SOCKET`.
        Systemd = "systemd",
        /// Whichever the environment names.
        Auto = "auto",
        /// None.
        Nobody = "no",
    }
}

choices! {
    /// How the kernel's out-of-memory score of the process is set.
    OomScoreAdj {
        /// Left alone.
        Untouched = "no",
        /// `oom-score-adj-values` are added to the score at start.
        Relative = "yes" | "relative",
        /// `oom-score-adj-values` are the score.
        Absolute = "absolute",
    }
}

/// The SHUTDOWN flags that a signal stands for, as bits.
pub const SHUTDOWN_SAVE: u32 = 1;
/// See [`SHUTDOWN_SAVE`].
pub const SHUTDOWN_NOSAVE: u32 = 2;
/// See [`SHUTDOWN_SAVE`].
pub const SHUTDOWN_NOW: u32 = 4;
/// See [`SHUTDOWN_SAVE`].
pub const SHUTDOWN_FORCE: u32 = 8;

/// The names of the SHUTDOWN flags.
pub(super) const SHUTDOWN: &[Choice] = &[
    ("default", 0),
    ("save", SHUTDOWN_SAVE),
    ("nosave", SHUTDOWN_NOSAVE),
    ("now", SHUTDOWN_NOW),
    ("force", SHUTDOWN_FORCE),
];
