//! HSETEX, in the form of both peers and in Dragonfly's, which has no `FIELDS`:
//! `HSETEX key [NX | FNX | FXX] [KEEPTTL] seconds field value ...`. There, `NX` passes over the
//! fields that exist, `KEEPTTL` leaves their deadlines alone, and the answer is how many are new.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{DEADLINE_MAX, FieldTtl, HashMut, HashRef, NewValue};

use crate::commands::arguments::{ExpiryUnit, Options, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::effect::LoggedWords;
use crate::commands::element_expiry::{Elements, deadline};
use crate::commands::element_names::FIELDS;
use crate::errors::CommandError;

/// The words before the fields, each at most once.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Words<'a> {
    on_key: Option<Presence>,
    on_fields: Option<Presence>,
    expiry: Option<Expiry<'a>>,
}

/// Whether something must exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    Absent,
    Present,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expiry<'a> {
    Keep,
    At(ExpiryUnit, &'a [u8]),
}

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
enum Form<'a> {
    /// The peers': all fields or none.
    Peers { words: Words<'a>, pairs: Args<'a> },
    /// Dragonfly's.
    Dragonfly { words: Words<'a>, seconds: &'a [u8], pairs: Args<'a> },
}

impl<'a> Words<'a> {
    /// Takes in one word; false when it is none of them.
    fn take(&mut self, word: &[u8], options: &mut Options<'a>) -> Result<bool, CommandError> {
        fn once<T>(place: &mut Option<T>, value: T) -> Result<bool, CommandError> {
            match place.replace(value) {
                None => Ok(true),
                Some(_) => Err(CommandError::Syntax),
            }
        }
        if is_word(word, "NX") {
            once(&mut self.on_key, Presence::Absent)
        } else if is_word(word, "XX") {
            once(&mut self.on_key, Presence::Present)
        } else if is_word(word, "FNX") {
            once(&mut self.on_fields, Presence::Absent)
        } else if is_word(word, "FXX") {
            once(&mut self.on_fields, Presence::Present)
        } else if is_word(word, "KEEPTTL") {
            once(&mut self.expiry, Expiry::Keep)
        } else if let Some(unit) = ExpiryUnit::of_word(word) {
            once(&mut self.expiry, Expiry::At(unit, options.value()?))
        } else {
            Ok(false)
        }
    }

    /// Whether the condition on the fields holds.
    fn hold(&self, hash: &HashRef<'_>, pairs: Args<'_>) -> bool {
        let mut names = pairs.iter().step_by(2);
        match self.on_fields {
            None => true,
            Some(Presence::Absent) => !names.any(|name| hash.exists(name)),
            Some(Presence::Present) => names.all(|name| hash.exists(name)),
        }
    }
}

fn parse(args: Args<'_>) -> Result<Form<'_>, CommandError> {
    let mut words = Words::default();
    let mut options = Options::new(args, 2);
    let other = loop {
        let Some(word) = options.next() else { return Err(FIELDS.mismatch()) };
        if !words.take(word, &mut options)? {
            break word;
        }
    };
    let at = args.len() - options.left();
    if is_word(other, "FIELDS") && at < args.len() {
        return Ok(Form::Peers { words, pairs: FIELDS.counted(args, at, 2)? });
    }
    let pairs = args.tail(at);
    let is_dragonfly = words.on_key != Some(Presence::Present)
        && !matches!(words.expiry, Some(Expiry::At(..)))
        && !pairs.is_empty()
        && pairs.len().is_multiple_of(2)
        && integer(other).is_ok();
    if is_dragonfly {
        return Ok(Form::Dragonfly { words, seconds: other, pairs });
    }
    let has_fields = FIELDS.position(args, at).is_some();
    Err(if has_fields { CommandError::Syntax } else { FIELDS.mismatch() })
}

const PAIRS: Arg = Arg::block("data", &[Arg::string("field"), Arg::string("value")]).multiple();

pub(super) const HSETEX: Command = Command {
    name: "hsetex",
    summary: "Set the value of one or more fields of a given hash key, and optionally set \
        their expiration.",
    complexity: "O(N) where N is the number of fields being set.",
    since: "8.0.0",
    group: Group::Hash,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::one_of("key-condition", &[Arg::token("nx", "NX"), Arg::token("xx", "XX")]).optional(),
        Arg::one_of("condition", &[Arg::token("fnx", "FNX"), Arg::token("fxx", "FXX")]).optional(),
        Arg::one_of(
            "expiration",
            &[
                Arg::integer("seconds").after("EX"),
                Arg::integer("milliseconds").after("PX"),
                Arg::unix_time("unix-time-seconds").after("EXAT"),
                Arg::unix_time("unix-time-milliseconds").after("PXAT"),
                Arg::token("keepttl", "KEEPTTL"),
            ],
        )
        .optional(),
        Arg::one_of(
            "data",
            &[
                Arg::block("fields", &[Arg::integer("numfields"), PAIRS]).after("FIELDS"),
                Arg::block("seconds-and-fields", &[Arg::integer("seconds"), PAIRS]),
            ],
        ),
    ],
    handler: Handler::Shard(hsetex),
    ..Command::BASE
};

fn hsetex(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    match parse(args)? {
        Form::Peers { words, pairs } => set_all(context, args.at(1), words, pairs, reply),
        Form::Dragonfly { words, seconds, pairs } => {
            set_each(context, args.at(1), words, seconds, pairs, reply)
        }
    }
}

/// The peers' form: answers 1 when all fields were set (or removed, where the moment has passed),
/// and 0 when nothing was done.
fn set_all(
    context: &mut ShardContext<'_>,
    key: &[u8],
    words: Words<'_>,
    pairs: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let (now_ms, due_ms) = (context.shard.now_ms(), context.shard.due_ms());
    let key = context.key(key);
    let outcome = context.shard.update_hash(context.db, &key, |hash| {
        let exists = !hash.view().is_empty();
        if words.on_key.is_some_and(|presence| (presence == Presence::Present) != exists) {
            return Ok(Outcome::Nothing);
        }
        let ttl = match words.expiry {
            None => FieldTtl::Clear,
            Some(Expiry::Keep) => FieldTtl::Keep,
            Some(Expiry::At(unit, amount)) => {
                FieldTtl::At(deadline(amount, unit, now_ms, "hsetex")?)
            }
        };
        if !words.hold(&hash.view(), pairs) {
            return Ok(Outcome::Nothing);
        }
        if matches!(ttl, FieldTtl::At(moment) if moment <= due_ms) {
            let names = pairs.iter().step_by(2);
            let removed: Vec<&[u8]> = names.filter(|name| hash.expire(name)).collect();
            if !removed.is_empty() {
                hash.event("hexpired");
            }
            return Ok(Outcome::Removed(removed));
        }
        set_pairs(hash, pairs, ttl)?;
        Ok::<_, CommandError>(Outcome::Set(ttl))
    })??;
    let changes = match &outcome {
        Outcome::Nothing => 0,
        Outcome::Removed(removed) => removed.len(),
        Outcome::Set(_) => pairs.len() / 2,
    };
    context.changed(changes as u64);
    match outcome {
        Outcome::Nothing => {}
        Outcome::Removed(removed) => {
            Elements::Fields.log_removal(context, key.bytes, &removed);
        }
        Outcome::Set(ttl) => {
            log_pairs(context, key.bytes, &pairs.iter().collect::<LoggedWords<'_>>(), ttl);
        }
    }
    reply.integer(i64::from(changes * 2 == pairs.len()));
    Ok(())
}

/// What the peers' form comes to.
enum Outcome<'a> {
    Nothing,
    /// The moment has passed: these fields are gone.
    Removed(Vec<&'a [u8]>),
    /// All fields are set.
    Set(FieldTtl),
}

/// Logs fields and values that have been set.
fn log_pairs(context: &mut ShardContext<'_>, key: &[u8], pairs: &[&[u8]], ttl: FieldTtl) {
    if pairs.is_empty() || !context.logs() {
        return;
    }
    let (mut moment, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let mut words = LoggedWords::new();
    match ttl {
        FieldTtl::Clear => {
            context.log_on("HSET", key, pairs.iter().copied());
            return;
        }
        FieldTtl::Keep => words.push(b"KEEPTTL"),
        FieldTtl::At(deadline_ms) => {
            words.extend([&b"PXAT"[..], moment.format(deadline_ms.min(DEADLINE_MAX)).as_bytes()]);
        }
    }
    words.extend([&b"FIELDS"[..], count.format(pairs.len() / 2).as_bytes()]);
    context.log_on("HSETEX", key, words.into_iter().chain(pairs.iter().copied()));
}

/// Sets fields and names the events; how many are new.
fn set_pairs(
    hash: &mut HashMut<'_, '_>,
    pairs: Args<'_>,
    ttl: FieldTtl,
) -> Result<i64, CommandError> {
    let mut added = 0;
    for at in (0..pairs.len()).step_by(2) {
        added += i64::from(hash.set(pairs.at(at), NewValue::Bytes(pairs.at(at + 1)), ttl)?);
    }
    hash.event("hset");
    if matches!(ttl, FieldTtl::At(_)) {
        hash.event("hexpire");
    }
    Ok(added)
}

/// Dragonfly's form: answers how many fields are new.
fn set_each(
    context: &mut ShardContext<'_>,
    key: &[u8],
    words: Words<'_>,
    seconds: &[u8],
    pairs: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let now_ms = context.shard.now_ms();
    let moment = ExpiryUnit::Seconds.positive_deadline(seconds, now_ms, "hsetex")?;
    let key = context.key(key);
    let (mut kept, mut timed) = (LoggedWords::new(), LoggedWords::new());
    let added = context.shard.update_hash(context.db, &key, |hash| {
        if !words.hold(&hash.view(), pairs) {
            return Ok(0);
        }
        let mut added = 0;
        for at in (0..pairs.len()).step_by(2) {
            let (name, value) = (pairs.at(at), pairs.at(at + 1));
            let exists = hash.view().exists(name);
            if exists && words.on_key == Some(Presence::Absent) {
                continue;
            }
            let keeps = exists && words.expiry == Some(Expiry::Keep);
            let ttl = if keeps { FieldTtl::Keep } else { FieldTtl::At(moment) };
            added += i64::from(hash.set(name, NewValue::Bytes(value), ttl)?);
            if keeps { &mut kept } else { &mut timed }.extend([name, value]);
        }
        if !(kept.is_empty() && timed.is_empty()) {
            hash.event("hset");
            hash.event("hexpire");
        }
        Ok::<_, CommandError>(added)
    })??;
    context.changed((kept.len() / 2 + timed.len() / 2) as u64);
    log_pairs(context, key.bytes, &kept, FieldTtl::Keep);
    log_pairs(context, key.bytes, &timed, FieldTtl::At(moment));
    reply.integer(added);
    Ok(())
}

#[cfg(test)]
mod tests {
    use kvasir_proto::ArgRange;

    use super::*;

    /// The form of a request, in short.
    fn form(line: &str) -> String {
        let mut start = 0;
        let ranges: Vec<ArgRange> = line
            .split(' ')
            .map(|word| {
                let range = ArgRange { start, len: word.len() as u32 };
                start += range.len + 1;
                range
            })
            .collect();
        match parse(Args::new(line.as_bytes(), &ranges)) {
            Ok(Form::Peers { pairs, .. }) => format!("peers {}", pairs.len()),
            Ok(Form::Dragonfly { pairs, .. }) => format!("dragonfly {}", pairs.len()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_form_follows_from_the_words() {
        assert_eq!(form("hsetex k FIELDS 1 f v"), "peers 2");
        assert_eq!(form("hsetex k NX FXX EX 10 fields 2 f v g w"), "peers 4");
        assert_eq!(form("hsetex k 10 f v"), "dragonfly 2");
        assert_eq!(form("hsetex k NX KEEPTTL 10 f v fields 1"), "dragonfly 4");
        let mismatch = FIELDS.mismatch().to_string();
        assert_eq!(form("hsetex k EX 10 f v"), mismatch);
        assert_eq!(form("hsetex k FIELDS 1 f v extra"), mismatch);
        assert_eq!(form("hsetex k FIELDS 0 f v"), mismatch);
        assert_eq!(form("hsetex k 10 f"), mismatch);
        assert_eq!(form("hsetex k FNX FXX FIELDS 1 f v"), "ERR syntax error");
        assert_eq!(form("hsetex k KEEPTTL EX 1 FIELDS 1 f v"), "ERR syntax error");
        assert_eq!(form("hsetex k what FIELDS 1 f v"), "ERR syntax error");
    }
}
