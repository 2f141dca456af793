//! `PUBSUB`: what is subscribed to, on all cores together.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::commands::context::Coordination;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, LockScope};
use crate::commands::help::help;
use crate::errors::CommandError;
use crate::glob;
use crate::pubsub::message::Topic;
use crate::route::core::CoreState;
use crate::route::transaction::{Request, Transaction};

pub(super) const PUBSUB: Command = Command {
    name: "pubsub",
    summary: "A container for Pub/Sub commands.",
    complexity: "Depends on subcommand.",
    since: "2.8.0",
    group: Group::PubSub,
    arity: Arity::at_least(2),
    subcommands: &[
        &PUBSUB_CHANNELS,
        &PUBSUB_HELP,
        &PUBSUB_NUMPAT,
        &PUBSUB_NUMSUB,
        &PUBSUB_SHARDCHANNELS,
        &PUBSUB_SHARDNUMSUB,
    ],
    ..Command::BASE
};

pub(super) const PUBSUB_CHANNELS: Command = Command {
    name: "channels",
    summary: "Returns the active channels.",
    complexity: "O(N) where N is the number of active channels, and assuming constant time \
        pattern matching (relatively short channels and patterns)",
    since: "2.8.0",
    group: Group::PubSub,
    arity: Arity::at_least(2),
    flags: Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::pattern("pattern").optional()],
    handler: Handler::Global(LockScope::None, channels),
    ..Command::BASE
};

pub(super) const PUBSUB_HELP: Command = help(Group::PubSub, "6.2.0", PUBSUB_HELP_LINES);

const PUBSUB_HELP_LINES: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    The channels with subscribers, or those of them that match.",
    "NUMPAT",
    "    How many different patterns are subscribed to.",
    "NUMSUB [<channel> ...]",
    "    How many have subscribed to each of these channels, patterns aside.",
    "SHARDCHANNELS [<pattern>]",
    "    The shard channels with subscribers, or those of them that match.",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    How many have subscribed to each of these shard channels.",
];

pub(super) const PUBSUB_NUMPAT: Command = Command {
    name: "numpat",
    summary: "Returns a count of unique pattern subscriptions.",
    complexity: "O(1)",
    since: "2.8.0",
    group: Group::PubSub,
    arity: Arity::exactly(2),
    flags: Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE),
    handler: Handler::Global(LockScope::None, numpat),
    ..Command::BASE
};

pub(super) const PUBSUB_NUMSUB: Command = Command {
    name: "numsub",
    summary: "Returns a count of subscribers to channels.",
    complexity: "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
    since: "2.8.0",
    group: Group::PubSub,
    arity: Arity::at_least(2),
    flags: Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::string("channel").optional().multiple()],
    handler: Handler::Global(LockScope::None, numsub),
    ..Command::BASE
};

pub(super) const PUBSUB_SHARDCHANNELS: Command = Command {
    name: "shardchannels",
    summary: "Returns the active shard channels.",
    complexity: "O(N) where N is the number of active shard channels, and assuming constant \
        time pattern matching (relatively short shard channels).",
    since: "7.0.0",
    group: Group::PubSub,
    arity: Arity::at_least(2),
    flags: Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::pattern("pattern").optional()],
    handler: Handler::Global(LockScope::None, shard_channels),
    ..Command::BASE
};

pub(super) const PUBSUB_SHARDNUMSUB: Command = Command {
    name: "shardnumsub",
    summary: "Returns the count of subscribers of shard channels.",
    complexity: "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested \
        shard channels",
    since: "7.0.0",
    group: Group::PubSub,
    arity: Arity::at_least(2),
    flags: Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::string("shardchannel").optional().multiple()],
    handler: Handler::Global(LockScope::None, shard_numsub),
    ..Command::BASE
};

fn channels(transaction: Transaction, request: Request) -> Coordination {
    list(transaction, request, Topic::Channel)
}

fn shard_channels(transaction: Transaction, request: Request) -> Coordination {
    list(transaction, request, Topic::ShardChannel)
}

fn list(transaction: Transaction, request: Request, topic: Topic) -> Coordination {
    Box::pin(async move {
        let args = request.args();
        if args.len() > 3 {
            let name = String::from_utf8_lossy(args.at(1));
            return Err(CommandError::Custom(format!(
                "ERR unknown subcommand or wrong number of arguments for '{name}'. Try PUBSUB HELP."
            )));
        }
        let pattern: Option<Arc<[u8]>> = args.get(2).map(Arc::from);
        let names = names_of(&transaction, topic, pattern).await;
        Ok(request.encode(|reply| {
            reply.array(names.len());
            for name in &names {
                reply.bulk(name);
            }
        }))
    })
}

/// Each name once, whichever cores have subscribers of it.
async fn names_of(
    transaction: &Transaction,
    topic: Topic,
    pattern: Option<Arc<[u8]>>,
) -> BTreeSet<Arc<[u8]>> {
    let of_core = move |state: &mut CoreState| -> Vec<Arc<[u8]>> {
        let names = state.pubsub.names(topic).map(|(name, _)| name);
        let matching =
            |name: &&Arc<[u8]>| pattern.as_ref().is_none_or(|pattern| glob::matches(pattern, name));
        names.filter(matching).cloned().collect()
    };
    transaction.on_all(of_core).await.into_iter().flatten().collect()
}

fn numpat(transaction: Transaction, request: Request) -> Coordination {
    Box::pin(async move {
        let patterns = names_of(&transaction, Topic::Pattern, None).await;
        Ok(request.encode(|reply| reply.integer(patterns.len() as i64)))
    })
}

fn numsub(transaction: Transaction, request: Request) -> Coordination {
    count(transaction, request, Topic::Channel)
}

fn shard_numsub(transaction: Transaction, request: Request) -> Coordination {
    count(transaction, request, Topic::ShardChannel)
}

fn count(transaction: Transaction, request: Request, topic: Topic) -> Coordination {
    Box::pin(async move {
        let names: Arc<[Box<[u8]>]> = request.args().tail(2).iter().map(Box::from).collect();
        let asked = Arc::clone(&names);
        let of_core = move |state: &mut CoreState| -> Vec<usize> {
            asked.iter().map(|name| state.pubsub.subscribers(topic, name)).collect()
        };
        let counts = transaction.on_all(of_core).await;
        Ok(request.encode(|reply| {
            reply.array(2 * names.len());
            for (index, name) in names.iter().enumerate() {
                reply.bulk(name);
                let count: usize = counts.iter().map(|of_core| of_core[index]).sum();
                reply.integer(count as i64);
            }
        }))
    })
}
