//! Values that are written read back the same, and damage is refused whatever it is.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::Index;

use super::dump::{self, DumpError, VersionCheck};
use super::*;

const OPTIONS: [WriteOptions; 2] =
    [WriteOptions { compress: false }, WriteOptions { compress: true }];

/// Integers of every width, short and long texts, and texts that compress.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..70),
        2 => any::<i64>().prop_map(|value| value.to_string().into_bytes()),
        2 => (-300..300_i32).prop_map(|value| value.to_string().into_bytes()),
        1 => (any::<u8>(), 0..20_000_usize).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn elements<'a>(texts: impl IntoIterator<Item = &'a Vec<u8>>) -> Elements {
    texts.into_iter().map(Vec::as_slice).collect()
}

fn sorted_set() -> impl Strategy<Value = Value> {
    let score = any::<f64>().prop_filter("no number", |score| !score.is_nan());
    let score = prop_oneof![score, (-1000..1000_i32).prop_map(f64::from), Just(-0.0)];
    btree_map(text(), score, 1..150).prop_map(|set: BTreeMap<Vec<u8>, f64>| {
        let members = elements(set.keys());
        Value::SortedSet(SortedSet { members, scores: set.into_values().collect() })
    })
}

fn hash() -> impl Strategy<Value = Value> {
    let plain = btree_map(text(), (text(), Just(None)), 1..150);
    let deadline = proptest::option::of(0..1_u64 << 50);
    let timed = btree_map(text(), (text(), deadline), 1..20);
    prop_oneof![plain, timed].prop_map(|hash: BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>| {
        let entries = elements(hash.iter().flat_map(|(field, (value, _))| [field, value]));
        let mut deadlines: Vec<_> = hash.into_values().map(|(_, deadline)| deadline).collect();
        if deadlines.iter().all(Option::is_none) {
            deadlines.clear();
        }
        Value::Hash(Hash { entries, deadlines })
    })
}

fn stream_id() -> impl Strategy<Value = StreamId> {
    prop_oneof![(0..50_u64, 1..50_u64), (any::<u64>(), 1..u64::MAX)]
        .prop_map(|(ms, seq)| StreamId { ms, seq })
}

fn group() -> impl Strategy<Value = (Vec<Pending>, Vec<Consumer>, StreamId, Option<u64>)> {
    let consumers = btree_map(vec(any::<u8>(), 0..5), (any::<i64>(), any::<i64>()), 1..4);
    let pending = btree_map(stream_id(), (any::<i64>(), 1..99_u64, any::<Index>()), 0..20);
    let read = proptest::option::of(0..1000_u64);
    (pending, consumers, stream_id(), read).prop_map(|(pending, consumers, last_id, read)| {
        let consumers: Vec<_> = consumers
            .into_iter()
            .map(|(name, (seen_ms, active_ms))| Consumer { name, seen_ms, active_ms })
            .collect();
        let pending = pending.into_iter().map(|(id, (delivered_ms, deliveries, consumer))| {
            let consumer = consumer.index(consumers.len());
            Pending { id, delivered_ms, deliveries, consumer }
        });
        (pending.collect(), consumers, last_id, read)
    })
}

fn stream() -> impl Strategy<Value = Value> {
    let fields = prop_oneof![Just(vec![b"f".to_vec(), b"g".to_vec()]), vec(text(), 1..4)];
    let entry = fields.prop_flat_map(|fields| {
        let values = vec(text(), fields.len());
        (Just(fields), values)
    });
    let entries = btree_map(stream_id(), entry, 0..250);
    let groups = btree_map(vec(any::<u8>(), 0..5), group(), 0..3);
    (entries, groups, stream_id(), stream_id(), any::<u32>()).prop_map(
        |(entries, groups, last_id, max_deleted_id, added)| {
            let mut stream = Stream { max_deleted_id, ..Stream::default() };
            for (id, (fields, values)) in entries {
                stream.ids.push(id);
                stream.field_counts.push(fields.len() as u32);
                for (field, value) in fields.iter().zip(&values) {
                    stream.items.push(field);
                    stream.items.push(value);
                }
            }
            stream.last_id = last_id.max(stream.ids.last().copied().unwrap_or_default());
            stream.entries_added = stream.ids.len() as u64 + u64::from(added);
            let groups = groups.into_iter();
            let groups = groups.map(|(name, (pending, consumers, last_id, entries_read))| Group {
                name,
                last_id,
                entries_read,
                pending,
                consumers,
            });
            stream.groups = groups.collect();
            Value::Stream(Box::new(stream))
        },
    )
}

fn value() -> impl Strategy<Value = Value> {
    let list = vec(text(), 1..200).prop_map(|list| Value::List(elements(&list)));
    let set =
        btree_set(text(), 1..150).prop_map(|set: BTreeSet<Vec<u8>>| Value::Set(elements(&set)));
    prop_oneof![text().prop_map(Value::String), list, set, sorted_set(), hash(), stream()]
}

/// The value with what has no order in the order of its members.
fn ordered(mut value: Value) -> Value {
    if let Value::SortedSet(set) = &mut value {
        let mut members: Vec<_> = set.members.iter().zip(set.scores.iter().copied()).collect();
        members.sort_by_key(|(member, _)| *member);
        let scores = members.iter().map(|(_, score)| *score).collect();
        let members = members.iter().map(|(member, _)| *member).collect();
        *set = SortedSet { members, scores };
    }
    value
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_reads_back(value in value()) {
        for options in OPTIONS {
            let payload = dump::seal(&value, options);
            let read = dump::open(&payload, VersionCheck::Strict).unwrap();
            prop_assert_eq!(ordered(read), ordered(value.clone()));
        }
    }

    #[test]
    fn a_payload_that_is_cut_is_refused(value in value(), at in any::<Index>()) {
        let payload = dump::seal(&value, OPTIONS[1]);
        let cut = &payload[..at.index(payload.len())];
        let outcome = dump::open(cut, VersionCheck::Strict);
        prop_assert!(matches!(outcome, Err(DumpError::Footer)));
        let body = &payload[1..payload.len() - 10];
        let cut = &body[..at.index(body.len())];
        let outcome = read_value(&mut Input::new(cut), payload[0], VERSION_FIELD_DEADLINES);
        prop_assert!(outcome.is_err());
    }

    #[test]
    fn damage_never_panics(
        value in value(),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        version in prop_oneof![Just(VERSION), Just(VERSION_REDIS_8), Just(VERSION_FIELD_DEADLINES)],
    ) {
        let mut payload = dump::seal(&value, OPTIONS[0]);
        let body = payload.len() - 10;
        for (at, byte) in damage {
            payload[at.index(body)] = byte;
        }
        let mut input = Input::new(&payload[1..body]);
        if let Ok(read) = read_value(&mut input, payload[0], version) {
            // What is accepted is whole: it can be written and read again.
            let again = dump::seal(&read, OPTIONS[0]);
            let again = dump::open(&again, VersionCheck::Strict).unwrap();
            prop_assert_eq!(ordered(again), ordered(read));
        }
    }

    #[test]
    fn any_bytes_of_any_type_never_panic(
        value_type in 0..30_u8,
        version in prop_oneof![Just(VERSION), Just(VERSION_FIELD_DEADLINES)],
        bytes in vec(any::<u8>(), 0..100),
    ) {
        let _ = read_value(&mut Input::new(&bytes), value_type, version);
    }
}

fn read(value_type: u8, version: u16, bytes: &[u8]) -> Result<Value, RdbError> {
    read_value(&mut Input::new(bytes), value_type, version)
}

fn refusal(value_type: u8, version: u16, bytes: &[u8]) -> String {
    read(value_type, version, bytes).unwrap_err().to_string()
}

#[test]
fn a_checksum_or_version_that_is_wrong_is_refused() {
    let payload = dump::seal(&Value::String(b"hello".to_vec()), OPTIONS[1]);
    assert_eq!(payload, *b"\x00\x05hello\x0b\x00\n\xadb\x05\x98\xab\xc9\x83", "as Valkey has it");
    for at in 0..payload.len() {
        let mut damaged = payload.clone();
        damaged[at] ^= 1;
        dump::open(&damaged, VersionCheck::Relaxed).unwrap_err();
    }
    let with_version = |version: u16| {
        let mut sealed = payload[..payload.len() - 10].to_vec();
        sealed.extend_from_slice(&version.to_le_bytes());
        let checksum = crc64::update(0, &sealed);
        sealed.extend_from_slice(&checksum.to_le_bytes());
        sealed
    };
    for version in [1, 11, 12, 80] {
        dump::open(&with_version(version), VersionCheck::Strict).unwrap();
    }
    for version in [13, 79, 81, u16::MAX] {
        dump::open(&with_version(version), VersionCheck::Strict).unwrap_err();
        dump::open(&with_version(version), VersionCheck::Relaxed).unwrap();
    }
}

#[test]
fn fields_with_deadlines_of_every_form() {
    let expected = |deadlines: &[Option<u64>]| {
        let texts: [&[u8]; 4] = [b"a", b"1", b"b", b"2"];
        let entries = texts.into_iter().collect();
        Value::Hash(Hash { entries, deadlines: deadlines.to_vec() })
    };
    let valkey = b"\x02\x01a\x011\x05\0\0\0\0\0\0\0\x01b\x012\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
    assert_eq!(read(22, 80, valkey).unwrap(), expected(&[Some(5), None]));
    let candidate = b"\x02\x05\x01a\x011\x00\x01b\x012";
    assert_eq!(read(22, 12, candidate).unwrap(), expected(&[Some(5), None]));
    let redis = b"\x05\0\0\0\0\0\0\0\x02\x01\x01a\x011\x03\x01b\x012";
    assert_eq!(read(24, 12, redis).unwrap(), expected(&[Some(5), Some(7)]));
    let mut listpack = packed::listpack::Builder::new();
    for text in [&b"a"[..], b"1", b"5", b"b", b"2", b"0"] {
        listpack.push(text);
    }
    let listpack = listpack.finish();
    let string = [&[listpack.len() as u8][..], &listpack].concat();
    assert_eq!(read(23, 12, &string).unwrap(), expected(&[Some(5), None]));
    let with_first = [&5_u64.to_le_bytes()[..], &string].concat();
    assert_eq!(read(25, 12, &with_first).unwrap(), expected(&[Some(5), None]));
    // Valkey has no such types, and no deadline is negative.
    for value_type in [23, 24, 25] {
        assert!(refusal(value_type, 80, redis).contains("no value type"));
    }
    let negative = b"\x01\x01a\x011\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF";
    assert!(refusal(22, 80, negative).contains("negative"));
}

#[test]
fn scores_as_text_of_every_form() {
    let bytes = b"\x04\x01a\xFE\x01b\xFF\x01c\x041.50\x01d\x02-7";
    let Value::SortedSet(set) = read(3, 1, bytes).unwrap() else { panic!("a sorted set") };
    assert_eq!(set.scores, [f64::INFINITY, f64::NEG_INFINITY, 1.5, -7.0]);
    assert!(refusal(3, 1, b"\x01\x01a\xFD").contains("no number"));
    assert!(refusal(3, 1, b"\x01\x01a\x01x").contains("no number"));
}

#[test]
fn what_must_be_unique_is() {
    assert!(refusal(2, 11, b"\x02\x01a\x01a").contains("member twice"));
    assert!(refusal(4, 11, b"\x02\x01a\x01x\x01a\x01y").contains("field twice"));
    assert!(refusal(3, 11, b"\x02\x01a\x011\x01a\x012").contains("member twice"));
    // The text of an integer is the same member as the integer.
    assert!(refusal(2, 11, b"\x02\x011\xC0\x01").contains("member twice"));
}

#[test]
fn what_cannot_be_is_named_with_its_offset() {
    assert_eq!(refusal(1, 11, b"\x00"), "a collection without elements (at byte 1)");
    assert_eq!(refusal(8, 11, b""), "no value type has the number 8 (at byte 0)");
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let id = "vectorset".chars().fold(0, |id, c| id << 6 | letters.find(c).unwrap() as u64);
    let id = [&[0x81][..], &(id << 10 | 1).to_be_bytes()].concat();
    assert_eq!(
        refusal(7, 11, &id),
        "a value of the module type \"vectorset\", which this server does not have (at byte 9)"
    );
    // A count beyond the end is refused before anything is read.
    assert_eq!(refusal(1, 11, b"\x80\xFF\xFF\xFF\xFF\x01a"), "the data ends too early (at byte 5)");
}
