//! A shard's part of a dump file: its entries as bytes, on their way to the writing thread.
//!
//! All shards write at the same time into one file. What a shard hands over is a *piece*: whole
//! records with the database that they belong to, so that pieces may follow each other in any
//! order. A collection that is saved in parts makes pieces of its own, which the thread collects
//! until they are all there ([`super::save`]). What costs much to encode (long texts, lists,
//! streams) is shared with the thread, which encodes it, and compresses strings as well.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard};

use kvasir_shard::{
    CollectionSize, Element, ElementSaver, OwnedData, SaveCause, SavedEntry, Saver, ValueRef,
    ValueType,
};

use super::aof::manifest::BaseFormat;
use super::aof::part::{self as commands, Batch};
use super::owned;
use super::rdb::WriteOptions;
use super::rdb::extras::{DeadlineWriter, write_stream_extras};
use super::rdb::write::file::{
    Needs, Usage, write_attributes, write_key, write_select, write_text,
};
use super::rdb::write::is_compressible;
use super::rdb::write::portion::{Form, write_list};
use super::save::Piece;
use crate::config::Config;
use crate::config::choice::MaxmemoryPolicy;
use crate::route::core::access_stamp;

/// Bytes of a piece, about.
pub(super) const PIECE_BYTES: usize = 128 * 1024;
/// The walk waits while so many bytes wait to be taken by the thread.
pub(super) const FULL_BYTES: usize = 1 << 20;
/// Nobody may write while so many do, or this part of what the server has in use: what is changed
/// is saved first, and a disk that is slower than those who write would have all of the data set
/// wait in memory.
const CHOKED_BYTES_MIN: usize = 16 << 20;
/// See [`CHOKED_BYTES_MIN`]: a fiftieth, for all shards together.
const CHOKED_SHARE: usize = 50;
/// Collections of up to so many elements are saved whole, which takes some 100 us at most, ...
const WHOLE_ELEMENTS_MAX: usize = 512;
/// ... unless they have more bytes than this.
const WHOLE_BYTES_MAX: usize = 256 * 1024;
/// Texts above this size are encoded by the thread.
const LONG_TEXT_BYTES: usize = 16 * 1024;

/// What a shard has to know to write its part.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    format: BaseFormat,
    options: WriteOptions,
    usage: Option<UsageKind>,
    /// The moment of the cut, by which times of use are told.
    now_ms: u64,
    /// So many bytes may wait for the thread before nobody may write.
    choked_bytes: usize,
}

/// What the eviction policy wants to know of a key's use, and the file keeps for it.
#[derive(Clone, Copy, Debug)]
enum UsageKind {
    Idle,
    Frequency,
}

impl Plan {
    /// By the configuration, for a file in this form, and for so many shards that have so many
    /// bytes in use together.
    pub fn new(
        config: &Config,
        format: BaseFormat,
        now_ms: u64,
        (shards, used_bytes): (u16, u64),
    ) -> Self {
        let share = usize::try_from(used_bytes).unwrap_or(usize::MAX) / CHOKED_SHARE;
        let choked_bytes = CHOKED_BYTES_MIN.max(share / usize::from(shards));
        let usage = match config.memory.policy {
            MaxmemoryPolicy::AllkeysLru | MaxmemoryPolicy::VolatileLru => Some(UsageKind::Idle),
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => {
                Some(UsageKind::Frequency)
            }
            _ => None,
        };
        let options = WriteOptions { compress: config.persistence.compress };
        Self { format, options, usage, now_ms, choked_bytes }
    }

    /// The form of the file.
    pub fn format(self) -> BaseFormat {
        self.format
    }

    /// How the server-wide parts of the file are written.
    pub fn options(self) -> WriteOptions {
        self.options
    }

    fn attributes(self, out: &mut Vec<u8>, entry: &SavedEntry<'_>) {
        let usage = self.usage.map(|usage| match usage {
            UsageKind::Idle => {
                Usage::Idle(access_stamp(self.now_ms).wrapping_sub(entry.stamp()).into())
            }
            UsageKind::Frequency => Usage::Frequency(entry.stamp() as u8),
        });
        write_attributes(out, entry.deadline_ms(), usage);
    }
}

/// What the parts of a file and their coordinator tell each other.
#[derive(Debug)]
pub struct Link {
    /// The file's head is written, so that entries may follow.
    open: AtomicBool,
    parts_left: AtomicUsize,
    keys_done: AtomicU64,
    needs: AtomicU8,
}

impl Link {
    /// For a file of so many parts.
    pub fn new(parts: usize) -> Self {
        Self {
            open: AtomicBool::new(false),
            parts_left: AtomicUsize::new(parts),
            keys_done: AtomicU64::new(0),
            needs: AtomicU8::new(0),
        }
    }

    /// Lets the parts be written.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    /// Whether the thread has been given all parts.
    pub fn is_done(&self) -> bool {
        self.parts_left.load(Ordering::Acquire) == 0
    }

    /// Keys that are saved.
    pub fn keys_done(&self) -> u64 {
        self.keys_done.load(Ordering::Relaxed)
    }

    /// What the file needs, once all parts are done.
    pub fn needs(&self) -> Needs {
        Needs::from_level(self.needs.load(Ordering::Relaxed))
    }

    fn note_needs(&self, needs: Needs) {
        self.needs.fetch_max(needs as u8, Ordering::Relaxed);
    }
}

/// Pieces that wait for the thread to have room. Only the shard's core uses it; the collections
/// that are saved in parts share it.
#[derive(Debug)]
pub(super) struct Outbox {
    pieces: Mutex<VecDeque<(Piece, usize)>>,
    bytes: AtomicUsize,
}

impl Outbox {
    fn pieces_mut(&self) -> MutexGuard<'_, VecDeque<(Piece, usize)>> {
        self.pieces.lock().expect("invariant: a panic ends the process")
    }

    pub(super) fn push(&self, piece: Piece, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.pieces_mut().push_back((piece, bytes));
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= FULL_BYTES
    }
}

/// What became of the pieces that wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// The thread has them.
    All,
    /// There is no room for all of them now.
    Some,
    /// The thread has ended, by an error that the outcome tells.
    Ended,
}

/// The part.
pub struct Part {
    plan: Plan,
    link: Arc<Link>,
    thread: SyncSender<Piece>,
    outbox: Arc<Outbox>,
    /// The piece that is being made, and its present database.
    piece: Vec<u8>,
    /// The strings in it that the thread is to compress.
    texts: Vec<Range<usize>>,
    db: Option<u32>,
    /// Entries that the thread is to put into commands, where the file consists of those.
    batch: Batch,
    keys: u64,
    /// Keys that the link knows of.
    keys_told: u64,
    /// The number of the next collection that is saved in parts.
    next_portion: u64,
}

impl Part {
    /// The part of the shard with this number.
    pub fn new(shard: u16, plan: Plan, link: Arc<Link>, thread: SyncSender<Piece>) -> Self {
        let outbox = Outbox { pieces: Mutex::default(), bytes: AtomicUsize::new(0) };
        Self {
            plan,
            link,
            thread,
            outbox: Arc::new(outbox),
            piece: Vec::new(),
            batch: Batch::default(),
            texts: Vec::new(),
            db: None,
            keys: 0,
            keys_told: 0,
            next_portion: u64::from(shard) << 48,
        }
    }

    /// Keys that are saved, or have been begun.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Hands over what the thread has room for.
    pub fn send(&mut self) -> Sent {
        self.link.keys_done.fetch_add(self.keys - self.keys_told, Ordering::Relaxed);
        self.keys_told = self.keys;
        if !self.link.open.load(Ordering::Acquire) {
            return Sent::Some;
        }
        let mut pieces = self.outbox.pieces_mut();
        while let Some((piece, bytes)) = pieces.pop_front() {
            match self.thread.try_send(piece) {
                Ok(()) => {
                    self.outbox.bytes.fetch_sub(bytes, Ordering::Relaxed);
                }
                Err(TrySendError::Full(piece)) => {
                    pieces.push_front((piece, bytes));
                    return Sent::Some;
                }
                Err(TrySendError::Disconnected(_)) => return Sent::Ended,
            }
        }
        Sent::All
    }

    /// Whether so much waits to be handed over that nobody may write.
    pub fn is_choked(&self) -> bool {
        self.outbox.bytes.load(Ordering::Relaxed) >= self.plan.choked_bytes
    }

    /// Everything has been saved: hands over the rest. To be called again until it has been taken,
    /// and then [`Part::end`].
    pub fn finish(&mut self) -> Sent {
        self.seal();
        self.send()
    }

    /// Tells that this part is whole.
    pub fn end(&self) {
        self.link.parts_left.fetch_sub(1, Ordering::AcqRel);
    }

    /// Closes the piece that is being made. The next begins with its database anew.
    fn seal(&mut self) {
        self.db = None;
        if let Some((piece, bytes)) = self.batch.take() {
            self.outbox.push(piece, bytes);
        }
        if !self.piece.is_empty() {
            let piece = std::mem::take(&mut self.piece);
            let bytes = piece.len();
            let texts = std::mem::take(&mut self.texts);
            self.outbox.push(Piece::Uncompressed(piece, texts), bytes);
        }
    }

    fn select(&mut self, db: u32) {
        if self.db != Some(db) {
            self.db = Some(db);
            // Growing it bit by bit would copy it as often.
            self.piece.reserve(PIECE_BYTES + LONG_TEXT_BYTES);
            write_select(&mut self.piece, db);
        }
    }

    /// Leaves an entry to the thread to encode, whose value takes so many bytes.
    fn save_later(&self, db: u32, entry: &SavedEntry<'_>, value: Later, bytes: usize) {
        let mut out = Vec::new();
        write_select(&mut out, db);
        self.plan.attributes(&mut out, entry);
        let (key, options) = (entry.key().to_vec(), self.plan.options);
        let encode = move |pass_on: &mut dyn FnMut(&[u8]) -> io::Result<()>| {
            let needs = match value {
                Later::Text(text) => {
                    write_text(&mut out, &key, ValueRef::Bytes(&text), options);
                    Needs::Nothing
                }
                Later::Data(OwnedData::List(list)) => {
                    write_list(&mut out, &key, &list, options, pass_on)?;
                    Needs::Nothing
                }
                Later::Data(data) => write_whole(&mut out, &key, data, options),
            };
            pass_on(&out)?;
            Ok(needs)
        };
        // The shard has the value as well, as a rule, so that this is no memory of its own. But
        // the thread had better be done with one before the walk comes to many others.
        self.outbox.push(Piece::Unencoded(Box::new(encode)), bytes.min(FULL_BYTES));
    }

    fn save_collection(&mut self, db: u32, entry: &SavedEntry<'_>) {
        let value = entry.to_value();
        let (elements, bytes) = match &value.data {
            OwnedData::List(list) => (list.len(), list.memory()),
            OwnedData::Stream(stream) => {
                let entries = usize::try_from(stream.log().len()).unwrap_or(usize::MAX);
                (entries.max(stream.pieces()), stream.memory())
            }
            _ => (0, 0),
        };
        if is_large(elements, bytes) {
            return self.save_later(db, entry, Later::Data(value.data), bytes);
        }
        if is_empty(&value.data) {
            // All of its elements have expired.
            return;
        }
        self.select(db);
        self.plan.attributes(&mut self.piece, entry);
        let needs = write_whole(&mut self.piece, entry.key(), value.data, self.plan.options);
        self.link.note_needs(needs);
    }
}

/// A value that the thread encodes.
enum Later {
    /// A text that the shard may have as well.
    Text(Arc<Vec<u8>>),
    /// Any other value. A list or a stream has blocks that the shard may have as well.
    Data(OwnedData),
}

/// Whether a collection would take too long for one turn.
fn is_large(elements: usize, bytes: usize) -> bool {
    elements > WHOLE_ELEMENTS_MAX || bytes > WHOLE_BYTES_MAX
}

/// Whether a value is a collection without elements.
pub(super) fn is_empty(data: &OwnedData) -> bool {
    match data {
        OwnedData::Hash(elements) | OwnedData::Set(elements) | OwnedData::SortedSet(elements) => {
            elements.is_empty()
        }
        OwnedData::List(list) => list.len() == 0,
        OwnedData::Int(_) | OwnedData::String(_) | OwnedData::Stream(_) => false,
    }
}

/// Appends a key with its value and all that belongs to it; what the file then needs.
fn write_whole(out: &mut Vec<u8>, key: &[u8], data: OwnedData, options: WriteOptions) -> Needs {
    let (value_type, elements) = match &data {
        OwnedData::Set(elements) => (ValueType::Set, elements),
        OwnedData::SortedSet(elements) => (ValueType::SortedSet, elements),
        OwnedData::Stream(stream) => {
            let extras = owned::stream_extras(stream);
            let needs = write_key(out, key, &owned::to_dump(data), options);
            write_stream_extras(out, &extras);
            return needs;
        }
        _ => return write_key(out, key, &owned::to_dump(data), options),
    };
    if elements.expiring() == 0 {
        return write_key(out, key, &owned::to_dump(data), options);
    }
    // The deadlines go by the order of the members, which this form keeps.
    let form = Form::new(value_type, false, options);
    form.write_key(out, key, elements.len() as u64);
    elements.iter().for_each(|element| form.write_element(out, &element));
    let mut deadlines = DeadlineWriter::default();
    elements.iter().for_each(|element| deadlines.push(out, element.deadline_ms));
    deadlines.finish(out);
    form.needs()
}

impl Saver for Part {
    fn save(&mut self, db: u32, entry: &SavedEntry<'_>, cause: SaveCause) {
        self.keys += 1;
        if self.plan.format == BaseFormat::Commands {
            if self.batch.push(db, entry) {
                self.seal();
            }
            return;
        }
        match entry.value() {
            ValueRef::Collection(_) => self.save_collection(db, entry),
            ValueRef::Bytes(text) if text.len() > LONG_TEXT_BYTES => {
                let later = match entry.shared_text() {
                    Some(text) => Later::Text(text),
                    None => Later::Data(entry.to_value().data),
                };
                self.save_later(db, entry, later, text.len());
            }
            text => {
                self.select(db);
                self.plan.attributes(&mut self.piece, entry);
                write_text(&mut self.piece, entry.key(), text, WriteOptions { compress: false });
                // What is changed is saved as it is: there may be more of that than the thread
                // could compress, and somebody would have to wait.
                let len = text.string_len().unwrap_or(0);
                let walked = self.plan.options.compress && cause == SaveCause::Walk;
                if walked && is_compressible(len) {
                    self.texts.push(self.piece.len() - len..self.piece.len());
                }
            }
        }
        if self.piece.len() >= PIECE_BYTES {
            self.seal();
        }
    }

    fn is_full(&self) -> bool {
        self.outbox.is_full()
    }

    fn open(
        &mut self,
        db: u32,
        entry: &SavedEntry<'_>,
        CollectionSize { elements, expiring, bytes }: CollectionSize,
    ) -> Option<Box<dyn ElementSaver>> {
        if !is_large(elements, bytes) {
            return None;
        }
        self.keys += 1;
        if self.plan.format == BaseFormat::Commands {
            let outbox = Arc::clone(&self.outbox);
            return Some(Box::new(commands::Portion::new(db, entry, outbox)));
        }
        let ValueRef::Collection(value_type) = entry.value() else {
            unreachable!("only a collection has elements");
        };
        let expires = value_type == ValueType::Hash && expiring > 0;
        let form = Form::new(value_type, expires, self.plan.options);
        self.link.note_needs(form.needs());
        let mut bytes = Vec::new();
        write_select(&mut bytes, db);
        self.plan.attributes(&mut bytes, entry);
        form.write_key(&mut bytes, entry.key(), elements as u64);
        let number = self.next_portion;
        self.next_portion += 1;
        let outbox = Arc::clone(&self.outbox);
        let deadlines = (expiring > 0 && !expires).then(DeadlineWriter::default);
        let extras = Vec::new();
        Some(Box::new(Portion { form, number, bytes, deadlines, extras, is_split: false, outbox }))
    }
}

/// A collection that is saved in parts.
struct Portion {
    form: Form,
    number: u64,
    bytes: Vec<u8>,
    /// The deadlines of members, which follow the value.
    deadlines: Option<DeadlineWriter>,
    extras: Vec<u8>,
    /// Some of it is on its way.
    is_split: bool,
    outbox: Arc<Outbox>,
}

impl Portion {
    fn hand_over(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let len = bytes.len();
        if len == 0 {
            return;
        }
        self.is_split = true;
        self.outbox.push(Piece::Portion(self.number, bytes), len);
    }

    /// Leaves an element to the thread to encode, whose value the shard has as well.
    fn hand_over_later(&mut self, element: &Element<'_>, text: Arc<Vec<u8>>) {
        self.hand_over();
        let (form, deadline_ms) = (self.form, element.deadline_ms);
        let name = element.name.to_vec().expect("invariant: names are strings");
        let bytes = name.len() + text.len();
        let encode = move |pass_on: &mut dyn FnMut(&[u8]) -> io::Result<()>| {
            let (name, value) = (ValueRef::Bytes(&name), ValueRef::Bytes(&text));
            let mut out = Vec::new();
            form.write_element(&mut out, &Element { name, value, score: 0.0, deadline_ms });
            pass_on(&out)
        };
        let piece = Piece::PortionUnencoded(self.number, Box::new(encode));
        self.outbox.push(piece, bytes.min(FULL_BYTES));
    }

    fn hand_over_extras(&mut self) {
        let extras = std::mem::take(&mut self.extras);
        let len = extras.len();
        self.is_split = true;
        self.outbox.push(Piece::PortionExtras(self.number, extras), len);
    }
}

impl ElementSaver for Portion {
    fn save(&mut self, element: Element<'_>, text: Option<Arc<Vec<u8>>>) {
        match text {
            Some(text) => self.hand_over_later(&element, text),
            None => self.form.write_element(&mut self.bytes, &element),
        }
        if self.bytes.len() >= PIECE_BYTES {
            self.hand_over();
        }
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.push(&mut self.extras, element.deadline_ms);
            if self.extras.len() >= PIECE_BYTES {
                self.hand_over_extras();
            }
        }
    }

    fn is_full(&self) -> bool {
        self.outbox.is_full()
    }

    fn end(mut self: Box<Self>) {
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.finish(&mut self.extras);
        }
        if self.is_split {
            self.hand_over();
            if !self.extras.is_empty() {
                self.hand_over_extras();
            }
            self.outbox.push(Piece::PortionEnd(self.number), 0);
        } else {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.append(&mut self.extras);
            let len = bytes.len();
            self.outbox.push(Piece::Records(bytes), len);
        }
    }
}
