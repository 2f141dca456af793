//! Between values in dumps and values on their way into and out of a shard.

use kvasir_shard::stream::{self, Id, NodeLimits};
use kvasir_shard::{
    DEADLINE_MAX, Elements, EncodingLimits, End, List, OwnedData, OwnedValue, ValueRef,
    parse_canonical_int,
};

use super::rdb::extras::{Addition, Additions, Extras, Released, StreamExtras};
use super::rdb::{self, Consumer, Group, Hash, Pending, SortedSet, Stream, StreamId, Value};

/// A value that was read, to be put under a key of a shard with these limits. `None` for what no
/// shard can hold: a stream entry of a gigabyte or more.
pub fn from_dump(
    value: Value,
    deadline_ms: Option<u64>,
    limits: EncodingLimits,
) -> Option<OwnedValue> {
    from_file(value, &Extras::default(), deadline_ms, limits)
}

/// As [`from_dump`], with what a file has beyond the value.
pub fn from_file(
    value: Value,
    extras: &Extras,
    deadline_ms: Option<u64>,
    limits: EncodingLimits,
) -> Option<OwnedValue> {
    let mut deadlines = deadlines_by_place(extras);
    let mut elements = Elements::default();
    let data = match value {
        Value::String(bytes) => return Some(OwnedValue::from_bytes(bytes, deadline_ms)),
        Value::List(texts) => {
            let mut list = List::new();
            texts.iter().for_each(|text| list.push(End::Back, text, limits.list));
            OwnedData::List(list)
        }
        Value::Hash(hash) => {
            for (field, value, deadline) in hash.iter() {
                // One that is long past is kept as past, and one beyond all time as far away.
                let deadline = deadline.map(|deadline| deadline.clamp(1, DEADLINE_MAX));
                elements.push_field(text(field), text(value), deadline);
            }
            OwnedData::Hash(elements)
        }
        Value::Set(members) => {
            for (member, deadline) in members.iter().zip(&mut deadlines) {
                elements.push_member(text(member), deadline);
            }
            OwnedData::Set(elements)
        }
        Value::SortedSet(set) => {
            let scored = set.members.iter().zip(&set.scores);
            for ((member, score), deadline) in scored.zip(&mut deadlines) {
                elements.push_scored(text(member), *score, deadline);
            }
            OwnedData::SortedSet(elements)
        }
        Value::Stream(stream) => {
            let mut stream = stream_from_dump(&stream, limits)?;
            if let Some(extras) = &extras.stream {
                add_stream_extras(&mut stream, extras);
            }
            OwnedData::Stream(Box::new(stream))
        }
    };
    Some(OwnedValue::new(data, deadline_ms))
}

/// The deadlines of all members in order, without end.
fn deadlines_by_place(extras: &Extras) -> impl Iterator<Item = Option<u64>> {
    let mut known = extras.deadlines.iter().peekable();
    (0_u64..).map(move |place| {
        let (_, deadline) = known.next_if(|(at, _)| *at == place)?;
        Some((*deadline).clamp(1, DEADLINE_MAX))
    })
}

/// Bytes as the shard keeps them: an integer where they are the text of one.
pub fn text(bytes: &[u8]) -> ValueRef<'_> {
    parse_canonical_int(bytes).map_or(ValueRef::Bytes(bytes), ValueRef::Int)
}

fn stream_from_dump(dumped: &Stream, limits: EncodingLimits) -> Option<stream::Stream> {
    let limits =
        NodeLimits { bytes: limits.stream_node_max_bytes, entries: limits.stream_node_max_entries };
    let mut stream = stream::Stream::new();
    let log = stream.log_mut();
    let mut items = dumped.items.iter();
    for (id, fields) in dumped.ids.iter().zip(&dumped.field_counts) {
        let mut pairs = Vec::with_capacity(*fields as usize);
        for _ in 0..*fields {
            let pair = items.next().zip(items.next());
            pairs.push(pair.expect("invariant: a field has a value"));
        }
        log.append(id_from_dump(*id), pairs.iter().copied(), limits).ok()?;
    }
    log.set_last_id(id_from_dump(dumped.last_id));
    log.set_max_deleted(id_from_dump(dumped.max_deleted_id));
    log.set_entries_added(dumped.entries_added);
    for dumped in &dumped.groups {
        stream.create_group(&dumped.name, id_from_dump(dumped.last_id), dumped.entries_read);
        stream.with_group(&dumped.name, |_, group| fill_group(group, dumped));
    }
    Some(stream)
}

fn add_stream_extras(stream: &mut stream::Stream, extras: &StreamExtras) {
    for (name, released) in &extras.released {
        stream.with_group(name, |_, group| {
            for Released { id, deliveries } in released {
                group.release(id_from_dump(*id), *deliveries);
            }
        });
    }
    if let Some(remembered) = &extras.idempotence {
        let at_most = |number: u64| u32::try_from(number).unwrap_or(u32::MAX).max(1);
        let tables = stream.idempotence_mut();
        tables.set_limits(stream::IdempotenceLimits {
            duration_s: at_most(remembered.duration_s),
            additions_max: at_most(remembered.additions_max),
        });
        for Addition { producer, name, id, added_ms } in &remembered.additions {
            tables.add(producer, name, id_from_dump(*id), *added_ms);
        }
        tables.set_counts(remembered.added, remembered.duplicates);
    }
}

/// What a stream has beyond its form in dumps.
pub fn stream_extras(stream: &stream::Stream) -> StreamExtras {
    let released = stream.groups().filter(|(_, group)| group.released_len() > 0);
    let released = released.map(|(name, group)| {
        let entries = group
            .released()
            .map(|(id, pending)| Released { id: id_to_dump(id), deliveries: pending.deliveries });
        (name.to_vec(), entries.collect())
    });
    let additions = |tables: &stream::Idempotence| {
        let additions = tables.additions().map(|(producer, name, id, added_ms)| Addition {
            producer: producer.to_vec(),
            name: name.to_vec(),
            id: id_to_dump(id),
            added_ms,
        });
        let limits = tables.limits();
        Additions {
            duration_s: limits.duration_s.into(),
            additions_max: limits.additions_max.into(),
            added: tables.added(),
            duplicates: tables.duplicates(),
            additions: additions.collect(),
        }
    };
    StreamExtras { released: released.collect(), idempotence: stream.idempotence().map(additions) }
}

fn fill_group(group: &mut stream::Group, dumped: &Group) {
    let moment = |ms: i64| u64::try_from(ms).ok();
    let consumers = dumped.consumers.iter().map(|consumer| {
        let seen_ms = moment(consumer.seen_ms).unwrap_or(0);
        let id = group.create_consumer(&consumer.name, seen_ms);
        let id = id.expect("invariant: names of consumers are distinct");
        group.consumer_mut(id).active_ms = moment(consumer.active_ms);
        id
    });
    let consumers: Vec<_> = consumers.collect();
    for entry in &dumped.pending {
        let delivered_ms = moment(entry.delivered_ms).unwrap_or(0);
        let consumer = consumers[entry.consumer];
        group.assign(id_from_dump(entry.id), consumer, delivered_ms, entry.deliveries);
    }
}

fn id_from_dump(id: StreamId) -> Id {
    Id::new(id.ms, id.seq)
}

/// A value of a shard, to be written. Members' deadlines have no form in dumps, nor has what
/// [`stream_extras`] tells.
pub fn to_dump(data: OwnedData) -> Value {
    match data {
        OwnedData::Int(value) => Value::String(value.to_string().into_bytes()),
        OwnedData::String(bytes) => Value::String(bytes),
        OwnedData::List(list) => {
            let mut texts = rdb::Elements::default();
            list.range(0, list.len(), |text| texts.push(text));
            Value::List(texts)
        }
        OwnedData::Hash(elements) => {
            let mut hash = Hash::default();
            for element in elements.iter() {
                push(&mut hash.entries, element.name);
                push(&mut hash.entries, element.value);
                if elements.expiring() > 0 {
                    hash.deadlines.push(element.deadline_ms);
                }
            }
            Value::Hash(hash)
        }
        OwnedData::Set(elements) => {
            let mut members = rdb::Elements::default();
            elements.iter().for_each(|element| push(&mut members, element.name));
            Value::Set(members)
        }
        OwnedData::SortedSet(elements) => {
            let mut set = SortedSet::default();
            for element in elements.iter() {
                push(&mut set.members, element.name);
                set.scores.push(element.score);
            }
            Value::SortedSet(set)
        }
        OwnedData::Stream(stream) => Value::Stream(Box::new(stream_to_dump(&stream))),
    }
}

fn push(elements: &mut rdb::Elements, value: ValueRef<'_>) {
    let pushed = value.with_bytes(|bytes| elements.push(bytes));
    pushed.expect("invariant: names and values are strings");
}

fn stream_to_dump(stream: &stream::Stream) -> Stream {
    let log = stream.log();
    let mut dumped = Stream {
        last_id: id_to_dump(log.last_id()),
        max_deleted_id: id_to_dump(log.max_deleted()),
        entries_added: log.entries_added(),
        ..Stream::default()
    };
    for entry in log.range(Id::MIN, Id::MAX) {
        dumped.ids.push(id_to_dump(entry.id));
        dumped.field_counts.push(entry.pairs.len() as u32);
        for (field, value) in entry.pairs {
            dumped.items.push(field);
            dumped.items.push(value);
        }
    }
    dumped.groups = stream.groups().map(|(name, group)| group_to_dump(name, group)).collect();
    dumped
}

/// A group, without the entries that were released: they have no form that both peers read.
fn group_to_dump(name: &[u8], group: &stream::Group) -> Group {
    let consumers: Vec<&stream::Consumer> = group.consumers().collect();
    let pending = group.pending_from(Id::MIN).filter_map(|(id, entry)| {
        let owner = group.consumer(entry.consumer()?).name();
        let consumer = consumers.binary_search_by(|other| other.name().cmp(owner));
        Some(Pending {
            id: id_to_dump(id),
            delivered_ms: entry.delivered_ms() as i64,
            deliveries: entry.deliveries,
            consumer: consumer.expect("invariant: consumers are ordered by name"),
        })
    });
    Group {
        name: name.to_vec(),
        last_id: id_to_dump(group.last_delivered),
        entries_read: group.entries_read,
        pending: pending.collect(),
        consumers: consumers.iter().map(|consumer| consumer_to_dump(consumer)).collect(),
    }
}

fn consumer_to_dump(consumer: &stream::Consumer) -> Consumer {
    Consumer {
        name: consumer.name().to_vec(),
        seen_ms: consumer.seen_ms as i64,
        active_ms: consumer.active_ms.map_or(-1, |ms| ms as i64),
    }
}

fn id_to_dump(id: Id) -> StreamId {
    StreamId { ms: id.ms, seq: id.seq }
}
