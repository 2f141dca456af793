//! Sending messages.

use crate::commands::definition::{Arg, Arity, Command, Flags, Group, Handler, KeyFlags, KeySpec};
use crate::pubsub::message::Topic;

pub(super) const PUBLISH: Command = Command {
    name: "publish",
    summary: "Posts a message to a channel.",
    complexity: "O(N+M) where N is the number of clients subscribed to the receiving channel \
        and M is the total number of subscribed patterns (by any client).",
    since: "2.0.0",
    group: Group::PubSub,
    arity: Arity::exactly(3),
    flags: Flags::PUBSUB
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::FAST)
        .or(Flags::MAY_REPLICATE),
    args: &[Arg::string("channel"), Arg::string("message")],
    handler: Handler::Publish(Topic::Channel),
    ..Command::BASE
};

pub(super) const SPUBLISH: Command = Command {
    name: "spublish",
    summary: "Post a message to a shard channel",
    complexity: "O(N) where N is the number of clients subscribed to the receiving shard \
        channel.",
    since: "7.0.0",
    group: Group::PubSub,
    arity: Arity::exactly(3),
    flags: Flags::PUBSUB
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::FAST)
        .or(Flags::MAY_REPLICATE),
    keys: &[KeySpec::at(1).flags(KeyFlags::NOT_KEY)],
    args: &[Arg::string("shardchannel"), Arg::string("message")],
    handler: Handler::Publish(Topic::ShardChannel),
    ..Command::BASE
};
