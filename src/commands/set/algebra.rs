//! Several sets: SINTER, SUNION, SDIFF, their STORE and CARD forms.
//!
//! With keys on several shards, see [`super::algebra_spread`].

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{ChangeKind, Elements, Key, OwnedData, OwnedValue, SetRef, ValueRef};

use super::algebra_spread::{card_spread, reply_spread, store_spread};
use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::commands::keys::counted_keys;
use crate::errors::CommandError;

/// How sets are put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    /// What is in all.
    Intersection,
    /// What is in any.
    Union,
    /// What is in the first and in no other.
    Difference,
}

impl Operation {
    /// The operation of a command: its name begins with it.
    pub(super) fn of(name: &str) -> Self {
        match name.as_bytes().get(1) {
            Some(b'i') => Self::Intersection,
            Some(b'u') => Self::Union,
            _ => Self::Difference,
        }
    }

    /// The event of the form that stores.
    pub(super) fn event(self) -> &'static str {
        match self {
            Self::Intersection => "sinterstore",
            Self::Union => "sunionstore",
            Self::Difference => "sdiffstore",
        }
    }

    /// Calls `emit` with each member of the result until it returns false. A missing key is an
    /// empty set. O(members of the smallest) for an intersection, of all for a union, of the first
    /// for a difference, times the other sets.
    pub(super) fn combine(
        self,
        sets: &[Option<SetRef<'_>>],
        emit: &mut dyn FnMut(ValueRef<'_>) -> bool,
    ) {
        match self {
            Self::Intersection => intersect(sets, emit),
            Self::Union => unite(sets, emit),
            Self::Difference => subtract(sets, emit),
        }
    }
}

/// Bits of all members of a chunk.
fn all_of(chunk: &[ValueRef<'_>]) -> u32 {
    u32::MAX >> (SetRef::CHUNK - chunk.len())
}

/// Which of a chunk of members are in any of `sets`.
fn known_to(sets: &[Option<SetRef<'_>>], chunk: &[ValueRef<'_>]) -> u32 {
    sets.iter().flatten().fold(0, |known, set| {
        let left = all_of(chunk) & !known;
        if left == 0 { known } else { known | set.contains_each(chunk, left) }
    })
}

/// Calls `emit` with the members of a chunk whose bits are set, until it returns false; whether it
/// never did.
fn emit_each(
    chunk: &[ValueRef<'_>],
    chosen: u32,
    emit: &mut dyn FnMut(ValueRef<'_>) -> bool,
) -> bool {
    let members = chunk.iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1);
    members.map(|(_, member)| *member).all(emit)
}

fn intersect(sets: &[Option<SetRef<'_>>], emit: &mut dyn FnMut(ValueRef<'_>) -> bool) {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<_>>>() else { return };
    sets.sort_by_key(SetRef::len);
    let Some((least, others)) = sets.split_first() else { return };
    least.for_each_chunk(|chunk| {
        let mut common = all_of(chunk);
        for set in others {
            if common != 0 {
                common = set.contains_each(chunk, common);
            }
        }
        emit_each(chunk, common, emit)
    });
}

fn unite(sets: &[Option<SetRef<'_>>], emit: &mut dyn FnMut(ValueRef<'_>) -> bool) {
    let mut goes_on = true;
    for (index, set) in sets.iter().enumerate() {
        let Some(set) = set else { continue };
        // A member counts where it comes first.
        let earlier = &sets[..index];
        set.for_each_chunk(|chunk| {
            goes_on = emit_each(chunk, all_of(chunk) & !known_to(earlier, chunk), emit);
            goes_on
        });
        if !goes_on {
            return;
        }
    }
}

fn subtract(sets: &[Option<SetRef<'_>>], emit: &mut dyn FnMut(ValueRef<'_>) -> bool) {
    let Some((Some(first), others)) = sets.split_first() else { return };
    first.for_each_chunk(|chunk| emit_each(chunk, all_of(chunk) & !known_to(others, chunk), emit));
}

/// The sets at keys, counted and noted as reads. `None` for a missing key.
pub(super) fn read_sets<'c>(
    context: &'c mut ShardContext<'_>,
    keys: &[Key<'_>],
) -> Result<Vec<Option<SetRef<'c>>>, CommandError> {
    for key in keys {
        context.read_set(key)?;
    }
    let (shard, db) = (&*context.shard, context.db);
    keys.iter().map(|key| Ok(shard.peek_set(db, key)?)).collect()
}

/// Which arguments are the keys that a command reads, and the limit of the forms that count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources {
    pub(super) first: usize,
    pub(super) end: usize,
    /// Members to count at most.
    pub(super) limit: usize,
}

impl Sources {
    /// The arguments of SINTERCARD and its kin.
    pub(super) fn counted(args: Args<'_>, operation: Operation) -> Result<Self, CommandError> {
        let keys = number_of_keys(args.at(1))?;
        let end = keys.checked_add(2).filter(|end| *end <= args.len()).ok_or(
            CommandError::Other("ERR Number of keys can't be greater than number of args"),
        )?;
        let mut sources = Self { first: 2, end, limit: usize::MAX };
        let mut options = Options::new(args, end);
        while let Some(word) = options.next() {
            if is_word(word, "LIMIT") && options.left() > 0 {
                let limit = integer(options.value()?)
                    .ok()
                    .and_then(|limit| usize::try_from(limit).ok())
                    .ok_or(CommandError::Other("ERR LIMIT can't be negative"))?;
                sources.limit = if limit == 0 { usize::MAX } else { limit };
            } else if is_word(word, "APPROX") && operation == Operation::Union {
                // The exact count is a good approximation.
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(sources)
    }

    /// The keys.
    pub(super) fn keys<'a>(&self, context: &ShardContext<'_>, args: Args<'a>) -> Vec<Key<'a>> {
        (self.first..self.end).map(|at| context.key(args.at(at))).collect()
    }
}

fn number_of_keys(argument: &[u8]) -> Result<usize, CommandError> {
    let wrong = CommandError::Other("ERR numkeys should be greater than 0");
    let number = integer(argument).map_err(|_| wrong.clone())?;
    usize::try_from(number).ok().filter(|number| *number > 0).ok_or(wrong)
}

/// Stores a result; an empty one removes the key. How many members it has.
pub(super) fn store(
    context: &mut ShardContext<'_>,
    operation: Operation,
    key: &[u8],
    result: Elements,
) -> Result<usize, CommandError> {
    let key = context.key(key);
    let members = result.len();
    if members == 0 {
        let removed = context.shard.remove(context.db, &key);
        context.changed(u64::from(removed));
    } else {
        let value = OwnedValue::new(OwnedData::Set(result), None);
        context.shard.put(context.db, &key, value, ChangeKind::Event(operation.event()))?;
        context.shard.journal.record(ChangeKind::Modified, context.db, key.bytes);
        context.changed(1);
    }
    Ok(members)
}

/// SINTER, SUNION, SDIFF.
fn reply_result(
    operation: Operation,
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let keys: Vec<Key<'_>> = args.iter().skip(1).map(|key| context.key(key)).collect();
    let sets = read_sets(context, &keys)?;
    let replied = reply.defer_set();
    let mut count = 0;
    operation.combine(&sets, &mut |member| {
        super::encode_member(member, reply);
        count += 1;
        true
    });
    reply.finish(replied, count);
    Ok(())
}

/// SINTERSTORE, SUNIONSTORE, SDIFFSTORE.
fn store_result(
    operation: Operation,
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let keys: Vec<Key<'_>> = args.iter().skip(2).map(|key| context.key(key)).collect();
    let sets = read_sets(context, &keys)?;
    let mut result = Elements::default();
    operation.combine(&sets, &mut |member| {
        result.push_member(member, None);
        true
    });
    let members = store(context, operation, args.at(1), result)?;
    reply.integer(members as i64);
    Ok(())
}

/// SINTERCARD, SUNIONCARD, SDIFFCARD.
fn count_result(
    operation: Operation,
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let sources = Sources::counted(args, operation)?;
    let keys = sources.keys(context, args);
    let sets = read_sets(context, &keys)?;
    let mut count = 0;
    operation.combine(&sets, &mut |_| {
        count += 1;
        count < sources.limit
    });
    reply.integer(count as i64);
    Ok(())
}

pub(super) const SINTER: Command = Command {
    name: "sinter",
    summary: "Returns the intersect of multiple sets.",
    complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is \
        the number of sets.",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::at_least(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output_order"],
    keys: &[KeySpec::at(1).range(-1, 1, 0).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0).multiple()],
    handler: Handler::Multi { whole: sinter, spread: reply_spread },
    ..Command::BASE
};

fn sinter(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply_result(Operation::Intersection, context, args, reply)
}

pub(super) const SINTERSTORE: Command = Command {
    name: "sinterstore",
    summary: "Stores the intersect of multiple sets in a key.",
    complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is \
        the number of sets.",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::at(2).range(-1, 1, 0).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[Arg::key("destination", 0), Arg::key("key", 1).multiple()],
    handler: Handler::Multi { whole: sinterstore, spread: store_spread },
    ..Command::BASE
};

fn sinterstore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    store_result(Operation::Intersection, context, args, reply)
}

pub(super) const SINTERCARD: Command = Command {
    name: "sintercard",
    summary: "Returns the number of members of the intersect of multiple sets.",
    complexity: "O(N*M) worst case where N is the cardinality of the smallest set and M is \
        the number of sets.",
    since: "7.0.0",
    group: Group::Set,
    arity: Arity::at_least(3),
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::at(1).key_num(0, 1, 1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    find_keys: Some(|args, found| counted_keys(args, 1, None, found)),
    args: &[
        Arg::integer("numkeys"),
        Arg::key("key", 0).multiple(),
        Arg::integer("limit").after("LIMIT").optional(),
    ],
    handler: Handler::Multi { whole: sintercard, spread: card_spread },
    ..Command::BASE
};

fn sintercard(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    count_result(Operation::Intersection, context, args, reply)
}

pub(super) const SUNION: Command = Command {
    name: "sunion",
    summary: "Returns the union of multiple sets.",
    complexity: "O(N) where N is the total number of elements in all given sets.",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::at_least(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output_order"],
    keys: &[KeySpec::at(1).range(-1, 1, 0).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0).multiple()],
    handler: Handler::Multi { whole: sunion, spread: reply_spread },
    ..Command::BASE
};

fn sunion(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply_result(Operation::Union, context, args, reply)
}

pub(super) const SUNIONSTORE: Command = Command {
    name: "sunionstore",
    summary: "Stores the union of multiple sets in a key.",
    complexity: "O(N) where N is the total number of elements in all given sets.",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::at(2).range(-1, 1, 0).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[Arg::key("destination", 0), Arg::key("key", 1).multiple()],
    handler: Handler::Multi { whole: sunionstore, spread: store_spread },
    ..Command::BASE
};

fn sunionstore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    store_result(Operation::Union, context, args, reply)
}

pub(super) const SUNIONCARD: Command = Command {
    name: "sunioncard",
    summary: "Returns the number of members of the union of multiple sets.",
    complexity: "O(N) where N is the number of members in all sets.",
    since: "8.10.0",
    group: Group::Set,
    arity: Arity::at_least(3),
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::at(1).key_num(0, 1, 1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::integer("numkeys"),
        Arg::key("key", 0).multiple(),
        Arg::token("approx", "APPROX").optional(),
        Arg::integer("limit").after("LIMIT").optional(),
    ],
    handler: Handler::Multi { whole: sunioncard, spread: card_spread },
    ..Command::BASE
};

fn sunioncard(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    count_result(Operation::Union, context, args, reply)
}

pub(super) const SDIFF: Command = Command {
    name: "sdiff",
    summary: "Returns the difference of multiple sets.",
    complexity: "O(N) where N is the total number of elements in all given sets.",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::at_least(2),
    flags: Flags::READONLY,
    tips: &["nondeterministic_output_order"],
    keys: &[KeySpec::at(1).range(-1, 1, 0).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0).multiple()],
    handler: Handler::Multi { whole: sdiff, spread: reply_spread },
    ..Command::BASE
};

fn sdiff(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    reply_result(Operation::Difference, context, args, reply)
}

pub(super) const SDIFFSTORE: Command = Command {
    name: "sdiffstore",
    summary: "Stores the difference of multiple sets in a key.",
    complexity: "O(N) where N is the total number of elements in all given sets.",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::at_least(3),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::at(2).range(-1, 1, 0).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[Arg::key("destination", 0), Arg::key("key", 1).multiple()],
    handler: Handler::Multi { whole: sdiffstore, spread: store_spread },
    ..Command::BASE
};

fn sdiffstore(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    store_result(Operation::Difference, context, args, reply)
}

pub(super) const SDIFFCARD: Command = Command {
    name: "sdiffcard",
    summary: "Returns the number of members of the difference of multiple sets.",
    complexity: "O(N) where N is the number of members in all sets.",
    since: "8.10.0",
    group: Group::Set,
    arity: Arity::at_least(3),
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    keys: &[KeySpec::at(1).key_num(0, 1, 1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::integer("numkeys"),
        Arg::key("key", 0).multiple(),
        Arg::integer("limit").after("LIMIT").optional(),
    ],
    handler: Handler::Multi { whole: sdiffcard, spread: card_spread },
    ..Command::BASE
};

fn sdiffcard(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    count_result(Operation::Difference, context, args, reply)
}
