//! Where a command's keys are among its arguments: the peers' key specification model.

use super::bits::bit_set;

/// Where some of a command's keys are, and what is done to them.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Where the search begins.
    pub begin: BeginSearch,
    /// How the keys follow from there.
    pub find: FindKeys,
    /// What is done to them.
    pub flags: KeyFlags,
    /// A remark for readers of `COMMAND INFO`.
    pub notes: Option<&'static str>,
}

/// The first argument of a key specification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BeginSearch {
    /// At this argument (the name is 0).
    Index(i32),
    /// After this word, searched from the argument at `start_from`.
    Keyword {
        /// The word, compared without case.
        keyword: &'static str,
        /// Where the search starts: forwards from there, or backwards when it is negative and
        /// counts from the end.
        start_from: i32,
    },
    /// It cannot be told.
    Unknown,
}

/// The keys of a specification, from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FindKeys {
    /// Every `step`th argument up to `last`.
    Range {
        /// The last key: relative to the beginning, or from the end when negative.
        last: i32,
        /// From key to key.
        step: i32,
        /// For a `last` of -1: 0 or 1 for all the rest, n for the first nth part of it.
        limit: i32,
    },
    /// An argument tells how many keys there are.
    KeyNum {
        /// Where the count is, relative to the beginning.
        key_num: i32,
        /// Where the first key is, relative to the beginning.
        first: i32,
        /// From key to key.
        step: i32,
    },
    /// It cannot be told.
    Unknown,
}

impl KeySpec {
    /// Keys that no specification can tell; they depend on values, or on words that stand anywhere.
    pub const UNKNOWN: Self = Self {
        begin: BeginSearch::Unknown,
        find: FindKeys::Unknown,
        flags: KeyFlags::NONE,
        notes: None,
    };

    const ONE: FindKeys = FindKeys::Range { last: 0, step: 1, limit: 0 };

    /// One key, at this argument (the name is 0).
    pub const fn at(index: i32) -> Self {
        Self { begin: BeginSearch::Index(index), find: Self::ONE, ..Self::UNKNOWN }
    }

    /// One key, after a word that is searched from the argument at `start_from`.
    pub const fn after(keyword: &'static str, start_from: i32) -> Self {
        let begin = BeginSearch::Keyword { keyword, start_from };
        Self { begin, find: Self::ONE, ..Self::UNKNOWN }
    }

    /// Instead of one key: see [`FindKeys::Range`].
    #[must_use]
    pub const fn range(self, last: i32, step: i32, limit: i32) -> Self {
        Self { find: FindKeys::Range { last, step, limit }, ..self }
    }

    /// Instead of one key: see [`FindKeys::KeyNum`].
    #[must_use]
    pub const fn key_num(self, key_num: i32, first: i32, step: i32) -> Self {
        Self { find: FindKeys::KeyNum { key_num, first, step }, ..self }
    }

    /// What is done to the keys.
    #[must_use]
    pub const fn flags(self, flags: KeyFlags) -> Self {
        Self { flags, ..self }
    }

    /// A remark.
    #[must_use]
    pub const fn notes(self, notes: &'static str) -> Self {
        Self { notes: Some(notes), ..self }
    }
}

bit_set! {
    /// What a command does to the keys of a specification.
    pub struct KeyFlags(u16);

    /// Reads the value.
    RO = 0, "RO";
    /// Reads and changes it.
    RW = 1, "RW";
    /// Overwrites it unread.
    OW = 2, "OW";
    /// Deletes the key.
    RM = 3, "RM";
    /// Returns or uses user data of the value.
    ACCESS = 4, "access";
    /// Changes user data of the value.
    UPDATE = 5, "update";
    /// Adds data, changes none.
    INSERT = 6, "insert";
    /// Deletes data.
    DELETE = 7, "delete";
    /// Not a key, but routed like one.
    NOT_KEY = 8, "not_key";
    /// The specification may miss keys.
    INCOMPLETE = 9, "incomplete";
    /// The flags depend on the arguments.
    VARIABLE_FLAGS = 10, "variable_flags";
}
