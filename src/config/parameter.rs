//! What a parameter is: one row of the table, from which everything about it derives.

use super::Config;
use super::choice::Choice;
use super::kind::{Empty, Kind, Notation};
use super::value::Value;

/// One parameter: a row of [`super::table`].
///
/// Built by the `const` functions below: a constructor for its kind, then what is particular.
#[derive(Clone, Copy)]
pub struct Parameter {
    /// The name, in lower case.
    pub name: &'static str,
    /// The older name that the peers still accept and show.
    pub alias: Option<&'static str>,
    /// One line on what it is for.
    pub summary: &'static str,
    /// How its value is read and written.
    pub kind: Kind,
    /// The default, as one would write it in a file.
    pub default: &'static str,
    /// Who may see and change it, and when.
    pub flags: Flags,
    /// What it does here.
    pub disposition: Disposition,
    /// What a change of it asks of the server beyond reading the new [`Config`].
    pub effect: Option<Effect>,
    /// A condition on the value that its kind does not express. The text is the peers'.
    pub(super) check: Option<Check>,
    /// Numbers beyond these bounds are accepted and moved to the nearer one.
    pub(super) clamp: Option<(i128, i128)>,
    /// Copies the value into its typed field.
    pub(super) store: Option<fn(&mut Config, &Value)>,
}

/// A condition on a value; the error is shown to the client.
pub(super) type Check = fn(&Value) -> Result<(), &'static str>;

/// What a parameter does in this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// What it says.
    Works,
    /// Nothing yet: the text says what has to come first. It is stored, and shown by CONFIG GET.
    Later(&'static str),
    /// Nothing ever, since what it tunes does not exist here. It is stored, and shown by CONFIG
    /// GET.
    Ignored,
}

/// Properties of a parameter, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// Fixed at start: CONFIG SET refuses it.
    pub const IMMUTABLE: Self = Self(1);
    /// CONFIG GET shows it for its exact name only, never for a pattern.
    pub const HIDDEN: Self = Self(2);
    /// CONFIG SET needs `enable-protected-configs`.
    pub const PROTECTED: Self = Self(4);
    /// CONFIG SET is refused while the data set is loaded.
    pub const DENY_LOADING: Self = Self(8);
    /// A secret: logs show it redacted.
    pub const SENSITIVE: Self = Self(16);
    /// Its effect follows CONFIG SET even when the value is the old one (a file may have changed).
    pub const VOLATILE: Self = Self(32);

    /// Whether every flag of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What the server must do, once, when parameters have changed by CONFIG SET.
///
/// A parameter that cores simply read from their [`Config`] has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Listen on another port or address.
    Listeners,
    /// Raise the limit of open files, and check that it suffices for `maxclients`.
    MaxClients,
    /// Give the log its new level or format.
    Log,
    /// Change the working directory.
    Directory,
    /// Write the process title.
    ProcessTitle,
    /// Write the kernel's out-of-memory score.
    OomScore,
    /// Give the default user its new password.
    DefaultPassword,
    /// Start or stop to account the memory of each client.
    ClientMemory,
    /// Answer INFO and HELLO under the other name.
    Compatibility,
    /// Install or remove the handlers that report a crash.
    CrashReport,
    /// Set the locale of SORT ALPHA.
    Locale,
    /// Start or stop the allocator's background threads.
    AllocatorThreads,
}

impl Parameter {
    const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            name,
            alias: None,
            summary,
            kind,
            default,
            flags: Flags(0),
            disposition: Disposition::Ignored,
            effect: None,
            check: None,
            clamp: None,
            store: None,
        }
    }

    /// A parameter of any kind; for those that have no constructor of their own.
    pub(super) const fn of(
        kind: Kind,
        name: &'static str,
        default: &'static str,
        summary: &'static str,
    ) -> Self {
        Self::new(name, kind, default, summary)
    }

    /// yes or no.
    pub(super) const fn flag(
        name: &'static str,
        default: &'static str,
        summary: &'static str,
    ) -> Self {
        Self::new(name, Kind::Flag, default, summary)
    }

    /// A decimal number within inclusive bounds.
    pub(super) const fn number(
        name: &'static str,
        (lower, upper): (i128, i128),
        default: &'static str,
        summary: &'static str,
    ) -> Self {
        let kind = Kind::Number { lower, upper, notation: Notation::Decimal };
        Self::new(name, kind, default, summary)
    }

    /// A number of bytes within inclusive bounds, with an optional unit.
    pub(super) const fn memory(
        name: &'static str,
        (lower, upper): (i128, i128),
        default: &'static str,
        summary: &'static str,
    ) -> Self {
        let kind = Kind::Number { lower, upper, notation: Notation::Memory };
        Self::new(name, kind, default, summary)
    }

    /// One of a few names.
    pub(super) const fn choice(
        name: &'static str,
        choices: &'static [Choice],
        default: &'static str,
        summary: &'static str,
    ) -> Self {
        Self::new(name, Kind::Choice(choices), default, summary)
    }

    /// Any bytes; the empty text means the same as a parameter that is not there.
    pub(super) const fn text(
        name: &'static str,
        default: &'static str,
        summary: &'static str,
    ) -> Self {
        Self::new(name, Kind::Text(Empty::MeansUnset), default, summary)
    }

    /// Any bytes, the empty text being one value among others.
    pub(super) const fn plain_text(
        name: &'static str,
        default: &'static str,
        summary: &'static str,
    ) -> Self {
        Self::new(name, Kind::Text(Empty::IsValue), default, summary)
    }

    /// Adds the older name.
    pub(super) const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = Some(alias);
        self
    }

    /// See [`Flags::IMMUTABLE`].
    pub(super) const fn immutable(mut self) -> Self {
        self.flags = self.flags.or(Flags::IMMUTABLE);
        self
    }

    /// See [`Flags::HIDDEN`].
    pub(super) const fn hidden(mut self) -> Self {
        self.flags = self.flags.or(Flags::HIDDEN);
        self
    }

    /// See [`Flags::PROTECTED`].
    pub(super) const fn protected(mut self) -> Self {
        self.flags = self.flags.or(Flags::PROTECTED);
        self
    }

    /// See [`Flags::DENY_LOADING`].
    pub(super) const fn deny_loading(mut self) -> Self {
        self.flags = self.flags.or(Flags::DENY_LOADING);
        self
    }

    /// See [`Flags::SENSITIVE`].
    pub(super) const fn sensitive(mut self) -> Self {
        self.flags = self.flags.or(Flags::SENSITIVE);
        self
    }

    /// See [`Flags::VOLATILE`].
    pub(super) const fn volatile(mut self) -> Self {
        self.flags = self.flags.or(Flags::VOLATILE);
        self
    }

    /// Adds a condition on the value.
    pub(super) const fn check(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }

    /// Moves numbers beyond `lower` and `upper` to the nearer one.
    pub(super) const fn clamp(mut self, lower: i128, upper: i128) -> Self {
        self.clamp = Some((lower, upper));
        self
    }

    /// Names what a change asks of the server.
    pub(super) const fn effect(mut self, effect: Effect) -> Self {
        self.effect = Some(effect);
        self
    }

    /// It does what it says, through the field that `store` writes.
    pub(super) const fn works(mut self, store: fn(&mut Config, &Value)) -> Self {
        self.disposition = Disposition::Works;
        self.store = Some(store);
        self
    }

    /// It does nothing until `what` exists.
    pub(super) const fn later(mut self, what: &'static str) -> Self {
        self.disposition = Disposition::Later(what);
        self
    }

    /// Whether CONFIG GET shows it for its exact name only.
    pub fn is_hidden(&self) -> bool {
        self.flags.contains(Flags::HIDDEN)
    }

    /// Reads a value from its words. `previous` is kept where the words leave something out.
    ///
    /// The error is the peers' text. O(length of the words).
    pub fn parse(&self, words: &[&[u8]], previous: Option<&Value>) -> Result<Value, String> {
        let mut value = self.kind.parse(words, previous)?;
        if let (Some((lower, upper)), Value::Number(number)) = (self.clamp, &mut value) {
            *number = (*number).clamp(lower, upper);
        }
        if let Some(check) = self.check {
            check(&value)?;
        }
        Ok(value)
    }

    /// The default, parsed.
    pub fn default_value(&self) -> Value {
        if matches!(self.kind, Kind::Directory) {
            // The only default that the environment can refuse: the start directory may be gone.
            let here = std::env::current_dir().unwrap_or_default();
            return Value::Text(here.into_os_string().into_encoded_bytes().into());
        }
        let text = self.default.as_bytes();
        let words: Vec<&[u8]> =
            if self.kind.takes_words() { split_spaces(text) } else { vec![text] };
        self.parse(&words, None)
            .unwrap_or_else(|reason| unreachable!("invariant: default of {}: {reason}", self.name))
    }
}

impl std::fmt::Debug for Parameter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parameter").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Splits at every single space, as the peers split a CONFIG SET value of several words: two spaces
/// in a row have an empty word between them, and the empty value has no words.
pub(super) fn split_spaces(text: &[u8]) -> Vec<&[u8]> {
    if text.is_empty() { Vec::new() } else { text.split(|&byte| byte == b' ').collect() }
}
