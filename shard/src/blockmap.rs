//! An ordered map whose entries lie in blocks, which somebody else may hold as they are.
//!
//! So a map of a million entries is handed to a snapshot in thousands of steps and not in a
//! million, and what is copied afterwards are the blocks that are written to (see [`crate::held`]).
//!
//! | operation | cost |
//! |---|---|
//! | get, insert, remove | O(log n), and a shift of up to [`BLOCK_LEN_MAX`] entries |
//! | share, clone of what is shared | O(n / [`BLOCK_LEN_MAX`]) |
//! | range | O(log n), then O(1) an entry |

use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::ops::Bound;

use crate::held::Held;

/// Entries of a block, at most.
const BLOCK_LEN_MAX: usize = 64;
/// A block with fewer joins the one before it, if there is room.
const BLOCK_LEN_MIN: usize = BLOCK_LEN_MAX / 4;
/// Blocks that join have no more together: the next insertions need not part them again.
const JOINED_LEN_MAX: usize = BLOCK_LEN_MAX * 3 / 4;

type Block<K, V> = Held<Vec<(K, V)>>;

/// The map. See the module's head.
#[derive(Clone, Debug)]
pub(crate) struct BlockMap<K, V> {
    /// No block is empty. Each lies under a key that is not above its entries, and above those of
    /// the block before.
    blocks: BTreeMap<K, Block<K, V>>,
    len: usize,
}

impl<K, V> Default for BlockMap<K, V> {
    fn default() -> Self {
        Self { blocks: BTreeMap::new(), len: 0 }
    }
}

impl<K: Copy + Ord, V: Copy> BlockMap<K, V> {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let (_, block) = self.blocks.range(..=key).next_back()?;
        let index = block.binary_search_by_key(key, |(key, _)| *key).ok()?;
        Some(&block[index].1)
    }

    /// Whether there is such a key.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Gives a key a value; the one it had.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let place = self.blocks.range_mut(..=key).next_back();
        let Some((_, block)) = place else {
            self.insert_first(key, value);
            return None;
        };
        let index = match block.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(index) => return Some(std::mem::replace(&mut block.to_mut()[index].1, value)),
            Err(index) => index,
        };
        self.len += 1;
        if block.len() < BLOCK_LEN_MAX {
            block.to_mut().insert(index, (key, value));
        } else if index == block.len() {
            // What comes in order fills its blocks.
            self.add_block(vec![(key, value)]);
        } else {
            let mut upper = block.to_mut().split_off(BLOCK_LEN_MAX / 2);
            match index.checked_sub(BLOCK_LEN_MAX / 2) {
                Some(index) if index > 0 => upper.insert(index, (key, value)),
                _ => block.to_mut().insert(index, (key, value)),
            }
            self.add_block(upper);
        }
        None
    }

    /// Inserts a key that is below all others.
    fn insert_first(&mut self, key: K, value: V) {
        self.len += 1;
        let has_room = |block: &Block<K, V>| block.len() < BLOCK_LEN_MAX;
        let first = self.blocks.first_entry().filter(|first| has_room(first.get()));
        let mut block = first.map_or_else(Held::default, OccupiedEntry::remove);
        block.to_mut().insert(0, (key, value));
        self.blocks.insert(key, block);
    }

    fn add_block(&mut self, entries: Vec<(K, V)>) {
        let replaced = self.blocks.insert(entries[0].0, Held::Own(entries));
        assert!(replaced.is_none(), "invariant: a key is in one block");
    }

    /// Removes a key; its value.
    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (from, block) = self.blocks.range_mut(..=key).next_back()?;
        let index = block.binary_search_by_key(key, |(key, _)| *key).ok()?;
        let (_, value) = block.to_mut().remove(index);
        let (from, left) = (*from, block.len());
        self.len -= 1;
        if left == 0 {
            self.blocks.remove(&from);
        } else if left < BLOCK_LEN_MIN {
            self.join(from);
        }
        Some(value)
    }

    /// Joins a block to the one before it, if they have room together.
    fn join(&mut self, from: K) {
        let len = self.blocks[&from].len();
        let below = (Bound::Unbounded, Bound::Excluded(from));
        let before = self.blocks.range(below).next_back();
        let Some(before) = before.filter(|(_, block)| block.len() + len <= JOINED_LEN_MAX) else {
            return;
        };
        let before = *before.0;
        let block = self.blocks.remove(&from).expect("invariant: it was looked at above");
        let joined = self.blocks.get_mut(&before).expect("invariant: it was looked at above");
        joined.to_mut().extend_from_slice(&block);
    }

    /// Removes the last entry.
    pub(crate) fn pop_last(&mut self) -> Option<(K, V)> {
        let mut last = self.blocks.last_entry()?;
        let entry = last.get_mut().to_mut().pop().expect("invariant: no block is empty");
        if last.get().is_empty() {
            last.remove();
        }
        self.len -= 1;
        Some(entry)
    }

    /// All entries, in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &(K, V)> {
        self.blocks.values().flat_map(|block| block.iter())
    }

    /// All values, in the order of their keys.
    pub(crate) fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// All keys, in order.
    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// Entries from a key on, in order.
    pub(crate) fn from(&self, start: K) -> impl DoubleEndedIterator<Item = &(K, V)> {
        let first = self.blocks.range(..=start).next_back().map(|(from, _)| *from);
        let blocks = match first {
            Some(first) => self.blocks.range(first..),
            None => self.blocks.range(start..),
        };
        blocks.flat_map(move |(_, block)| {
            let skipped = block.partition_point(|(key, _)| *key < start);
            block[skipped..].iter()
        })
    }

    /// Makes the blocks common property: from now on a clone copies none of them.
    pub(crate) fn share(&mut self) {
        for block in self.blocks.values_mut() {
            block.share();
        }
    }

    /// Checks the order of the entries and the sizes of the blocks; O(n).
    pub(crate) fn verify(&self) {
        let mut len = 0;
        let mut last = None;
        for (from, block) in &self.blocks {
            assert!(!block.is_empty() && block.len() <= BLOCK_LEN_MAX);
            assert!(*from <= block[0].0, "a block lies under a key that is not above its entries");
            assert!(last < Some(*from), "and above those of the block before");
            assert!(block.is_sorted_by(|(one, _), (other, _)| one < other));
            last = block.last().map(|(key, _)| *key);
            len += block.len();
        }
        assert_eq!(len, self.len);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Model = BTreeMap<u64, u64>;

    fn assert_same(map: &BlockMap<u64, u64>, model: &Model) {
        map.verify();
        assert!(map.iter().copied().eq(model.iter().map(|(key, value)| (*key, *value))));
    }

    fn assert_same_from(map: &BlockMap<u64, u64>, model: &Model, key: u64) {
        let expected = || model.range(key..).map(|(key, value)| (*key, *value));
        assert!(map.from(key).copied().eq(expected()));
        assert_eq!(map.from(key).next_back().copied(), expected().next_back());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 60 }))]

        /// Against a map that grows and then shrinks, with clones that others hold meanwhile.
        #[test]
        fn behaves_like_a_map(operations in vec((0..40_u8, 0..600_u64), 1..4000)) {
            let (mut map, mut model) = (BlockMap::default(), Model::new());
            let mut held = Vec::new();
            let half = operations.len() / 2;
            for (number, (kind, key)) in operations.into_iter().enumerate() {
                let value = number as u64;
                match kind {
                    0..25 if number < half => {
                        prop_assert_eq!(map.insert(key, value), model.insert(key, value));
                    }
                    0..30 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    30 => prop_assert_eq!(map.pop_last(), model.pop_last()),
                    31 if held.len() < 5 => {
                        map.share();
                        held.push((map.clone(), model.clone()));
                    }
                    32 => assert_same_from(&map, &model, key),
                    _ => prop_assert_eq!(map.get(&key), model.get(&key)),
                }
                prop_assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
            }
            assert_same(&map, &model);
            for (map, model) in &held {
                assert_same(map, model);
            }
        }
    }

    #[test]
    fn what_comes_in_order_fills_its_blocks() {
        let mut map = BlockMap::default();
        (0..640_u64).for_each(|key| assert_eq!(map.insert(key, ()), None));
        map.verify();
        assert_eq!(map.blocks.len(), 640 / BLOCK_LEN_MAX);
        let mut map = BlockMap::default();
        (0..640_u64).rev().for_each(|key| assert_eq!(map.insert(key, ()), None));
        map.verify();
        assert_eq!(map.blocks.len(), 640 / BLOCK_LEN_MAX);
    }

    #[test]
    fn who_writes_copies_a_block_of_what_is_shared() {
        let mut map = BlockMap::default();
        (0..640_u64).for_each(|key| assert_eq!(map.insert(key, ()), None));
        map.share();
        let other = map.clone();
        map.remove(&100);
        map.insert(1000, ());
        let own = map.blocks.values().filter(|block| !block.is_shared()).count();
        assert_eq!((own, other.len()), (2, 640));
        other.verify();
    }
}
