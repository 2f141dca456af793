//! What SORT is asked for.

use kvasir_proto::Args;

use super::pattern::Pattern;
use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::definition::{KeyFlags, LockScope};
use crate::errors::CommandError;

/// Whether a result may be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    ReadOnly,
    ReadWrite,
}

/// What SORT is asked for.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked for by itself")]
pub(super) struct SortOptions<'a> {
    /// What to sort by; the elements themselves if it is not given.
    pub(super) by: Option<Pattern<'a>>,
    /// The elements stay in their own order, as some BY named no key; no later one undoes that.
    pub(super) keeps_order: bool,
    /// What to answer of each element; the elements if it is empty.
    pub(super) get: Vec<Pattern<'a>>,
    /// The first of the sorted elements, and how many; as they were given.
    pub(super) limit: Option<(i64, i64)>,
    /// Sort as text, not as numbers.
    pub(super) is_text: bool,
    pub(super) is_descending: bool,
    /// Where to store the result.
    pub(super) store: Option<&'a [u8]>,
    /// A script asks, for which a set always has the same order.
    pub(super) scripted: bool,
}

impl<'a> SortOptions<'a> {
    /// Reads the words after the key.
    pub(super) fn parse(args: Args<'a>, access: Access) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut words = Options::new(args, 2);
        while let Some(word) = words.next() {
            if is_word(word, "ASC") {
                options.is_descending = false;
            } else if is_word(word, "DESC") {
                options.is_descending = true;
            } else if is_word(word, "ALPHA") {
                options.is_text = true;
            } else if is_word(word, "LIMIT") && words.left() >= 2 {
                options.limit = Some((integer(words.value()?)?, integer(words.value()?)?));
            } else if is_word(word, "STORE") && words.left() >= 1 && access == Access::ReadWrite {
                options.store = Some(words.value()?);
            } else if is_word(word, "BY") && words.left() >= 1 {
                let pattern = Pattern::parse(words.value()?);
                options.keeps_order |= !pattern.is_key();
                options.by = Some(pattern);
            } else if is_word(word, "GET") && words.left() >= 1 {
                options.get.push(Pattern::parse(words.value()?));
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// What other values the elements are sorted by, if any.
    pub(super) fn sorted_by(&self) -> Option<&Pattern<'a>> {
        self.by.as_ref().filter(|_| !self.keeps_order)
    }

    /// Which of so many elements are answered.
    pub(super) fn range(&self, len: usize) -> std::ops::Range<usize> {
        let (start, count) = self.limit.unwrap_or((0, -1));
        let start = usize::try_from(start.max(0)).unwrap_or(len).min(len);
        let count = usize::try_from(count).unwrap_or(len);
        start..start.saturating_add(count).min(len)
    }

    /// Whether keys are read that are not among the arguments.
    fn reads_beyond(&self) -> bool {
        self.sorted_by().into_iter().chain(&self.get).any(Pattern::is_key)
    }
}

/// What has to be locked beyond the keys among the arguments.
pub(super) fn lock_scope(args: Args<'_>) -> LockScope {
    match SortOptions::parse(args, Access::ReadWrite) {
        Ok(options) if !options.reads_beyond() => LockScope::None,
        Ok(SortOptions { store: Some(_), .. }) => LockScope::Exclusive,
        Ok(_) => LockScope::Shared,
        Err(_) => LockScope::None,
    }
}

/// SORT's keys: the first argument, and what follows the last STORE.
pub(super) fn find_keys(args: Args<'_>, found: &mut dyn FnMut(usize, KeyFlags)) {
    find_key(args, found);
    let mut store = None;
    let mut at = 2;
    while at < args.len() {
        let word = args.at(at);
        if is_word(word, "LIMIT") {
            at += 2;
        } else if is_word(word, "GET") || is_word(word, "BY") {
            at += 1;
        } else if is_word(word, "STORE") && at + 1 < args.len() {
            store = Some(at + 1);
        }
        at += 1;
    }
    if let Some(store) = store {
        found(store, KeyFlags::OW.or(KeyFlags::UPDATE));
    }
}

/// The key that is sorted.
pub(super) fn find_key(_: Args<'_>, found: &mut dyn FnMut(usize, KeyFlags)) {
    found(1, KeyFlags::RO.or(KeyFlags::ACCESS));
}
