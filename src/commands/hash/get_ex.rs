//! Reading fields and changing them in one step: HGETDEL, HGETEX.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::HashMut;

use crate::commands::arguments::{ExpiryUnit, Options, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::effect::LoggedWords;
use crate::commands::element_expiry::{Elements, deadline};
use crate::commands::element_names::FIELDS;
use crate::commands::string::encode_string;
use crate::errors::CommandError;

pub(super) const HGETDEL: Command = Command {
    name: "hgetdel",
    summary: "Returns the value of a field and deletes it from the hash.",
    complexity: "O(N) where N is the number of specified fields",
    since: "8.0.0",
    group: Group::Hash,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    args: &[
        Arg::key("key", 0),
        Arg::block("fields", &[Arg::integer("numfields"), Arg::string("field").multiple()])
            .after("FIELDS"),
    ],
    handler: Handler::Shard(hgetdel),
    ..Command::BASE
};

fn hgetdel(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let fields = FIELDS.third(args)?;
    let key = context.key(args.at(1));
    let removed = context.shard.update_hash(context.db, &key, |hash| {
        reply.array(fields.len());
        let mut removed = LoggedWords::new();
        for field in fields.iter() {
            encode_string(hash.view().get(field), reply)?;
            if hash.remove(field) {
                removed.push(field);
            }
        }
        if !removed.is_empty() {
            hash.event("hdel");
        }
        Ok::<_, CommandError>(removed)
    })??;
    context.changed(removed.len() as u64);
    Elements::Fields.log_removal(context, key.bytes, &removed);
    Ok(())
}

pub(super) const HGETEX: Command = Command {
    name: "hgetex",
    summary: "Get the value of one or more fields of a given hash key, and optionally set \
        their expiration.",
    complexity: "O(N) where N is the number of specified fields",
    since: "8.0.0",
    group: Group::Hash,
    arity: Arity::at_least(5),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))
        .notes("RW and UPDATE because it changes the TTL")],
    args: &[
        Arg::key("key", 0),
        Arg::one_of(
            "expiration",
            &[
                Arg::integer("seconds").after("EX"),
                Arg::integer("milliseconds").after("PX"),
                Arg::unix_time("unix-time-seconds").after("EXAT"),
                Arg::unix_time("unix-time-milliseconds").after("PXAT"),
                Arg::token("persist", "PERSIST"),
            ],
        )
        .optional(),
        Arg::block("fields", &[Arg::integer("numfields"), Arg::string("field").multiple()])
            .after("FIELDS"),
    ],
    handler: Handler::Shard(hgetex),
    ..Command::BASE
};

/// What HGETEX does to the deadlines of the fields that it reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change<'a> {
    /// Nothing.
    None,
    /// Takes them away.
    Persist,
    /// Sets them.
    Expire(ExpiryUnit, &'a [u8]),
}

fn parse(options: Args<'_>) -> Result<Change<'_>, CommandError> {
    let mut change = Change::None;
    let mut options = Options::new(options, 0);
    while let Some(word) = options.next() {
        if change != Change::None {
            return Err(CommandError::Syntax);
        }
        change = if let Some(unit) = ExpiryUnit::of_word(word) {
            Change::Expire(unit, options.value()?)
        } else if is_word(word, "PERSIST") {
            Change::Persist
        } else {
            return Err(CommandError::Syntax);
        };
    }
    Ok(change)
}

/// Writes the fields' values as an array; a missing key has none.
fn write_values(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    fields: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let hash = context.read_hash(&key)?;
    reply.array(fields.len());
    for field in fields.iter() {
        encode_string(hash.and_then(|hash| hash.get(field)), reply)?;
    }
    Ok(())
}

/// Changes a field's deadline; whether anything changed.
fn change_deadline(
    hash: &mut HashMut<'_, '_>,
    field: &[u8],
    new: Option<u64>,
    due_ms: u64,
) -> Result<bool, CommandError> {
    let Some(old) = hash.view().deadline(field) else { return Ok(false) };
    if new.is_some_and(|new| new <= due_ms) {
        return Ok(hash.expire(field));
    }
    if old.is_none() && new.is_none() {
        return Ok(false);
    }
    Ok(hash.set_deadline(field, new)?)
}

fn hgetex(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let at = FIELDS.position(args, 2).ok_or(FIELDS.mismatch())?;
    let change = parse(Args::new(args.buffer(), &args.ranges()[2..at]))?;
    let fields = FIELDS.counted(args, at + 1, 1)?;
    write_values(context, args, fields, reply)?;
    let (now_ms, due_ms) = (context.shard.now_ms(), context.shard.due_ms());
    let new = match change {
        Change::None => return Ok(()),
        Change::Persist => None,
        Change::Expire(unit, amount) => Some(deadline(amount, unit, now_ms, "hgetex")?),
    };
    let key = context.key(args.at(1));
    let changed = context.shard.update_hash(context.db, &key, |hash| {
        let mut changed = LoggedWords::new();
        for field in fields.iter() {
            if change_deadline(hash, field, new, due_ms)? {
                changed.push(field);
            }
        }
        if !changed.is_empty() {
            hash.event(match new {
                None => "hpersist",
                Some(new) if new <= due_ms => "hexpired",
                Some(_) => "hexpire",
            });
        }
        Ok::<_, CommandError>(changed)
    })??;
    context.changed(changed.len() as u64);
    match new {
        None if changed.is_empty() => {}
        None => {
            let mut count = itoa::Buffer::new();
            let fixed: [&[u8]; 2] = [b"FIELDS", count.format(changed.len()).as_bytes()];
            context.log_on("HPERSIST", key.bytes, fixed.into_iter().chain(changed));
        }
        Some(new) if new <= due_ms => Elements::Fields.log_removal(context, key.bytes, &changed),
        Some(new) => Elements::Fields.log_deadline(context, key.bytes, new, &changed),
    }
    Ok(())
}
