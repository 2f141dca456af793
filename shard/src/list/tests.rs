//! The list against a deque: every operation, under every kind of limit.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Push(End, Vec<u8>),
    PushMany(End, Vec<u8>, usize),
    Pop(End, usize),
    Set(prop::sample::Index, Vec<u8>),
    Insert(prop::sample::Index, Vec<u8>),
    /// In parts of so many blocks.
    Remove(Vec<u8>, usize, Direction, usize),
    Take(End, prop::sample::Index),
    Limits(ListLimits),
}

/// Few distinct values, so that they recur; of all kinds of lengths.
fn elements() -> impl Strategy<Value = Vec<u8>> {
    let lengths = prop_oneof![
        8 => 0..30_usize,
        2 => 230..250_usize,
        1 => 4070..4090_usize,
        1 => 8180..8200_usize,
        1 => 66_000..66_002_usize,
    ];
    (0..4_u8, lengths).prop_map(|(letter, len)| vec![b'a' + letter; len])
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Front), Just(End::Back)]
}

fn directions() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Forward), Just(Direction::Backward)]
}

fn limits() -> impl Strategy<Value = ListLimits> {
    (prop_oneof![-6..0_i64, 0..5_i64, Just(64_i64), Just(100_000)], 0..4_u64)
        .prop_map(|(size, depth)| ListLimits::new(size, depth))
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (ends(), elements()).prop_map(|(end, element)| Op::Push(end, element)),
        3 => (ends(), elements(), 0..300_usize)
            .prop_map(|(end, element, count)| Op::PushMany(end, element, count)),
        4 => (ends(), 0..200_usize).prop_map(|(end, count)| Op::Pop(end, count)),
        4 => (any::<prop::sample::Index>(), elements()).prop_map(|(at, e)| Op::Set(at, e)),
        6 => (any::<prop::sample::Index>(), elements()).prop_map(|(at, e)| Op::Insert(at, e)),
        2 => (elements(), 0..50_usize, directions(), prop_oneof![1..4_usize, Just(usize::MAX)])
            .prop_map(|(e, n, way, blocks)| Op::Remove(e, n, way, blocks)),
        1 => (ends(), any::<prop::sample::Index>()).prop_map(|(end, at)| Op::Take(end, at)),
        1 => limits().prop_map(Op::Limits),
    ]
}

struct Pair {
    list: List,
    model: VecDeque<Vec<u8>>,
    limits: ListLimits,
}

impl Pair {
    fn apply(&mut self, op: Op) {
        let len = self.model.len();
        match op {
            Op::Push(end, element) => self.push(end, element),
            Op::PushMany(end, element, count) => {
                let count = if element.len() > 300 { 3 } else { count };
                for index in 0..count {
                    let mut element = element.clone();
                    element.extend_from_slice(index.to_string().as_bytes());
                    self.push(end, element);
                }
            }
            Op::Pop(end, count) => {
                for _ in 0..count {
                    let expected = match end {
                        End::Front => self.model.pop_front(),
                        End::Back => self.model.pop_back(),
                    };
                    assert_eq!(self.list.pop(end, self.limits, <[u8]>::to_vec), expected);
                }
            }
            Op::Set(at, element) => {
                let index = at.index(len + 1);
                let exists = self.list.set(index, &element, self.limits);
                assert_eq!(exists, index < len);
                if exists {
                    self.model[index] = element;
                }
            }
            Op::Insert(at, element) => {
                let index = at.index(len + 1);
                self.list.insert(index, &element, self.limits);
                self.model.insert(index, element);
            }
            Op::Remove(value, count, direction, blocks) => {
                let mut removal = Removal::new(count, direction);
                while self.list.remove_part(&value, &mut removal, blocks, self.limits) {
                    self.list.verify();
                }
                let removed = removal.removed();
                assert_eq!(removed, remove_from(&mut self.model, &value, count, direction));
            }
            Op::Take(end, at) => {
                let count = at.index(len + 1);
                let mut taken = self.list.take(end, count, self.limits);
                assert!(taken.len() <= count);
                while taken.drain(2) {}
                match end {
                    End::Front => drop(self.model.drain(..count)),
                    End::Back => self.model.truncate(len - count),
                }
            }
            Op::Limits(limits) => self.limits = limits,
        }
    }

    fn push(&mut self, end: End, element: Vec<u8>) {
        self.list.push(end, &element, self.limits);
        match end {
            End::Front => self.model.push_front(element),
            End::Back => self.model.push_back(element),
        }
    }

    fn check(&self, probe: usize) {
        self.list.verify();
        assert_eq!(self.list.len(), self.model.len());
        let mut expected = self.model.iter();
        self.list.visit(0, Direction::Forward, |element| {
            assert_eq!(Some(element), expected.next().map(Vec::as_slice));
            ControlFlow::Continue(())
        });
        assert_eq!(expected.next(), None);
        let index = probe % (self.model.len() + 1);
        let expected = self.model.get(index);
        assert_eq!(self.list.get(index, <[u8]>::to_vec).as_ref(), expected);
        let mut backwards = Vec::new();
        self.list.visit(index, Direction::Backward, |element| {
            backwards.push(element.to_vec());
            ControlFlow::Continue(())
        });
        if expected.is_some() {
            assert!(backwards.iter().eq(self.model.iter().take(index + 1).rev()));
        }
        let mut part = Vec::new();
        self.list.range(index, 7, |element| part.push(element.to_vec()));
        assert!(part.iter().eq(self.model.iter().skip(index).take(7)));
    }
}

fn remove_from(
    model: &mut VecDeque<Vec<u8>>,
    value: &[u8],
    count: usize,
    direction: Direction,
) -> usize {
    let equal = model.iter().filter(|element| *element == value).count();
    let removed = equal.min(count);
    let skip = if direction == Direction::Backward { equal - removed } else { 0 };
    let mut seen = 0;
    model.retain(|element| {
        let is_equal = element == value;
        seen += usize::from(is_equal);
        !is_equal || seen <= skip || seen > skip + removed
    });
    removed
}

proptest! {
    #[test]
    fn behaves_as_a_deque(limits in limits(), ops in proptest::collection::vec(ops(), 1..60)) {
        let mut pair = Pair { list: List::new(), model: VecDeque::new(), limits };
        for (step, op) in ops.into_iter().enumerate() {
            pair.apply(op);
            pair.check(step.wrapping_mul(0x9E37_79B1));
        }
    }
}

fn element(index: usize) -> Vec<u8> {
    format!("element:{index:012}").into_bytes()
}

#[test]
fn an_element_of_twenty_bytes_costs_little_more() {
    for end in [End::Front, End::Back] {
        let mut list = List::new();
        for index in 0..100_000 {
            list.push(end, &element(index), ListLimits::default());
        }
        assert!(list.memory() < 100_000 * 215 / 10, "{} bytes", list.memory());
    }
}

#[test]
fn compression_leaves_the_ends_open() {
    let limits = ListLimits::new(-1, 1);
    let mut open = List::new();
    let mut packed = List::new();
    for index in 0..20_000 {
        open.push(End::Back, &element(index), ListLimits::new(-1, 0));
        packed.push(End::Back, &element(index), limits);
    }
    assert!(packed.memory() < open.memory() / 2);
    assert!(packed.set(10_000, b"changed", limits));
    packed.insert(10_001, b"inserted", limits);
    assert!(packed.memory() < open.memory() / 2);
    packed.verify();
    let first = packed.pop(End::Front, limits, <[u8]>::to_vec);
    assert_eq!(first, Some(element(0)));
    for _ in 1..20_001 {
        packed.pop(End::Back, limits, |_| ()).unwrap();
    }
    assert!(packed.is_empty());
    packed.verify();
}

#[test]
fn it_is_a_listpack_until_a_block_is_full_and_again_below_half() {
    let limits = ListLimits::new(8, 0);
    let mut list = List::new();
    for count in 1..=9 {
        list.push(End::Back, b"x", limits);
        assert_eq!(list.encoding_name(), if count <= 8 { "listpack" } else { "quicklist" });
    }
    for left in (1..9).rev() {
        list.pop(End::Back, limits, |_| ());
        assert_eq!(list.encoding_name(), if left > 4 { "quicklist" } else { "listpack" }, "{left}");
    }
    list.push(End::Front, &[b'x'; 9000], limits);
    assert_eq!(list.encoding_name(), "quicklist");
}

#[test]
fn pushes_at_both_ends_in_turn_share_the_room() {
    let mut list = List::new();
    for index in 0..4000 {
        let end = if index % 2 == 0 { End::Front } else { End::Back };
        list.push(end, &element(index), ListLimits::default());
        list.pop(
            if index % 3 == 0 { End::Front } else { End::Back },
            ListLimits::default(),
            |_| (),
        );
        list.push(end, &element(index), ListLimits::default());
        list.verify();
    }
    assert_eq!(list.len(), 4000);
}
