//! Adding entries: XADD.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::stream::{Id, NodeLimits, Pairs, Stream, TrimHow, Trimming};
use xxhash_rust::xxh3::Xxh3;

use super::access::{change, record};
use super::ids::{NewId, encode_id, new_id};
use super::logged::log_trimmed;
use super::trim::{Cutting, ENTRIES_STEP, REFERENCES, Trim, TrimOptions};
use crate::commands::arguments::{Options, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

const TOO_SMALL: CommandError = CommandError::Other(
    "ERR The ID specified in XADD is equal or smaller than the target stream top item",
);
const EXHAUSTED: CommandError = CommandError::Other(
    "ERR The stream has exhausted the last possible ID, unable to add more items",
);

const XADD_NOTE: &str = "UPDATE instead of INSERT because of the optional trimming \
    feature";
pub(super) const XADD: Command = Command {
    name: "xadd",
    summary: "Appends a new message to a stream. Creates the key if it doesn't exist.",
    complexity: "O(1) when adding a new entry, O(N) when trimming where N being the number \
        of entries evicted.",
    since: "5.0.0",
    group: Group::Stream,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE)).notes(XADD_NOTE)],
    args: &[
        Arg::key("key", 0),
        Arg::token("nomkstream", "NOMKSTREAM").optional().since("6.2.0"),
        REFERENCES,
        Arg::one_of(
            "idmp",
            &[
                Arg::string("idmpauto-pid").after("IDMPAUTO").display("pid"),
                Arg::block(
                    "idmp-args",
                    &[
                        Arg::string("idmp-pid").display("pid"),
                        Arg::string("idmp-iid").display("iid"),
                    ],
                )
                .after("IDMP"),
            ],
        )
        .optional()
        .since("8.6.0"),
        Arg::block(
            "trim",
            &[
                Arg::one_of(
                    "strategy",
                    &[Arg::token("maxlen", "MAXLEN"), Arg::token("minid", "MINID").since("6.2.0")],
                ),
                Arg::one_of(
                    "operator",
                    &[Arg::token("equal", "="), Arg::token("approximately", "~")],
                )
                .optional(),
                Arg::string("threshold"),
                Arg::integer("count").after("LIMIT").optional().since("6.2.0"),
            ],
        )
        .optional(),
        Arg::one_of("id-selector", &[Arg::token("auto-id", "*"), Arg::string("id")]),
        Arg::block("data", &[Arg::string("field"), Arg::string("value")]).multiple(),
    ],
    history: &[
        (
            "6.2.0",
            "Added the `NOMKSTREAM` option, `MINID` trimming strategy and the \
            `LIMIT` option.",
        ),
        ("7.0.0", "Added support for the `<ms>-*` explicit ID form."),
    ],
    handler: Handler::Shard(xadd),
    ..Command::BASE
};

/// Who adds, so that a repeated addition is recognised.
#[derive(Clone, Copy, Debug)]
struct Producer<'a> {
    name: &'a [u8],
    /// The name of the addition, unless its fields and values name it.
    addition: Option<&'a [u8]>,
}

/// What XADD is asked for.
struct Addition<'a> {
    no_mkstream: bool,
    producer: Option<Producer<'a>>,
    trim: Option<Trim>,
    id: NewId,
    /// The argument of the first field.
    first_field: usize,
}

impl<'a> Addition<'a> {
    fn parse(args: Args<'a>, limits: NodeLimits, is_replayed: bool) -> Result<Self, CommandError> {
        let (mut no_mkstream, mut producer) = (false, None);
        let mut trim = TrimOptions::default();
        let mut words = Options::new(args, 2);
        let mut id = None;
        while let Some(word) = words.next() {
            if word == b"*" {
                id = Some(NewId::Auto);
                break;
            }
            if is_word(word, "NOMKSTREAM") {
                no_mkstream = true;
            } else if is_word(word, "IDMP") || is_word(word, "IDMPAUTO") {
                read_producer(word, &mut words, &mut producer)?;
            } else if !trim.read(word, &mut words)? {
                id = Some(new_id(word)?);
                break;
            }
        }
        let trim = trim.finish(limits, is_replayed)?;
        let pairs = words.left();
        let id = id.filter(|_| pairs >= 2 && pairs.is_multiple_of(2));
        let id = id.ok_or_else(|| CommandError::WrongArity("xadd".to_owned()))?;
        if id == NewId::Given(Id::MIN) {
            return Err(CommandError::Other(
                "ERR The ID specified in XADD must be greater than 0-0",
            ));
        }
        if producer.is_some() && id != NewId::Auto {
            return Err(CommandError::Other(
                "ERR IDMP/IDMPAUTO can be used only with auto-generated IDs",
            ));
        }
        Ok(Self { no_mkstream, producer, trim, id, first_field: args.len() - pairs })
    }
}

fn read_producer<'a>(
    word: &[u8],
    words: &mut Options<'a>,
    producer: &mut Option<Producer<'a>>,
) -> Result<(), CommandError> {
    if producer.is_some() {
        return Err(CommandError::Other("ERR IDMP/IDMPAUTO specified multiple times"));
    }
    let is_named = is_word(word, "IDMP");
    let name = words.value()?;
    if name.is_empty() {
        return Err(CommandError::Other(if is_named {
            "ERR IDMP requires a non-empty producer ID"
        } else {
            "ERR IDMPAUTO requires a non-empty producer ID"
        }));
    }
    let addition = if is_named { Some(words.value()?) } else { None };
    if addition.is_some_and(<[u8]>::is_empty) {
        return Err(CommandError::Other("ERR IDMP requires a non-empty idempotent ID"));
    }
    *producer = Some(Producer { name, addition });
    Ok(())
}

/// What was added, or had been added before.
struct Added {
    id: Id,
    is_new: bool,
    /// The name of the addition, if it was named by its contents.
    digest: [u8; 16],
    /// The first part of the trim.
    trimming: Option<Trimming>,
    /// Whether it has further parts.
    trims_on: bool,
}

impl Added {
    fn of_old(id: Id) -> Self {
        Self { id, is_new: false, digest: [0; 16], trimming: None, trims_on: false }
    }

    fn is_trimmed(&self) -> bool {
        self.trimming.is_some_and(|trimming| trimming.removed() > 0)
    }
}

impl Addition<'_> {
    /// Adds to a stream. An error has changed nothing.
    fn apply<'a>(
        &self,
        stream: &mut Stream,
        pairs: impl Pairs<'a>,
        limits: NodeLimits,
        now_ms: u64,
    ) -> Result<Added, CommandError> {
        let mut digest = [0; 16];
        let named = self.producer.map(|producer| {
            let addition = producer.addition.unwrap_or_else(|| {
                digest = content_digest(pairs.clone()).to_be_bytes();
                &digest
            });
            (producer.name, addition)
        });
        if let Some((producer, addition)) = named
            && let Some(id) = stream.idempotence_mut().find(producer, addition, now_ms)
        {
            return Ok(Added::of_old(id));
        }
        let id = next_id(self.id, stream.log().last_id(), now_ms)?;
        stream
            .log_mut()
            .append(id, pairs, limits)
            .map_err(|_| CommandError::Other("ERR Elements are too large to be stored"))?;
        if let Some((producer, addition)) = named {
            stream.idempotence_mut().add(producer, addition, id, now_ms);
        }
        let mut trimming = self.trim.map(Trim::begin);
        let trims_on =
            trimming.as_mut().is_some_and(|trimming| stream.trim_part(trimming, ENTRIES_STEP));
        Ok(Added { id, is_new: true, digest, trimming, trims_on })
    }

    /// Whether the request says less than what has been done: by the clock, or by the layout of the
    /// stream.
    fn depends(&self) -> bool {
        let is_approximate = |trim: Trim| matches!(trim.how, TrimHow::Blocks { .. });
        !matches!(self.id, NewId::Given(_)) || self.trim.is_some_and(is_approximate)
    }
}

/// The identifier of an entry after `last`.
fn next_id(wanted: NewId, last: Id, now_ms: u64) -> Result<Id, CommandError> {
    let after_last = last.next().ok_or(EXHAUSTED)?;
    let id = match wanted {
        NewId::Auto if now_ms > last.ms => Id::new(now_ms, 0),
        NewId::Auto => after_last,
        NewId::AutoSeq(ms) if ms == last.ms => {
            Id::new(ms, last.seq.checked_add(1).ok_or(TOO_SMALL)?)
        }
        NewId::AutoSeq(ms) => Id::new(ms, 0),
        NewId::Given(id) => id,
    };
    if id > last { Ok(id) } else { Err(TOO_SMALL) }
}

/// A digest of fields and values, whatever the order of the pairs.
fn content_digest<'a>(pairs: impl Pairs<'a>) -> u128 {
    let pairs = pairs.map(|(field, value)| {
        let mut hasher = Xxh3::new();
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
        hasher.update(value);
        hasher.digest128()
    });
    pairs.fold(0, u128::wrapping_add)
}

fn xadd(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let limits = context.shard.node_limits();
    let addition = Addition::parse(args, limits, context.shard.is_replaying())?;
    let fields = (addition.first_field..args.len()).step_by(2);
    let pairs = fields.map(|at| (args.at(at), args.at(at + 1)));
    let now_ms = context.shard.now_ms();
    let key = context.key(args.at(1));
    let added =
        change(context, &key, |stream| addition.apply(stream, pairs.clone(), limits, now_ms))?;
    let added = match added {
        Some(added) => added?,
        None if addition.no_mkstream => {
            reply.null();
            return Ok(());
        }
        None => {
            let mut stream = Stream::new();
            let added = addition.apply(&mut stream, pairs, limits, now_ms)?;
            context.shard.insert_stream(context.db, &key, stream)?;
            added
        }
    };
    if added.is_new {
        let events: &[&str] = if added.is_trimmed() { &["xadd", "xtrim"] } else { &["xadd"] };
        record(context, &key, events, 1);
    }
    encode_id(added.id, reply);
    if let Some(trimming) = added.trimming.filter(|_| added.trims_on) {
        context.run_long(Cutting::after(trimming, added.id), args, reply);
    } else if added.is_new && addition.depends() {
        log_trimmed(context, args, Some(added.id));
    }
    if let (true, Some(producer)) = (added.is_new, addition.producer) {
        log_producer(context, key.bytes, producer, &added);
    }
    Ok(())
}

/// Logs by what an addition is recognised when it is repeated.
fn log_producer(context: &mut ShardContext<'_>, key: &[u8], producer: Producer<'_>, added: &Added) {
    let (id, name) = (added.id.to_string(), producer.addition.unwrap_or(&added.digest));
    context.log_as(&[b"XIDMPRECORD", key, producer.name, name, id.as_bytes()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_follow_the_clock_and_the_last_one() {
        let last = Id::new(10, 5);
        assert_eq!(next_id(NewId::Auto, last, 11), Ok(Id::new(11, 0)));
        assert_eq!(next_id(NewId::Auto, last, 9), Ok(Id::new(10, 6)));
        assert_eq!(next_id(NewId::AutoSeq(10), last, 0), Ok(Id::new(10, 6)));
        assert_eq!(next_id(NewId::AutoSeq(12), last, 0), Ok(Id::new(12, 0)));
        assert_eq!(next_id(NewId::AutoSeq(9), last, 0), Err(TOO_SMALL));
        assert_eq!(next_id(NewId::AutoSeq(10), Id::new(10, u64::MAX), 0), Err(TOO_SMALL));
        assert_eq!(next_id(NewId::AutoSeq(0), Id::MIN, 0), Ok(Id::new(0, 1)));
        assert_eq!(next_id(NewId::Given(last), last, 0), Err(TOO_SMALL));
        assert_eq!(next_id(NewId::Auto, Id::MAX, 0), Err(EXHAUSTED));
    }

    #[test]
    fn the_digest_of_the_content_knows_no_order_of_pairs() {
        let pair = |field: &'static str, value: &'static str| (field.as_bytes(), value.as_bytes());
        let digest = |pairs: [(&'static [u8], &'static [u8]); 2]| content_digest(pairs.into_iter());
        let one = digest([pair("a", "1"), pair("b", "2")]);
        assert_eq!(one, digest([pair("b", "2"), pair("a", "1")]));
        assert_ne!(one, digest([pair("a", "2"), pair("b", "1")]));
        assert_ne!(one, digest([pair("a1", ""), pair("b", "2")]));
    }
}
