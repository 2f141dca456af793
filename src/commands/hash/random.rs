//! HRANDFIELD.

use kvasir_proto::{Args, Encoder, Resp};
use kvasir_shard::ValueRef;

use super::whole::encode;
use crate::commands::arguments::{integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

/// Fields that one call draws with repetitions at most: a core does nothing else meanwhile.
const DRAWS_MAX: u64 = 1 << 20;

const OUT_OF_RANGE: CommandError = CommandError::Other("ERR value is out of range");

/// What a call asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Draw {
    /// One field by itself.
    One,
    /// So many different fields.
    Distinct(u64),
    /// So many fields, each drawn from all.
    Repeated(u64),
}

fn parse(args: Args<'_>) -> Result<(Draw, bool), CommandError> {
    let Some(count) = args.get(2) else { return Ok((Draw::One, false)) };
    let count = integer(count)?;
    if count == i64::MIN {
        return Err(CommandError::Other(
            "ERR value is out of range, value must between -9223372036854775807 and \
             9223372036854775807",
        ));
    }
    let with_values = match args.get(3) {
        None => false,
        Some(word) if is_word(word, "WITHVALUES") && args.len() == 4 => true,
        Some(_) => return Err(CommandError::Syntax),
    };
    if with_values && !(-i64::MAX / 2..=i64::MAX / 2).contains(&count) {
        return Err(OUT_OF_RANGE);
    }
    let draw = if count >= 0 {
        Draw::Distinct(count.unsigned_abs())
    } else if count.unsigned_abs() <= DRAWS_MAX {
        Draw::Repeated(count.unsigned_abs())
    } else {
        return Err(OUT_OF_RANGE);
    };
    Ok((draw, with_values))
}

pub(super) const HRANDFIELD: Command = Command {
    name: "hrandfield",
    summary: "Returns one or more random fields from a hash.",
    complexity: "O(N) where N is the number of fields returned",
    since: "6.2.0",
    group: Group::Hash,
    arity: Arity::at_least(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output"],
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::block(
            "options",
            &[Arg::integer("count"), Arg::token("withvalues", "WITHVALUES").optional()],
        )
        .optional(),
    ],
    handler: Handler::Shard(hrandfield),
    ..Command::BASE
};

fn hrandfield(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let (draw, with_values) = parse(args)?;
    let key = context.key(args.at(1));
    let mut random = context.shard.randoms();
    let Some(hash) = context.read_hash(&key)? else {
        if draw == Draw::One {
            reply.null();
        } else {
            reply.array(0);
        }
        return Ok(());
    };
    let pairs = with_values && reply.resp() == Resp::V3;
    let mut written = 0;
    let write = |(field, value): (ValueRef<'_>, ValueRef<'_>), reply: &mut Encoder<'_>| {
        if pairs {
            reply.array(2);
        }
        encode(field, reply);
        if with_values {
            encode(value, reply);
        }
    };
    let deferred = match draw {
        Draw::One => {
            match hash.random(&mut random) {
                Some(pair) => write(pair, reply),
                None => reply.null(),
            }
            return Ok(());
        }
        Draw::Distinct(count) => {
            let deferred = reply.defer_array();
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            hash.sample(count, &mut random, |field, value| {
                write((field, value), reply);
                written += 1;
            });
            deferred
        }
        Draw::Repeated(count) => {
            let deferred = reply.defer_array();
            for _ in 0..count {
                let Some(pair) = hash.random(&mut random) else { break };
                write(pair, reply);
                written += 1;
            }
            deferred
        }
    };
    let flat = with_values && !pairs;
    reply.finish(deferred, if flat { 2 * written } else { written });
    Ok(())
}
