//! A small set of integers as one block: the width, then the members in order, all that wide.
//!
//! Membership by binary search; insertion and removal shift. A member that does not fit the width
//! widens all, and they stay wide, as in the peers.

use std::cmp::Ordering;

/// The width of members in bytes.
fn width_of(value: i64) -> usize {
    match value {
        _ if i16::try_from(value).is_ok() => 2,
        _ if i32::try_from(value).is_ok() => 4,
        _ => 8,
    }
}

fn width(block: &[u8]) -> usize {
    block.first().copied().unwrap_or(2) as usize
}

/// How many members the block has.
pub(crate) fn len(block: &[u8]) -> usize {
    block.len().saturating_sub(1) / width(block)
}

/// The member at an index below [`len`].
#[inline]
pub(crate) fn at(block: &[u8], index: usize) -> i64 {
    let width = width(block);
    let start = 1 + index * width;
    let bytes = &block[start..start + width];
    match *bytes {
        [a, b] => i64::from(i16::from_le_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        _ => i64::from_le_bytes(bytes.try_into().expect("invariant: widths are 2, 4, 8")),
    }
}

/// The members in ascending order.
pub(crate) fn iter(block: &[u8]) -> impl DoubleEndedIterator<Item = i64> + '_ {
    (0..len(block)).map(|index| at(block, index))
}

/// The index of a member, or where it would be.
pub(crate) fn search(block: &[u8], wanted: i64) -> Result<usize, usize> {
    let (mut low, mut high) = (0, len(block));
    while low < high {
        let middle = low.midpoint(high);
        match at(block, middle).cmp(&wanted) {
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
            Ordering::Equal => return Ok(middle),
        }
    }
    Err(low)
}

/// Adds a member; whether it is new. An empty block is an empty set.
pub(crate) fn insert(block: &mut Vec<u8>, value: i64) -> bool {
    let Err(index) = search(block, value) else {
        return false;
    };
    let needed = width_of(value);
    if block.is_empty() {
        block.push(needed as u8);
    } else if needed > width(block) {
        let members: Vec<i64> = iter(block).collect();
        block.clear();
        block.push(needed as u8);
        for member in members {
            push(block, member, needed);
        }
    }
    let width = width(block);
    let start = 1 + index * width;
    push(block, value, width);
    block[start..].rotate_right(width);
    true
}

fn push(block: &mut Vec<u8>, value: i64, width: usize) {
    block.extend_from_slice(&value.to_le_bytes()[..width]);
}

/// Removes a member; whether it was there.
pub(crate) fn remove(block: &mut Vec<u8>, value: i64) -> bool {
    let Ok(index) = search(block, value) else {
        return false;
    };
    let width = width(block);
    let start = 1 + index * width;
    block.drain(start..start + width);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_as_an_ordered_set(
            steps in proptest::collection::vec((any::<bool>(), any::<i64>(), 0..64u32), 0..100),
        ) {
            let mut block = Vec::new();
            let mut model = BTreeSet::new();
            for (is_insertion, value, shift) in steps {
                let value = value >> shift;
                if is_insertion {
                    prop_assert_eq!(insert(&mut block, value), model.insert(value));
                } else {
                    prop_assert_eq!(remove(&mut block, value), model.remove(&value));
                }
                prop_assert_eq!(len(&block), model.len());
                prop_assert!(iter(&block).eq(model.iter().copied()));
                prop_assert_eq!(search(&block, value).is_ok(), model.contains(&value));
            }
        }
    }
}
