//! A stream: entries in order of their identifiers, consumer groups, and what producers have added.
//!
//! It knows no key, no command and no clock. Entries lie in packed blocks ([`block`]), blocks in a
//! directory by identifier ([`log`]); groups have their indexes of pending entries ([`group`]).
//!
//! | operation | cost |
//! |---|---|
//! | append | O(bytes), amortised |
//! | walk from an identifier, either way | O(log blocks + a block), then O(bytes) |
//! | delete | O(log blocks + a block) |
//! | trim | O(blocks removed), and the entries of one |
//!
//! An entry of one 32-byte value whose field is that of its block takes 34 bytes of a block, and
//! the block's part of the directory less than one: about 37 bytes with the allocator's rounding.
//!
//! The peers keep a radix tree of listpacks, whose entries have a fixed ten bytes of lengths and
//! counts each and stay as marks when they are deleted. Here an entry that goes is cut out.

mod block;
mod bytes;
mod group;
mod id;
mod idempotence;
mod iterate;
mod log;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use block::{Entry, EntryPairs, Pairs};
pub use group::{Consumer, ConsumerId, Group, Pending};
pub use id::Id;
pub use idempotence::{Idempotence, IdempotenceLimits};
pub use iterate::{Range, RangeBack};
pub use log::{Log, NodeLimits, TooLarge, TrimHow, TrimTo};

/// What deleting an entry does where groups refer to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum References {
    /// It stays pending where it is.
    #[default]
    Keep,
    /// It stays pending nowhere.
    Delete,
    /// The entry is deleted only if every group has had it and none has it pending.
    Acknowledged,
}

/// What became of an entry that was to be deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deletion {
    /// There was no such entry.
    Missing,
    /// It was deleted.
    Deleted,
    /// It stays, because a group refers to it.
    Referenced,
}

/// The stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    log: Log,
    groups: BTreeMap<Box<[u8]>, Group>,
    group_bytes: usize,
    idempotence: Option<Box<Idempotence>>,
}

/// Entries that a trim with a policy about references looks at together.
const TRIM_STEP: usize = 128;

/// A trim under way; see [`Stream::trim_part`].
#[derive(Clone, Copy, Debug)]
pub struct Trimming {
    to: TrimTo,
    how: TrimHow,
    references: References,
    /// Where it goes on, where it looks at each entry.
    next: Option<Id>,
    /// How many entries it may look at yet, once that is known.
    left: Option<u64>,
    /// How many entries have gone.
    removed: u64,
}

impl Trimming {
    /// Of entries from the front until `to` holds, as far as `how` and the policy allow.
    pub fn new(to: TrimTo, how: TrimHow, references: References) -> Self {
        Self { to, how, references, next: Some(Id::MIN), left: None, removed: 0 }
    }

    /// How many entries have gone.
    pub fn removed(&self) -> u64 {
        self.removed
    }
}

impl Stream {
    /// A stream without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// The entries.
    #[inline]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The entries, to add some or to set what is remembered.
    #[inline]
    pub fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// The groups, ordered by name.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// A group.
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    /// Adds a group; false if there is one of that name.
    pub fn create_group(&mut self, name: &[u8], last: Id, entries_read: Option<u64>) -> bool {
        if self.groups.contains_key(name) {
            return false;
        }
        let group = Group::new(last, entries_read);
        self.group_bytes += group_memory(name, &group);
        self.groups.insert(name.into(), group);
        true
    }

    /// Removes a group; whether there was one. What is pending in it is for the caller to drop,
    /// in steps if it likes.
    pub fn take_group(&mut self, name: &[u8]) -> Option<Group> {
        let group = self.groups.remove(name)?;
        self.group_bytes -= group_memory(name, &group);
        Some(group)
    }

    /// Works on a group beside the entries; `None` if there is no such group.
    pub fn with_group<R>(
        &mut self,
        name: &[u8],
        work: impl FnOnce(&Log, &mut Group) -> R,
    ) -> Option<R> {
        let group = self.groups.get_mut(name)?;
        let before = group.memory();
        let result = work(&self.log, group);
        self.group_bytes = self.group_bytes - before + group.memory();
        Some(result)
    }

    /// What producers have added; `None` if none ever named itself.
    pub fn idempotence(&self) -> Option<&Idempotence> {
        self.idempotence.as_deref()
    }

    /// What producers have added, to look up or to add to.
    pub fn idempotence_mut(&mut self) -> &mut Idempotence {
        self.idempotence.get_or_insert_default()
    }

    /// Whether a group has an entry pending or will still deliver it. O(groups * log pending).
    pub fn is_referenced(&self, id: Id) -> bool {
        self.groups.values().any(|group| group.needs(id))
    }

    /// Takes an entry out of what is pending in every group. O(groups * log pending).
    pub fn delete_references(&mut self, id: Id) {
        for group in self.groups.values_mut() {
            let before = group.memory();
            group.acknowledge(id);
            self.group_bytes = self.group_bytes - before + group.memory();
        }
    }

    /// Deletes an entry as the policy allows.
    pub fn delete(&mut self, id: Id, references: References) -> Deletion {
        if !self.log.contains(id) {
            if references == References::Delete {
                self.delete_references(id);
            }
            return Deletion::Missing;
        }
        match references {
            References::Delete => self.delete_references(id),
            References::Acknowledged if self.is_referenced(id) => return Deletion::Referenced,
            References::Keep | References::Acknowledged => {}
        }
        self.log.delete(id);
        Deletion::Deleted
    }

    /// Removes entries from the front until `to` holds, as far as `how` and the policy allow; how
    /// many.
    pub fn trim(&mut self, to: TrimTo, how: TrimHow, references: References) -> u64 {
        if references == References::Keep || self.groups.is_empty() {
            return self.log.trim(to, how);
        }
        let mut trimming = Trimming::new(to, how, references);
        let goes_on = self.trim_referenced(&mut trimming, u64::MAX);
        assert!(!goes_on, "all entries were looked at");
        trimming.removed
    }

    /// As [`Stream::trim`], in parts of about so many entries; whether there is more to look at.
    /// Nothing else may change the stream between two parts.
    pub fn trim_part(&mut self, trimming: &mut Trimming, entries: u64) -> bool {
        let Trimming { to, how, references, .. } = *trimming;
        if references != References::Keep && !self.groups.is_empty() {
            return self.trim_referenced(trimming, entries);
        }
        let left = match how {
            TrimHow::Blocks { entries_max } if entries_max > 0 => entries_max - trimming.removed,
            _ => u64::MAX,
        };
        if left == 0 {
            return false;
        }
        let blocks = TrimHow::Blocks { entries_max: left.min(entries) };
        let mut removed = self.log.trim(to, blocks);
        let goes_on = removed > 0;
        if !goes_on {
            // What is left lies within a block, or in one that is larger than a part.
            let rest = match how {
                TrimHow::Exact => TrimHow::Exact,
                TrimHow::Blocks { .. } => TrimHow::Blocks { entries_max: left },
            };
            removed = self.log.trim(to, rest);
        }
        trimming.removed += removed;
        goes_on
    }

    /// A part of a trim that looks at each entry's references.
    fn trim_referenced(&mut self, trimming: &mut Trimming, entries: u64) -> bool {
        let Trimming { to, how, references, .. } = *trimming;
        let before = self.log.len();
        let mut left = trimming.left.unwrap_or_else(|| match how {
            TrimHow::Exact => u64::MAX,
            TrimHow::Blocks { .. } => self.log.whole_blocks_beyond(to, how),
        });
        let end = match to {
            TrimTo::Len(_) => Id::MAX,
            TrimTo::MinId(id) => id.previous().unwrap_or(Id::MIN),
        };
        // No entry above goes: some group has not had it.
        let end = match references {
            References::Acknowledged => {
                self.groups.values().map(|group| group.last_delivered).fold(end, Id::min)
            }
            _ => end,
        };
        let mut next = trimming.next;
        let mut budget = entries;
        let mut ids = Vec::with_capacity(TRIM_STEP);
        while let Some(start) = next.filter(|_| budget > 0) {
            ids.clear();
            let step = left.min(TRIM_STEP as u64) as usize;
            ids.extend(self.log.range(start, end).take(step).map(|entry| entry.id));
            left -= ids.len() as u64;
            budget = budget.saturating_sub(TRIM_STEP as u64);
            next = ids.last().and_then(|id| id.next());
            for id in &ids {
                if matches!(to, TrimTo::Len(len) if self.log.len() <= len) {
                    next = None;
                    break;
                }
                self.trim_entry(*id, references);
            }
        }
        trimming.next = next;
        trimming.left = Some(left);
        trimming.removed += before - self.log.len();
        next.is_some()
    }

    fn trim_entry(&mut self, id: Id, references: References) {
        match references {
            References::Acknowledged if self.is_referenced(id) => return,
            References::Delete => self.delete_references(id),
            References::Acknowledged | References::Keep => {}
        }
        self.log.remove(id);
    }

    /// Makes clones cheap: from now on they are O((blocks + pending) / 64 + consumers), and what is
    /// written to here or there is copied first, 64 blocks or pending entries at a time.
    pub fn share(&mut self) {
        self.log.share();
        self.groups.values_mut().for_each(Group::share);
    }

    /// Heap bytes, about. O(1).
    pub fn memory(&self) -> usize {
        let idempotence = self.idempotence.as_ref();
        self.log.memory()
            + self.group_bytes
            + idempotence.map_or(0, |table| size_of::<Idempotence>() + table.memory())
    }

    /// About how many blocks and pending entries there are to free. O(groups).
    pub fn pieces(&self) -> usize {
        self.log.blocks() + self.groups.values().map(Group::pending_len).sum::<usize>()
    }

    /// Frees about so many blocks and pending entries, so that a large stream need not be dropped
    /// at once; whether there is more. What is left may only be dropped or drained.
    pub fn drain(&mut self, budget: usize) -> bool {
        let mut left = budget;
        if self.log.drain(&mut left) {
            return true;
        }
        while left > 0
            && let Some(mut group) = self.groups.first_entry()
        {
            if group.get_mut().drain(&mut left) {
                return true;
            }
            group.remove();
            left = left.saturating_sub(1);
        }
        !self.groups.is_empty()
    }

    /// Checks every part; O(its size).
    pub fn verify(&self) {
        self.log.verify();
        self.groups.values().for_each(Group::verify);
        let bytes: usize = self.groups.iter().map(|(name, group)| group_memory(name, group)).sum();
        assert_eq!(bytes, self.group_bytes);
        if let Some(idempotence) = &self.idempotence {
            idempotence.verify();
        }
    }
}

fn group_memory(name: &[u8], group: &Group) -> usize {
    size_of::<(Box<[u8]>, Group)>() + name.len() + group.memory()
}
