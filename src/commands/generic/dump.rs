//! Values as payloads: DUMP, RESTORE.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{ChangeKind, DEADLINE_MAX, Key, OwnedValue};

use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{
    Arg, Arity, Categories, Command, Flags, Group, Handler, KeyFlags, KeySpec,
};
use crate::commands::effect::LoggedWords;
use crate::errors::CommandError;
use crate::persist::owned;
use crate::persist::rdb::WriteOptions;
use crate::persist::rdb::dump::{self, DumpError};
use crate::route::core::{access_stamp, counting_stamp};

const BUSY: CommandError = CommandError::Other("BUSYKEY Target key name already exists.");
const WRONG_FOOTER: CommandError =
    CommandError::Other("ERR DUMP payload version or checksum are wrong");
const BAD_DATA: CommandError = CommandError::Other("ERR Bad data format");

pub(super) const DUMP: Command = Command {
    name: "dump",
    summary: "Returns a serialized representation of the value stored at a key.",
    complexity: "O(1) to access the key and additional O(N*M) to serialize it, where N is \
        the number of objects composing the value and M their average size. For \
        small string values the time complexity is thus O(1)+O(1*M) where M is \
        small, so simply O(1).",
    since: "2.6.0",
    group: Group::Generic,
    arity: Arity::exactly(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    handler: Handler::Shard(dump_key),
    ..Command::BASE
};

fn dump_key(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    let found = context.read(&key).is_some();
    let Some(value) = context.shard.copy(context.db, &key).filter(|_| found) else {
        reply.null();
        return Ok(());
    };
    let options = WriteOptions { compress: context.settings.dump_compresses };
    reply.bulk(&dump::seal(&owned::to_dump(value.data), options));
    Ok(())
}

pub(super) const RESTORE: Command = Command {
    name: "restore",
    summary: "Creates a key from the serialized representation of a value.",
    complexity: "O(1) to create the new key and additional O(N*M) to reconstruct the \
        serialized value, where N is the number of objects composing the value and \
        M their average size. For small string values the time complexity is thus \
        O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values \
        the complexity is O(N*M*log(N)) because inserting values into sorted sets \
        is O(log(N)).",
    since: "2.6.0",
    group: Group::Generic,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::DANGEROUS,
    keys: &[KeySpec::at(1).flags(KeyFlags::OW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::integer("ttl"),
        Arg::string("serialized-value"),
        Arg::token("replace", "REPLACE").optional().since("3.0.0"),
        Arg::token("absttl", "ABSTTL").optional().since("5.0.0"),
        Arg::integer("seconds").after("IDLETIME").optional().since("5.0.0"),
        Arg::integer("frequency").after("FREQ").optional().since("5.0.0"),
    ],
    history: &[
        ("3.0.0", "Added the `REPLACE` modifier."),
        ("5.0.0", "Added the `ABSTTL` modifier."),
        ("5.0.0", "Added the `IDLETIME` and `FREQ` options."),
    ],
    handler: Handler::Shard(restore),
    ..Command::BASE
};

pub(in crate::commands) const RESTORE_ASKING: Command = Command {
    name: "restore-asking",
    summary: "An internal command for migrating keys in a cluster.",
    complexity: "O(1) to create the new key and additional O(N*M) to reconstruct the \
        serialized value, where N is the number of objects composing the value and \
        M their average size. For small string values the time complexity is thus \
        O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values \
        the complexity is O(N*M*log(N)) because inserting values into sorted sets \
        is O(log(N)).",
    since: "3.0.0",
    group: Group::Server,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::ASKING).or(Flags::SYSCMD),
    acl: Categories::KEYSPACE.or(Categories::DANGEROUS),
    keys: &[KeySpec::at(1).flags(KeyFlags::OW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::integer("ttl"),
        Arg::string("serialized-value"),
        Arg::token("replace", "REPLACE").optional().since("3.0.0"),
        Arg::token("absttl", "ABSTTL").optional().since("5.0.0"),
        Arg::integer("seconds").after("IDLETIME").optional().since("5.0.0"),
        Arg::integer("frequency").after("FREQ").optional().since("5.0.0"),
    ],
    history: &[
        ("3.0.0", "Added the `REPLACE` modifier."),
        ("5.0.0", "Added the `ABSTTL` modifier."),
        ("5.0.0", "Added the `IDLETIME` and `FREQ` options."),
    ],
    handler: Handler::Shard(restore),
    ..Command::BASE
};

/// What RESTORE's words ask for.
#[derive(Default)]
struct RestoreOptions {
    replace: bool,
    absolute: bool,
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

impl RestoreOptions {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut words = Options::new(args, 4);
        while let Some(word) = words.next() {
            if is_word(word, "REPLACE") {
                options.replace = true;
            } else if is_word(word, "ABSTTL") {
                options.absolute = true;
            } else if is_word(word, "IDLETIME") && words.left() > 0 && options.frequency.is_none() {
                let idle = u64::try_from(integer(words.value()?)?);
                let invalid = CommandError::Other("ERR Invalid IDLETIME value, must be >= 0");
                options.idle_s = Some(idle.map_err(|_| invalid)?);
            } else if is_word(word, "FREQ") && words.left() > 0 && options.idle_s.is_none() {
                let frequency = u8::try_from(integer(words.value()?)?);
                let invalid =
                    CommandError::Other("ERR Invalid FREQ value, must be >= 0 and <= 255");
                options.frequency = Some(frequency.map_err(|_| invalid)?);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// The access stamp that is asked for, if the shard keeps what it is made of: counts of
    /// accesses, or their times.
    fn stamp(&self, now_ms: u64, counts_use: bool) -> Option<u16> {
        if counts_use {
            self.frequency.map(|frequency| counting_stamp(now_ms, frequency))
        } else {
            let before_ms = self.idle_s?.saturating_mul(1000);
            Some(access_stamp(now_ms.saturating_sub(before_ms)))
        }
    }

    /// The deadline that a time to live stands for; `None` for none.
    fn deadline(&self, ttl: &[u8], now_ms: u64) -> Result<Option<u64>, CommandError> {
        let ttl = u64::try_from(integer(ttl)?)
            .map_err(|_| CommandError::Other("ERR Invalid TTL value, must be >= 0"))?;
        let start = if self.absolute { 0 } else { now_ms };
        Ok((ttl > 0).then(|| ttl.saturating_add(start)))
    }
}

fn restore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let options = RestoreOptions::parse(args)?;
    let key = context.key(args.at(1));
    let exists = context.shard.exists(context.db, &key);
    if exists && !options.replace {
        return Err(BUSY);
    }
    let now_ms = context.shard.now_ms();
    let deadline = options.deadline(args.at(2), now_ms)?;
    let settings = context.settings;
    let value = dump::open_with(args.at(3), settings.dump_versions, settings.dump_checksum);
    let value = value.map_err(|error| match error {
        DumpError::Footer => WRONG_FOOTER,
        DumpError::Value(error) => {
            tracing::warn!("RESTORE refused a payload: {error}");
            BAD_DATA
        }
    })?;
    if deadline.is_some_and(|deadline| deadline <= context.shard.due_ms()) {
        // As in the peers, what has expired already leaves nothing behind.
        if exists {
            context.shard.remove(context.db, &key);
            context.changed(1);
            context.log_removed(key.bytes);
        }
        reply.ok();
        return Ok(());
    }
    let value =
        owned::from_dump(value, deadline, context.shard.encoding_limits()).ok_or(BAD_DATA)?;
    put(context, &key, value)?;
    if let Some(deadline) = deadline.filter(|_| !options.absolute) {
        log_restored(context, args, deadline);
    }
    if let Some(stamp) = options.stamp(now_ms, context.shard.counts_use()) {
        context.shard.mark_use(context.db, &key, stamp);
    }
    reply.ok();
    Ok(())
}

/// Logs the request with a moment in place of its time to live.
fn log_restored(context: &mut ShardContext<'_>, args: Args<'_>, deadline_ms: u64) {
    let mut moment = itoa::Buffer::new();
    let mut words: LoggedWords<'_> = args.iter().collect();
    words[2] = moment.format(deadline_ms.min(DEADLINE_MAX)).as_bytes();
    words.push(b"ABSTTL");
    context.log_as(&words);
}

fn put(
    context: &mut ShardContext<'_>,
    key: &Key<'_>,
    value: OwnedValue,
) -> Result<(), CommandError> {
    context.shard.put_anew(context.db, key, value, ChangeKind::Modified)?;
    context.shard.journal.record(ChangeKind::Event("restore"), context.db, key.bytes);
    context.changed(1);
    Ok(())
}
