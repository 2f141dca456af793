//! An inner node: what it knows of each child, and the children.

use super::leaf::{Leaf, Slot};
use super::{Edges, Insertion, Node, Order, Place, Usage};
use crate::arena::Handle;
use crate::sizes::size_class;

/// Children of a full node.
pub(super) const CHILDREN_MAX: usize = 64;
/// Arrays grow by so many children.
const STEP: usize = 8;

/// A node whose children are leaves or inner nodes, all of one depth. There is at least one.
pub(super) struct Inner {
    /// Prefix of the first entry under each child.
    prefixes: Vec<u64>,
    /// The first handle under each child.
    firsts: Vec<Slot>,
    /// Handles under each child.
    counts: Vec<u32>,
    nodes: Vec<Node>,
}

impl Inner {
    fn new(usage: &mut Usage) -> Self {
        usage.bytes += size_class(size_of::<Self>());
        Self { prefixes: Vec::new(), firsts: Vec::new(), counts: Vec::new(), nodes: Vec::new() }
    }

    /// The root above a root that split.
    pub(super) fn of_two(left: Node, right: Node, order: &impl Order, usage: &mut Usage) -> Self {
        let mut root = Self::new(usage);
        root.insert_child(0, left, order, usage);
        root.insert_child(1, right, order, usage);
        root
    }

    /// Bytes of heap memory of the node itself.
    pub(super) fn bytes(&self) -> usize {
        let arrays = [
            self.prefixes.capacity() * size_of::<u64>(),
            self.firsts.capacity() * size_of::<Slot>(),
            self.counts.capacity() * size_of::<u32>(),
            self.nodes.capacity() * size_of::<Node>(),
        ];
        let arrays = arrays.into_iter().filter(|bytes| *bytes > 0).map(size_class).sum::<usize>();
        size_class(size_of::<Self>()) + arrays
    }

    /// Number of children.
    #[inline]
    pub(super) fn children(&self) -> usize {
        self.nodes.len()
    }

    #[inline]
    pub(super) fn child(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    #[inline]
    pub(super) fn first(&self) -> Slot {
        self.firsts[0]
    }

    /// Number of handles under it.
    pub(super) fn len(&self) -> usize {
        self.counts.iter().map(|count| *count as usize).sum()
    }

    /// The last child whose first entry comes before a place in the order, or the first child.
    #[inline]
    fn index_of(&self, prefix: u64, is_before: impl Fn(Handle) -> bool) -> usize {
        let lower = self.prefixes.partition_point(|other| *other < prefix);
        let ties = self.prefixes[lower..].partition_point(|other| *other == prefix);
        let ties = &self.firsts[lower..lower + ties];
        let before = lower + ties.partition_point(|slot| is_before(slot.handle()));
        before.saturating_sub(1)
    }

    /// The child where a place in the order is, and the handles before it.
    #[inline]
    pub(super) fn towards(
        &self,
        prefix: u64,
        is_before: impl Fn(Handle) -> bool,
    ) -> (usize, &Node) {
        let index = self.index_of(prefix, is_before);
        let before = self.counts[..index].iter().map(|count| *count as usize).sum();
        (before, &self.nodes[index])
    }

    /// The child that holds a rank, and the rank in it.
    #[inline]
    pub(super) fn child_at(&self, rank: usize) -> (usize, usize) {
        let mut rest = rank;
        for (index, count) in self.counts.iter().enumerate() {
            if rest < *count as usize {
                return (index, rest);
            }
            rest -= *count as usize;
        }
        unreachable!("a rank below the length is under a child")
    }

    /// The child where a handle is that is being replaced; the copy of it here is exchanged.
    pub(super) fn replace_towards(
        &mut self,
        old: Slot,
        new: Slot,
        prefix: u64,
        up_to: impl Fn(Handle) -> bool,
    ) -> &mut Node {
        let index = self.index_of(prefix, up_to);
        if self.firsts[index] == old {
            self.firsts[index] = new;
        }
        &mut self.nodes[index]
    }

    /// Adds a handle; the right part when the node had to split.
    pub(super) fn insert(
        &mut self,
        new: &Insertion<'_, impl Order>,
        edges: Edges,
        usage: &mut Usage,
    ) -> Option<Self> {
        let index = match new.place {
            Place::Last => self.children() - 1,
            Place::Ordered => self.index_of(new.prefix, |other| new.is_before(other)),
        };
        let inside = Edges {
            first: edges.first && index == 0,
            last: edges.last && index + 1 == self.children(),
        };
        let split = self.nodes[index].insert(new, inside, usage);
        let Some(right) = split else {
            self.counts[index] += 1;
            self.refresh_first(index, new.order);
            return None;
        };
        self.counts[index] = self.nodes[index].len() as u32;
        self.refresh_first(index, new.order);
        if self.children() < CHILDREN_MAX {
            self.insert_child(index + 1, right, new.order, usage);
            return None;
        }
        let middle = if inside.last {
            CHILDREN_MAX
        } else if inside.first {
            1
        } else {
            CHILDREN_MAX / 2
        };
        let mut other = self.split_off(middle, usage);
        if index >= middle || middle == CHILDREN_MAX {
            other.insert_child(index + 1 - middle, right, new.order, usage);
        } else {
            self.insert_child(index + 1, right, new.order, usage);
        }
        Some(other)
    }

    /// Removes at most `limit` handles of one leaf from `rank` on; how many.
    pub(super) fn take(
        &mut self,
        rank: usize,
        limit: usize,
        order: &impl Order,
        usage: &mut Usage,
        sink: &mut impl FnMut(Handle),
    ) -> usize {
        let (index, rest) = self.child_at(rank);
        let taken = self.nodes[index].take(rest, limit, order, usage, sink);
        self.counts[index] -= taken as u32;
        if self.counts[index] == 0 {
            self.remove_child(index).discount(usage);
            return taken;
        }
        self.refresh_first(index, order);
        if self.nodes[index].is_small() {
            self.merge_around(index, usage);
        }
        taken
    }

    /// Removes at most `limit` handles from the end of the last leaf; how many.
    pub(super) fn take_last(
        &mut self,
        limit: usize,
        usage: &mut Usage,
        sink: &mut impl FnMut(Handle),
    ) -> usize {
        let index = self.children() - 1;
        let taken = self.nodes[index].take_last(limit, usage, sink);
        self.counts[index] -= taken as u32;
        if self.counts[index] == 0 {
            self.remove_child(index).discount(usage);
        }
        taken
    }

    /// For a root with one child or none: what is to be the root instead of it.
    pub(super) fn take_sole_child(&mut self, usage: &mut Usage) -> Option<Node> {
        if self.children() > 1 {
            return None;
        }
        usage.bytes -= self.bytes();
        Some(self.nodes.pop().unwrap_or_else(|| Node::Leaf(Leaf::new())))
    }

    /// Takes all children of the node after it.
    pub(super) fn append(&mut self, mut next: Self, usage: &mut Usage) {
        usage.bytes -= next.bytes();
        self.reserve(next.children(), usage);
        self.prefixes.append(&mut next.prefixes);
        self.firsts.append(&mut next.firsts);
        self.counts.append(&mut next.counts);
        self.nodes.append(&mut next.nodes);
    }

    /// Corrects what is known of a child's first entry.
    #[inline]
    fn refresh_first(&mut self, index: usize, order: &impl Order) {
        let first = self.nodes[index].first();
        if self.firsts[index] != first {
            self.firsts[index] = first;
            self.prefixes[index] = order.prefix(first.handle());
        }
    }

    fn insert_child(&mut self, index: usize, node: Node, order: &impl Order, usage: &mut Usage) {
        self.reserve(1, usage);
        let first = node.first();
        self.prefixes.insert(index, order.prefix(first.handle()));
        self.firsts.insert(index, first);
        self.counts.insert(index, node.len() as u32);
        self.nodes.insert(index, node);
    }

    fn remove_child(&mut self, index: usize) -> Node {
        self.prefixes.remove(index);
        self.firsts.remove(index);
        self.counts.remove(index);
        self.nodes.remove(index)
    }

    /// Merges a small child with a neighbour that has room.
    fn merge_around(&mut self, index: usize, usage: &mut Usage) {
        let fits = |left: usize| {
            left + 1 < self.children() && self.nodes[left].fits_with(&self.nodes[left + 1])
        };
        let left = if fits(index) {
            index
        } else if index > 0 && fits(index - 1) {
            index - 1
        } else {
            return;
        };
        let count = self.counts[left + 1];
        let next = self.remove_child(left + 1);
        self.nodes[left].append(next, usage);
        self.counts[left] += count;
    }

    fn split_off(&mut self, at: usize, usage: &mut Usage) -> Self {
        let mut right = Self::new(usage);
        right.reserve(self.children() - at, usage);
        right.prefixes.extend(self.prefixes.drain(at..));
        right.firsts.extend(self.firsts.drain(at..));
        right.counts.extend(self.counts.drain(at..));
        right.nodes.extend(self.nodes.drain(at..));
        let before = self.bytes();
        let capacity = at.next_multiple_of(STEP);
        self.prefixes.shrink_to(capacity);
        self.firsts.shrink_to(capacity);
        self.counts.shrink_to(capacity);
        self.nodes.shrink_to(capacity);
        usage.bytes = usage.bytes - before + self.bytes();
        right
    }

    /// Makes room for more children, all arrays alike.
    fn reserve(&mut self, more: usize, usage: &mut Usage) {
        let len = self.children();
        if len + more <= self.nodes.capacity() || more == 0 {
            return;
        }
        let before = self.bytes();
        let room = (len + more).next_multiple_of(STEP) - len;
        self.prefixes.reserve_exact(room);
        self.firsts.reserve_exact(room);
        self.counts.reserve_exact(room);
        self.nodes.reserve_exact(room);
        usage.bytes = usage.bytes - before + self.bytes();
    }

    /// Checks the subtree and counts its memory; the number of handles.
    pub(super) fn verify(
        &self,
        order: &impl Order,
        depth: usize,
        leaf_depth: &mut Option<usize>,
        usage: &mut Usage,
    ) -> usize {
        let children = self.children();
        assert!((1..=CHILDREN_MAX).contains(&children), "a node has children, but not too many");
        assert_eq!(self.prefixes.len(), children);
        assert_eq!(self.firsts.len(), children);
        assert_eq!(self.counts.len(), children);
        usage.bytes += self.bytes();
        let mut len = 0;
        for (index, node) in self.nodes.iter().enumerate() {
            let count = node.verify(order, depth + 1, leaf_depth, usage);
            assert!(count > 0, "no child is empty");
            assert_eq!(self.counts[index] as usize, count, "counts are those of the children");
            assert_eq!(self.firsts[index], node.first(), "firsts are those of the children");
            let prefix = order.prefix(node.first().handle());
            assert_eq!(self.prefixes[index], prefix, "prefixes are those of the firsts");
            len += count;
        }
        len
    }
}
