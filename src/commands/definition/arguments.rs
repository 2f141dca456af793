//! The arguments of a command as a tree, from which documentation and generated requests derive.

use super::bits::bit_set;

/// One argument, or a group of them.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ArgKind,
    /// The word that introduces it, or the word itself for a pure token.
    pub token: Option<&'static str>,
    /// The key specification that it belongs to.
    pub key_spec: Option<u8>,
    /// Optional, repeatable, and so on.
    pub flags: ArgFlags,
    /// The version that introduced it.
    pub since: Option<&'static str>,
    /// The version that deprecated it.
    pub deprecated_since: Option<&'static str>,
    /// A remark.
    pub summary: Option<&'static str>,
    /// The name to display, where it differs from `name`.
    pub display: Option<&'static str>,
    /// The members of a block or a choice.
    pub args: &'static [Arg],
}

/// The type of an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArgKind {
    /// Any bytes.
    String,
    /// A signed 64-bit integer in decimal.
    Integer,
    /// A floating-point number.
    Double,
    /// The name of a key.
    Key,
    /// A glob pattern.
    Pattern,
    /// A moment, in seconds or milliseconds since 1970.
    UnixTime,
    /// A fixed word.
    PureToken,
    /// Exactly one of the members.
    OneOf,
    /// All of the members, in order.
    Block,
}

impl ArgKind {
    /// As `COMMAND DOCS` names it.
    pub const fn wire(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Key => "key",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::PureToken => "pure-token",
            Self::OneOf => "oneof",
            Self::Block => "block",
        }
    }

    /// Whether it has members.
    pub const fn is_group(self) -> bool {
        matches!(self, Self::OneOf | Self::Block)
    }
}

bit_set! {
    /// How often an argument may occur; exactly once when the set is empty.
    pub struct ArgFlags(u8);

    /// May be absent.
    OPTIONAL = 0, "optional";
    /// May be repeated.
    MULTIPLE = 1, "multiple";
    /// Repeated together with its token.
    MULTIPLE_TOKEN = 2, "multiple_token";
}

impl Arg {
    /// An argument with every optional field empty.
    pub const BASE: Self = Self {
        name: "",
        kind: ArgKind::String,
        token: None,
        key_spec: None,
        flags: ArgFlags::NONE,
        since: None,
        deprecated_since: None,
        summary: None,
        display: None,
        args: &[],
    };

    const fn of(name: &'static str, kind: ArgKind) -> Self {
        Self { name, kind, ..Self::BASE }
    }

    /// Any bytes.
    pub const fn string(name: &'static str) -> Self {
        Self::of(name, ArgKind::String)
    }

    /// A signed 64-bit integer.
    pub const fn integer(name: &'static str) -> Self {
        Self::of(name, ArgKind::Integer)
    }

    /// A floating-point number.
    pub const fn double(name: &'static str) -> Self {
        Self::of(name, ArgKind::Double)
    }

    /// A glob pattern.
    pub const fn pattern(name: &'static str) -> Self {
        Self::of(name, ArgKind::Pattern)
    }

    /// A moment since 1970.
    pub const fn unix_time(name: &'static str) -> Self {
        Self::of(name, ArgKind::UnixTime)
    }

    /// The name of a key, found by the command's key specification of this index.
    pub const fn key(name: &'static str, key_spec: u8) -> Self {
        Self::of(name, ArgKind::Key).key_spec(key_spec)
    }

    /// The name of a key that no key specification covers.
    pub const fn any_key(name: &'static str) -> Self {
        Self::of(name, ArgKind::Key)
    }

    /// A fixed word.
    pub const fn token(name: &'static str, token: &'static str) -> Self {
        Self::of(name, ArgKind::PureToken).after(token)
    }

    /// Exactly one of several.
    pub const fn one_of(name: &'static str, args: &'static [Self]) -> Self {
        Self { args, ..Self::of(name, ArgKind::OneOf) }
    }

    /// All of several, in order.
    pub const fn block(name: &'static str, args: &'static [Self]) -> Self {
        Self { args, ..Self::of(name, ArgKind::Block) }
    }

    /// Introduced by this word.
    #[must_use]
    pub const fn after(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    /// Belongs to the command's key specification of this index.
    #[must_use]
    pub const fn key_spec(self, index: u8) -> Self {
        Self { key_spec: Some(index), ..self }
    }

    /// May be absent.
    #[must_use]
    pub const fn optional(self) -> Self {
        Self { flags: self.flags.or(ArgFlags::OPTIONAL), ..self }
    }

    /// May be repeated, its token standing once before all.
    #[must_use]
    pub const fn multiple(self) -> Self {
        Self { flags: self.flags.or(ArgFlags::MULTIPLE), ..self }
    }

    /// May be repeated, each time with its token.
    #[must_use]
    pub const fn multiple_token(self) -> Self {
        Self { flags: self.flags.or(ArgFlags::MULTIPLE).or(ArgFlags::MULTIPLE_TOKEN), ..self }
    }

    /// Introduced in this version.
    #[must_use]
    pub const fn since(self, version: &'static str) -> Self {
        Self { since: Some(version), ..self }
    }

    /// Deprecated in this version.
    #[must_use]
    pub const fn deprecated_since(self, version: &'static str) -> Self {
        Self { deprecated_since: Some(version), ..self }
    }

    /// With a remark.
    #[must_use]
    pub const fn summary(self, text: &'static str) -> Self {
        Self { summary: Some(text), ..self }
    }

    /// Displayed under another name.
    #[must_use]
    pub const fn display(self, name: &'static str) -> Self {
        Self { display: Some(name), ..self }
    }

    /// The name to display.
    pub const fn display_name(&self) -> &'static str {
        match self.display {
            Some(name) => name,
            None => self.name,
        }
    }

    /// Whether it may be absent.
    pub const fn is_optional(&self) -> bool {
        self.flags.has(ArgFlags::OPTIONAL)
    }

    /// Whether it may be repeated.
    pub const fn is_multiple(&self) -> bool {
        self.flags.has(ArgFlags::MULTIPLE)
    }
}
