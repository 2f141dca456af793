//! The classes of keyspace notifications, as `notify-keyspace-events` writes them.

/// A set of event classes and of the two channels that events are published on.
///
/// An event is published when its class is in the set, on the keyspace channel when
/// [`Self::KEYSPACE`] is, and on the event channel when [`Self::KEYEVENT`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceEvents(u32);

impl KeyspaceEvents {
    /// No events at all.
    pub const NONE: Self = Self(0);
    /// `K`: the channels `__keyspace@db__:key`.
    pub const KEYSPACE: Self = Self(1);
    /// `E`: the channels `__keyevent@db__:event`.
    pub const KEYEVENT: Self = Self(1 << 1);
    /// `g`: commands of any type, such as DEL and EXPIRE.
    pub const GENERIC: Self = Self(1 << 2);
    /// `$`: strings.
    pub const STRING: Self = Self(1 << 3);
    /// `l`: lists.
    pub const LIST: Self = Self(1 << 4);
    /// `s`: sets.
    pub const SET: Self = Self(1 << 5);
    /// `h`: hashes.
    pub const HASH: Self = Self(1 << 6);
    /// `z`: sorted sets.
    pub const SORTED_SET: Self = Self(1 << 7);
    /// `x`: a key expired.
    pub const EXPIRED: Self = Self(1 << 8);
    /// `e`: a key was evicted.
    pub const EVICTED: Self = Self(1 << 9);
    /// `t`: streams.
    pub const STREAM: Self = Self(1 << 10);
    /// `m`: a read missed its key. Not part of [`Self::ALL`].
    pub const KEY_MISS: Self = Self(1 << 11);
    /// `d`: types that the peers have in modules.
    pub const MODULE: Self = Self(1 << 12);
    /// `n`: a key was created. Not part of [`Self::ALL`].
    pub const NEW: Self = Self(1 << 13);
    /// `A`: every class but [`Self::KEY_MISS`] and [`Self::NEW`].
    pub const ALL: Self = Self(0b1_0111_1111_1100);

    /// Letter of each class, in the order in which CONFIG GET shows them.
    const LETTERS: [(u8, Self); 14] = [
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::SORTED_SET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW),
        (b'K', Self::KEYSPACE),
        (b'E', Self::KEYEVENT),
        (b'm', Self::KEY_MISS),
    ];

    /// Reads the letters; `None` when one of them names no class.
    pub fn parse(letters: &[u8]) -> Option<Self> {
        letters.iter().try_fold(Self::NONE, |events, &letter| {
            if letter == b'A' {
                return Some(events.or(Self::ALL));
            }
            let (_, class) = Self::LETTERS.iter().find(|(known, _)| *known == letter)?;
            Some(events.or(*class))
        })
    }

    /// Writes the letters, `A` for all the classes that it covers.
    ///
    /// The peers leave `n` out beside `A`, and so lose it in CONFIG REWRITE; it is kept here.
    pub fn letters(self) -> String {
        let all = self.contains(Self::ALL);
        let mut text = String::from(if all { "A" } else { "" });
        for (letter, class) in Self::LETTERS {
            if self.contains(class) && !(all && Self::ALL.contains(class)) {
                text.push(char::from(letter));
            }
        }
        text
    }

    /// Whether every class of `other` is in this set. O(1).
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty, so that nothing need be published. O(1).
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether some class of `other` is in this set. O(1).
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// This set without the classes of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The union of both sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_back() {
        for (given, shown) in [
            ("", ""),
            ("KEA", "AKE"),
            ("AnK", "AnK"),
            ("Em", "Em"),
            ("g$lshzxetdK", "AK"),
            ("xK", "xK"),
        ] {
            let events = KeyspaceEvents::parse(given.as_bytes()).unwrap();
            assert_eq!(events.letters(), shown);
            assert_eq!(KeyspaceEvents::parse(shown.as_bytes()), Some(events));
        }
        assert_eq!(KeyspaceEvents::parse(b"KEQ"), None);
    }

    #[test]
    fn every_class_has_one_letter() {
        let union =
            KeyspaceEvents::LETTERS.iter().fold(KeyspaceEvents::NONE, |all, (_, one)| all.or(*one));
        assert_eq!(union.0.count_ones() as usize, KeyspaceEvents::LETTERS.len());
        assert!(!KeyspaceEvents::ALL.contains(KeyspaceEvents::NEW));
        assert!(!KeyspaceEvents::ALL.contains(KeyspaceEvents::KEY_MISS));
        assert!(!KeyspaceEvents::ALL.contains(KeyspaceEvents::KEYSPACE));
        assert_eq!(KeyspaceEvents::ALL.0.count_ones(), 10);
    }
}
