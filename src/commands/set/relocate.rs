//! A member from one set to another: SMOVE.

use kvasir_proto::{Args, Encoder};

use crate::commands::context::{Coordination, ShardContext};
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction, shard_context};

pub(super) const SMOVE: Command = Command {
    name: "smove",
    summary: "Moves a member from one set to another.",
    complexity: "O(1)",
    since: "1.0.0",
    group: Group::Set,
    arity: Arity::exactly(4),
    flags: Flags::WRITE.or(Flags::FAST),
    keys: &[
        KeySpec::at(1).flags(KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2).flags(KeyFlags::RW.or(KeyFlags::INSERT)),
    ],
    args: &[Arg::key("source", 0), Arg::key("destination", 1), Arg::string("member")],
    handler: Handler::Multi { whole: smove, spread: smove_spread },
    ..Command::BASE
};

fn smove(
    context: &mut ShardContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    let (source, target, member) = (args.at(1), args.at(2), args.at(3));
    let is_member = match look(context, source, member)? {
        None => false,
        Some(is_member) => {
            look(context, target, member)?;
            is_member
        }
    };
    if is_member && source != target {
        take(context, source, member)?;
        if let Err(error) = give(context, target, member) {
            // What was there a moment ago has room there.
            give(context, source, member)?;
            return Err(error);
        }
    }
    reply.integer(i64::from(is_member));
    Ok(())
}

/// Whether a member is in the set at a key; `None` for a missing key.
fn look(
    context: &mut ShardContext<'_>,
    key: &[u8],
    member: &[u8],
) -> Result<Option<bool>, CommandError> {
    let key = context.key(key);
    Ok(context.shard.set_at(context.db, &key, true)?.map(|set| set.contains(member)))
}

fn take(context: &mut ShardContext<'_>, key: &[u8], member: &[u8]) -> Result<(), CommandError> {
    let key = context.key(key);
    context.shard.update_set(context.db, &key, |set| {
        set.remove(member);
        set.event("srem");
    })?;
    context.changed(1);
    Ok(())
}

fn give(context: &mut ShardContext<'_>, key: &[u8], member: &[u8]) -> Result<(), CommandError> {
    let key = context.key(key);
    let added = context.shard.update_set(context.db, &key, |set| {
        let added = set.add(member, 1)?;
        if added {
            set.event("sadd");
        }
        Ok::<_, CommandError>(added)
    })??;
    context.changed(u64::from(added));
    Ok(())
}

/// What is done with a member at one key.
type Change = fn(&mut ShardContext<'_>, &[u8], &[u8]) -> Result<(), CommandError>;

fn smove_spread(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let (args, view) = (request.args(), request.view);
        let looks = [1, 2].map(|at| {
            let (key, member): (Box<[u8]>, Box<[u8]>) = (args.at(at).into(), args.at(3).into());
            let look =
                move |state: &mut CoreState| look(&mut shard_context(state, view), &key, &member);
            (request.owner(args.at(at)), look)
        });
        let mut found = transaction.hop(looks).await.into_iter();
        let is_member = match found.next().expect("invariant: a result a task")? {
            None => false,
            Some(is_member) => {
                found.next().expect("invariant: a result a task")?;
                is_member
            }
        };
        if is_member {
            // One after the other, for the order of their events.
            let step = |at: usize, change: Change| {
                let (key, member): (Box<[u8]>, Box<[u8]>) = (args.at(at).into(), args.at(3).into());
                let step = move |state: &mut CoreState| {
                    change(&mut shard_context(state, view), &key, &member)
                };
                (request.owner(args.at(at)), step)
            };
            let (source, taking) = step(1, take);
            transaction.on(source, taking).await?;
            let (target, giving) = step(2, give);
            if let Err(error) = transaction.on(target, giving).await {
                // What was there a moment ago has room there.
                let (source, giving_back) = step(1, give);
                transaction.on(source, giving_back).await?;
                return Err(error);
            }
        }
        Ok(request.encode(|reply| reply.integer(i64::from(is_member))))
    })
}
