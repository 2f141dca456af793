//! Finding a command by its name, in any case, in a few nanoseconds.
//!
//! A name becomes a [`Packed`]: its first and last eight bytes in lower case, which overlap in names
//! of less than sixteen bytes, and its length. That identifies any name of up to sixteen bytes; the
//! few longer ones are compared as a whole. A table with open addressing, at most a quarter full,
//! holds packed names with the ids they stand for: a hit mostly costs one hash and one comparison.

use super::table::CommandId;

/// What a name is compared by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Packed {
    head: u64,
    tail: u64,
    length: usize,
}

impl Packed {
    /// Longer names need a second look.
    const WHOLE: usize = 16;

    #[inline]
    fn of(name: &[u8]) -> Self {
        let length = name.len();
        let (head, tail) = if let (Some(head), Some(tail)) =
            (name.first_chunk::<8>(), name.last_chunk::<8>())
        {
            (u64::from_le_bytes(*head), u64::from_le_bytes(*tail))
        } else if let (Some(head), Some(tail)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
            (u32::from_le_bytes(*head).into(), u32::from_le_bytes(*tail).into())
        } else if let (Some(head), Some(tail)) = (name.first_chunk::<2>(), name.last_chunk::<2>()) {
            (u16::from_le_bytes(*head).into(), u16::from_le_bytes(*tail).into())
        } else {
            (name.first().copied().unwrap_or_default().into(), 0)
        };
        Self { head: lower(head), tail: lower(tail), length }
    }

    #[inline]
    fn hash(self) -> u64 {
        let mixed = self.head ^ self.tail.rotate_left(29) ^ (self.length as u64) << 56;
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

#[derive(Clone, Copy, Debug)]
struct Place {
    packed: Packed,
    name: &'static [u8],
    id: CommandId,
}

/// A fixed set of names with their ids.
#[derive(Debug)]
pub(super) struct Names {
    places: Box<[Option<Place>]>,
    /// From a hash's upper bits to a place.
    shift: u32,
}

impl Names {
    /// Indexes names, which must differ in more than case.
    pub(super) fn new(names: &[(&'static str, CommandId)]) -> Self {
        let capacity = (names.len() * 4).next_power_of_two().max(2);
        let shift = u64::BITS - capacity.trailing_zeros();
        let mut index = Self { places: vec![None; capacity].into(), shift };
        for &(name, id) in names {
            assert!(index.find(name.as_bytes()).is_none(), "two commands are called {name}");
            let packed = Packed::of(name.as_bytes());
            let mut at = (packed.hash() >> shift) as usize;
            while index.places[at].is_some() {
                at = (at + 1) % capacity;
            }
            index.places[at] = Some(Place { packed, name: name.as_bytes(), id });
        }
        index
    }

    /// The id of a name. O(length) for names of more than sixteen bytes, O(1) otherwise.
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<CommandId> {
        let packed = Packed::of(name);
        let mask = self.places.len() - 1;
        let mut at = (packed.hash() >> self.shift) as usize;
        loop {
            let place = self.places[at & mask].as_ref()?;
            let long = packed.length > Packed::WHOLE;
            if place.packed == packed && (!long || name.eq_ignore_ascii_case(place.name)) {
                return Some(place.id);
            }
            at += 1;
        }
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
            "abcdefgh_abcdefgh",
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
