//! Operations between strings: BITOP.

use std::borrow::Cow;
use std::ops::{BitAndAssign, BitOrAssign, BitXorAssign};

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{ChangeKind, Key, NewValue, OwnedValue, Ttl, ValueRef};

use crate::commands::arguments::is_word;
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Portion, PortionGroup, Request, Transaction, shard_context};

/// Bytes of the result that are computed from all sources before the next ones, so that they stay
/// in the first-level cache.
const BLOCK_BYTES: usize = 4096;

/// What a bit of the result is, given the bits of the sources.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    /// Set in all.
    And,
    /// Set in any.
    Or,
    /// Set in an odd number.
    Xor,
    /// Clear in the one source.
    Not,
    /// Set in the first and in no other.
    Diff,
    /// Set in another and not in the first.
    Diff1,
    /// Set in the first and in another.
    AndOr,
    /// Set in exactly one.
    One,
}

const OPERATIONS: [(&str, Operation); 8] = [
    ("AND", Operation::And),
    ("OR", Operation::Or),
    ("XOR", Operation::Xor),
    ("NOT", Operation::Not),
    ("DIFF", Operation::Diff),
    ("DIFF1", Operation::Diff1),
    ("ANDOR", Operation::AndOr),
    ("ONE", Operation::One),
];

impl Operation {
    /// Reads the operation and checks the number of its sources.
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let operation = OPERATIONS.into_iter().find(|(name, _)| is_word(args.at(1), name));
        let (name, operation) = operation.ok_or(CommandError::Syntax)?;
        let sources = args.len() - 3;
        match operation {
            Self::Not if sources != 1 => {
                Err(CommandError::Other("ERR BITOP NOT must be called with a single source key."))
            }
            Self::Diff | Self::Diff1 | Self::AndOr if sources < 2 => Err(CommandError::Custom(
                format!("ERR BITOP {name} must be called with at least two source keys."),
            )),
            _ => Ok(operation),
        }
    }

    /// Whether Valkey knows it, so that it can be logged as it comes.
    fn is_known(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Xor | Self::Not)
    }

    /// The result, as long as the longest source; the others are filled up with zeroes. O(bytes of
    /// all sources).
    fn combine(self, sources: &[impl AsRef<[u8]>]) -> Vec<u8> {
        let len = sources.iter().map(|source| source.as_ref().len()).max().unwrap_or(0);
        let mut result = vec![0; len];
        let mut others = [0; BLOCK_BYTES];
        for (index, block) in result.chunks_mut(BLOCK_BYTES).enumerate() {
            let start = index * BLOCK_BYTES;
            let part = |source: &[u8]| {
                let from = start.min(source.len());
                from..source.len().min(start + BLOCK_BYTES)
            };
            let mut parts = sources.iter().map(|source| {
                let source = source.as_ref();
                &source[part(source)]
            });
            let first = parts.next().unwrap_or_default();
            block[..first.len()].copy_from_slice(first);
            self.combine_block(block, parts, &mut others[..]);
        }
        result
    }

    /// Computes a block of the result: it holds the first source's, `parts` are the others',
    /// `space` is as long at least.
    fn combine_block<'a>(
        self,
        block: &mut [u8],
        parts: impl Iterator<Item = &'a [u8]>,
        space: &mut [u8],
    ) {
        let others = &mut space[..block.len()];
        match self {
            Self::And => parts.for_each(|part| {
                assign(block, part, u8::bitand_assign);
                block[part.len()..].fill(0);
            }),
            Self::Or => parts.for_each(|part| assign(block, part, u8::bitor_assign)),
            Self::Xor => parts.for_each(|part| assign(block, part, u8::bitxor_assign)),
            Self::Not => block.iter_mut().for_each(|byte| *byte = !*byte),
            Self::Diff | Self::Diff1 | Self::AndOr => {
                others.fill(0);
                parts.for_each(|part| assign(others, part, u8::bitor_assign));
                match self {
                    Self::Diff => assign(block, others, |first, other| *first &= !other),
                    Self::Diff1 => {
                        assign(block, others, |first, other| *first = other & !*first);
                    }
                    _ => assign(block, others, u8::bitand_assign),
                }
            }
            Self::One => {
                // `others` has the bits that were set in more than one.
                others.fill(0);
                for part in parts {
                    for ((once, more), byte) in block.iter_mut().zip(&mut *others).zip(part) {
                        *more |= *once & byte;
                        *once |= byte;
                    }
                }
                assign(block, others, |once, more| *once &= !more);
            }
        }
    }
}

/// Applies an operation to each byte and its counterpart; inlined, it works on wide words.
#[inline]
fn assign(block: &mut [u8], part: &[u8], operation: impl Fn(&mut u8, u8)) {
    block.iter_mut().zip(part).for_each(|(byte, other)| operation(byte, *other));
}

pub(super) const BITOP: Command = Command {
    name: "bitop",
    summary: "Performs bitwise operations on multiple strings, and stores the result.",
    complexity: "O(N)",
    since: "2.6.0",
    group: Group::Bitmap,
    arity: Arity::at_least(4),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[
        KeySpec::at(2).flags(KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::at(3).range(-1, 1, 0).flags(KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[
        Arg::one_of(
            "operation",
            &[
                Arg::token("and", "AND"),
                Arg::token("or", "OR"),
                Arg::token("xor", "XOR"),
                Arg::token("not", "NOT"),
                Arg::token("diff", "DIFF"),
                Arg::token("diff1", "DIFF1"),
                Arg::token("andor", "ANDOR"),
                Arg::token("one", "ONE"),
            ],
        ),
        Arg::key("destkey", 0),
        Arg::key("key", 1).multiple(),
    ],
    handler: Handler::Multi { whole: bitop, spread: bitop_spread },
    ..Command::BASE
};

fn bitop(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let operation = Operation::parse(args)?;
    let keys: Vec<Key<'_>> = args.iter().skip(3).map(|key| context.key(key)).collect();
    for key in &keys {
        // Counted and noted, up to one of another type; the values are looked at together below.
        if context.read(key).is_some_and(|value| value.string_len().is_none()) {
            return Err(CommandError::WrongType);
        }
    }
    let sources = keys.iter().map(|key| source(context.shard.peek(context.db, key)));
    let result = operation.combine(&sources.collect::<Result<Vec<_>, _>>()?);
    let len = result.len();
    store(context, operation, args.at(2), result)?;
    reply.integer(len as i64);
    Ok(())
}

/// The bytes of a source; none for a missing key.
fn source(value: Option<ValueRef<'_>>) -> Result<Cow<'_, [u8]>, CommandError> {
    match value {
        None => Ok(Cow::default()),
        Some(ValueRef::Bytes(bytes)) => Ok(Cow::Borrowed(bytes)),
        Some(value) => value.to_vec().map(Cow::Owned).ok_or(CommandError::WrongType),
    }
}

/// Stores a result; an empty one removes the key.
fn store(
    context: &mut ShardContext<'_>,
    operation: Operation,
    key: &[u8],
    result: Vec<u8>,
) -> Result<(), CommandError> {
    let key = context.key(key);
    if result.is_empty() {
        let removed = context.shard.remove(context.db, &key);
        context.changed(u64::from(removed));
        if removed && !operation.is_known() {
            context.log_removed(key.bytes);
        }
    } else {
        let logged = (context.logs() && !operation.is_known()).then(|| result.clone());
        let value = OwnedValue::from_written(result);
        context.shard.put(context.db, &key, value, ChangeKind::Set)?;
        context.changed(1);
        if let Some(result) = logged {
            context.log_set(key.bytes, NewValue::Bytes(&result), Ttl::Clear);
        }
    }
    Ok(())
}

fn bitop_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let operation = Operation::parse(args)?;
        let view = request.view;
        let portions = request.by_shard(3..args.len(), 1);
        let tasks = portions.into_iter().map(|(shard, portion)| {
            (shard, move |state: &mut CoreState| {
                read_sources(&mut shard_context(state, view), &portion)
            })
        });
        let mut sources = Vec::new();
        for read in transaction.hop(tasks).await {
            sources.extend(read?);
        }
        sources.sort_unstable_by_key(|(position, _)| *position);
        let sources: Vec<Vec<u8>> = sources.into_iter().map(|(_, bytes)| bytes).collect();
        let result = operation.combine(&sources);
        let len = result.len();
        let target: Box<[u8]> = args.at(2).into();
        let write = move |state: &mut CoreState| {
            store(&mut shard_context(state, view), operation, &target, result)
        };
        transaction
            .last_hop([(request.owner(args.at(2)), write)])
            .await
            .pop()
            .expect("invariant: one task, one result")?;
        Ok(request.encode(|reply| reply.integer(len as i64)))
    })
}

/// Copies of a shard's sources, with their positions among all.
fn read_sources(
    context: &mut ShardContext<'_>,
    portion: &Portion,
) -> Result<Vec<(usize, Vec<u8>)>, CommandError> {
    let read = |group: PortionGroup<'_>| {
        let key = context.key(group.key());
        Ok((group.position, source(context.read(&key))?.into_owned()))
    };
    portion.groups().map(read).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn model(operation: Operation, sources: &[Vec<u8>], at: usize, mask: u8) -> bool {
        let bit = |source: &Vec<u8>| source.get(at).is_some_and(|byte| byte & mask != 0);
        let first = bit(&sources[0]);
        let others = sources[1..].iter().filter(|source| bit(source)).count();
        let count = others + usize::from(first);
        match operation {
            Operation::And => count == sources.len(),
            Operation::Or => count > 0,
            Operation::Xor => count % 2 == 1,
            Operation::Not => !first,
            Operation::Diff => first && others == 0,
            Operation::Diff1 => !first && others > 0,
            Operation::AndOr => first && others > 0,
            Operation::One => count == 1,
        }
    }

    fn check(operation: Operation, sources: &[Vec<u8>]) {
        let result = operation.combine(sources);
        assert_eq!(result.len(), sources.iter().map(Vec::len).max().unwrap_or(0));
        for (at, byte) in result.iter().enumerate() {
            for mask in (0..8).map(|bit| 1 << bit) {
                let expected = model(operation, sources, at, mask);
                assert_eq!(byte & mask != 0, expected, "{operation:?}, byte {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_bit_is_what_the_operation_says(
            sources in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
        ) {
            for (_, operation) in OPERATIONS {
                check(operation, &sources);
            }
        }
    }

    #[test]
    fn sources_longer_than_a_block() {
        let pattern = |len: usize, step: usize| (0..len).map(|i| (i * step) as u8).collect();
        let sources: [Vec<u8>; 4] = [
            pattern(BLOCK_BYTES * 2 + 7, 3),
            pattern(BLOCK_BYTES - 1, 5),
            pattern(BLOCK_BYTES, 7),
            pattern(BLOCK_BYTES + 1, 11),
        ];
        for (_, operation) in OPERATIONS {
            check(operation, &sources);
        }
    }
}
