//! A small list as nothing but the text of a block: what lies in an entry instead of a [`List`].

use std::ops::ControlFlow;

use super::block::{Elements, encoded_len, offsets, split_first, write_element};
use super::{Direction, End, List, ListLimits};

/// Lists of at most this many bytes are kept as a text. Larger ones have so many elements or such
/// long ones that copying them at each push costs more than a list of its own does.
const BYTES_MAX: usize = 768;

/// How many elements a text has. O(elements).
pub(crate) fn len(text: &[u8]) -> usize {
    Elements::new(text).count()
}

/// The element at `index`. O(index).
pub(crate) fn get(text: &[u8], index: usize) -> Option<&[u8]> {
    Elements::new(text).nth(index)
}

/// As [`List::visit`].
pub(crate) fn visit(
    text: &[u8],
    index: usize,
    direction: Direction,
    mut visitor: impl FnMut(&[u8]) -> ControlFlow<()>,
) {
    let flow = match direction {
        Direction::Forward => Elements::new(text).skip(index).try_for_each(visitor),
        Direction::Backward => {
            let starts: Vec<usize> = offsets(text).take(index + 1).collect();
            starts.iter().rev().try_for_each(|&start| visitor(split_first(&text[start..]).0))
        }
    };
    // Either way nothing is left to do.
    let (ControlFlow::Continue(()) | ControlFlow::Break(())) = flow;
}

/// Whether an element may join a text.
pub(crate) fn accepts(text: &[u8], element: &[u8], limits: ListLimits) -> bool {
    text.len() + encoded_len(element.len()) <= BYTES_MAX
        && (!limits.is_counted() || len(text) < limits.block_count as usize)
}

/// Adds an element at an end. O(text).
pub(crate) fn push(text: &mut Vec<u8>, end: End, element: &[u8]) {
    let (size, old_len) = (encoded_len(element.len()), text.len());
    text.resize(old_len + size, 0);
    match end {
        End::Back => write_element(&mut text[old_len..], element),
        End::Front => {
            text.copy_within(..old_len, size);
            write_element(text, element);
        }
    }
}

/// Takes an element from an end. O(text).
pub(crate) fn pop<R>(
    text: &mut Vec<u8>,
    end: End,
    use_element: impl FnOnce(&[u8]) -> R,
) -> Option<R> {
    let start = match end {
        End::Front => (!text.is_empty()).then_some(0),
        End::Back => offsets(text).last(),
    }?;
    let element = split_first(&text[start..]).0;
    let size = encoded_len(element.len());
    let result = use_element(element);
    text.drain(start..start + size);
    Some(result)
}

impl List {
    /// The list of a text.
    pub(crate) fn from_text(text: &[u8], limits: ListLimits) -> Self {
        let mut list = Self::new();
        Elements::new(text).for_each(|element| list.push(End::Back, element, limits));
        list
    }

    /// The text of the list if it is small enough to be kept as one.
    pub(crate) fn small_text(&self) -> Option<&[u8]> {
        let at = self.directory.end(End::Front)?;
        let text = self.directory.block(at).text();
        let is_small = self.directory.blocks() == 1 && text.len() <= BYTES_MAX;
        (is_small && !self.is_quicklist).then_some(text)
    }
}
