//! The data set as commands: a log's base where `aof-use-rdb-preamble` is off.
//!
//! The forms are those of Valkey: a string is a `SET`, a collection as many `RPUSH`, `SADD`, `ZADD`
//! or `HMSET` as it has groups of 64 elements, a stream its `XADD`s with `XSETID`, and its groups
//! with an `XCLAIM` for each pending entry; then the deadline, as `PEXPIREAT`. What only this
//! server has comes in commands that only it knows: deadlines of members, entries that were
//! released, additions that are remembered.
//!
//! A pending entry whose stream entry is gone cannot be claimed, and Valkey's form loses it. Here
//! an entry is added in its place, and removed after it has been claimed.
//!
//! Not kept, as in the peers' form: times of use, when consumers were last seen, when producers'
//! additions were made, and their counts.

use std::collections::BTreeSet;
use std::io;
use std::mem;

use kvasir_proto::number::{append_f64, append_i64, append_u64};
use kvasir_shard::stream::{Consumer, Group, Id, Idempotence, Stream};
use kvasir_shard::{Element, Elements, List, OwnedData, OwnedValue, ValueRef, ValueType};

/// Elements of one command, as in the peers (`AOF_REWRITE_ITEMS_PER_CMD`).
const GROUP_ELEMENTS: usize = 64;
/// What `XCFGSET` accepts: a dump may tell more.
const REMEMBERED_S_MAX: u32 = 86_400;
/// See [`REMEMBERED_S_MAX`].
const REMEMBERED_MAX: u32 = 10_000;

/// What has been written is passed on when there is so much of it.
const PART_BYTES: usize = 128 * 1024;

/// Takes what has been written.
pub(in crate::persist) type PassOn<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Passes on what has been written, where there is enough of it.
pub(super) fn relieve(out: &mut Vec<u8>, pass_on: &mut PassOn<'_>) -> io::Result<()> {
    if out.len() >= PART_BYTES {
        pass_on(out)?;
        out.clear();
    }
    Ok(())
}

/// Appends a command that is put together word by word.
struct Command<'a> {
    out: &'a mut Vec<u8>,
    text: Vec<u8>,
    words_left: usize,
}

impl<'a> Command<'a> {
    /// A command of so many words, the name included.
    fn begin(out: &'a mut Vec<u8>, name: &str, words: usize) -> Self {
        out.push(b'*');
        append_u64(out, words as u64);
        out.extend_from_slice(b"\r\n");
        let mut command = Self { out, text: Vec::new(), words_left: words };
        command.word(name.as_bytes());
        command
    }

    fn word(&mut self, word: &[u8]) -> &mut Self {
        self.words_left -= 1;
        self.out.push(b'$');
        append_u64(self.out, word.len() as u64);
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(word);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    fn words(&mut self, words: &[&[u8]]) -> &mut Self {
        for word in words {
            self.word(word);
        }
        self
    }

    fn formatted(&mut self, format: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        let mut text = mem::take(&mut self.text);
        text.clear();
        format(&mut text);
        self.word(&text);
        self.text = text;
        self
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.formatted(|text| append_u64(text, number))
    }

    fn value(&mut self, value: ValueRef<'_>) -> &mut Self {
        let written = value.with_bytes(|bytes| {
            self.word(bytes);
        });
        written.expect("invariant: names and values are strings");
        self
    }

    fn id(&mut self, id: Id) -> &mut Self {
        self.formatted(|text| {
            append_u64(text, id.ms);
            text.push(b'-');
            append_u64(text, id.seq);
        })
    }
}

impl Drop for Command<'_> {
    fn drop(&mut self) {
        debug_assert_eq!(self.words_left, 0, "a command has the words that it tells");
    }
}

/// Appends the moment, seconds of the Unix epoch, for `aof-timestamp-enabled`.
pub fn write_moment(out: &mut Vec<u8>, unix_s: u64) {
    out.extend_from_slice(b"#TS:");
    append_u64(out, unix_s);
    out.extend_from_slice(b"\r\n");
}

/// Appends a library of functions.
pub fn write_function(out: &mut Vec<u8>, code: &[u8]) {
    Command::begin(out, "FUNCTION", 3).words(&[b"LOAD", code]);
}

/// Appends that what follows is about this database.
pub fn write_select(out: &mut Vec<u8>, db: u32) {
    Command::begin(out, "SELECT", 2).number(db.into());
}

/// Appends a key with a string and its deadline. The value is one.
pub(super) fn write_text(
    out: &mut Vec<u8>,
    key: &[u8],
    text: ValueRef<'_>,
    deadline_ms: Option<u64>,
) {
    Command::begin(out, "SET", 3).word(key).value(text);
    if let Some(deadline_ms) = deadline_ms {
        write_deadline(out, key, deadline_ms);
    }
}

/// Appends a key with its value and deadline, and passes on what becomes much. O(bytes of the
/// value), and of a stream O(n log n) in its pending entries that are gone.
pub(super) fn write_entry(
    out: &mut Vec<u8>,
    key: &[u8],
    value: &OwnedValue,
    pass_on: &mut PassOn<'_>,
) -> io::Result<()> {
    match &value.data {
        OwnedData::Int(_) | OwnedData::String(_) => {
            write_text(out, key, value.value(), None);
        }
        OwnedData::List(list) => write_list(out, key, list, pass_on)?,
        OwnedData::Hash(elements) => write_elements(out, key, ValueType::Hash, elements),
        OwnedData::Set(elements) => write_elements(out, key, ValueType::Set, elements),
        OwnedData::SortedSet(elements) => write_elements(out, key, ValueType::SortedSet, elements),
        OwnedData::Stream(stream) => write_stream(out, key, stream, pass_on)?,
    }
    if let Some(deadline_ms) = value.deadline_ms {
        write_deadline(out, key, deadline_ms);
    }
    Ok(())
}

/// Appends when a key expires, in milliseconds of the Unix epoch.
pub fn write_deadline(out: &mut Vec<u8>, key: &[u8], deadline_ms: u64) {
    Command::begin(out, "PEXPIREAT", 3).word(key).number(deadline_ms);
}

fn write_list(
    out: &mut Vec<u8>,
    key: &[u8],
    list: &List,
    pass_on: &mut PassOn<'_>,
) -> io::Result<()> {
    let len = list.len();
    for first in (0..len).step_by(GROUP_ELEMENTS) {
        let count = GROUP_ELEMENTS.min(len - first);
        let mut command = Command::begin(out, "RPUSH", 2 + count);
        command.word(key);
        list.range(first, count, |text| {
            command.word(text);
        });
        drop(command);
        relieve(out, pass_on)?;
    }
    Ok(())
}

/// Appends elements of a hash, a set or a sorted set, which need not be all of them, with their
/// deadlines; O(bytes).
pub fn write_elements(out: &mut Vec<u8>, key: &[u8], value_type: ValueType, elements: &Elements) {
    let (name, words) = match value_type {
        ValueType::Hash => ("HMSET", 2),
        ValueType::Set => ("SADD", 1),
        ValueType::SortedSet => ("ZADD", 2),
        ValueType::String | ValueType::List | ValueType::Stream => {
            unreachable!("invariant: these have no such elements")
        }
    };
    let mut left = elements.len();
    let mut rest = elements.iter();
    while left > 0 {
        let count = GROUP_ELEMENTS.min(left);
        left -= count;
        let mut command = Command::begin(out, name, 2 + count * words);
        command.word(key);
        for element in rest.by_ref().take(count) {
            if value_type == ValueType::SortedSet {
                command.formatted(|text| append_f64(text, element.score));
            }
            command.value(element.name);
            if value_type == ValueType::Hash {
                command.value(element.value);
            }
        }
    }
    if elements.expiring() > 0 {
        write_element_deadlines(out, key, value_type, elements);
    }
}

/// Neighbours with one deadline share a command.
fn write_element_deadlines(
    out: &mut Vec<u8>,
    key: &[u8],
    value_type: ValueType,
    elements: &Elements,
) {
    let (name, noun) = match value_type {
        ValueType::Hash => ("HPEXPIREAT", &b"FIELDS"[..]),
        ValueType::Set => ("SPEXPIREAT", &b"MEMBERS"[..]),
        _ => ("ZPEXPIREAT", &b"MEMBERS"[..]),
    };
    let expiring: Vec<Element<'_>> =
        elements.iter().filter(|element| element.deadline_ms.is_some()).collect();
    for same in expiring.chunk_by(|one, other| one.deadline_ms == other.deadline_ms) {
        for group in same.chunks(GROUP_ELEMENTS) {
            let mut command = Command::begin(out, name, 5 + group.len());
            command.word(key).number(group[0].deadline_ms.unwrap_or(0));
            command.word(noun).number(group.len() as u64);
            for element in group {
                command.value(element.name);
            }
        }
    }
}

/// Entries that stand for those which are gone and still pending.
struct Stand {
    /// Their identifiers.
    ids: BTreeSet<Id>,
    /// The first entry that is there.
    first: Option<Id>,
}

impl Stand {
    /// Those of a stream that can be removed again without a trace: trimmed where they come before
    /// the first entry, or deleted where a later one has been.
    fn of(stream: &Stream) -> Self {
        let log = stream.log();
        let first = log.range(Id::MIN, Id::MAX).next().map(|entry| entry.id);
        let mut ids = BTreeSet::new();
        for (_, group) in stream.groups() {
            let gone = group.pending_from(Id::MIN).map(|(id, _)| id);
            ids.extend(gone.filter(|id| {
                let removable = first.is_none_or(|first| *id < first) || *id <= log.max_deleted();
                *id > Id::MIN && *id <= log.last_id() && removable && !log.contains(*id)
            }));
        }
        Self { ids, first }
    }

    fn remove(&self, out: &mut Vec<u8>, key: &[u8]) {
        let mut command = Command::begin(out, "XTRIM", 5);
        command.word(key);
        match self.first {
            Some(first) => command.words(&[b"MINID", b"="]).id(first),
            None => command.words(&[b"MAXLEN", b"=", b"0"]),
        };
        drop(command);
        let Some(first) = self.first else { return };
        let deleted: Vec<Id> = self.ids.range(first..).copied().collect();
        for group in deleted.chunks(GROUP_ELEMENTS) {
            let mut command = Command::begin(out, "XDEL", 2 + group.len());
            command.word(key);
            for id in group {
                command.id(*id);
            }
        }
    }
}

fn write_stream(
    out: &mut Vec<u8>,
    key: &[u8],
    stream: &Stream,
    pass_on: &mut PassOn<'_>,
) -> io::Result<()> {
    let log = stream.log();
    let stand = Stand::of(stream);
    let mut standing = stand.ids.iter().copied().peekable();
    for entry in log.range(Id::MIN, Id::MAX) {
        while let Some(id) = standing.next_if(|id| *id < entry.id) {
            write_standing(out, key, id);
        }
        let mut command = Command::begin(out, "XADD", 3 + 2 * entry.pairs.len());
        command.word(key).id(entry.id);
        for (field, value) in entry.pairs {
            command.words(&[field, value]);
        }
        drop(command);
        relieve(out, pass_on)?;
    }
    standing.for_each(|id| write_standing(out, key, id));
    if log.is_empty() && stand.ids.is_empty() {
        // The stream is there, and has no entry.
        let words: [&[u8]; 6] = [key, b"MAXLEN", b"0", b"0-1", b"x", b"y"];
        Command::begin(out, "XADD", 7).words(&words);
    }
    let added = log.entries_added();
    write_ids(out, key, stream, added.max(log.len() + stand.ids.len() as u64));
    for (name, group) in stream.groups() {
        write_group(out, key, name, group, |id| log.contains(id) || stand.ids.contains(&id));
    }
    if !stand.ids.is_empty() {
        stand.remove(out, key);
        write_ids(out, key, stream, added);
    }
    if let Some(remembered) = stream.idempotence() {
        write_remembered(out, key, remembered);
    }
    Ok(())
}

fn write_standing(out: &mut Vec<u8>, key: &[u8], id: Id) {
    Command::begin(out, "XADD", 5).word(key).id(id).words(&[b"x", b"y"]);
}

fn write_ids(out: &mut Vec<u8>, key: &[u8], stream: &Stream, entries_added: u64) {
    let mut command = Command::begin(out, "XSETID", 7);
    command.word(key).id(stream.log().last_id());
    command.word(b"ENTRIESADDED").number(entries_added);
    command.word(b"MAXDELETEDID").id(stream.log().max_deleted());
}

fn write_group(
    out: &mut Vec<u8>,
    key: &[u8],
    name: &[u8],
    group: &Group,
    is_there: impl Fn(Id) -> bool,
) {
    let mut command = Command::begin(out, "XGROUP", 7);
    command.words(&[b"CREATE", key, name]).id(group.last_delivered).word(b"ENTRIESREAD");
    let read = group.entries_read.and_then(|read| i64::try_from(read).ok()).unwrap_or(-1);
    command.formatted(|text| append_i64(text, read));
    drop(command);
    for consumer in group.consumers() {
        let claimed = write_claims(out, (key, name), group, consumer, &is_there);
        if claimed == 0 {
            let words: [&[u8]; 4] = [b"CREATECONSUMER", key, name, consumer.name()];
            Command::begin(out, "XGROUP", 5).words(&words);
        }
    }
    for (id, pending) in group.released().filter(|(id, _)| is_there(*id)) {
        let mut command = Command::begin(out, "XNACK", 10);
        command.words(&[key, name, b"SILENT", b"IDS", b"1"]).id(id);
        command.word(b"RETRYCOUNT").number(pending.deliveries).word(b"FORCE");
    }
}

/// Appends what is pending of a consumer; how much that is.
fn write_claims(
    out: &mut Vec<u8>,
    (key, name): (&[u8], &[u8]),
    group: &Group,
    consumer: &Consumer,
    is_there: impl Fn(Id) -> bool,
) -> usize {
    let ids = consumer.pending_from(Id::MIN).filter(|id| is_there(*id));
    let claims = ids.map(|id| {
        let pending = group.pending(id).expect("invariant: what is a consumer's is the group's");
        let mut command = Command::begin(out, "XCLAIM", 12);
        command.words(&[key, name, consumer.name(), b"0"]).id(id);
        command.word(b"TIME").number(pending.delivered_ms());
        command.word(b"RETRYCOUNT").number(pending.deliveries).words(&[b"JUSTID", b"FORCE"]);
    });
    claims.count()
}

fn write_remembered(out: &mut Vec<u8>, key: &[u8], remembered: &Idempotence) {
    let limits = remembered.limits();
    let mut command = Command::begin(out, "XCFGSET", 6);
    command.word(key).word(b"IDMP-DURATION").number(limits.duration_s.min(REMEMBERED_S_MAX).into());
    command.word(b"IDMP-MAXSIZE").number(limits.additions_max.min(REMEMBERED_MAX).into());
    drop(command);
    for (producer, addition, id, _) in remembered.additions() {
        Command::begin(out, "XIDMPRECORD", 5).words(&[key, producer, addition]).id(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvasir_shard::stream::{NodeLimits, TrimHow, TrimTo};
    use kvasir_shard::{End, ListLimits};

    /// The commands, a line each.
    fn lines(write: impl FnOnce(&mut Vec<u8>)) -> Vec<String> {
        let mut out = Vec::new();
        write(&mut out);
        let text = String::from_utf8(out).unwrap();
        let commands = text.split('*').skip(1).map(|command| {
            let (count, rest) = command.split_once("\r\n").unwrap();
            let words: Vec<&str> = rest.split("\r\n").skip(1).step_by(2).collect();
            assert_eq!(count.parse(), Ok(words.len()));
            words.join(" ")
        });
        commands.collect()
    }

    fn entry(data: OwnedData, deadline_ms: Option<u64>) -> Vec<String> {
        lines(|out| {
            let mut passed_on = Vec::new();
            let mut pass_on = |bytes: &[u8]| -> io::Result<()> {
                passed_on.extend_from_slice(bytes);
                Ok(())
            };
            write_entry(out, b"k", &OwnedValue::new(data, deadline_ms), &mut pass_on).unwrap();
            out.splice(..0, passed_on);
        })
    }

    #[test]
    fn what_is_no_key_has_its_form() {
        let mut out = Vec::new();
        write_moment(&mut out, 1_700_000_000);
        assert_eq!(out, b"#TS:1700000000\r\n");
        assert_eq!(lines(|out| write_select(out, 12)), ["SELECT 12"]);
        assert_eq!(lines(|out| write_function(out, b"#!lua")), ["FUNCTION LOAD #!lua"]);
    }

    #[test]
    fn strings_have_their_deadline_behind_them() {
        assert_eq!(entry(OwnedData::Int(-5), None), ["SET k -5"]);
        let lines = entry(OwnedData::String(b"text".to_vec()), Some(77));
        assert_eq!(lines, ["SET k text", "PEXPIREAT k 77"]);
    }

    #[test]
    fn elements_come_in_groups() {
        let mut list = List::new();
        let limits = ListLimits::new(-2, 0);
        (0..130).for_each(|at: u32| list.push(End::Back, at.to_string().as_bytes(), limits));
        let pushes = entry(OwnedData::List(list), None);
        let lens: Vec<usize> = pushes.iter().map(|line| line.split(' ').count()).collect();
        assert_eq!(lens, [66, 66, 4]);
        assert_eq!(pushes[2], "RPUSH k 128 129");
        let mut long = List::new();
        (0..300).for_each(|_| long.push(End::Back, &[b'x'; 1000], limits));
        assert_eq!(entry(OwnedData::List(long), Some(7)).len(), 6);
        let mut members = Elements::default();
        (0..65).for_each(|at| members.push_member(ValueRef::Int(at), None));
        assert_eq!(entry(OwnedData::Set(members), None)[1], "SADD k 64");
        let mut scored = Elements::default();
        scored.push_scored(ValueRef::Bytes(b"m"), 0.5, None);
        scored.push_scored(ValueRef::Bytes(b"n"), f64::NEG_INFINITY, None);
        assert_eq!(entry(OwnedData::SortedSet(scored), None), ["ZADD k 0.5 m -inf n"]);
    }

    #[test]
    fn elements_of_one_deadline_share_a_command() {
        let mut fields = Elements::default();
        for (name, deadline) in [(1, Some(7)), (2, None), (3, Some(7)), (4, Some(8))] {
            fields.push_field(ValueRef::Int(name), ValueRef::Bytes(b"v"), deadline);
        }
        let lines = entry(OwnedData::Hash(fields), Some(9));
        let expected = [
            "HMSET k 1 v 2 v 3 v 4 v",
            "HPEXPIREAT k 7 FIELDS 2 1 3",
            "HPEXPIREAT k 8 FIELDS 1 4",
            "PEXPIREAT k 9",
        ];
        assert_eq!(lines, expected);
    }

    const NODES: NodeLimits = NodeLimits { bytes: 4096, entries: 100 };

    fn stream(ids: &[u64]) -> Stream {
        let mut stream = Stream::new();
        for ms in ids {
            let pairs = [(&b"f"[..], &b"v"[..])];
            stream.log_mut().append(Id::new(*ms, 0), pairs.into_iter(), NODES).unwrap();
        }
        stream
    }

    #[test]
    fn a_stream_without_entries_is_there() {
        let stream = stream(&[]);
        let expected = ["XADD k MAXLEN 0 0-1 x y", "XSETID k 0-0 ENTRIESADDED 0 MAXDELETEDID 0-0"];
        assert_eq!(entry(OwnedData::Stream(Box::new(stream)), None), expected);
    }

    #[test]
    fn pending_entries_that_are_gone_can_be_claimed() {
        let mut stream = stream(&[1, 2, 3, 4]);
        stream.create_group(b"g", Id::new(4, 0), Some(4));
        stream.with_group(b"g", |_, group| {
            let one = group.create_consumer(b"one", 5).unwrap();
            group.create_consumer(b"two", 5).unwrap();
            for ms in 1..=3 {
                group.assign(Id::new(ms, 0), one, 50, 2);
            }
            group.release(Id::new(2, 0), 1);
        });
        stream.log_mut().delete(Id::new(3, 0));
        stream.log_mut().trim(TrimTo::MinId(Id::new(2, 0)), TrimHow::Exact);
        let lines = entry(OwnedData::Stream(Box::new(stream)), None);
        let expected = [
            "XADD k 1-0 x y",
            "XADD k 2-0 f v",
            "XADD k 3-0 x y",
            "XADD k 4-0 f v",
            "XSETID k 4-0 ENTRIESADDED 4 MAXDELETEDID 3-0",
            "XGROUP CREATE k g 4-0 ENTRIESREAD 4",
            "XCLAIM k g one 0 1-0 TIME 50 RETRYCOUNT 2 JUSTID FORCE",
            "XCLAIM k g one 0 3-0 TIME 50 RETRYCOUNT 2 JUSTID FORCE",
            "XGROUP CREATECONSUMER k g two",
            "XNACK k g SILENT IDS 1 2-0 RETRYCOUNT 1 FORCE",
            "XTRIM k MINID = 2-0",
            "XDEL k 3-0",
            "XSETID k 4-0 ENTRIESADDED 4 MAXDELETEDID 3-0",
        ];
        assert_eq!(lines, expected);
    }
}
