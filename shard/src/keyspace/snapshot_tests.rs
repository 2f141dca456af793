//! A snapshot under random changes is exactly what the shard was at the cut.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::evict::{Eviction, EvictionOrder};
use super::snapshot::{CollectionSize, CutStep, SaveCause, SavedEntry, Saver};
use super::write::Ttl;
use super::*;
use crate::collections::{ElementSaver, FieldTtl};
use crate::list::{End, List, ListLimits};
use crate::owned::{Element, OwnedData, OwnedValue};
use crate::stream::{Id, NodeLimits, References, Stream};
use crate::value::NewValue;

const SEEDS: [u64; 4] = [1, 2, 3, 4];
const DATABASES: u32 = 3;
/// Collections of more elements than this are saved in parts.
const WHOLE_MAX: usize = 12;
/// And those of more bytes, of which there are some of fewer elements.
const WHOLE_BYTES_MAX: usize = 30_000;
/// Values of so many bytes are shared with the saver.
const LONG_BYTES: usize = 16 << 10;

/// A value in a form that can be compared: its type, and what it holds by name. Elements that are
/// due at the end may or may not have been saved.
type Plain = (&'static str, Option<u64>, BTreeMap<Vec<u8>, (Vec<u8>, u64, Option<u64>)>);
type Entries = BTreeMap<(u32, Vec<u8>), Plain>;

fn element(element: Element<'_>) -> (Vec<u8>, (Vec<u8>, u64, Option<u64>)) {
    let text = |value: ValueRef<'_>| value.to_vec().unwrap();
    let content = (text(element.value), element.score.to_bits(), element.deadline_ms);
    (text(element.name), content)
}

fn plain(value: &OwnedValue) -> Plain {
    let (kind, elements) = match &value.data {
        OwnedData::Hash(elements) => ("hash", elements.iter().map(element).collect()),
        OwnedData::Set(elements) => ("set", elements.iter().map(element).collect()),
        // Where a member's score is a float there is no text.
        OwnedData::SortedSet(elements) => {
            let bare = |scored| element(Element { value: ValueRef::Bytes(b""), ..scored });
            ("zset", elements.iter().map(bare).collect())
        }
        OwnedData::List(list) => {
            let mut texts = BTreeMap::new();
            let mut at = 0_u32;
            list.range(0, list.len(), |text| {
                texts.insert(at.to_be_bytes().to_vec(), (text.to_vec(), 0, None));
                at += 1;
            });
            ("list", texts)
        }
        OwnedData::Stream(stream) => {
            let entries = stream.log().range(Id::MIN, Id::MAX);
            let ids = entries.map(|entry| (entry.id.ms.to_be_bytes().to_vec(), (vec![], 0, None)));
            ("stream", ids.collect())
        }
        text => {
            let text = match text {
                OwnedData::Int(value) => value.to_string().into_bytes(),
                OwnedData::String(bytes) => bytes.clone(),
                _ => unreachable!(),
            };
            ("string", BTreeMap::from([(vec![], (text, 0, None))]))
        }
    };
    (kind, value.deadline_ms, elements)
}

/// Where an element was, and the bytes of its value, which the shard may have as well.
type SharedElement = ((u32, Vec<u8>), Vec<u8>, Arc<Vec<u8>>);

/// Where a value was, the value as the saver got it, and its bytes where it is a text that it
/// shares with the shard.
type SharedValue = ((u32, Vec<u8>), OwnedValue, Option<Arc<Vec<u8>>>);

#[derive(Default)]
struct Sink {
    entries: Mutex<Entries>,
    /// Values that the shard may have as well, which are looked at when it has changed them.
    shared: Mutex<Vec<SharedValue>>,
    shared_elements: Mutex<Vec<SharedElement>>,
    open: Mutex<usize>,
    full: AtomicBool,
}

struct TestSaver(Arc<Sink>);

impl TestSaver {
    fn add(&self, db: u32, key: &[u8], plain: Plain) {
        let again = self.0.entries.lock().unwrap().insert((db, key.to_vec()), plain);
        assert!(again.is_none(), "an entry is saved once: {}", key.escape_ascii());
    }
}

impl Saver for TestSaver {
    fn save(&mut self, db: u32, entry: &SavedEntry<'_>, _: SaveCause) {
        let value = entry.to_value();
        self.add(db, entry.key(), plain(&value));
        let place = (db, entry.key().to_vec());
        self.0.shared.lock().unwrap().push((place, value, entry.shared_text()));
    }

    fn is_full(&self) -> bool {
        self.0.full.load(Ordering::Relaxed)
    }

    fn open(
        &mut self,
        db: u32,
        entry: &SavedEntry<'_>,
        CollectionSize { elements, bytes, .. }: CollectionSize,
    ) -> Option<Box<dyn ElementSaver>> {
        if elements <= WHOLE_MAX && bytes <= WHOLE_BYTES_MAX {
            return None;
        }
        let kind = entry.value().value_type().name();
        self.add(db, entry.key(), (kind, entry.deadline_ms(), BTreeMap::new()));
        *self.0.open.lock().unwrap() += 1;
        let place = (db, entry.key().to_vec());
        Some(Box::new(TestElements { sink: Arc::clone(&self.0), place, left: elements }))
    }
}

struct TestElements {
    sink: Arc<Sink>,
    place: (u32, Vec<u8>),
    left: usize,
}

impl ElementSaver for TestElements {
    fn save(&mut self, saved: Element<'_>, text: Option<Arc<Vec<u8>>>) {
        let mut entries = self.sink.entries.lock().unwrap();
        let (name, content) = element(saved);
        assert_eq!(text.is_some(), content.0.len() >= LONG_BYTES, "what is long is shared");
        if let Some(text) = text {
            let shared = (self.place.clone(), name.clone(), text);
            self.sink.shared_elements.lock().unwrap().push(shared);
        }
        let elements = &mut entries.get_mut(&self.place).unwrap().2;
        assert!(elements.insert(name, content).is_none(), "an element is saved once");
        self.left -= 1;
    }

    fn is_full(&self) -> bool {
        self.sink.full.load(Ordering::Relaxed)
    }

    fn end(self: Box<Self>) {
        assert_eq!(self.left, 0, "as many elements as there were");
        *self.sink.open.lock().unwrap() -= 1;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Text(u8, usize),
    Grow(u8, usize),
    Number(u8, i64),
    Field(u8, u8, Option<u64>),
    FieldGone(u8, u8),
    FieldDeadline(u8, u8, Option<u64>),
    Member(u8, u8, Option<u64>),
    MemberGone(u8, u8),
    Score(u8, u8, i32),
    ScoreGone(u8, u8),
    PopScores(u8, usize),
    Push(u8, bool, u8),
    Pop(u8, bool),
    Add(u8, u64),
    Delete(u8, u64),
    Remove(u8),
    Deadline(u8, Option<u64>),
    Move(u32, u8, u32, u8),
    Carry(u8, u8),
    Copy(u8, u8),
    Many(u8, u16),
    Fewer(u8, u16),
    Advance(u64),
    ExpireDue(usize),
    Collect(usize),
    Flush(u32),
    Swap(u32, u32),
    Evict,
    Full(bool),
    Walk(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (key, at) = (0..12u8, 0..60u8);
    let ttl = || proptest::option::weighted(0.3, 1..300u64);
    let len = || prop_oneof![4 => 0..3000usize, 1 => 16_000..20_000usize];
    let texts = prop_oneof![
        4 => (key.clone(), len()).prop_map(|(key, len)| Step::Text(key, len)),
        2 => (key.clone(), len()).prop_map(|(key, len)| Step::Grow(key, len)),
        2 => (key.clone(), any::<i64>()).prop_map(|(key, value)| Step::Number(key, value)),
    ];
    let tables = prop_oneof![
        8 => (key.clone(), at.clone(), ttl()).prop_map(|(key, at, ttl)| Step::Field(key, at, ttl)),
        3 => (key.clone(), at.clone()).prop_map(|(key, at)| Step::FieldGone(key, at)),
        2 => (key.clone(), at.clone(), ttl())
            .prop_map(|(key, at, ttl)| Step::FieldDeadline(key, at, ttl)),
        8 => (key.clone(), at.clone(), ttl()).prop_map(|(key, at, ttl)| Step::Member(key, at, ttl)),
        3 => (key.clone(), at.clone()).prop_map(|(key, at)| Step::MemberGone(key, at)),
        8 => (key.clone(), at.clone(), any::<i32>())
            .prop_map(|(key, at, score)| Step::Score(key, at, score)),
        3 => (key.clone(), at).prop_map(|(key, at)| Step::ScoreGone(key, at)),
        1 => (key.clone(), 1..30usize).prop_map(|(key, count)| Step::PopScores(key, count)),
    ];
    let sequences = prop_oneof![
        6 => (key.clone(), any::<bool>(), any::<u8>())
            .prop_map(|(key, front, text)| Step::Push(key, front, text)),
        3 => (key.clone(), any::<bool>()).prop_map(|(key, front)| Step::Pop(key, front)),
        4 => (key.clone(), 1..50u64).prop_map(|(key, ms)| Step::Add(key, ms)),
        2 => (key.clone(), 1..50u64).prop_map(|(key, ms)| Step::Delete(key, ms)),
    ];
    let db = 0..DATABASES;
    let keys = prop_oneof![
        6 => key.clone().prop_map(Step::Remove),
        4 => (key.clone(), ttl()).prop_map(|(key, ttl)| Step::Deadline(key, ttl)),
        4 => (db.clone(), key.clone(), db.clone(), key.clone())
            .prop_map(|(db, from, to_db, to)| Step::Move(db, from, to_db, to)),
        2 => (key.clone(), key.clone()).prop_map(|(from, to)| Step::Carry(from, to)),
        2 => (key.clone(), key.clone()).prop_map(|(from, to)| Step::Copy(from, to)),
        2 => (key.clone(), 0..900u16).prop_map(|(key, count)| Step::Many(key, count)),
        2 => (key, 0..900u16).prop_map(|(key, count)| Step::Fewer(key, count)),
        3 => Just(Step::Evict),
    ];
    let others = prop_oneof![
        4 => (0..60u64).prop_map(Step::Advance),
        4 => (1..20usize).prop_map(Step::ExpireDue),
        4 => (1..40usize).prop_map(Step::Collect),
        1 => db.clone().prop_map(Step::Flush),
        2 => (db.clone(), db).prop_map(|(one, other)| Step::Swap(one, other)),
        1 => any::<bool>().prop_map(Step::Full),
        9 => (1..20usize).prop_map(Step::Walk),
    ];
    prop_oneof![2 => texts, 6 => tables, 3 => sequences, 3 => keys, 4 => others]
}

/// A name of each type's own, so that most steps find what they can work with.
fn name(kind: &str, index: u8) -> Vec<u8> {
    let mut name = format!("{kind}{}", index % 4).into_bytes();
    if index.is_multiple_of(11) {
        name.resize(300, b'x');
    }
    name
}

const KINDS: [&str; 6] = ["text", "hash", "set", "zset", "list", "stream"];

/// Any name.
fn any_name(index: u8) -> Vec<u8> {
    name(KINDS[index as usize % KINDS.len()], index)
}

fn field(at: u8) -> Vec<u8> {
    if at.is_multiple_of(5) { vec![b'a' + at; 280] } else { format!("{at}").into_bytes() }
}

struct World {
    shard: Shard,
    now_ms: u64,
    sink: Arc<Sink>,
}

fn key(bytes: &[u8]) -> Key<'_> {
    let slot = u16::from(bytes[bytes.len() - 1]) % 5 * 4000;
    Key { bytes, hash: KeyHasher::new(SEEDS).hash(bytes), slot }
}

impl World {
    fn new(slot_mode: bool) -> Self {
        let databases = DATABASES as usize;
        let mut shard =
            Shard::new(ShardConfig { databases, hash_seeds: SEEDS, slot_mode, rng_seed: 7 });
        shard.set_encoding_limits(EncodingLimits {
            hash_max_listpack_entries: 5,
            set_max_intset_entries: 5,
            set_max_listpack_entries: 5,
            zset_max_listpack_entries: 5,
            list: ListLimits::new(4, 0),
            ..EncodingLimits::default()
        });
        shard.set_now(1);
        Self { shard, now_ms: 1, sink: Arc::default() }
    }

    fn at(&self, ttl: Option<u64>) -> Option<u64> {
        ttl.map(|ttl| self.now_ms + ttl)
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Text(..) | Step::Grow(..) | Step::Number(..) => self.change_text(step),
            Step::Field(..) | Step::FieldGone(..) | Step::FieldDeadline(..) => {
                self.change_hash(step);
            }
            Step::Member(..) | Step::MemberGone(..) => self.change_set(step),
            Step::Score(..) | Step::ScoreGone(..) | Step::PopScores(..) => self.change_zset(step),
            Step::Push(..) | Step::Pop(..) | Step::Add(..) | Step::Delete(..) => {
                self.change_sequence(step);
            }
            Step::Advance(ms) => {
                self.now_ms += ms;
                self.shard.set_now(self.now_ms);
            }
            Step::ExpireDue(budget) => {
                self.shard.expire_due(self.now_ms, budget);
            }
            Step::Collect(budget) => {
                self.shard.collect_garbage(budget);
            }
            Step::Flush(db) => {
                self.shard.flush_db(db);
            }
            Step::Swap(one, other) => self.shard.swap_db(one, other),
            Step::Evict => {
                let how = Eviction { order: EvictionOrder::Random, expiring: false, samples: 5 };
                self.shard.evict_one(how);
            }
            Step::Full(full) => self.sink.full.store(full, Ordering::Relaxed),
            Step::Walk(count) => {
                self.shard.step_cut(count);
            }
            _ => self.change_keys(step),
        }
    }

    fn change_text(&mut self, step: &Step) {
        let shard = &mut self.shard;
        match *step {
            Step::Text(index, len) => {
                let value = vec![b'v'; len];
                let name = name("text", index);
                shard.set(0, &key(&name), NewValue::Bytes(&value), Ttl::Keep).unwrap();
            }
            Step::Grow(index, len) => {
                let name = name("text", index);
                shard.string_mut(0, &key(&name), len).unwrap().fill(b'g');
            }
            Step::Number(index, value) => {
                shard.set_int(0, &key(&name("text", index)), value).unwrap();
            }
            _ => unreachable!(),
        }
    }

    fn change_hash(&mut self, step: &Step) {
        let now_ms = self.now_ms;
        let (Step::Field(index, ..) | Step::FieldGone(index, _) | Step::FieldDeadline(index, ..)) =
            *step
        else {
            unreachable!()
        };
        let (name, step) = (name("hash", index), step.clone());
        let changed = self.shard.update_hash(0, &key(&name), |hash| match step {
            Step::Field(_, at, ttl) => {
                let ttl = ttl.map_or(FieldTtl::Clear, |ttl| FieldTtl::At(now_ms + ttl));
                let mut value = format!("{at} at {now_ms}");
                if at.is_multiple_of(7) {
                    value.push_str(&"x".repeat(LONG_BYTES));
                }
                hash.set(&field(at), NewValue::Bytes(value.as_bytes()), ttl).unwrap();
            }
            Step::FieldGone(_, at) => {
                hash.remove(&field(at));
            }
            Step::FieldDeadline(_, at, ttl) => {
                hash.set_deadline(&field(at), ttl.map(|ttl| now_ms + ttl)).unwrap();
            }
            _ => unreachable!(),
        });
        changed.unwrap();
    }

    fn change_set(&mut self, step: &Step) {
        let now_ms = self.now_ms;
        let (Step::Member(index, ..) | Step::MemberGone(index, _)) = *step else { unreachable!() };
        let (name, step) = (name("set", index), step.clone());
        let changed = self.shard.update_set(0, &key(&name), |set| match step {
            Step::Member(_, at, ttl) => {
                set.add(&field(at), 1).unwrap();
                if ttl.is_some() {
                    set.set_deadline(&field(at), ttl.map(|ttl| now_ms + ttl)).unwrap();
                }
            }
            Step::MemberGone(_, at) => {
                set.remove(&field(at));
            }
            _ => unreachable!(),
        });
        changed.unwrap();
    }

    fn change_zset(&mut self, step: &Step) {
        let (Step::Score(index, ..) | Step::ScoreGone(index, _) | Step::PopScores(index, _)) =
            *step
        else {
            unreachable!()
        };
        let (name, step) = (name("zset", index), step.clone());
        let changed = self.shard.update_zset(0, &key(&name), |zset| match step {
            Step::Score(_, at, score) => {
                zset.set(&field(at), |_| Some(f64::from(score) / 8.0)).unwrap();
            }
            Step::ScoreGone(_, at) => {
                zset.remove(&field(at));
            }
            Step::PopScores(_, count) => {
                let count = count.min(zset.view().len());
                zset.pop_range(0, count, |_, _| ());
            }
            _ => unreachable!(),
        });
        changed.unwrap();
    }

    fn change_sequence(&mut self, step: &Step) {
        let end = |front| if front { End::Front } else { End::Back };
        match *step {
            Step::Push(index, front, text) => {
                let name = name("list", index);
                let push = self.shard.update_list(0, &key(&name), |list| {
                    list.push(end(front), &vec![text; text as usize / 16]);
                });
                push.unwrap();
            }
            Step::Pop(index, front) => {
                let name = name("list", index);
                let pop = self.shard.update_list(0, &key(&name), |list| {
                    list.pop(end(front), |_| ());
                });
                pop.unwrap();
            }
            Step::Add(index, ms) => self.add_entry(&name("stream", index), ms),
            Step::Delete(index, ms) => {
                let name = name("stream", index);
                let delete = self.shard.update_stream(0, &key(&name), |stream| {
                    stream.delete(Id::new(ms, 0), References::Keep);
                });
                delete.unwrap();
            }
            _ => unreachable!(),
        }
    }

    fn add_entry(&mut self, name: &[u8], ms: u64) {
        let add = |stream: &mut Stream| {
            let ms = ms.max(stream.log().last_id().ms + 1);
            let pairs = [(b"field".as_slice(), b"value".as_slice())];
            let limits = NodeLimits { bytes: 0, entries: 3 };
            stream.log_mut().append(Id::new(ms, 0), pairs.into_iter(), limits).unwrap();
        };
        if self.shard.update_stream(0, &key(name), add).unwrap().is_none() {
            let mut stream = Stream::new();
            add(&mut stream);
            self.shard.insert_stream(0, &key(name), stream).unwrap();
        }
    }

    fn change_keys(&mut self, step: &Step) {
        let due = |world: &Self, ttl| world.at(ttl);
        match *step {
            Step::Remove(index) => {
                self.shard.remove(0, &key(&any_name(index)));
            }
            Step::Deadline(index, ttl) => {
                let (name, deadline) = (any_name(index), due(self, ttl));
                match deadline {
                    Some(at) => {
                        self.shard.set_deadline(0, &key(&name), at).unwrap();
                    }
                    None => {
                        self.shard.persist(0, &key(&name)).unwrap();
                    }
                }
            }
            Step::Move(db, from, to_db, to) => {
                let kind = KINDS[from as usize % KINDS.len()];
                let (from, to) = (any_name(from), name(kind, to));
                let why = (ChangeKind::RenamedFrom, ChangeKind::RenamedTo);
                self.shard.relocate((db, &key(&from)), (to_db, &key(&to)), why).unwrap();
            }
            Step::Carry(from, to) => {
                let kind = KINDS[from as usize % KINDS.len()];
                let (from, to) = (any_name(from), name(kind, to));
                if let Some(value) = self.shard.take(0, &key(&from), ChangeKind::RenamedFrom) {
                    self.put(&to, value);
                }
            }
            Step::Copy(from, to) => {
                let kind = KINDS[from as usize % KINDS.len()];
                let (from, to) = (any_name(from), name(kind, to));
                if let Some(value) = self.shard.copy(0, &key(&from)) {
                    self.put(&to, value);
                }
            }
            Step::Many(first, count) => {
                for index in 0..count {
                    let name = format!("many{first}:{index}");
                    self.shard.set_int(0, &key(name.as_bytes()), self.now_ms as i64).unwrap();
                }
            }
            Step::Fewer(first, count) => {
                for index in 0..count {
                    self.shard.remove(0, &key(format!("many{first}:{index}").as_bytes()));
                }
            }
            _ => unreachable!(),
        }
    }

    /// What has lost its last element is no value.
    fn put(&mut self, name: &[u8], value: OwnedValue) {
        let is_empty = match &value.data {
            OwnedData::Hash(elements)
            | OwnedData::Set(elements)
            | OwnedData::SortedSet(elements) => elements.is_empty(),
            _ => false,
        };
        if !is_empty {
            self.shard.put(0, &key(name), value, ChangeKind::Set).unwrap();
        }
    }

    fn entries(&self) -> Entries {
        let mut entries = Entries::new();
        for (db, state) in (0..).zip(&self.shard.dbs) {
            state.for_each(|handle| {
                let key = self.shard.store.key(handle).to_vec();
                entries.insert((db, key), plain(&self.shard.export(handle)));
            });
        }
        entries
    }

    fn cut(&mut self) {
        self.sink = Arc::default();
        self.shard.begin_cut(Box::new(TestSaver(Arc::clone(&self.sink))));
    }

    fn finish(&mut self) {
        self.sink.full.store(false, Ordering::Relaxed);
        while self.shard.step_cut(10) != CutStep::Done {
            self.shard.collect_garbage(10);
        }
        self.shard.end_cut();
        self.shard.verify();
        let entries = self.sink.entries.lock().unwrap();
        for (place, value, text) in self.sink.shared.lock().unwrap().drain(..) {
            assert_eq!(plain(&value), entries[&place], "it stays what it was");
            match (value.data, text) {
                (OwnedData::String(bytes), Some(text)) => assert_eq!(bytes, *text),
                (_, text) => assert_eq!(text, None),
            }
        }
        for (place, name, text) in self.sink.shared_elements.lock().unwrap().drain(..) {
            assert_eq!(entries[&place].2[&name].0, *text, "it stays what it was");
        }
    }
}

/// Leaves out elements that are due at the end, which were saved or not.
fn settled(entries: &Entries, now_ms: u64) -> Entries {
    let mut entries = entries.clone();
    for (_, _, elements) in entries.values_mut() {
        elements.retain(|_, (_, _, deadline)| deadline.is_none_or(|deadline| deadline > now_ms));
    }
    entries
}

fn check(before: &[Step], during: &[Step], given_up: bool, slot_mode: bool) {
    let mut world = World::new(slot_mode);
    for step in before {
        world.apply(step);
    }
    for round in 0..2 {
        let expected = world.entries();
        world.cut();
        for (number, step) in during.iter().enumerate() {
            world.apply(step);
            if given_up && round == 0 && number == during.len() / 2 {
                world.shard.give_up_cut();
            }
        }
        world.shard.verify();
        world.finish();
        if !given_up || round == 1 {
            let saved = world.sink.entries.lock().unwrap();
            assert_eq!(settled(&saved, world.now_ms), settled(&expected, world.now_ms));
            assert_eq!(*world.sink.open.lock().unwrap(), 0, "what was opened has ended");
        }
    }
    while world.shard.collect_garbage(100) {}
    world.shard.verify();
}

proptest! {
    #[test]
    fn a_snapshot_is_what_was_at_the_cut(
        before in proptest::collection::vec(step(), 0..300),
        during in proptest::collection::vec(step(), 0..200),
        given_up: bool,
        slot_mode: bool,
    ) {
        check(&before, &during, given_up, slot_mode);
    }
}

#[test]
fn a_large_collection_is_saved_in_steps_while_it_changes() {
    let mut world = World::new(false);
    for index in 0..20_000_u32 {
        let member = index.to_string();
        let add = |set: &mut crate::SetMut<'_, '_>| set.add(member.as_bytes(), 1).unwrap();
        world.shard.update_set(0, &key(b"set"), add).unwrap();
    }
    let expected = world.entries();
    world.cut();
    let mut steps = 0;
    while world.shard.step_cut(16) == CutStep::More {
        let member = (steps * 7 % 20_000).to_string();
        let change = |set: &mut crate::SetMut<'_, '_>| {
            set.remove(member.as_bytes());
            set.add(format!("new {member}").as_bytes(), 1).unwrap();
        };
        world.shard.update_set(0, &key(b"set"), change).unwrap();
        steps += 1;
    }
    assert!(steps > 1000, "{steps} steps");
    world.finish();
    assert_eq!(*world.sink.entries.lock().unwrap(), expected);
}

/// Saves nothing, and keeps what it gets.
struct Keeper(Arc<Mutex<Vec<OwnedValue>>>);

impl Saver for Keeper {
    fn save(&mut self, _: u32, entry: &SavedEntry<'_>, _: SaveCause) {
        self.0.lock().unwrap().push(entry.to_value());
    }

    fn is_full(&self) -> bool {
        false
    }

    fn open(
        &mut self,
        _: u32,
        _: &SavedEntry<'_>,
        _: CollectionSize,
    ) -> Option<Box<dyn ElementSaver>> {
        None
    }
}

/// A list of some megabytes, and how many bytes of it are its own.
fn list_of_megabytes(world: &mut World) -> usize {
    let push = |list: &mut crate::ListMut<'_>| {
        (0..200_000_u32).for_each(|at| list.push(End::Back, format!("element {at}").as_bytes()));
    };
    world.shard.set_encoding_limits(EncodingLimits::default());
    world.shard.update_list(0, &key(b"list"), push).unwrap();
    world.shard.memory_use().external
}

#[test]
fn what_is_changed_of_a_large_list_is_copied_and_not_all_of_it() {
    let mut world = World::new(false);
    let bytes = list_of_megabytes(&mut world);
    let kept = Arc::default();
    world.shard.begin_cut(Box::new(Keeper(Arc::clone(&kept))));
    for at in [0, 100_000, 199_999] {
        let set = |list: &mut crate::ListMut<'_>| list.set(at, b"other");
        assert!(world.shard.update_list(0, &key(b"list"), set).unwrap());
    }
    let push = |list: &mut crate::ListMut<'_>| list.push(End::Front, b"first");
    world.shard.update_list(0, &key(b"list"), push).unwrap();
    let OwnedData::List(saved) = kept.lock().unwrap().pop().unwrap().data else { unreachable!() };
    assert_eq!(saved.len(), 200_000);
    let read = |list: &List, at| list.get(at, <[u8]>::to_vec).unwrap();
    for at in [0, 100_000, 199_999] {
        assert_eq!(read(&saved, at), format!("element {at}").as_bytes());
    }
    let list = world.shard.list_at(0, &key(b"list"), false).unwrap().unwrap();
    let list = list.as_large().unwrap();
    assert_eq!(read(list, 100_001), b"other");
    // Of the dozen chunks those with one of the three places are not shared any more.
    let copied = list.own_bytes();
    assert!(copied > 0 && copied < bytes / 2, "{copied} bytes of {bytes}");
    world.shard.verify();
}

#[test]
fn a_large_list_that_somebody_else_has_is_freed_without_a_copy() {
    let mut world = World::new(false);
    list_of_megabytes(&mut world);
    let copy = world.shard.copy(0, &key(b"list")).unwrap();
    let OwnedData::List(list) = &copy.data else { unreachable!() };
    assert_eq!(list.own_bytes(), 0, "all of it is shared");
    world.shard.remove(0, &key(b"list"));
    let mut steps = 0;
    while world.shard.collect_garbage(1) {
        steps += 1;
    }
    assert!(steps > 5, "{steps} steps");
    assert_eq!(world.shard.memory_use().garbage, 0);
    world.shard.put(0, &key(b"copy"), copy, ChangeKind::Set).unwrap();
    world.shard.verify();
}

#[test]
fn a_write_to_a_large_collection_saves_what_it_changes_and_not_all_of_it() {
    let mut world = World::new(false);
    for index in 0..5000_u32 {
        let name = index.to_string();
        let (name, score) = (name.as_bytes(), f64::from(index));
        let shard = &mut world.shard;
        shard.update_set(0, &key(b"set"), |set| set.add(name, 1).unwrap()).unwrap();
        shard
            .update_zset(0, &key(b"zset"), |zset| zset.set(name, |_| Some(score)).unwrap())
            .unwrap();
        let field = |hash: &mut crate::HashMut<'_, '_>| {
            hash.set(name, NewValue::Int(1), FieldTtl::Clear).unwrap();
        };
        shard.update_hash(0, &key(b"hash"), field).unwrap();
    }
    world.cut();
    let shard = &mut world.shard;
    shard.update_set(0, &key(b"set"), |set| set.remove(b"17")).unwrap();
    shard.update_zset(0, &key(b"zset"), |zset| zset.remove(b"17")).unwrap();
    shard.update_hash(0, &key(b"hash"), |hash| hash.remove(b"17")).unwrap();
    let saved = |name: &[u8]| world.sink.entries.lock().unwrap()[&(0, name.to_vec())].2.len();
    for name in [&b"set"[..], b"zset", b"hash"] {
        assert_eq!(saved(name), 1, "{}", name.escape_ascii());
    }
    world.finish();
    for name in [&b"set"[..], b"zset", b"hash"] {
        let entries = world.sink.entries.lock().unwrap();
        assert_eq!(entries[&(0, name.to_vec())].2.len(), 5000);
    }
}

/// Counts the texts that are shared with it; wants nothing whole.
struct Counter(Arc<Mutex<Vec<Arc<Vec<u8>>>>>);

impl Saver for Counter {
    fn save(&mut self, _: u32, _: &SavedEntry<'_>, _: SaveCause) {
        unreachable!("nothing is saved whole");
    }

    fn is_full(&self) -> bool {
        false
    }

    fn open(
        &mut self,
        _: u32,
        _: &SavedEntry<'_>,
        _: CollectionSize,
    ) -> Option<Box<dyn ElementSaver>> {
        Some(Box::new(Self(Arc::clone(&self.0))))
    }
}

impl ElementSaver for Counter {
    fn save(&mut self, _: Element<'_>, text: Option<Arc<Vec<u8>>>) {
        self.0.lock().unwrap().extend(text);
    }

    fn is_full(&self) -> bool {
        false
    }

    fn end(self: Box<Self>) {}
}

#[test]
fn long_values_of_elements_are_shared_and_come_a_few_at_a_time() {
    let mut world = World::new(false);
    let value = vec![b'v'; 1 << 20];
    let set = |hash: &mut crate::HashMut<'_, '_>| {
        for index in 0..20_u8 {
            hash.set(&[index], NewValue::Bytes(&value), FieldTtl::Clear).unwrap();
        }
    };
    world.shard.update_hash(0, &key(b"hash"), set).unwrap();
    assert!(world.shard.entry_size(0, &key(b"hash")).unwrap() > 20 << 20);
    let before = world.shard.memory_use().external;
    let texts = Arc::default();
    world.shard.begin_cut(Box::new(Counter(Arc::clone(&texts))));
    let mut steps = 0;
    while world.shard.step_cut(8) != CutStep::Done {
        steps += 1;
    }
    assert!(steps > 20, "{steps} steps");
    assert_eq!(texts.lock().unwrap().len(), 20);
    assert_eq!(world.shard.memory_use().external, before);
    let change = |hash: &mut crate::HashMut<'_, '_>| {
        hash.set(&[3], NewValue::Bytes(b"new"), FieldTtl::Clear).unwrap();
    };
    world.shard.update_hash(0, &key(b"hash"), change).unwrap();
    assert!(texts.lock().unwrap().iter().all(|text| **text == value));
    world.shard.end_cut();
    world.shard.verify();
}

#[test]
fn what_is_removed_while_it_is_saved_is_saved_before_it_is_freed() {
    for flush in [false, true] {
        let mut world = World::new(false);
        for index in 0..2000_u32 {
            let score = f64::from(index);
            let set = |zset: &mut crate::ZsetMut<'_, '_>| {
                zset.set(index.to_string().as_bytes(), |_| Some(score)).unwrap();
            };
            world.shard.update_zset(0, &key(b"zset"), set).unwrap();
        }
        let expected = world.entries();
        world.cut();
        world.shard.step_cut(10);
        world.shard.step_cut(10);
        if flush {
            world.shard.flush_db(0);
        } else {
            world.shard.remove(0, &key(b"zset"));
        }
        world.sink.full.store(true, Ordering::Relaxed);
        let before = world.shard.memory_use();
        for _ in 0..100 {
            world.shard.collect_garbage(1000);
        }
        assert!(world.shard.memory_use().entries * 2 > before.entries, "it waits for room");
        world.finish();
        assert_eq!(*world.sink.entries.lock().unwrap(), expected);
    }
}
