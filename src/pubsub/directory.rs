//! Which cores have subscribers: read by whoever publishes, so that nobody else is bothered.
//!
//! A channel's name is hashed to one of a fixed number of words, in which each core that has a
//! subscriber of some channel of that hash sets its bit. So a publisher needs one load, and a
//! subscriber at most one store; names that share a word cost a message in vain and nothing else.
//! A core sets its bit before it confirms a subscription, so that whatever is published after the
//! confirmation is delivered. With more than 64 cores, cores whose numbers are equal modulo 64
//! share a bit.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::route::engine::ShardId;

/// The words; 128 KiB in all.
const WORDS: usize = 1 << 14;

/// See the module's head.
#[derive(Debug)]
pub struct Directory {
    words: Box<[AtomicU64]>,
    patterns: AtomicU64,
}

impl Default for Directory {
    fn default() -> Self {
        let words = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Self { words, patterns: AtomicU64::new(0) }
    }
}

/// A set of cores, which may be larger than it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cores(u64);

impl Cores {
    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of them that exist.
    pub fn iter(self, shards: u16) -> impl Iterator<Item = ShardId> {
        (0..shards).map(ShardId).filter(move |core| self.0 & bit(*core) != 0)
    }
}

/// A word of the directory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Word(usize);

impl Word {
    /// The word of a channel with this hash.
    pub(super) fn of(hash: u64) -> Self {
        // The high bits: tables take the low ones.
        Self((hash >> 40) as usize % WORDS)
    }
}

fn bit(core: ShardId) -> u64 {
    1 << (core.0 % 64)
}

impl Directory {
    /// The cores that may have subscribers of a channel, or a pattern that matches it.
    pub(super) fn cores(&self, word: Word, with_patterns: bool) -> Cores {
        let patterns = if with_patterns { self.patterns.load(Ordering::Acquire) } else { 0 };
        Cores(self.words[word.0].load(Ordering::Acquire) | patterns)
    }

    /// Notes whether a core has a subscriber of some channel of the word.
    pub(super) fn note_channel(&self, word: Word, core: ShardId, has: bool) {
        set(&self.words[word.0], core, has);
    }

    /// Notes whether a core has a subscriber of some pattern.
    pub(super) fn note_patterns(&self, core: ShardId, has: bool) {
        set(&self.patterns, core, has);
    }
}

/// Clearing a bit that another core shares would lose its messages: beyond 64 cores bits stay set.
fn set(word: &AtomicU64, core: ShardId, has: bool) {
    if has {
        word.fetch_or(bit(core), Ordering::AcqRel);
    } else if core.0 < 64 {
        word.fetch_and(!bit(core), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_come_and_go() {
        let directory = Directory::default();
        let (word, other) = (Word::of(1 << 40), Word::of(2 << 40));
        let cores = |word, patterns| -> Vec<u16> {
            directory.cores(word, patterns).iter(4).map(|core| core.0).collect()
        };
        directory.note_channel(word, ShardId(3), true);
        directory.note_patterns(ShardId(1), true);
        assert_eq!(cores(word, true), [1, 3]);
        assert_eq!(cores(word, false), [3]);
        assert_eq!(cores(other, true), [1]);
        directory.note_patterns(ShardId(1), false);
        directory.note_channel(word, ShardId(3), false);
        assert!(directory.cores(word, true).is_empty());
    }
}
