//! Reading streams: listpacks of entries, then groups with what they have pending.
//!
//! A listpack is under the id that its entries' ids are relative to, and begins with a head that
//! counts its entries and names the fields that most of them have:
//!
//! ```text
//! head:  live entries, deleted entries, n, n field names, 0
//! entry: flags, id - id of the listpack (ms and seq), [number of fields], fields and values (only
//!        the values when the fields are the head's), number of elements of this entry before this
//! ```

use std::collections::{HashMap, HashSet};
use std::io::Read;

use super::located;
use crate::persist::rdb::elements::Elements;
use crate::persist::rdb::error::RdbError;
use crate::persist::rdb::input::Input;
use crate::persist::rdb::packed::{Fault, Item, listpack};
use crate::persist::rdb::value::{Consumer, Group, Pending, Stream, StreamId, Value};

/// The entry was deleted.
const DELETED: i64 = 1;
/// The entry has the head's fields.
const SAME_FIELDS: i64 = 2;
/// No listpack of the peers has more fields or entries; it bounds what a damaged one can claim.
const COUNT_MAX: i64 = u32::MAX as i64;
/// Entries that share the head's fields take more room once they have them. Beyond this factor,
/// which no listpack of the peers' sizes comes near, a listpack is taken for an attack.
const GROWTH_MAX: usize = 256;
/// How the peers write that the number of entries a group has read is not known.
const READ_UNKNOWN: u64 = u64::MAX;

/// The three forms, of which each has what the one before has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    First,
    /// With the first id, the largest deleted one, and what was ever added and read.
    Second,
    /// With the consumers' last activity.
    Third,
}

/// Reads a stream.
pub(super) fn read<R: Read>(input: &mut Input<R>, form: Form) -> Result<Value, RdbError> {
    let mut stream = Stream::default();
    let listpacks = input.count(2)?;
    for _ in 0..listpacks {
        listpack(input, &mut stream)?;
    }
    let length = input.length()?;
    if length > 0 && stream.ids.is_empty() {
        return Err(input.corrupt("a stream without the entries that it counts"));
    }
    stream.last_id = id_of_lengths(input)?;
    if stream.ids.last().is_some_and(|last| *last > stream.last_id) {
        return Err(input.corrupt("a stream with an entry above its last id"));
    }
    stream.entries_added = stream.ids.len() as u64;
    if form >= Form::Second {
        // The first id follows from the entries.
        id_of_lengths(input)?;
        stream.max_deleted_id = id_of_lengths(input)?;
        stream.entries_added = input.length()?;
    }
    let groups = input.count(5)?;
    for _ in 0..groups {
        let group = group(input, form, &stream)?;
        stream.groups.push(group);
    }
    let mut names = HashSet::new();
    if !stream.groups.iter().all(|group| names.insert(&group.name)) {
        return Err(input.corrupt("a stream with a group twice"));
    }
    Ok(Value::Stream(Box::new(stream)))
}

/// An id as two lengths.
fn id_of_lengths<R: Read>(input: &mut Input<R>) -> Result<StreamId, RdbError> {
    Ok(StreamId { ms: input.length()?, seq: input.length()? })
}

/// An id in 16 bytes, which sort as the ids do.
fn id_of_bytes(bytes: [u8; 16]) -> StreamId {
    let both = u128::from_be_bytes(bytes);
    StreamId { ms: (both >> 64) as u64, seq: both as u64 }
}

fn listpack<R: Read>(input: &mut Input<R>, stream: &mut Stream) -> Result<(), RdbError> {
    let base = <[u8; 16]>::try_from(input.string()?);
    let base =
        base.map_err(|_| input.corrupt("a stream listpack under something else than an id"))?;
    let outcome = entries(input.string()?, id_of_bytes(base), stream);
    located(input, "Stream listpack", outcome)
}

/// Adds the entries of a listpack that are not deleted.
fn entries(bytes: &[u8], base: StreamId, stream: &mut Stream) -> Result<(), Fault> {
    let mut reader = listpack::Reader::new(bytes)?;
    let live = count(reader.expect()?)?;
    let deleted = count(reader.expect()?)?;
    let mut head = Vec::new();
    for _ in 0..count(reader.expect()?)? {
        head.push(reader.expect()?);
    }
    if reader.expect()? != Item::Int(0) {
        return Err("a stream listpack without the end of its head");
    }
    let mut seen = (0, 0);
    let room = stream.items.bytes() + bytes.len() * GROWTH_MAX;
    while let Some(flags) = reader.next()? {
        let flags = flags.as_int().ok_or("a stream entry with flags that are no number")?;
        if flags & DELETED == 0 {
            seen.0 += 1;
        } else {
            seen.1 += 1;
        }
        entry(&mut reader, flags, &head, base, stream)?;
        if stream.items.bytes() > room {
            return Err("a stream listpack that unpacks to far more than it should");
        }
    }
    if seen != (live, deleted) {
        return Err("a stream listpack with another number of entries than it says");
    }
    if seen == (0, 0) {
        return Err("a stream listpack without entries");
    }
    Ok(())
}

fn entry(
    reader: &mut listpack::Reader<'_>,
    flags: i64,
    head: &[Item<'_>],
    base: StreamId,
    stream: &mut Stream,
) -> Result<(), Fault> {
    let offset = (integer(reader.expect()?)?, integer(reader.expect()?)?);
    // The peers add without regard to overflow.
    let id = StreamId {
        ms: base.ms.wrapping_add(offset.0 as u64),
        seq: base.seq.wrapping_add(offset.1 as u64),
    };
    let is_live = flags & DELETED == 0;
    // No entry has the least id.
    if is_live && stream.ids.last().copied().unwrap_or_default() >= id {
        return Err("stream entries out of order");
    }
    let keep = |item: Item<'_>, items: &mut Elements| {
        if is_live {
            item.push_to(items);
        }
    };
    let same_fields = flags & SAME_FIELDS != 0;
    let fields = if same_fields { head.len() } else { count(reader.expect()?)? };
    let mut head = head.iter();
    for _ in 0..fields {
        let field = head.next().filter(|_| same_fields);
        let field = field.map_or_else(|| reader.expect(), |field| Ok(*field))?;
        keep(field, &mut stream.items);
        keep(reader.expect()?, &mut stream.items);
    }
    let elements = if same_fields { fields + 3 } else { 2 * fields + 4 };
    if reader.expect()? != Item::Int(elements as i64) {
        return Err("a stream entry with a wrong number of elements behind it");
    }
    if is_live {
        stream.ids.push(id);
        stream.field_counts.push(fields as u32);
    }
    Ok(())
}

fn integer(item: Item<'_>) -> Result<i64, Fault> {
    item.as_int().ok_or("a stream entry with an id that is no number")
}

fn count(item: Item<'_>) -> Result<usize, Fault> {
    let count = item.as_int().filter(|count| (0..=COUNT_MAX).contains(count));
    count.map(|count| count as usize).ok_or("a stream listpack with an impossible count")
}

fn group<R: Read>(input: &mut Input<R>, form: Form, stream: &Stream) -> Result<Group, RdbError> {
    let name = input.string_owned()?;
    let last_id = id_of_lengths(input)?;
    let entries_read = if form >= Form::Second {
        Some(input.length()?).filter(|read| *read != READ_UNKNOWN)
    } else {
        estimated_reads(stream, last_id)
    };
    // What is pending belongs to nobody until the consumers are read.
    let mut pending = HashMap::new();
    let mut order = Vec::new();
    for _ in 0..input.count(25)? {
        let id = id_of_bytes(input.array()?);
        let delivered_ms = i64::from_le_bytes(input.array()?);
        let deliveries = input.length()?;
        order.push(Pending { id, delivered_ms, deliveries, consumer: usize::MAX });
    }
    if !order.is_sorted_by(|a, b| a.id < b.id) {
        return Err(input.corrupt("pending entries of a group out of order"));
    }
    for (at, entry) in order.iter().enumerate() {
        pending.insert(entry.id, at);
    }
    let mut consumers = Vec::new();
    for _ in 0..input.count(10)? {
        let owner = consumers.len();
        consumers.push(consumer(input, form)?);
        for _ in 0..input.count(16)? {
            let id = id_of_bytes(input.array()?);
            // Each entry is taken by the first consumer that has it.
            let at = pending.remove(&id);
            let at = at.ok_or_else(|| input.corrupt("a consumer with what its group has not"))?;
            order[at].consumer = owner;
        }
    }
    if !pending.is_empty() {
        return Err(input.corrupt("a pending entry of a group without consumer"));
    }
    let mut names = HashSet::new();
    if !consumers.iter().all(|consumer| names.insert(&consumer.name)) {
        return Err(input.corrupt("Duplicate stream consumer detected"));
    }
    Ok(Group { name, last_id, entries_read, pending: order, consumers })
}

fn consumer<R: Read>(input: &mut Input<R>, form: Form) -> Result<Consumer, RdbError> {
    let name = input.string_owned()?;
    let seen_ms = i64::from_le_bytes(input.array()?);
    let active_ms = if form >= Form::Third { i64::from_le_bytes(input.array()?) } else { seen_ms };
    Ok(Consumer { name, seen_ms, active_ms })
}

/// How many entries a group of the first form has read, where its last id tells: all, none, or
/// just the first one.
fn estimated_reads(stream: &Stream, last_id: StreamId) -> Option<u64> {
    let added = stream.entries_added;
    let Some(first) = stream.ids.first() else {
        // Nothing is known to have been added to a stream that is empty now.
        return Some(0);
    };
    if last_id == stream.last_id {
        Some(added)
    } else if last_id < *first {
        Some(0)
    } else if last_id == *first {
        Some(1)
    } else {
        None
    }
}
