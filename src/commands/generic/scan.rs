//! Going through the keys in pieces: SCAN.
//!
//! One call reads one shard; the shards follow each other. Where they have few keys, a call goes on
//! with the next shard, so that a small database takes one call as with the peers. The cursor is
//! `place * shards + shard`, where `place` is the shard's own cursor: so 0 is the beginning of the
//! first shard, and a cursor stays below 2^50 with the 1024 shards and 40-bit places that there can
//! be, which every client's signed integer can hold. Any number is a cursor.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{ValueRef, ValueType};

use crate::commands::arguments::{Options, cursor, integer, is_word};
use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler};
use crate::errors::CommandError;
use crate::glob;
use crate::route::core::CoreState;
use crate::route::engine::ShardId;
use crate::route::message::OwnedArgs;
use crate::route::shard_map::ShardMap;
use crate::route::transaction::{Request, Transaction, shard_context};

/// Keys visited by a call that does not say how many.
const DEFAULT_COUNT: usize = 10;
/// Keys visited by one call at most, however many it asks for: a core does nothing else meanwhile.
const COUNT_MAX: usize = 100_000;
/// What TYPE may ask for: the peers' types, whether keys of them exist here or not.
const TYPE_NAMES: [&str; 6] = ["string", "list", "set", "zset", "hash", "stream"];

/// Where a scan stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cursor {
    shard: u16,
    /// The shard's own cursor; 0 is its beginning.
    place: u64,
}

impl Cursor {
    fn decode(cursor: u64, shards: u16) -> Self {
        let shards = u64::from(shards);
        Self { shard: (cursor % shards) as u16, place: cursor / shards }
    }

    /// The cursor to go on from when the shard's own is `next`: 0 at the end of everything.
    fn after(self, next: u64, shards: u16) -> u64 {
        let (place, shard) = if next == 0 { (0, self.shard + 1) } else { (next, self.shard) };
        if shard == shards { 0 } else { place * u64::from(shards) + u64::from(shard) }
    }
}

/// What a call asks for.
#[derive(Debug)]
struct Selection<'a> {
    count: usize,
    pattern: Option<&'a [u8]>,
    type_name: Option<&'static str>,
}

impl<'a> Selection<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        let mut selection = Self { count: DEFAULT_COUNT, pattern: None, type_name: None };
        let mut options = Options::new(args, 2);
        while let Some(word) = options.next() {
            if is_word(word, "COUNT") && options.left() > 0 {
                let count = integer(options.value()?)?;
                selection.count = usize::try_from(count).unwrap_or(0).min(COUNT_MAX);
                if selection.count == 0 {
                    return Err(CommandError::Syntax);
                }
            } else if is_word(word, "MATCH") && options.left() > 0 {
                selection.pattern = Some(options.value()?);
            } else if is_word(word, "TYPE") && options.left() > 0 {
                selection.type_name = Some(type_name(options.value()?)?);
            } else if is_word(word, "NOVALUES") {
                return Err(CommandError::Other("ERR NOVALUES option can only be used in HSCAN"));
            } else if is_word(word, "NOSCORES") {
                return Err(CommandError::Other("ERR NOSCORES option can only be used in ZSCAN"));
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(selection)
    }

    fn includes(&self, key: &[u8], value_type: ValueType) -> bool {
        self.type_name.is_none_or(|name| name == value_type.name())
            && self.pattern.is_none_or(|pattern| glob::matches_key(pattern, key))
    }
}

fn type_name(word: &[u8]) -> Result<&'static str, CommandError> {
    TYPE_NAMES
        .into_iter()
        .find(|name| is_word(word, name))
        .ok_or_else(|| CommandError::quoting("ERR unknown type name '", word, "'"))
}

pub(super) const SCAN: Command = Command {
    name: "scan",
    summary: "Iterates over the key names in the database.",
    complexity: "O(1) for every call. O(N) for a complete iteration, including enough \
        command calls for the cursor to return back to 0. N is the number of \
        elements inside the collection.",
    since: "2.8.0",
    group: Group::Generic,
    arity: Arity::at_least(2),
    flags: Flags::READONLY.or(Flags::TOUCHES_ARBITRARY_KEYS),
    tips: &["nondeterministic_output", "request_policy:special", "response_policy:special"],
    args: &[
        Arg::integer("cursor"),
        Arg::pattern("pattern").after("MATCH").optional(),
        Arg::integer("count").after("COUNT").optional(),
        Arg::string("type").after("TYPE").optional().since("6.0.0"),
    ],
    history: &[("6.0.0", "Added the `TYPE` subcommand.")],
    handler: Handler::Placed { shard: scanned_shard, run: scan, spread: scan_spread },
    ..Command::BASE
};

/// The shard that a cursor leads to; any for what is no cursor.
fn scanned_shard(args: Args<'_>, map: ShardMap) -> ShardId {
    let cursor = cursor(args.at(1)).unwrap_or(0);
    ShardId(Cursor::decode(cursor, map.shards()).shard)
}

fn scan(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let cursor = cursor(args.at(1))?;
    let selection = Selection::parse(args)?;
    let shards = context.map.shards();
    let cursor = Cursor::decode(cursor, shards);
    let found = scan_here(context, cursor.place, &selection);
    encode(cursor.after(found.next, shards), &[found], reply);
    Ok(())
}

/// What one shard has found.
struct Found {
    /// The shard's own cursor to go on from.
    next: u64,
    /// Keys that were looked at.
    visited: usize,
    /// Those that are asked for.
    count: usize,
    /// They, as they stand in the reply.
    encoded: Vec<u8>,
}

fn scan_here(context: &mut ShardContext<'_>, place: u64, selection: &Selection<'_>) -> Found {
    let mut found = Found { next: 0, visited: 0, count: 0, encoded: Vec::new() };
    let mut encoder = Encoder::new(&mut found.encoded, context.resp);
    let mut due: Vec<Box<[u8]>> = Vec::new();
    let visit = &mut |key: &[u8], value: ValueRef<'_>, is_due: bool| {
        found.visited += 1;
        if !selection.includes(key, value.value_type()) {
            return;
        }
        if is_due {
            due.push(key.into());
        } else {
            encoder.bulk(key);
            found.count += 1;
        }
    };
    found.next = context.shard.scan_with_due(context.db, place, selection.count, visit);
    for key in due {
        // Looking for a key removes it when it is due and may go.
        let key = context.key(&key);
        context.shard.exists(context.db, &key);
    }
    found
}

fn encode(cursor: u64, found: &[Found], reply: &mut Encoder<'_>) {
    reply.array(2);
    reply.bulk(cursor.to_string().as_bytes());
    reply.array(found.iter().map(|found| found.count).sum());
    for found in found {
        reply.raw(&found.encoded);
    }
}

/// Visits one shard after the other until enough keys were looked at.
fn scan_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        let mut cursor = cursor(args.at(1))?;
        let mut left = Selection::parse(args)?.count;
        let shards = request.shared.map.shards();
        let view = request.view;
        let words = OwnedArgs::of_parts(args.iter());
        let mut all = Vec::new();
        loop {
            let Cursor { shard, place } = Cursor::decode(cursor, shards);
            let words = words.clone();
            let scan = move |state: &mut CoreState| {
                let selection = Selection::parse(words.view())?;
                let selection = Selection { count: left, ..selection };
                Ok(scan_here(&mut shard_context(state, view), place, &selection))
            };
            let found: Result<Found, CommandError> = transaction.on(ShardId(shard), scan).await;
            let found = found?;
            cursor = Cursor { shard, place }.after(found.next, shards);
            left = left.saturating_sub(found.visited);
            all.push(found);
            if cursor == 0 || left == 0 {
                break;
            }
        }
        Ok(request.encode(|reply| encode(cursor, &all, reply)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_goes_from_shard_to_shard_and_ends() {
        for shards in [1, 2, 3, 1024] {
            let mut cursor = 0;
            let mut visited = Vec::new();
            loop {
                let at = Cursor::decode(cursor, shards);
                visited.push(at);
                // Each shard takes two calls.
                let next = if at.place == 0 { (1 << 40) - 1 } else { 0 };
                cursor = at.after(next, shards);
                assert!(cursor < 1 << 50);
                if cursor == 0 {
                    break;
                }
            }
            let expected = (0..shards)
                .flat_map(|shard| [0, (1 << 40) - 1].map(|place| Cursor { shard, place }));
            assert_eq!(visited, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn any_number_is_a_cursor() {
        for cursor in [1, 12345, u64::MAX, i64::MAX as u64] {
            for shards in [1, 2, 7, 1024] {
                assert!(Cursor::decode(cursor, shards).shard < shards);
            }
        }
    }
}
