//! A message on its way to subscribers.

use std::sync::Arc;

use kvasir_proto::{Encoder, Resp};

/// What can be subscribed to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Topic {
    /// A channel.
    Channel,
    /// All channels whose name matches.
    Pattern,
    /// A channel that a cluster keeps within one shard.
    ShardChannel,
}

/// A message that has been published. A clone shares its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    /// Whether it was published to a channel or a shard channel.
    pub topic: Topic,
    /// The channel's name.
    pub channel: Arc<[u8]>,
    /// What was published.
    pub payload: Arc<[u8]>,
}

/// The first byte of a message in this version of the protocol, the rest being the same.
pub(super) fn head(resp: Resp) -> u8 {
    match resp {
        Resp::V2 => b'*',
        Resp::V3 => b'>',
    }
}

impl Publication {
    /// Appends the message for a subscriber of the channel, or of a pattern, in RESP2.
    pub(super) fn encode(&self, pattern: Option<&[u8]>, out: &mut Vec<u8>) {
        let mut encoder = Encoder::new(out, Resp::V2);
        let kind: &[u8] = match (pattern, self.topic) {
            (Some(_), _) => b"pmessage",
            (None, Topic::ShardChannel) => b"smessage",
            (None, _) => b"message",
        };
        encoder.push(if pattern.is_some() { 4 } else { 3 });
        encoder.bulk(kind);
        if let Some(pattern) = pattern {
            encoder.bulk(pattern);
        }
        encoder.bulk(&self.channel);
        encoder.bulk(&self.payload);
    }
}
