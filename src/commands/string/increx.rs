//! INCREX: a bounded increment that may set the expiry, as Redis 8.8 defines it.

use kvasir_proto::{Args, Encoder, number};
use kvasir_shard::{Key, NewValue, Ttl};

use super::counter::stored_integer;
use crate::commands::arguments::{ExpiryUnit, Options, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

pub(super) const INCREX: Command = Command {
    name: "increx",
    summary: "Increments the number stored at a key within bounds, and may set its expiration.",
    complexity: "O(1)",
    since: "8.8.0",
    group: Group::String,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::one_of(
            "increment",
            &[Arg::double("float").after("BYFLOAT"), Arg::integer("integer").after("BYINT")],
        )
        .optional(),
        Arg::token("saturate", "SATURATE").optional(),
        Arg::string("lowerbound").after("LBOUND").optional(),
        Arg::string("upperbound").after("UBOUND").optional(),
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
        Arg::token("enx", "ENX").optional(),
    ],
    handler: Handler::Shard(increx),
    ..Command::BASE
};

/// What becomes of the deadline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deadline {
    Leave,
    Persist,
    At(u64),
}

/// The options, numbers as written: whether they are integers depends on the increment.
struct IncrexOptions<'a> {
    by_float: Option<&'a [u8]>,
    by_integer: Option<&'a [u8]>,
    lower: Option<&'a [u8]>,
    upper: Option<&'a [u8]>,
    saturate: bool,
    deadline: Deadline,
    only_without_deadline: bool,
}

fn parse(args: Args<'_>, now_ms: u64) -> Result<IncrexOptions<'_>, CommandError> {
    let mut parsed = IncrexOptions {
        by_float: None,
        by_integer: None,
        lower: None,
        upper: None,
        saturate: false,
        deadline: Deadline::Leave,
        only_without_deadline: false,
    };
    let mut options = Options::new(args, 2);
    while let Some(word) = options.next() {
        let replaced = if is_word(word, "BYFLOAT") {
            parsed.by_float.replace(options.value()?).is_some()
        } else if is_word(word, "BYINT") {
            parsed.by_integer.replace(options.value()?).is_some()
        } else if is_word(word, "LBOUND") {
            parsed.lower.replace(options.value()?).is_some()
        } else if is_word(word, "UBOUND") {
            parsed.upper.replace(options.value()?).is_some()
        } else if is_word(word, "SATURATE") {
            std::mem::replace(&mut parsed.saturate, true)
        } else if is_word(word, "ENX") {
            std::mem::replace(&mut parsed.only_without_deadline, true)
        } else if is_word(word, "PERSIST") {
            std::mem::replace(&mut parsed.deadline, Deadline::Persist) != Deadline::Leave
        } else if let Some(unit) = ExpiryUnit::of_word(word) {
            let deadline = unit.positive_deadline(options.value()?, now_ms, "increx")?;
            std::mem::replace(&mut parsed.deadline, Deadline::At(deadline)) != Deadline::Leave
        } else {
            true
        };
        if replaced {
            return Err(CommandError::Syntax);
        }
    }
    let without_expiry = !matches!(parsed.deadline, Deadline::At(_));
    if (parsed.by_float.is_some() && parsed.by_integer.is_some())
        || (parsed.only_without_deadline && without_expiry)
    {
        return Err(CommandError::Syntax);
    }
    Ok(parsed)
}

fn increx(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let options = parse(args, context.shard.now_ms())?;
    let key = context.key(args.at(1));
    let had_deadline = context.shard.deadline(context.db, &key).flatten().is_some();
    let ttl = match options.deadline {
        Deadline::At(_) if options.only_without_deadline && had_deadline => Ttl::Keep,
        Deadline::At(deadline) => Ttl::At(deadline),
        Deadline::Persist => Ttl::Clear,
        Deadline::Leave => Ttl::Keep,
    };
    if options.by_float.is_some() {
        let old = match context.look(&key) {
            None => 0.0,
            Some(value) => value
                .with_bytes(number::parse_f64)
                .ok_or(CommandError::WrongType)?
                .ok_or(CommandError::NotAFloat)?,
        };
        let (new, applied) = add_floats(old, &options)?;
        let mut text = Vec::new();
        number::append_f64(&mut text, new);
        if let Some(applied) = applied {
            store(context, &key, NewValue::Bytes(&text), ttl)?;
            reply.array(2);
            reply.bulk(&text);
            text.clear();
            number::append_f64(&mut text, applied);
            reply.bulk(&text);
        } else {
            reply.array(2);
            reply.bulk(&text);
            reply.bulk(b"0");
        }
    } else {
        let old = stored_integer(context, &key)?;
        let (new, applied) = add_integers(old, &options)?;
        if applied.is_some() {
            store(context, &key, NewValue::Int(new), ttl)?;
        }
        reply.array(2);
        reply.integer(new);
        reply.integer(applied.unwrap_or(0));
    }
    Ok(())
}

/// Stores the sum, and logs it: the peers do not know the command.
fn store(
    context: &mut ShardContext<'_>,
    key: &Key<'_>,
    value: NewValue<'_>,
    ttl: Ttl,
) -> Result<(), CommandError> {
    context.set(key, value, ttl)?;
    if !matches!(ttl, Ttl::At(_)) {
        context.log_set(key.bytes, value, ttl);
    }
    Ok(())
}

/// The new value and what was added; nothing is added when it would leave the bounds, unless it is
/// to saturate at them.
fn add_integers(old: i64, options: &IncrexOptions<'_>) -> Result<(i64, Option<i64>), CommandError> {
    let amount = options.by_integer.map_or(Ok(1), integer)?;
    let lower = options.lower.map_or(Ok(i64::MIN), integer)?;
    let upper = options.upper.map_or(Ok(i64::MAX), integer)?;
    if lower > upper {
        return Err(CommandError::Other("ERR LBOUND can't be greater than UBOUND"));
    }
    let sum = i128::from(old) + i128::from(amount);
    let bounded = sum.clamp(i128::from(lower), i128::from(upper));
    if sum != bounded && !options.saturate {
        return Ok((old, None));
    }
    let new = i64::try_from(bounded).expect("invariant: between two i64");
    match new.checked_sub(old) {
        Some(applied) => Ok((new, Some(applied))),
        None => Ok((old, None)),
    }
}

fn add_floats(old: f64, options: &IncrexOptions<'_>) -> Result<(f64, Option<f64>), CommandError> {
    let float = |text: &[u8]| {
        number::parse_f64(text).filter(|value| value.is_finite()).ok_or(CommandError::NotAFloat)
    };
    let amount = options.by_float.map_or(Ok(1.0), float)?;
    let lower = options.lower.map_or(Ok(f64::MIN), float)?;
    let upper = options.upper.map_or(Ok(f64::MAX), float)?;
    if lower > upper {
        return Err(CommandError::Other("ERR LBOUND can't be greater than UBOUND"));
    }
    let sum = old + amount;
    let inside = (lower..=upper).contains(&sum);
    if !inside && !options.saturate {
        return Ok((old, None));
    }
    let new = sum.clamp(lower, upper);
    Ok((new, Some(new - old)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options<'a>(by: &'a [u8], upper: &'a [u8], saturate: bool) -> IncrexOptions<'a> {
        IncrexOptions {
            by_float: None,
            by_integer: Some(by),
            lower: None,
            upper: Some(upper),
            saturate,
            deadline: Deadline::Leave,
            only_without_deadline: false,
        }
    }

    #[test]
    fn a_bound_stops_or_saturates() {
        assert_eq!(add_integers(5, &options(b"3", b"10", false)), Ok((8, Some(3))));
        assert_eq!(add_integers(9, &options(b"3", b"10", false)), Ok((9, None)));
        assert_eq!(add_integers(9, &options(b"3", b"10", true)), Ok((10, Some(1))));
        let max = i64::MAX.to_string();
        assert_eq!(
            add_integers(i64::MAX, &options(b"1", max.as_bytes(), false)),
            Ok((i64::MAX, None))
        );
    }
}
