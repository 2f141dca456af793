//! Beginning and ending subscriptions.

use kvasir_proto::{Args, Encoder};

use crate::commands::context::LocalContext;
use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::errors::CommandError;
use crate::pubsub::message::Topic;

pub(super) const SUBSCRIBE: Command = Command {
    name: "subscribe",
    summary: "Listens for messages published to channels.",
    complexity: "O(N) where N is the number of channels to subscribe to.",
    since: "2.0.0",
    group: Group::PubSub,
    arity: Arity::at_least(2),
    flags: Flags::PUBSUB.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::string("channel").multiple()],
    handler: Handler::Subscribe(subscribe_channels),
    ..Command::BASE
};

pub(super) const UNSUBSCRIBE: Command = Command {
    name: "unsubscribe",
    summary: "Stops listening to messages posted to channels.",
    complexity: "O(N) where N is the number of channels to unsubscribe.",
    since: "2.0.0",
    group: Group::PubSub,
    arity: Arity::at_least(1),
    flags: Flags::PUBSUB.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::string("channel").optional().multiple()],
    handler: Handler::Subscribe(unsubscribe_channels),
    ..Command::BASE
};

pub(super) const PSUBSCRIBE: Command = Command {
    name: "psubscribe",
    summary: "Listens for messages published to channels that match one or more patterns.",
    complexity: "O(N) where N is the number of patterns to subscribe to.",
    since: "2.0.0",
    group: Group::PubSub,
    arity: Arity::at_least(2),
    flags: Flags::PUBSUB.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::pattern("pattern").multiple()],
    handler: Handler::Subscribe(subscribe_patterns),
    ..Command::BASE
};

pub(super) const PUNSUBSCRIBE: Command = Command {
    name: "punsubscribe",
    summary: "Stops listening to messages published to channels that match one or more \
        patterns.",
    complexity: "O(N) where N is the number of patterns to unsubscribe.",
    since: "2.0.0",
    group: Group::PubSub,
    arity: Arity::at_least(1),
    flags: Flags::PUBSUB.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    args: &[Arg::pattern("pattern").optional().multiple()],
    handler: Handler::Subscribe(unsubscribe_patterns),
    ..Command::BASE
};

pub(super) const SSUBSCRIBE: Command = Command {
    name: "ssubscribe",
    summary: "Listens for messages published to shard channels.",
    complexity: "O(N) where N is the number of shard channels to subscribe to.",
    since: "7.0.0",
    group: Group::PubSub,
    arity: Arity::at_least(2),
    flags: Flags::PUBSUB.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    keys: &[KeySpec::at(1).range(-1, 1, 0).flags(KeyFlags::NOT_KEY)],
    args: &[Arg::string("shardchannel").multiple()],
    handler: Handler::Subscribe(subscribe_shard_channels),
    ..Command::BASE
};

pub(super) const SUNSUBSCRIBE: Command = Command {
    name: "sunsubscribe",
    summary: "Stops listening to messages posted to shard channels.",
    complexity: "O(N) where N is the number of shard channels to unsubscribe.",
    since: "7.0.0",
    group: Group::PubSub,
    arity: Arity::at_least(1),
    flags: Flags::PUBSUB.or(Flags::NOSCRIPT).or(Flags::LOADING).or(Flags::STALE),
    keys: &[KeySpec::at(1).range(-1, 1, 0).flags(KeyFlags::NOT_KEY)],
    args: &[Arg::string("shardchannel").optional().multiple()],
    handler: Handler::Subscribe(unsubscribe_shard_channels),
    ..Command::BASE
};

fn subscribe_channels(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    subscribe(context, "subscribe", Topic::Channel, args, reply);
    Ok(())
}

fn subscribe_patterns(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    subscribe(context, "psubscribe", Topic::Pattern, args, reply);
    Ok(())
}

fn subscribe_shard_channels(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    subscribe(context, "ssubscribe", Topic::ShardChannel, args, reply);
    Ok(())
}

fn unsubscribe_channels(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    unsubscribe(context, "unsubscribe", Topic::Channel, args, reply);
    Ok(())
}

fn unsubscribe_patterns(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    unsubscribe(context, "punsubscribe", Topic::Pattern, args, reply);
    Ok(())
}

fn unsubscribe_shard_channels(
    context: &mut LocalContext<'_>,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) -> Result<(), CommandError> {
    unsubscribe(context, "sunsubscribe", Topic::ShardChannel, args, reply);
    Ok(())
}

/// A message for each name, whether there was a subscription before or not.
fn subscribe(
    context: &mut LocalContext<'_>,
    kind: &str,
    topic: Topic,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) {
    for name in args.tail(1).iter() {
        context.state.subscribe(context.connection, topic, name);
        confirm(context, kind, topic, Some(name), reply);
    }
}

/// Without names all of them are meant; with nothing to end, one message says so.
fn unsubscribe(
    context: &mut LocalContext<'_>,
    kind: &str,
    topic: Topic,
    args: Args<'_>,
    reply: &mut Encoder<'_>,
) {
    for name in args.tail(1).iter() {
        context.state.unsubscribe(context.connection, topic, name);
        confirm(context, kind, topic, Some(name), reply);
    }
    if args.len() > 1 {
        return;
    }
    let names = context.state.subscriptions(context.connection, topic);
    for name in &names {
        context.state.unsubscribe(context.connection, topic, name);
        confirm(context, kind, topic, Some(name), reply);
    }
    if names.is_empty() {
        confirm(context, kind, topic, None, reply);
    }
}

fn confirm(
    context: &mut LocalContext<'_>,
    kind: &str,
    topic: Topic,
    name: Option<&[u8]>,
    reply: &mut Encoder<'_>,
) {
    reply.push(3);
    reply.bulk(kind.as_bytes());
    reply.bulk_or_null(name);
    reply.integer(context.client().subscriptions.counted_with(topic).into());
}
