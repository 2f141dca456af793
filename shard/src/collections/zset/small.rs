//! A small sorted set: members and scores by turns in one packed block, in order.

use std::cmp::Ordering;
use std::ops::Range;

use crate::pack::{self, Item};
use crate::value::ValueRef;

/// Items for a member.
pub(super) const STRIDE: usize = 2;

/// A member of a block.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) name: Item<'a>,
    pub(super) score: f64,
    /// Where it begins.
    pub(super) start: usize,
}

/// The members of a block in order.
pub(super) fn pairs(block: &[u8]) -> impl Iterator<Item = Pair<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == block.len() {
            return None;
        }
        let start = at;
        let (name, end) = pack::item(block, start);
        let (score, end) = pack::item(block, end);
        at = end;
        Some(Pair { name, score: score.number(), start })
    })
}

/// Number of members.
pub(super) fn len(block: &[u8]) -> usize {
    pack::count(block) / STRIDE
}

/// Where a member and its score lie, and the score.
pub(super) fn find(block: &[u8], name: &[u8]) -> Option<(Range<usize>, f64)> {
    let range = pack::find(block, name, STRIDE)?;
    let (score, end) = pack::item(block, range.end);
    Some((range.start..end, score.number()))
}

/// The order of a member's name and another.
pub(super) fn compare_name(item: Item<'_>, name: &[u8]) -> Ordering {
    match item {
        Item::Bytes(bytes) => bytes.cmp(name),
        Item::Int(value) => itoa::Buffer::new().format(value).as_bytes().cmp(name),
        Item::Float(_) => unreachable!("a name is a string"),
    }
}

/// Adds a member that is not there.
pub(super) fn insert(block: &mut Vec<u8>, name: &[u8], score: f64) {
    let mut encoded = Vec::with_capacity(name.len() + 16);
    pack::push(&mut encoded, name);
    // As in the peers, the small form has no negative zero.
    pack::push_number(&mut encoded, score + 0.0);
    let precedes = |pair: &Pair<'_>| {
        pair.score < score || pair.score <= score && compare_name(pair.name, name).is_lt()
    };
    let at = pairs(block).find(|pair| !precedes(pair)).map_or(block.len(), |pair| pair.start);
    block.splice(at..at, encoded);
}

/// The bytes of the members with ranks `start..end`.
pub(super) fn bytes_of(block: &[u8], start: usize, end: usize) -> Range<usize> {
    let mut starts = pairs(block).map(|pair| pair.start).skip(start);
    let first = starts.next().unwrap_or(block.len());
    let last = match end.saturating_sub(start) {
        0 => first,
        count => starts.nth(count - 1).unwrap_or(block.len()),
    };
    first..last
}

/// A name as a value.
pub(super) fn name_of(item: Item<'_>) -> ValueRef<'_> {
    item.value()
}

/// Checks the order.
#[cfg(test)]
pub(super) fn verify(block: &[u8]) {
    let all: Vec<(f64, Vec<u8>)> = pairs(block)
        .map(|pair| {
            (pair.score, name_of(pair.name).to_vec().expect("invariant: a name is a string"))
        })
        .collect();
    let ordered = all.is_sorted_by(|a, b| a.0 < b.0 || a.0 <= b.0 && a.1 < b.1);
    assert!(ordered, "a small sorted set is in order");
}
