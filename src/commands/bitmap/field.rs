//! Integers within strings: BITFIELD, `BITFIELD_RO`.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::Key;
use smallvec::SmallVec;

use super::integer::{IntegerType, Overflow, WINDOW_BYTES, Window};
use crate::commands::arguments::{Options, integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;

/// What is done with one field.
#[derive(Clone, Copy, Debug)]
enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    field: IntegerType,
    /// In bits.
    offset: u64,
    action: Action,
}

impl Operation {
    fn writes(&self) -> bool {
        !matches!(self.action, Action::Get)
    }

    /// The length of string that a write needs.
    fn len_needed(&self) -> usize {
        ((self.offset + u64::from(self.field.bits) - 1) / 8) as usize + 1
    }
}

type Operations = SmallVec<[Operation; 4]>;

/// Reads the operations after the key.
fn parse(args: Args<'_>, string_max: usize) -> Result<Operations, CommandError> {
    let mut operations = Operations::new();
    let mut overflow = Overflow::Wrap;
    let mut words = Options::new(args, 2);
    while let Some(word) = words.next() {
        if is_word(word, "OVERFLOW") {
            overflow = parse_overflow(words.value()?)?;
            continue;
        }
        let (operands, action): (usize, fn(i64, Overflow) -> Action) = if is_word(word, "GET") {
            (2, |_, _| Action::Get)
        } else if is_word(word, "SET") {
            (3, Action::Set)
        } else if is_word(word, "INCRBY") {
            (3, Action::Add)
        } else {
            return Err(CommandError::Syntax);
        };
        if words.left() < operands {
            return Err(CommandError::Syntax);
        }
        let field = IntegerType::parse(words.value()?)?;
        let offset = field.parse_offset(words.value()?, string_max)?;
        let operand = if operands == 3 { integer(words.value()?)? } else { 0 };
        operations.push(Operation { field, offset, action: action(operand, overflow) });
    }
    Ok(operations)
}

fn parse_overflow(word: &[u8]) -> Result<Overflow, CommandError> {
    if is_word(word, "WRAP") {
        Ok(Overflow::Wrap)
    } else if is_word(word, "SAT") {
        Ok(Overflow::Saturate)
    } else if is_word(word, "FAIL") {
        Ok(Overflow::Fail)
    } else {
        Err(CommandError::Other("ERR Invalid OVERFLOW type specified"))
    }
}

/// The bytes in which the field at an offset lies.
fn window(context: &ShardContext<'_>, key: &Key<'_>, offset: u64) -> Window {
    let mut window = Window::default();
    if let Some(value) = context.shard.peek(context.db, key) {
        value.with_bytes(|bytes| {
            let start = ((offset / 8) as usize).min(bytes.len());
            let part = &bytes[start..bytes.len().min(start + WINDOW_BYTES)];
            window[..part.len()].copy_from_slice(part);
        });
    }
    window
}

const BITFIELD_NOTE: &str = "This command allows both access and modification of the key";
pub(super) const BITFIELD: Command = Command {
    name: "bitfield",
    summary: "Performs arbitrary bitfield integer operations on strings.",
    complexity: "O(1) for each subcommand specified",
    since: "3.2.0",
    group: Group::Bitmap,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[KeySpec::at(1)
        .flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE).or(KeyFlags::VARIABLE_FLAGS))
        .notes(BITFIELD_NOTE)],
    find_keys: Some(find_bitfield_key),
    args: &[
        Arg::key("key", 0),
        Arg::one_of(
            "operation",
            &[
                Arg::block("get-block", &[Arg::string("encoding"), Arg::integer("offset")])
                    .after("GET"),
                Arg::block(
                    "write",
                    &[
                        Arg::one_of(
                            "overflow-block",
                            &[
                                Arg::token("wrap", "WRAP"),
                                Arg::token("sat", "SAT"),
                                Arg::token("fail", "FAIL"),
                            ],
                        )
                        .after("OVERFLOW")
                        .optional(),
                        Arg::one_of(
                            "write-operation",
                            &[
                                Arg::block(
                                    "set-block",
                                    &[
                                        Arg::string("encoding"),
                                        Arg::integer("offset"),
                                        Arg::integer("value"),
                                    ],
                                )
                                .after("SET"),
                                Arg::block(
                                    "incrby-block",
                                    &[
                                        Arg::string("encoding"),
                                        Arg::integer("offset"),
                                        Arg::integer("increment"),
                                    ],
                                )
                                .after("INCRBY"),
                            ],
                        ),
                    ],
                ),
            ],
        )
        .optional()
        .multiple(),
    ],
    handler: Handler::Shard(bitfield),
    ..Command::BASE
};

/// The key is only read when every operation is a GET; a request that cannot be understood may
/// write.
fn find_bitfield_key(args: Args<'_>, found: &mut dyn FnMut(usize, KeyFlags)) {
    let mut words = Options::new(args, 2);
    let mut only_reads = true;
    while let Some(word) = words.next() {
        let operands = match word {
            _ if is_word(word, "GET") => 2,
            _ if is_word(word, "OVERFLOW") => 1,
            _ => usize::MAX,
        };
        if words.left() < operands {
            only_reads = false;
            break;
        }
        words.skip(operands);
    }
    let flags = if only_reads { KeyFlags::RO } else { KeyFlags::RW.or(KeyFlags::UPDATE) };
    found(1, flags.or(KeyFlags::ACCESS));
}

fn bitfield(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let operations = parse(args, context.string_max)?;
    let key = context.key(args.at(1));
    let writes = operations.iter().filter(|operation| operation.writes());
    match writes.map(Operation::len_needed).max() {
        None => read_fields(context, &key, &operations, reply),
        Some(len) => write_fields(context, &key, &operations, len, reply),
    }
}

pub(super) const BITFIELD_RO: Command = Command {
    name: "bitfield_ro",
    summary: "Performs arbitrary read-only bitfield integer operations on strings.",
    complexity: "O(1) for each subcommand specified",
    since: "6.0.0",
    group: Group::Bitmap,
    arity: Arity::at_least(2),
    flags: Flags::READONLY.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::block("get-block", &[Arg::string("encoding"), Arg::integer("offset")])
            .after("GET")
            .optional()
            .multiple_token(),
    ],
    handler: Handler::Shard(bitfield_ro),
    ..Command::BASE
};

fn bitfield_ro(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let operations = parse(args, context.string_max)?;
    if operations.iter().any(Operation::writes) {
        return Err(CommandError::Other("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    let key = context.key(args.at(1));
    read_fields(context, &key, &operations, reply)
}

fn read_fields(
    context: &mut ShardContext<'_>,
    key: &Key<'_>,
    operations: &[Operation],
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    if context.read(key).is_some_and(|value| value.string_len().is_none()) {
        return Err(CommandError::WrongType);
    }
    reply.array(operations.len());
    for Operation { field, offset, .. } in operations {
        reply.integer(field.get(&window(context, key, *offset), *offset));
    }
    Ok(())
}

fn write_fields(
    context: &mut ShardContext<'_>,
    key: &Key<'_>,
    operations: &[Operation],
    len_needed: usize,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    // Growing is a change in itself, and makes one of every write; else a field that keeps its
    // value is none.
    let grows = context.string_len(key)? < len_needed;
    if grows {
        context.shard.string_mut(context.db, key, len_needed)?;
    } else {
        context.shard.write_out(context.db, key)?;
    }
    reply.array(operations.len());
    let mut changed = grows;
    for Operation { field, offset, action } in operations {
        let old = field.get(&window(context, key, *offset), *offset);
        let (new, result) = match *action {
            Action::Get => {
                reply.integer(old);
                continue;
            }
            Action::Set(value, overflow) => (field.fit(value, overflow), old),
            Action::Add(amount, overflow) => {
                let new = field.add(old, amount, overflow);
                (new, new.unwrap_or_default())
            }
        };
        let Some(new) = new else {
            reply.null();
            continue;
        };
        reply.integer(result);
        if new != old {
            let bytes = context.shard.string_mut(context.db, key, len_needed)?;
            field.set(bytes, *offset, new);
        }
        changed |= new != old;
        context.changed(u64::from(grows || new != old));
    }
    if changed {
        context.event("setbit", key);
    }
    Ok(())
}
