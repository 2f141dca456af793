//! Taking from the ends: LPOP, RPOP.

use kvasir_proto::{Args, Encoder};
use kvasir_shard::{End, ListMut};

use super::arguments::{pop_count, pop_event};
use crate::commands::context::ShardContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::long::{LongWork, Popping, STEPS_MAX};

pub(super) const LPOP: Command = Command {
    name: "lpop",
    summary: "Returns the first elements in a list after removing it. Deletes the list if \
        the last element was popped.",
    complexity: "O(N) where N is the number of elements returned",
    since: "1.0.0",
    group: Group::List,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::integer("count").optional().since("6.2.0")],
    history: &[("6.2.0", "Added the `count` argument.")],
    handler: Handler::Shard(lpop),
    ..Command::BASE
};

fn lpop(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    pop(context, args, End::Front, "lpop", reply)
}

pub(super) const RPOP: Command = Command {
    name: "rpop",
    summary: "Returns and removes the last elements of a list. Deletes the list if the last \
        element was popped.",
    complexity: "O(N) where N is the number of elements returned",
    since: "1.0.0",
    group: Group::List,
    arity: Arity::at_least(2),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::integer("count").optional().since("6.2.0")],
    history: &[("6.2.0", "Added the `count` argument.")],
    handler: Handler::Shard(rpop),
    ..Command::BASE
};

fn rpop(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    pop(context, args, End::Back, "rpop", reply)
}

#[inline]
fn pop(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    end: End,
    command: &'static str,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::WrongArity(command.to_owned()));
    }
    let count = args.get(2).map(pop_count).transpose()?;
    let key = context.key(args.at(1));
    if let Some(count) = count.filter(|count| *count > STEPS_MAX) {
        let len = context.shard.list_at(context.db, &key, false)?.map_or(0, |list| list.len());
        if len > STEPS_MAX {
            let popping = Popping::new(count.min(len), reply.defer_array());
            context.run_long(ListPopping { end, popping }, args, reply);
            return Ok(());
        }
    }
    let popped = context.shard.update_list(context.db, &key, |list| match count {
        None => pop_one(list, end, reply),
        Some(_) if list.is_empty() => {
            reply.null_array();
            0
        }
        Some(count) => pop_many(list, end, count, reply),
    })?;
    context.changed(popped as u64);
    Ok(())
}

/// Many elements on their way out, in parts, so that no number of them holds up the core.
struct ListPopping {
    end: End,
    popping: Popping,
}

impl LongWork for ListPopping {
    fn step(
        &mut self,
        context: &mut ShardContext<'_>,
        args: Args<'_>,
        reply: &mut Encoder<'_>,
    ) -> bool {
        let key = context.key(args.at(1));
        let (part, is_first) = (self.popping.part(), self.popping.is_first());
        let popped = context.shard.update_list(context.db, &key, |list| {
            let mut popped = 0;
            while popped < part && list.pop(self.end, |element| reply.bulk(element)).is_some() {
                popped += 1;
            }
            if is_first && popped > 0 {
                list.event(pop_event(self.end));
            }
            popped
        });
        let goes_on = self.popping.note(popped.unwrap_or(0), context);
        if !goes_on {
            self.popping.finish(1, reply);
        }
        goes_on
    }
}

/// Replies with an element popped, or null; how many there were.
fn pop_one(list: &mut ListMut<'_>, end: End, reply: &mut Encoder<'_>) -> usize {
    if list.pop(end, |element| reply.bulk(element)).is_none() {
        reply.null();
        return 0;
    }
    list.event(pop_event(end));
    1
}

/// Replies with an array of up to `count` elements popped; how many there were.
pub(super) fn pop_many(
    list: &mut ListMut<'_>,
    end: End,
    count: usize,
    reply: &mut Encoder<'_>,
) -> usize {
    let popped = count.min(list.len());
    reply.array(popped);
    for _ in 0..popped {
        list.pop(end, |element| reply.bulk(element)).expect("invariant: they were counted");
    }
    if popped > 0 {
        list.event(pop_event(end));
    }
    popped
}
