//! The record of what changed in a keyspace, for whoever follows it.
//!
//! Notifications, WATCH, tracked keys, the append-only file and replication all read this and
//! nothing else. The core drains it after each command. With no reader, recording is one branch.

use crate::value::ValueType;

/// What happened to a key, or to a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChangeKind {
    /// A key came into being; the change that made it follows.
    New,
    /// A value was stored whole.
    Set,
    /// A value was changed in place.
    Modified,
    /// A key was removed by a command.
    Deleted,
    /// A deadline was given to a key or moved.
    Expire,
    /// A key's deadline was taken away.
    Persist,
    /// A key was removed because its deadline had passed.
    Expired,
    /// An element was removed from a collection of this type because its deadline had passed. Not
    /// recorded where a command says so of elements that it names.
    ElementExpired(ValueType),
    /// A key was removed to make room.
    Evicted,
    /// A key was renamed; this is the old name.
    RenamedFrom,
    /// A key was renamed; this is the new name.
    RenamedTo,
    /// A key left this database by a move.
    MovedFrom,
    /// A key came into this database by a move.
    MovedTo,
    /// A database was emptied. There is no key.
    Flushed,
    /// A database was exchanged with another. There is no key; both are recorded.
    Swapped,
    /// A key was looked up for its value and is not there.
    Missed,
    /// An event of this name, recorded by a command (such as `append` or `setrange`).
    Event(&'static str),
}

impl ChangeKind {
    const fn bit(self) -> u32 {
        let index = match self {
            Self::New => 0,
            Self::Set => 1,
            Self::Modified => 2,
            Self::Deleted => 3,
            Self::Expire => 4,
            Self::Persist => 5,
            Self::Expired => 6,
            Self::Evicted => 7,
            Self::RenamedFrom => 8,
            Self::RenamedTo => 9,
            Self::MovedFrom => 10,
            Self::MovedTo => 11,
            Self::Flushed => 12,
            Self::Swapped => 13,
            Self::Event(_) => 14,
            Self::Missed => 15,
            Self::ElementExpired(_) => 16,
        };
        1 << index
    }
}

/// A set of kinds of change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChangeMask(u32);

impl ChangeMask {
    /// No kind.
    pub const NONE: Self = Self(0);
    /// Every kind.
    pub const ALL: Self = Self(u32::MAX);

    /// This set and `kind`. All [`ChangeKind::Event`]s count as one kind, and so do elements of all
    /// types.
    #[must_use]
    pub const fn with(self, kind: ChangeKind) -> Self {
        Self(self.0 | kind.bit())
    }

    /// This set without `kind`.
    #[must_use]
    pub const fn without(self, kind: ChangeKind) -> Self {
        Self(self.0 & !kind.bit())
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `kind` is in the set.
    #[inline]
    pub fn contains(self, kind: ChangeKind) -> bool {
        self.0 & kind.bit() != 0
    }
}

/// One change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change<'a> {
    /// What happened.
    pub kind: ChangeKind,
    /// In which database.
    pub db: u32,
    /// To which key; empty where the kind has none.
    pub key: &'a [u8],
    /// To which element of it; empty but for [`ChangeKind::ElementExpired`].
    pub element: &'a [u8],
}

struct Record {
    kind: ChangeKind,
    db: u32,
    key_end: usize,
    end: usize,
}

/// The changes since it was last cleared, in order. Its buffers are reused.
#[derive(Default)]
pub struct Journal {
    mask: ChangeMask,
    records: Vec<Record>,
    keys: Vec<u8>,
}

/// Buffers larger than this are given back when the journal is cleared.
const KEEP_BYTES_MAX: usize = 1 << 20;

impl Journal {
    /// Sets which kinds are recorded from now on.
    pub fn set_mask(&mut self, mask: ChangeMask) {
        self.mask = mask;
    }

    /// Whether changes of this kind are recorded.
    #[inline]
    pub fn is_enabled(&self, kind: ChangeKind) -> bool {
        self.mask.contains(kind)
    }

    /// Records a change, if its kind is enabled.
    #[inline]
    pub fn record(&mut self, kind: ChangeKind, db: u32, key: &[u8]) {
        if self.is_enabled(kind) {
            self.push(kind, db, key, b"");
        }
    }

    /// Records that an element of a collection has expired, if that is enabled.
    pub fn record_element(&mut self, of: ValueType, db: u32, key: &[u8], element: &[u8]) {
        let kind = ChangeKind::ElementExpired(of);
        if self.is_enabled(kind) {
            self.push(kind, db, key, element);
        }
    }

    #[cold]
    fn push(&mut self, kind: ChangeKind, db: u32, key: &[u8], element: &[u8]) {
        self.keys.extend_from_slice(key);
        let key_end = self.keys.len();
        self.keys.extend_from_slice(element);
        self.records.push(Record { kind, db, key_end, end: self.keys.len() });
    }

    /// Whether nothing is recorded.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many changes are recorded.
    #[inline]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The changes in the order in which they took effect.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        let mut start = 0;
        self.records.iter().map(move |record| {
            let key = &self.keys[start..record.key_end];
            let element = &self.keys[record.key_end..record.end];
            start = record.end;
            Change { kind: record.kind, db: record.db, key, element }
        })
    }

    /// Forgets the changes.
    pub fn clear(&mut self) {
        self.records.clear();
        self.keys.clear();
        self.records.shrink_to(KEEP_BYTES_MAX / size_of::<Record>());
        self.keys.shrink_to(KEEP_BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enabled_kinds_are_recorded_in_order() {
        let mut journal = Journal::default();
        journal.record(ChangeKind::Set, 0, b"ignored");
        assert!(journal.is_empty());
        journal.set_mask(ChangeMask::NONE.with(ChangeKind::Set).with(ChangeKind::Flushed));
        journal.record(ChangeKind::Set, 0, b"a");
        journal.record(ChangeKind::Deleted, 0, b"a");
        journal.record(ChangeKind::Flushed, 3, b"");
        journal.record(ChangeKind::Set, 1, b"bc");
        let seen: Vec<_> =
            journal.changes().map(|change| (change.kind, change.db, change.key)).collect();
        let expected: [(ChangeKind, u32, &[u8]); 3] = [
            (ChangeKind::Set, 0, b"a"),
            (ChangeKind::Flushed, 3, b""),
            (ChangeKind::Set, 1, b"bc"),
        ];
        assert_eq!(seen, expected);
        journal.clear();
        assert_eq!(journal.changes().count(), 0);
    }
}
