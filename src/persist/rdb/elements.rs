//! Many byte strings in one buffer.

use std::collections::HashSet;

/// Byte strings one after the other, each behind its length in four bytes: one allocation however
/// many there are. They are read from the first to the last.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Elements {
    bytes: Vec<u8>,
    len: usize,
}

/// No element is longer: its length has 32 bits.
pub(super) const ELEMENT_BYTES_MAX: usize = u32::MAX as usize;

impl Elements {
    /// Adds an element at the end. It must be shorter than 4 GiB.
    pub fn push(&mut self, element: &[u8]) {
        let len = u32::try_from(element.len()).expect("invariant: elements are shorter than 4 GiB");
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(element);
        self.len += 1;
    }

    /// Adds the decimal text of an integer.
    pub fn push_int(&mut self, value: i64) {
        self.push(itoa::Buffer::new().format(value).as_bytes());
    }

    /// The elements in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        Iter { rest: &self.bytes }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the elements take, lengths included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether all of every `step`th element, from the first on, are different. O(n).
    pub(super) fn are_distinct(&self, step: usize) -> bool {
        let mut seen = HashSet::with_capacity_and_hasher(
            self.len.div_ceil(step),
            ahash::RandomState::default(),
        );
        self.iter().step_by(step).all(|element| seen.insert(element))
    }
}

impl std::fmt::Debug for Elements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(|bytes| bytes.escape_ascii().to_string())).finish()
    }
}

impl<'a> Extend<&'a [u8]> for Elements {
    fn extend<T: IntoIterator<Item = &'a [u8]>>(&mut self, elements: T) {
        elements.into_iter().for_each(|element| self.push(element));
    }
}

impl<'a> FromIterator<&'a [u8]> for Elements {
    fn from_iter<T: IntoIterator<Item = &'a [u8]>>(elements: T) -> Self {
        let mut collected = Self::default();
        collected.extend(elements);
        collected
    }
}

#[derive(Clone)]
struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, after) = self.rest.split_first_chunk()?;
        let (element, rest) = after.split_at(u32::from_ne_bytes(*len) as usize);
        self.rest = rest;
        Some(element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let given: [&[u8]; 4] = [b"a", b"", b"a long one", b"a"];
        let elements: Elements = given.into_iter().collect();
        assert_eq!(elements.iter().collect::<Vec<_>>(), given);
        assert_eq!(elements.len(), 4);
        assert!(!elements.are_distinct(1));
        assert!(elements.are_distinct(2));
    }
}
