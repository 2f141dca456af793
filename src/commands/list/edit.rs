//! Changes inside a list: LSET, LINSERT, LREM, LTRIM.

use std::ops::ControlFlow;

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{Direction, End, ListRef, Removal};

use super::arguments::{Span, place, symmetric_integer};
use crate::commands::arguments::{integer, is_word};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::long::{LongWork, STEPS_MAX};

pub(super) const LSET: Command = Command {
    name: "lset",
    summary: "Sets the value of an element in a list by its index.",
    complexity: "O(N) where N is the length of the list. Setting either the first or the \
        last element of the list is O(1).",
    since: "1.0.0",
    group: Group::List,
    arity: Arity::exactly(4),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0), Arg::integer("index"), Arg::string("element")],
    handler: Handler::Shard(lset),
    ..Command::BASE
};

fn lset(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let key = context.key(args.at(1));
    context.shard.update_list(context.db, &key, |list| {
        if list.is_empty() {
            return Err(CommandError::NoSuchKey);
        }
        // A missing key is answered before the index is looked at.
        let index = integer(args.at(2))?;
        let at = place(index, list.len()).ok_or(CommandError::IndexOutOfRange)?;
        list.set(at, args.at(3));
        list.event("lset");
        Ok(())
    })??;
    context.changed(1);
    reply.ok();
    Ok(())
}

pub(super) const LINSERT: Command = Command {
    name: "linsert",
    summary: "Inserts an element before or after another element in a list.",
    complexity: "O(N) where N is the number of elements to traverse before seeing the value \
        pivot. This means that inserting somewhere on the left end on the list \
        (head) can be considered O(1) and inserting somewhere on the right end \
        (tail) is O(N).",
    since: "2.2.0",
    group: Group::List,
    arity: Arity::exactly(5),
    flags: Flags::WRITE.or(Flags::DENYOOM),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[
        Arg::key("key", 0),
        Arg::one_of("where", &[Arg::token("before", "BEFORE"), Arg::token("after", "AFTER")]),
        Arg::string("pivot"),
        Arg::string("element"),
    ],
    handler: Handler::Shard(linsert),
    ..Command::BASE
};

fn linsert(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let distance = if is_word(args.at(2), "BEFORE") {
        0
    } else if is_word(args.at(2), "AFTER") {
        1
    } else {
        return Err(CommandError::Syntax);
    };
    let key = context.key(args.at(1));
    let len = context.shard.update_list(context.db, &key, |list| {
        if list.is_empty() {
            return 0;
        }
        let Some(pivot) = first_equal(list.view(), args.at(3)) else { return -1 };
        list.insert(pivot + distance, args.at(4));
        list.event("linsert");
        list.len() as i64
    })?;
    context.changed(u64::from(len > 0));
    reply.integer(len);
    Ok(())
}

fn first_equal(list: ListRef<'_>, wanted: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut found = false;
    list.visit(0, Direction::Forward, |element| {
        found = element == wanted;
        if found {
            return ControlFlow::Break(());
        }
        at += 1;
        ControlFlow::Continue(())
    });
    found.then_some(at)
}

/// Lists of more elements are searched in parts, of so many blocks: looking at an element costs
/// much less than removing one.
const MANY: usize = 16 * STEPS_MAX;
const BLOCKS_STEP: usize = 64;

/// A search for elements to remove, in parts, so that no length of list holds up the core.
struct Search {
    removal: Removal,
    /// Whether the event is recorded.
    is_noted: bool,
}

impl LongWork for Search {
    fn step(
        &mut self,
        context: &mut ShardContext<'_>,
        args: Args<'_>,
        reply: &mut Encoder<'_>,
    ) -> bool {
        let key = context.key(args.at(1));
        let before = self.removal.removed();
        let goes_on = context.shard.update_list(context.db, &key, |list| {
            let goes_on = list.remove_part(args.at(3), &mut self.removal, BLOCKS_STEP);
            if self.removal.removed() > 0 && !self.is_noted {
                self.is_noted = true;
                list.event("lrem");
            }
            goes_on
        });
        context.changed((self.removal.removed() - before) as u64);
        let goes_on = goes_on.unwrap_or(false);
        if !goes_on {
            reply.integer(self.removal.removed() as i64);
        }
        goes_on
    }
}

pub(super) const LREM: Command = Command {
    name: "lrem",
    summary: "Removes elements from a list. Deletes the list if the last element was \
        removed.",
    complexity: "O(N+M) where N is the length of the list and M is the number of elements \
        removed.",
    since: "1.0.0",
    group: Group::List,
    arity: Arity::exactly(4),
    flags: Flags::WRITE,
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::integer("count"), Arg::string("element")],
    handler: Handler::Shard(lrem),
    ..Command::BASE
};

fn lrem(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let count = symmetric_integer(args.at(2))?;
    let direction = if count < 0 { Direction::Backward } else { Direction::Forward };
    let most = match count {
        0 => usize::MAX,
        _ => usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX),
    };
    let key = context.key(args.at(1));
    let len = context.shard.list_at(context.db, &key, false)?.map_or(0, |list| list.len());
    if len > MANY {
        let search = Search { removal: Removal::new(most, direction), is_noted: false };
        context.run_long(search, args, reply);
        return Ok(());
    }
    let removed = context.shard.update_list(context.db, &key, |list| {
        let removed = list.remove(args.at(3), most, direction);
        if removed > 0 {
            list.event("lrem");
        }
        removed
    })?;
    context.changed(removed as u64);
    reply.integer(removed as i64);
    Ok(())
}

pub(super) const LTRIM: Command = Command {
    name: "ltrim",
    summary: "Removes elements from both ends a list. Deletes the list if all elements were \
        trimmed.",
    complexity: "O(N) where N is the number of elements to be removed by the operation.",
    since: "1.0.0",
    group: Group::List,
    arity: Arity::exactly(4),
    flags: Flags::WRITE,
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::integer("start"), Arg::integer("stop")],
    handler: Handler::Shard(ltrim),
    ..Command::BASE
};

fn ltrim(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let (start, stop) = (integer(args.at(2))?, integer(args.at(3))?);
    let key = context.key(args.at(1));
    let removed = context.shard.update_list(context.db, &key, |list| {
        let len = list.len();
        if len == 0 {
            return 0;
        }
        let Span { first, count } = Span::new(start, stop, len);
        list.cut(End::Back, len - first - count);
        list.cut(End::Front, first);
        list.event("ltrim");
        len - count
    })?;
    context.changed(removed as u64);
    reply.ok();
    Ok(())
}
