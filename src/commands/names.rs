//! Finding a command by its name, in any case, in a few nanoseconds.
//!
//! A name becomes a [`Packed`]: one word with all of it if it is shorter than eight bytes, or else
//! two with its first and last eight, in lower case, and its length. That identifies any name of up
//! to sixteen bytes; the few longer ones are compared as a whole. A table with open addressing, at
//! most half full, holds packed names with the ids they stand for, 32 bytes each: a hit mostly
//! costs one hash and one comparison.

use super::table::CommandId;

/// What a name is compared by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Packed {
    head: u64,
    tail: u64,
    length: u32,
}

impl Packed {
    /// Stands for no name.
    const EMPTY: Self = Self { head: 0, tail: 0, length: u32::MAX };
    /// Longer names need a second look.
    const WHOLE: usize = 16;

    #[inline]
    fn of(name: &[u8]) -> Self {
        let length = name.len() as u32;
        if let (Some(head), Some(tail)) = (name.first_chunk(), name.last_chunk()) {
            let (head, tail) = (u64::from_le_bytes(*head), u64::from_le_bytes(*tail));
            return Self { head: lower(head), tail: lower(tail), length };
        }
        let head = if let (Some(head), Some(tail)) = (name.first_chunk(), name.last_chunk()) {
            u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*tail)) << 32
        } else {
            match *name {
                [a, b, c] => u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]),
                [a, b] => u64::from_le_bytes([a, b, 0, 0, 0, 0, 0, 0]),
                [a] => u64::from(a),
                _ => 0,
            }
        };
        Self { head: lower(head), tail: 0, length }
    }

    #[inline]
    fn hash(self) -> u64 {
        let mixed = self.head ^ self.tail.rotate_left(29) ^ (u64::from(self.length) << 56);
        mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// Every byte in lower case: those from `A` to `Z` get their 0x20 bit, all others stay.
#[inline]
fn lower(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let seven = word & (0x7F * EACH);
    let from_a = seven + (0x80 - u64::from(b'A')) * EACH;
    let beyond_z = seven + (0x7F - u64::from(b'Z')) * EACH;
    let upper = (from_a ^ beyond_z) & !word & (0x80 * EACH);
    word | upper >> 2
}

/// An empty place has a length that no name has.
#[derive(Clone, Copy, Debug)]
struct Place {
    packed: Packed,
    id: CommandId,
}

/// A fixed set of names with their ids.
#[derive(Debug)]
pub(super) struct Names {
    /// A power of two.
    places: Box<[Place]>,
    /// From a hash's upper bits to a place.
    shift: u32,
    /// The names that their packed form does not identify.
    long: Box<[&'static str]>,
}

impl Names {
    /// Indexes names, which must differ in more than case.
    pub(super) fn new(names: &[(&'static str, CommandId)]) -> Self {
        let capacity = (names.len() * 2).next_power_of_two().max(2);
        let empty = Place { packed: Packed::EMPTY, id: CommandId::FIRST };
        let is_long = |name: &&str| name.len() > Packed::WHOLE;
        let mut index = Self {
            places: vec![empty; capacity].into(),
            shift: u64::BITS - capacity.trailing_zeros(),
            long: names.iter().map(|(name, _)| *name).filter(is_long).collect(),
        };
        for &(name, id) in names {
            let packed = Packed::of(name.as_bytes());
            let mut at = (packed.hash() >> index.shift) as usize;
            while index.places[at].packed != Packed::EMPTY {
                assert!(index.places[at].packed != packed, "two commands have the name {name}");
                at = (at + 1) % capacity;
            }
            index.places[at] = Place { packed, id };
        }
        index
    }

    /// The id of a name. O(1) for names of up to sixteen bytes, O(length) for longer ones.
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<CommandId> {
        let packed = Packed::of(name);
        let mask = self.places.len() - 1;
        let mut at = (packed.hash() >> self.shift) as usize;
        loop {
            let place = &self.places[at & mask];
            if place.packed == packed {
                return (name.len() <= Packed::WHOLE || self.is_long(name)).then_some(place.id);
            }
            if place.packed == Packed::EMPTY {
                return None;
            }
            at += 1;
        }
    }

    #[cold]
    fn is_long(&self, name: &[u8]) -> bool {
        self.long.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_case_is_ascii_lower_case() {
        for byte in 0..=u8::MAX {
            for position in 0..8 {
                let mut bytes = [b'Q', 0x80, b'@', b'[', 0xFF, b'z', 0, b'A'];
                bytes[position] = byte;
                let expected = u64::from_le_bytes(bytes.map(|b| b.to_ascii_lowercase()));
                assert_eq!(lower(u64::from_le_bytes(bytes)), expected);
            }
        }
    }

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        let words = [
            "",
            "a",
            "b",
            "ab",
            "ba",
            "aba",
            "abc",
            "abcd",
            "abcdefg",
            "abcdefgh",
            "abcdefgi",
            "abcdefghabcdefgh",
            "abcdefgh.abcdefgh",
            "georadiusbymember_ro",
        ];
        let named: Vec<_> = (0..).map(CommandId::at).zip(words).map(|(id, w)| (w, id)).collect();
        let names = Names::new(&named);
        for (word, id) in named {
            assert_eq!(names.find(word.as_bytes()), Some(id), "{word}");
            assert_eq!(names.find(word.to_uppercase().as_bytes()), Some(id), "{word}");
        }
        for other in ["c", "aa", "abb", "abcdabcd", "abcdefgj", "abcdefgh-abcdefgh", "a\0", "\0"] {
            assert_eq!(names.find(other.as_bytes()), None, "{other}");
        }
    }
}
