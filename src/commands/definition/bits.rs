//! Sets of named bits, as `COMMAND INFO` prints them.

/// Defines a set of bits: a constant for each, and the names that the peers print, in their order.
/// A bit without a wire name is internal: the peers do not print it either.
macro_rules! bit_set {
    (
        $(#[$set_doc:meta])* pub struct $set:ident($repr:ty);
        $($(#[$doc:meta])* $name:ident = $bit:expr $(, $wire:literal)?;)*
    ) => {
        $(#[$set_doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
        pub struct $set($repr);

        impl $set {
            /// The empty set.
            pub const NONE: Self = Self(0);
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            /// Every member that is shown, with its name, in the peers' order of printing.
            pub const NAMES: &'static [(Self, &'static str)] = &[$($((Self::$name, $wire),)?)*];

            /// Both sets together.
            #[must_use]
            pub const fn or(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// What is in both sets.
            #[must_use]
            pub const fn and(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// What is in this set and not in `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// Whether every member of `other` is in this set.
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Whether nothing is in this set.
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// The names of the members that are shown, in the peers' order.
            pub fn names(self) -> impl Iterator<Item = &'static str> + Clone {
                Self::NAMES.iter().filter(move |(bit, _)| self.has(*bit)).map(|(_, name)| *name)
            }
        }
    };
}

pub(super) use bit_set;
