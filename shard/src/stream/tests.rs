//! Streams against models from the standard library, and what an entry costs.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type Pair = (Vec<u8>, Vec<u8>);

/// The model: entries as they were added.
#[derive(Default)]
struct Model {
    entries: BTreeMap<Id, Vec<Pair>>,
    max_deleted: Id,
    added: u64,
}

fn as_pairs(pairs: &[Pair]) -> impl Pairs<'_> {
    pairs.iter().map(|(field, value)| (field.as_slice(), value.as_slice()))
}

fn owned(entry: Entry<'_>) -> (Id, Vec<Pair>) {
    (entry.id, entry.pairs.map(|(field, value)| (field.to_vec(), value.to_vec())).collect())
}

fn add(stream: &mut Stream, id: Id, pairs: &[Pair], limits: NodeLimits) {
    stream.log_mut().append(id, as_pairs(pairs), limits).unwrap();
}

fn filled(ids: impl IntoIterator<Item = u64>, limits: NodeLimits) -> Stream {
    let mut stream = Stream::new();
    for ms in ids {
        add(&mut stream, Id::new(ms, 0), &[(b"f".to_vec(), ms.to_string().into_bytes())], limits);
    }
    stream
}

fn ids(stream: &Stream) -> Vec<u64> {
    stream.log().range(Id::MIN, Id::MAX).map(|entry| entry.id.ms).collect()
}

#[derive(Clone, Debug)]
enum Op {
    Append {
        ms: u64,
        seq: u64,
        pairs: Vec<Pair>,
    },
    /// Deletes the entry at this share of the stream, or an identifier that may not be there.
    Delete {
        share: u16,
        off: u64,
    },
    Trim {
        share: u16,
        by_id: bool,
        how: TrimHow,
    },
    Range {
        from: u16,
        to: u16,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let text = || vec(any::<u8>(), 0..20);
    let long = prop_oneof![9 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 120..400)];
    let known = (0..3u8, long.clone()).prop_map(|(field, value)| vec![(vec![field], value)]);
    let pairs = prop_oneof![3 => known, 1 => vec((text(), long), 1..4)];
    let step = prop_oneof![4 => Just(0u64), 4 => 0..40u64, 1 => any::<u32>().prop_map(u64::from)];
    let seq = prop_oneof![6 => Just(0u64), 1 => 1..1000u64, 1 => any::<u32>().prop_map(u64::from)];
    let how = prop_oneof![
        2 => Just(TrimHow::Exact),
        1 => (0..40u64).prop_map(|entries_max| TrimHow::Blocks { entries_max }),
    ];
    prop_oneof![
        12 => (step, seq, pairs).prop_map(|(ms, seq, pairs)| Op::Append { ms, seq, pairs }),
        5 => (any::<u16>(), 0..2u64).prop_map(|(share, off)| Op::Delete { share, off }),
        1 => (any::<u16>(), any::<bool>(), how)
            .prop_map(|(share, by_id, how)| Op::Trim { share, by_id, how }),
        3 => (any::<u16>(), any::<u16>()).prop_map(|(from, to)| Op::Range { from, to }),
    ]
}

impl Model {
    /// An identifier in or beyond the stream.
    fn id_at(&self, share: u16) -> Id {
        let at = usize::from(share) * (self.entries.len() + 1) / (usize::from(u16::MAX) + 1);
        self.entries.keys().nth(at).copied().unwrap_or(Id::new(u64::MAX, 7))
    }

    fn check(&self, stream: &Stream) {
        stream.verify();
        let log = stream.log();
        assert_eq!(log.len(), self.entries.len() as u64);
        assert_eq!(log.entries_added(), self.added);
        assert_eq!(log.max_deleted(), self.max_deleted);
        assert_eq!(log.first_id(), self.entries.keys().next().copied().unwrap_or(Id::MIN));
        assert_eq!(log.last_entry_id(), self.entries.keys().last().copied().unwrap_or(Id::MIN));
    }

    fn check_range(&self, stream: &Stream, from: Id, to: Id) {
        let expected: Vec<_> = if from <= to {
            self.entries.range(from..=to).map(|(id, pairs)| (*id, pairs.clone())).collect()
        } else {
            Vec::new()
        };
        let mut seen: Vec<_> = stream.log().range(from, to).map(owned).collect();
        assert_eq!(seen, expected);
        seen = stream.log().range_back(from, to).map(owned).collect();
        seen.reverse();
        assert_eq!(seen, expected);
    }

    fn trim(&mut self, stream: &mut Stream, to: TrimTo, how: TrimHow) {
        let before = self.entries.len() as u64;
        let mut trimming = Trimming::new(to, how, References::Keep);
        while stream.trim_part(&mut trimming, 5) {
            stream.verify();
        }
        let removed = trimming.removed();
        let wanted = match to {
            TrimTo::Len(len) => before.saturating_sub(len),
            TrimTo::MinId(id) => self.entries.range(..id).count() as u64,
        };
        match how {
            TrimHow::Exact => assert_eq!(removed, wanted),
            TrimHow::Blocks { entries_max } => {
                assert!(removed <= wanted);
                assert!(entries_max == 0 || removed <= entries_max);
            }
        }
        for _ in 0..removed {
            self.entries.pop_first();
        }
    }

    fn apply(&mut self, stream: &mut Stream, op: Op, limits: NodeLimits) {
        match op {
            Op::Append { ms, seq, pairs } => {
                let last = stream.log().last_id();
                let id = Id::new(last.ms + ms, seq).max(last.next().unwrap());
                add(stream, id, &pairs, limits);
                self.entries.insert(id, pairs);
                self.added += 1;
            }
            Op::Delete { share, off } => {
                let mut id = self.id_at(share);
                id.seq += off;
                let is_deleted = self.entries.remove(&id).is_some();
                let expected = if is_deleted { Deletion::Deleted } else { Deletion::Missing };
                assert_eq!(stream.delete(id, References::Keep), expected);
                if is_deleted {
                    self.max_deleted = self.max_deleted.max(id);
                }
            }
            Op::Trim { share, by_id, how } => {
                let to = if by_id {
                    TrimTo::MinId(self.id_at(share))
                } else {
                    TrimTo::Len((self.entries.len() as u64 * u64::from(share)) >> 16)
                };
                self.trim(stream, to, how);
            }
            Op::Range { from, to } => {
                self.check_range(stream, self.id_at(from), self.id_at(to));
            }
        }
    }
}

proptest! {
    #[test]
    fn a_stream_behaves_as_a_map(
        ops in vec(op(), 1..200),
        bytes in prop_oneof![Just(0usize), Just(1usize), 60..600usize],
        entries in prop_oneof![Just(0usize), 1..12usize],
    ) {
        let limits = NodeLimits { bytes, entries };
        let (mut stream, mut model) = (Stream::new(), Model::default());
        for op in ops {
            model.apply(&mut stream, op, limits);
            model.check(&stream);
        }
        model.check_range(&stream, Id::MIN, Id::MAX);
        while stream.drain(3) {
            stream.log().verify();
        }
        assert!(stream.log().is_empty());
    }

    /// Each operation picks one of few entries and consumers; the model is one map.
    #[test]
    fn a_group_behaves_as_a_map(ops in vec((0..7u8, 1..30u64, 0..4u8, 0..50u64), 1..200)) {
        let mut stream = Stream::new();
        assert!(stream.create_group(b"g", Id::MIN, Some(0)));
        let mut model: BTreeMap<Id, (Option<u8>, u64)> = BTreeMap::new();
        let mut released: Vec<Id> = Vec::new();
        for (kind, ms, consumer, time) in ops {
            let id = Id::new(ms, 0);
            stream.with_group(b"g", |_, group| match kind {
                0..=2 => {
                    let name = [consumer];
                    let found = group.find_consumer(&name);
                    let to = found.or_else(|| group.create_consumer(&name, time)).unwrap();
                    group.assign(id, to, time, 1);
                    model.insert(id, (Some(consumer), time));
                    released.retain(|other| *other != id);
                }
                3 | 4 => {
                    assert_eq!(group.acknowledge(id), model.remove(&id).is_some());
                    released.retain(|other| *other != id);
                }
                5 => {
                    group.release(id, 3);
                    model.insert(id, (None, 0));
                    released.retain(|other| *other != id);
                    released.push(id);
                }
                _ => {
                    let before = model.len();
                    model.retain(|_, (owner, _)| *owner != Some(consumer));
                    let deleted = group.delete_consumer(&[consumer]).unwrap_or(0);
                    assert_eq!(deleted, before - model.len());
                }
            });
            stream.verify();
            let group = stream.group(b"g").unwrap();
            let owner =
                |pending: &Pending| Some(group.consumer(pending.consumer()?).name()[0]);
            let seen: BTreeMap<_, _> = group
                .pending_from(Id::MIN)
                .map(|(id, pending)| (id, (owner(pending), pending.delivered_ms())))
                .collect();
            assert_eq!(seen, model);
            let mut by_idle = released.clone();
            let mut delivered: Vec<_> = model
                .iter()
                .filter(|(_, (owner, _))| owner.is_some())
                .map(|(id, (_, time))| (*time, *id))
                .collect();
            delivered.sort_unstable();
            by_idle.extend(delivered.into_iter().map(|(_, id)| id));
            assert_eq!(group.pending_by_idle().map(|(id, _)| id).collect::<Vec<_>>(), by_idle);
        }
        while stream.drain(2) {}
        assert_eq!(stream.groups().len(), 0);
    }

    #[test]
    fn idempotence_behaves_as_lists(ops in vec((0..4u8, 0..6u8, 0..3000u64), 1..150)) {
        let mut table = Idempotence::default();
        table.set_limits(IdempotenceLimits { duration_s: 2, additions_max: 3 });
        let mut model: BTreeMap<u8, Vec<(u8, u64, Id)>> = BTreeMap::new();
        let mut now = 0;
        for (at, (producer, name, step)) in ops.into_iter().enumerate() {
            now += step;
            let list = model.entry(producer).or_default();
            list.retain(|(_, time, _)| time + 2000 > now);
            let known = list.iter().find(|(other, ..)| *other == name).map(|(_, _, id)| *id);
            assert_eq!(table.find(&[producer], &[name], now), known);
            if known.is_none() {
                let id = Id::new(at as u64 + 1, 0);
                table.add(&[producer], &[name], id, now);
                list.push((name, now, id));
                if list.len() > 3 {
                    list.remove(0);
                }
            }
            table.verify();
        }
    }
}

#[test]
fn a_silent_producer_is_forgotten_by_the_additions_of_others() {
    let mut table = Idempotence::default();
    for producer in 0..50u8 {
        table.add(&[producer], b"once", Id::new(1, 1), 0);
    }
    assert_eq!(table.producers_len(), 50);
    for at in 0..60u64 {
        table.add(b"other", &at.to_be_bytes(), Id::new(2, at), 200_000);
    }
    table.verify();
    assert_eq!(table.producers_len(), 1);
}

#[test]
fn an_entry_of_one_value_takes_less_than_40_bytes() {
    const ENTRIES: u64 = 100_000;
    let mut stream = Stream::new();
    let value = [7; 32];
    for at in 0..ENTRIES {
        // Sixteen a millisecond, as a pipelining client adds them.
        let id = Id::new(1_700_000_000_000 + at / 16, at % 16);
        let pairs = [(b"field".as_slice(), value.as_slice())];
        stream.log_mut().append(id, pairs.into_iter(), NodeLimits::default()).unwrap();
    }
    let bytes = stream.memory() as u64;
    assert!(bytes < ENTRIES * 36, "{bytes} bytes");
    // Size classes: a block's bytes are in the class of 3584.
    assert!(bytes / ENTRIES >= 34);
}

#[test]
fn approximate_trimming_takes_whole_blocks_within_the_limit() {
    let limits = NodeLimits { bytes: 4096, entries: 10 };
    let whole = |entries_max| TrimHow::Blocks { entries_max };
    let mut stream = filled(1..=100, limits);
    assert_eq!(stream.trim(TrimTo::Len(95), whole(0), References::Keep), 0);
    assert_eq!(stream.trim(TrimTo::Len(85), whole(0), References::Keep), 10);
    assert_eq!(stream.trim(TrimTo::Len(55), whole(20), References::Keep), 20);
    assert_eq!(stream.trim(TrimTo::MinId(Id::new(45, 0)), whole(0), References::Keep), 10);
    assert_eq!(stream.log().first_id(), Id::new(41, 0));
    assert_eq!(stream.log().max_deleted(), Id::MIN);
    stream.verify();
}

#[test]
fn trimming_spares_what_groups_need_or_takes_it_from_them() {
    let mut stream = filled(1..=10, NodeLimits { bytes: 0, entries: 3 });
    assert!(stream.create_group(b"g", Id::MIN, None));
    stream.with_group(b"g", |_, group| {
        let consumer = group.create_consumer(b"c", 0).unwrap();
        group.last_delivered = Id::new(6, 0);
        group.assign(Id::new(2, 0), consumer, 5, 1);
        group.assign(Id::new(5, 0), consumer, 5, 1);
    });
    let to = TrimTo::Len(2);
    let mut trimming = Trimming::new(to, TrimHow::Exact, References::Acknowledged);
    while stream.trim_part(&mut trimming, 1) {}
    assert_eq!(trimming.removed(), 4);
    assert_eq!(ids(&stream), [2, 5, 7, 8, 9, 10]);
    assert_eq!(stream.delete(Id::new(7, 0), References::Acknowledged), Deletion::Referenced);
    assert_eq!(stream.trim(TrimTo::Len(4), TrimHow::Exact, References::Delete), 2);
    assert_eq!(stream.group(b"g").unwrap().pending_len(), 0);
    stream.verify();
}

#[test]
fn deleting_with_references_takes_dangling_ones_too() {
    let mut stream = filled(1..=3, NodeLimits::default());
    stream.create_group(b"g", Id::new(3, 0), None);
    stream.with_group(b"g", |_, group| {
        let consumer = group.create_consumer(b"c", 0).unwrap();
        for ms in 1..=3 {
            group.assign(Id::new(ms, 0), consumer, 1, 1);
        }
    });
    assert_eq!(stream.delete(Id::new(1, 0), References::Keep), Deletion::Deleted);
    assert_eq!(stream.group(b"g").unwrap().pending_len(), 3);
    assert_eq!(stream.delete(Id::new(1, 0), References::Delete), Deletion::Missing);
    assert_eq!(stream.delete(Id::new(2, 0), References::Acknowledged), Deletion::Referenced);
    assert_eq!(stream.delete(Id::new(2, 0), References::Delete), Deletion::Deleted);
    assert_eq!(stream.group(b"g").unwrap().pending_len(), 1);
    stream.verify();
}

#[test]
fn counting_entries_up_to_an_identifier() {
    let mut stream = filled(1..=5, NodeLimits::default());
    let at = |stream: &Stream, ms| stream.log().entries_added_up_to(Id::new(ms, 0));
    assert_eq!(at(&stream, 0), Some(0));
    assert_eq!(at(&stream, 1), Some(1));
    assert_eq!(at(&stream, 3), None);
    assert_eq!(at(&stream, 5), Some(5));
    assert_eq!(at(&stream, 6), None);
    stream.log_mut().delete(Id::new(3, 0));
    assert!(stream.log().has_deleted_from(Id::new(2, 0)));
    assert!(!stream.log().has_deleted_from(Id::new(4, 0)));
    assert_eq!(at(&stream, 0), None);
    assert_eq!(at(&stream, 5), Some(5));
    stream.trim(TrimTo::Len(1), TrimHow::Exact, References::Keep);
    assert_eq!(at(&stream, 0), Some(4));
}

#[test]
fn a_header_that_outgrows_what_was_cut_out_is_accounted_for() {
    let mut stream = Stream::new();
    for seq in 1..200 {
        let pairs = [(b"".as_slice(), b"".as_slice())];
        stream.log_mut().append(Id::new(0, seq), pairs.into_iter(), NodeLimits::default()).unwrap();
    }
    for seq in (2..200).step_by(2) {
        assert!(stream.log_mut().delete(Id::new(0, seq)));
        stream.verify();
    }
}
