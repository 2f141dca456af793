//! The value of one parameter, and the small types that values are made of.

use std::path::PathBuf;

use super::choice::ChoiceEnum;
use super::notify::KeyspaceEvents;

/// A parsed value. Which variant a parameter holds follows from its [`super::Kind`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// yes or no.
    Flag(bool),
    /// A number of any notation. Wide enough for both signed and unsigned 64-bit bounds.
    Number(i128),
    /// A share of `maxmemory`, 0 to 100.
    Percent(u8),
    /// The code of a choice, or the union of the codes of a set of choices.
    Choice(u32),
    /// Any bytes.
    Text(Box<[u8]>),
    /// Points at which a snapshot is taken.
    Save(Box<[SavePoint]>),
    /// Output limits by [`ClientClass`].
    OutputLimits([OutputLimit; 3]),
    /// Scores of a primary, a replica and a background child.
    OomScores([i16; 3]),
    /// Classes of keyspace notifications.
    Events(KeyspaceEvents),
    /// Words, such as addresses.
    Words(Box<[Box<[u8]>]>),
    /// The primary to follow.
    Primary(Option<PrimaryAddress>),
    /// Percentiles, each 0 to 100.
    Percentiles(Box<[f64]>),
}

/// A snapshot is due when `changes` keys have changed and `seconds` have passed since the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// At least 1.
    pub seconds: u64,
    /// 0 means: even when nothing changed.
    pub changes: u32,
}

/// How much output may wait for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// The client is closed at once beyond this. 0: no limit.
    pub hard_bytes: u64,
    /// The client is closed when it stays beyond this for `soft_seconds`. 0: no limit.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_seconds: u64,
}

/// The classes of clients that have output limits of their own, as an index of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientClass {
    /// Ordinary clients, MONITOR's among them.
    Normal = 0,
    /// Replicas.
    Replica = 1,
    /// Subscribers.
    PubSub = 2,
}

impl ClientClass {
    /// All classes, in the order of their limits.
    pub const ALL: [ClientClass; 3] = [Self::Normal, Self::Replica, Self::PubSub];

    /// The class of a name, in any case. The peers accept both names of a replica.
    pub fn from_name(name: &[u8]) -> Option<ClientClass> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(Self::Normal),
            b"slave" | b"replica" => Some(Self::Replica),
            b"pubsub" => Some(Self::PubSub),
            _ => None,
        }
    }

    /// What CONFIG GET calls it; the old word for a replica is part of that interface.
    pub fn shown_name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Replica => "slave",
            Self::PubSub => "pubsub",
        }
    }

    /// What CONFIG REWRITE calls it.
    pub fn written_name(self) -> &'static str {
        match self {
            Self::Replica => "replica",
            other => other.shown_name(),
        }
    }
}

/// Where the primary of a replica listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrimaryAddress {
    /// A name or an address.
    pub host: String,
    /// A TCP port.
    pub port: u16,
}

/// The limit on the memory of all clients together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// Bytes; 0 means none.
    Bytes(u64),
    /// A share of `maxmemory`, 0 to 100.
    PercentOfMaxmemory(u8),
}

impl Default for MemoryLimit {
    fn default() -> Self {
        Self::Bytes(0)
    }
}

/// The accessors below are for a parameter's store, which reads the variant that its kind parses
/// to.
impl Value {
    /// The points at which a snapshot is taken.
    pub fn save_points(&self) -> &[SavePoint] {
        match self {
            Self::Save(points) => points,
            other => unreachable!("invariant: a store reads its own kind, not {other:?} as points"),
        }
    }

    /// The value of a yes/no parameter.
    pub fn flag(&self) -> bool {
        match self {
            Self::Flag(flag) => *flag,
            other => unreachable!("invariant: a store reads its own kind, not {other:?} as a flag"),
        }
    }

    /// The value of a numeric parameter, whose bounds fit the field that it is stored in.
    pub fn number<T: TryFrom<i128>>(&self) -> T {
        match self {
            Self::Number(number) => T::try_from(*number).unwrap_or_else(|_| {
                unreachable!("invariant: the bounds of {number} fit its field")
            }),
            other => unreachable!("invariant: a store reads its own kind, not {other:?} as number"),
        }
    }

    /// The value of a parameter that is a size or a share of `maxmemory`.
    pub fn memory_limit(&self) -> MemoryLimit {
        match self {
            Self::Percent(percent) => MemoryLimit::PercentOfMaxmemory(*percent),
            other => MemoryLimit::Bytes(other.number()),
        }
    }

    /// The code of a choice, or the codes of a set of choices.
    pub fn code(&self) -> u32 {
        match self {
            Self::Choice(code) => *code,
            other => unreachable!("invariant: a store reads its own kind, not {other:?} as choice"),
        }
    }

    /// The value of a parameter with an enum of its own.
    pub fn choice<T: ChoiceEnum>(&self) -> T {
        T::from_code(self.code())
    }

    /// The bytes of a text.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            other => unreachable!("invariant: a store reads its own kind, not {other:?} as text"),
        }
    }

    /// A text that is shown to people or compared with ASCII; other bytes become U+FFFD.
    pub fn string(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// A text that is a path, of which the empty one means: none.
    pub fn path(&self) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStrExt;
        let bytes = self.bytes();
        (!bytes.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
    }

    /// The words of a list, as strings.
    pub fn strings(&self) -> Vec<String> {
        match self {
            Self::Words(words) => {
                words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
            }
            other => unreachable!("invariant: a store reads its own kind, not {other:?} as words"),
        }
    }

    /// The limits of `client-output-buffer-limit`, by [`ClientClass`].
    pub fn output_limits(&self) -> [OutputLimit; 3] {
        match self {
            Self::OutputLimits(limits) => *limits,
            other => unreachable!("invariant: a store reads its own kind, not {other:?} as limits"),
        }
    }

    /// The scores of `oom-score-adj-values`.
    pub fn oom_scores(&self) -> [i16; 3] {
        match self {
            Self::OomScores(scores) => *scores,
            other => unreachable!("invariant: a store reads its own kind, not {other:?} as scores"),
        }
    }

    /// The classes of `notify-keyspace-events`.
    pub fn events(&self) -> KeyspaceEvents {
        match self {
            Self::Events(events) => *events,
            other => unreachable!("invariant: a store reads its own kind, not {other:?} as events"),
        }
    }

    /// The percentiles of `latency-tracking-info-percentiles`.
    pub fn percentiles(&self) -> Box<[f64]> {
        match self {
            Self::Percentiles(list) => list.clone(),
            other => unreachable!("invariant: a store reads its own kind, not {other:?} as list"),
        }
    }
}
