//! What values have beyond the peers' forms: deadlines of members of sets and sorted sets, and of
//! streams the entries that were released and the additions that are remembered.
//!
//! It is in the file behind the key that it is about, as a text about the file with a name that
//! only this server knows. Both peers skip such texts, and load the key without. Deadlines come in
//! several texts when there are many, so that no more than a part of them is ever in memory.

use super::write::file::write_aux;
use super::write::{WriteOptions, write_length, write_string};
use super::{Input, RdbError, StreamId};

/// The name of a text with deadlines of members.
pub(super) const DEADLINES: &[u8] = b"kvasir-deadlines";
/// The name of a text about a stream.
pub(super) const STREAM: &[u8] = b"kvasir-stream";
/// Bytes of deadlines in one text, about.
const DEADLINES_BYTES: usize = 16 * 1024;
const PLAIN: WriteOptions = WriteOptions { compress: false };

/// What belongs to a key beyond its value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Extras {
    /// Members by their place in the value, with their deadlines in milliseconds of the Unix epoch;
    /// ascending by place.
    pub deadlines: Vec<(u64, u64)>,
    /// What a stream has.
    pub stream: Option<Box<StreamExtras>>,
}

/// What a stream has beyond the peers' form.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StreamExtras {
    /// Entries that consumers have released, by group.
    pub released: Vec<(Vec<u8>, Vec<Released>)>,
    /// What is remembered of producers' additions.
    pub idempotence: Option<Additions>,
}

/// An entry that a consumer has released: nobody's until it is claimed or delivered again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Released {
    /// The entry.
    pub id: StreamId,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// What is remembered of producers' additions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Additions {
    /// For how many seconds.
    pub duration_s: u64,
    /// How many of each producer.
    pub additions_max: u64,
    /// How many there ever were.
    pub added: u64,
    /// How many were recognised as repeated.
    pub duplicates: u64,
    /// The additions, each producer's in order.
    pub additions: Vec<Addition>,
}

/// An addition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addition {
    /// Whose it is.
    pub producer: Vec<u8>,
    /// The name that the producer gave it.
    pub name: Vec<u8>,
    /// The entry that it made.
    pub id: StreamId,
    /// When, in milliseconds of the Unix epoch.
    pub added_ms: u64,
}

impl Extras {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.deadlines.is_empty() && self.stream.is_none()
    }

    /// Adds those of another text about the same key.
    pub fn append(&mut self, more: Self) {
        self.deadlines.extend(more.deadlines);
        self.stream = more.stream.or(self.stream.take());
    }
}

/// Deadlines of members that are on their way into a file.
#[derive(Clone, Debug, Default)]
pub struct DeadlineWriter {
    text: Vec<u8>,
    place: u64,
}

impl DeadlineWriter {
    /// Notes the next member, and appends a text to `out` when there is enough for one.
    pub fn push(&mut self, out: &mut Vec<u8>, deadline_ms: Option<u64>) {
        if let Some(deadline) = deadline_ms {
            write_length(&mut self.text, self.place);
            self.text.extend_from_slice(&deadline.to_le_bytes());
            if self.text.len() >= DEADLINES_BYTES {
                self.finish(out);
            }
        }
        self.place += 1;
    }

    /// Appends what is left.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.text.is_empty() {
            write_aux(out, DEADLINES, &self.text);
            self.text.clear();
        }
    }
}

/// Reads a text with deadlines.
pub(super) fn read_deadlines(text: &[u8]) -> Result<Extras, RdbError> {
    let mut input = Input::new(text);
    let mut deadlines = Vec::new();
    while input.offset() < text.len() as u64 {
        let place = input.length()?;
        let deadline = u64::from_le_bytes(input.array()?);
        if deadlines.last().is_some_and(|(last, _)| *last >= place) {
            return Err(input.corrupt("deadlines of members that are not in order"));
        }
        deadlines.push((place, deadline));
    }
    Ok(Extras { deadlines, stream: None })
}

/// Appends what a stream has beyond the peers' form, if there is anything.
pub fn write_stream_extras(out: &mut Vec<u8>, extras: &StreamExtras) {
    if *extras == StreamExtras::default() {
        return;
    }
    let mut text = Vec::new();
    write_length(&mut text, extras.released.len() as u64);
    for (group, released) in &extras.released {
        write_string(&mut text, group, PLAIN);
        write_length(&mut text, released.len() as u64);
        for Released { id, deliveries } in released {
            write_id(&mut text, *id);
            write_length(&mut text, *deliveries);
        }
    }
    if let Some(remembered) = &extras.idempotence {
        let Additions { duration_s, additions_max, added, duplicates, additions } = remembered;
        for number in [*duration_s, *additions_max, *added, *duplicates, additions.len() as u64] {
            write_length(&mut text, number);
        }
        for Addition { producer, name, id, added_ms } in additions {
            write_string(&mut text, producer, PLAIN);
            write_string(&mut text, name, PLAIN);
            write_id(&mut text, *id);
            write_length(&mut text, *added_ms);
        }
    }
    write_aux(out, STREAM, &text);
}

fn write_id(out: &mut Vec<u8>, id: StreamId) {
    write_length(out, id.ms);
    write_length(out, id.seq);
}

/// Reads a text about a stream.
pub(super) fn read_stream_extras(text: &[u8]) -> Result<Extras, RdbError> {
    let mut input = Input::new(text);
    let mut extras = StreamExtras::default();
    for _ in 0..input.length()? {
        let group = input.string_owned()?;
        let mut released = Vec::new();
        for _ in 0..input.length()? {
            let id = read_id(&mut input)?;
            released.push(Released { id, deliveries: input.length()? });
        }
        extras.released.push((group, released));
    }
    if input.offset() < text.len() as u64 {
        extras.idempotence = Some(read_additions(&mut input)?);
    }
    Ok(Extras { deadlines: Vec::new(), stream: Some(Box::new(extras)) })
}

fn read_additions(input: &mut Input<&[u8]>) -> Result<Additions, RdbError> {
    let mut remembered = Additions {
        duration_s: input.length()?,
        additions_max: input.length()?,
        added: input.length()?,
        duplicates: input.length()?,
        additions: Vec::new(),
    };
    for _ in 0..input.length()? {
        let (producer, name) = (input.string_owned()?, input.string_owned()?);
        let id = read_id(input)?;
        remembered.additions.push(Addition { producer, name, id, added_ms: input.length()? });
    }
    Ok(remembered)
}

fn read_id(input: &mut Input<&[u8]>) -> Result<StreamId, RdbError> {
    Ok(StreamId { ms: input.length()?, seq: input.length()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The texts of what was written.
    fn texts(file: &[u8]) -> Vec<Vec<u8>> {
        let mut input = Input::new(file);
        let mut texts = Vec::new();
        while input.offset() < file.len() as u64 {
            assert_eq!(input.byte().unwrap(), super::super::code::OP_AUX);
            input.string_owned().unwrap();
            texts.push(input.string_owned().unwrap());
        }
        texts
    }

    #[test]
    fn many_deadlines_take_several_texts() {
        let deadline = |place: u64| place.is_multiple_of(3).then_some(4_000_000_000_000 + place);
        let (mut out, mut writer) = (Vec::new(), DeadlineWriter::default());
        (0..20_000).for_each(|place| writer.push(&mut out, deadline(place)));
        writer.finish(&mut out);
        let texts = texts(&out);
        assert!(texts.len() > 1);
        let mut extras = Extras::default();
        for text in &texts {
            extras.append(read_deadlines(text).unwrap());
        }
        let expected: Vec<_> =
            (0..20_000).filter_map(|place| Some((place, deadline(place)?))).collect();
        assert_eq!(extras.deadlines, expected);
        DeadlineWriter::default().finish(&mut out);
    }

    fn stream_extras() -> StreamExtras {
        let id = |ms| StreamId { ms, seq: 7 };
        let addition = |name: &[u8], ms| Addition {
            producer: b"producer".to_vec(),
            name: name.to_vec(),
            id: id(ms),
            added_ms: ms,
        };
        let additions = Additions {
            duration_s: 100,
            additions_max: 3,
            added: 1 << 40,
            duplicates: 0,
            additions: vec![addition(b"12", 5), addition(b"", u64::MAX)],
        };
        let released = vec![Released { id: id(3), deliveries: 2 }];
        StreamExtras {
            released: vec![(b"g".to_vec(), released), (b"h".to_vec(), vec![])],
            idempotence: Some(additions),
        }
    }

    #[test]
    fn what_a_stream_has_reads_back() {
        let whole = stream_extras();
        let without = StreamExtras { idempotence: None, ..whole.clone() };
        for extras in [whole, without] {
            let mut out = Vec::new();
            write_stream_extras(&mut out, &extras);
            let read = read_stream_extras(&texts(&out)[0]).unwrap();
            assert_eq!(read.stream, Some(Box::new(extras)));
        }
        let mut out = Vec::new();
        write_stream_extras(&mut out, &StreamExtras::default());
        assert_eq!(out, b"");
    }

    proptest! {
        #[test]
        fn damage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), at: usize) {
            let _ = (read_deadlines(&bytes), read_stream_extras(&bytes));
            let mut out = Vec::new();
            write_stream_extras(&mut out, &stream_extras());
            let mut text = texts(&out).remove(0);
            let at = at % text.len();
            text[at] ^= 0x55;
            let _ = read_stream_extras(&text);
        }
    }
}
