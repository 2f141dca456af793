//! Identifiers of entries: a time in milliseconds and a sequence number within it.

use std::fmt;

/// The identifier of an entry; ordered as entries are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Id {
    /// Milliseconds of the Unix epoch, by convention.
    pub ms: u64,
    /// Counts entries of one millisecond.
    pub seq: u64,
}

impl Id {
    /// Below every entry: no entry has it.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    /// The greatest identifier.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The identifier with these parts.
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// The identifier after this one; `None` after the greatest.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| Self { ms, seq: 0 }),
        }
    }

    /// The identifier before this one; `None` before the least.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => self.ms.checked_sub(1).map(|ms| Self { ms, seq: u64::MAX }),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_carry_over() {
        assert_eq!(Id::new(1, 5).next(), Some(Id::new(1, 6)));
        assert_eq!(Id::new(1, u64::MAX).next(), Some(Id::new(2, 0)));
        assert_eq!(Id::MAX.next(), None);
        assert_eq!(Id::new(2, 0).previous(), Some(Id::new(1, u64::MAX)));
        assert_eq!(Id::MIN.previous(), None);
        assert_eq!(Id::new(3, 4).to_string(), "3-4");
    }
}
