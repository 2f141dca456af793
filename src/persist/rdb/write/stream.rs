//! Writing streams: see the reading side for the form.

use super::Writer;
use crate::persist::rdb::packed::listpack::Builder;
use crate::persist::rdb::value::{Group, Stream, StreamId};

/// The entry has the head's fields.
const SAME_FIELDS: i64 = 2;
const OTHER_FIELDS: i64 = 0;
/// A listpack is closed at so many entries or bytes: the peers' default limits.
const LISTPACK_ENTRIES: usize = 100;
const LISTPACK_BYTES: usize = 4096;
const READ_UNKNOWN: u64 = u64::MAX;

/// An entry as it is written: its id, and its fields and values, alternately.
struct Entry<'a> {
    id: StreamId,
    items: Vec<&'a [u8]>,
}

impl Entry<'_> {
    fn has_fields_of(&self, other: &Self) -> bool {
        self.items.iter().step_by(2).eq(other.items.iter().step_by(2))
    }
}

impl Writer<'_> {
    /// A stream, of the third form.
    pub(super) fn stream(&mut self, stream: &Stream) {
        let mut items = stream.items.iter();
        let mut entries = Vec::new();
        let mut listpacks = 0;
        let mut bytes = 0;
        let mut body = Vec::new();
        let mut writer = Writer { out: &mut body, options: self.options };
        for (id, fields) in stream.ids.iter().zip(&stream.field_counts) {
            let items: Vec<&[u8]> = items.by_ref().take(2 * *fields as usize).collect();
            let size: usize = items.iter().map(|item| item.len()).sum();
            let is_full = entries.len() >= LISTPACK_ENTRIES || bytes + size > LISTPACK_BYTES;
            if is_full && !entries.is_empty() {
                writer.stream_listpack(&entries);
                entries.clear();
                listpacks += 1;
                bytes = 0;
            }
            bytes += size;
            entries.push(Entry { id: *id, items });
        }
        if !entries.is_empty() {
            writer.stream_listpack(&entries);
            listpacks += 1;
        }
        self.length(listpacks);
        self.out.append(&mut body);
        self.length(stream.ids.len() as u64);
        self.id(stream.last_id);
        self.id(stream.ids.first().copied().unwrap_or_default());
        self.id(stream.max_deleted_id);
        self.length(stream.entries_added);
        self.length(stream.groups.len() as u64);
        stream.groups.iter().for_each(|group| self.group(group));
    }

    fn id(&mut self, id: StreamId) {
        self.length(id.ms);
        self.length(id.seq);
    }

    fn stream_listpack(&mut self, entries: &[Entry<'_>]) {
        let first = &entries[0];
        let mut builder = Builder::new();
        builder.push_int(entries.len() as i64);
        builder.push_int(0);
        builder.push_int(first.items.len() as i64 / 2);
        first.items.iter().step_by(2).for_each(|field| builder.push(field));
        builder.push_int(0);
        for entry in entries {
            let same_fields = entry.has_fields_of(first);
            builder.push_int(if same_fields { SAME_FIELDS } else { OTHER_FIELDS });
            builder.push_int(entry.id.ms.wrapping_sub(first.id.ms) as i64);
            builder.push_int(entry.id.seq.wrapping_sub(first.id.seq) as i64);
            let fields = entry.items.len() as i64 / 2;
            if same_fields {
                entry.items.iter().skip(1).step_by(2).for_each(|value| builder.push(value));
                builder.push_int(fields + 3);
            } else {
                builder.push_int(fields);
                entry.items.iter().for_each(|item| builder.push(item));
                builder.push_int(2 * fields + 4);
            }
        }
        self.string(&bytes_of_id(first.id));
        self.string(&builder.finish());
    }

    fn group(&mut self, group: &Group) {
        self.string(&group.name);
        self.id(group.last_id);
        self.length(group.entries_read.unwrap_or(READ_UNKNOWN));
        self.length(group.pending.len() as u64);
        for entry in &group.pending {
            self.out.extend_from_slice(&bytes_of_id(entry.id));
            self.out.extend_from_slice(&entry.delivered_ms.to_le_bytes());
            self.length(entry.deliveries);
        }
        self.length(group.consumers.len() as u64);
        for (owner, consumer) in group.consumers.iter().enumerate() {
            self.string(&consumer.name);
            self.out.extend_from_slice(&consumer.seen_ms.to_le_bytes());
            self.out.extend_from_slice(&consumer.active_ms.to_le_bytes());
            let mine = || group.pending.iter().filter(|entry| entry.consumer == owner);
            self.length(mine().count() as u64);
            mine().for_each(|entry| self.out.extend_from_slice(&bytes_of_id(entry.id)));
        }
    }
}

/// An id in 16 bytes, which sort as the ids do.
fn bytes_of_id(id: StreamId) -> [u8; 16] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}
